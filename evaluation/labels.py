"""Where names go in a plot, so that each stands beside what it names and no legend has to be looked up."""

from collections.abc import Sequence
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

WIDEST = 24
"""Characters of a line of a name; two lines at most."""
NEAR = 16
"""Points; a name farther from its point than this gets a line to it."""


class Place(NamedTuple):
    """Where a name could go: its corner nearest to the point, relative to it, in points."""

    right: float
    up: float
    box: Bbox


def shortened(name: str) -> str:
    """A name on one or two lines, cut off where it is longer.

    >>> shortened("default dim=32 tower=64,32 encoder=mean history=20 dropout=0")
    'default dim=32\\ntower=64,32 encoder=mean …'
    """
    return "\n".join(wrap(name, WIDEST, max_lines=2, placeholder=" …", break_on_hyphens=False))


def place(
    axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], taken: Sequence[Bbox] = ()
) -> None:
    """Write each name near its point, where it covers least of points, of other names and of what is taken.

    Args:
        points: in the units of the axes, whose limits must not change after this.
        taken: in pixels, as `box` gives.
    """
    where = axes.transData.transform(np.array(points).reshape(-1, 2))
    inside = axes.get_window_extent()
    covered = [*taken, *(Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in where)]
    for name, point, (x, y) in zip(names, points, where, strict=True):
        label = axes.annotate(
            shortened(name),
            point,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 5},
        )
        size = extent(label)
        found = min(_places(x, y, size.width + 2, size.height + 4), key=lambda p: _cost(p, covered, inside))
        label.xyann = found.right, found.up
        label.set_horizontalalignment("left" if found.right > 0 else "right" if found.right < 0 else "center")
        label.set_verticalalignment("bottom" if found.up > 0 else "top" if found.up < 0 else "center")
        if np.hypot(found.right, found.up) < NEAR and label.arrow_patch:
            label.arrow_patch.set_visible(False)
        covered.append(found.box)


def _places(x: float, y: float, width: float, height: float) -> list[Place]:
    """Places around a point, the nearest and best to read first."""
    found = []
    for distance in (9, 18, 30, 46, 64):
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 0.7), (-1, 0.7), (1, -0.7), (-1, -0.7)):
            left = x + right * distance - width * (1 - right) / 2
            vertical = np.sign(up)
            bottom = y + up * distance - height * (1 - vertical) / 2
            found.append(Place(right * distance, up * distance, Bbox.from_bounds(left, bottom, width, height)))
    return found


def _cost(place: Place, covered: Sequence[Bbox], inside: Bbox) -> float:
    """Area that a name would cover or that would be cut off, in square pixels, with a little for its distance."""
    area = place.box.width * place.box.height
    lost = area - _common(place.box, inside)
    hidden = sum(_common(place.box, other) for other in covered)
    return 3 * (lost + hidden) + float(np.hypot(place.right, place.up))


def _common(one: Bbox, other: Bbox) -> float:
    """Area of the overlap of two boxes."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(width, 0) * max(height, 0))


def extent(text: Text) -> Bbox:
    """The box that a text takes, in pixels; its figure gets a canvas that can measure where it has none."""
    figure = text.get_figure(root=True)
    if not isinstance(figure, Figure):
        raise ValueError("the text is not in a figure")
    return text.get_window_extent(FigureCanvasAgg(figure).get_renderer())  # type: ignore[no-untyped-call]


def spread(wanted: Sequence[float], gap: float, highest: float) -> list[float]:
    """Places near the wanted ones in the same order, at least a gap apart, none above the highest.

    >>> spread([1.0, 9.5, 9.0], 1.0, 10.0)
    [1.0, 10.0, 9.0]
    """
    order = np.argsort(wanted, kind="stable")
    placed = np.array(wanted, np.float64)[order]
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], highest if i == len(placed) - 1 else placed[i + 1] - gap)
    back = np.empty_like(placed)
    back[order] = placed
    return [float(p) for p in back]
