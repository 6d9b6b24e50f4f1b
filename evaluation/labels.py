"""Where names go in a plot, so that each stands beside what it names and no legend has to be looked up."""

from collections.abc import Sequence
from itertools import product
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

WIDEST = 24
"""Characters of a line of a name; two lines at most."""
NEAR = 16
"""Pixels; a name farther from its point than this gets a line to it."""
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), *product((1, -1), (0.4, -0.4, 0.7, -0.7, 1.2, -1.2)))
"""Right and up: where a name is looked for, the most readable first."""
GREY = "#808080"
"""Of lines and texts: read on white as on black."""


Pixel = tuple[float, float]


def shortened(name: str) -> str:
    """A name on one or two lines, cut off where it is longer.

    >>> shortened("default dim=32 tower=64,32 encoder=mean history=20 dropout=0")
    'default dim=32\\ntower=64,32 …'
    """
    return "\n".join(wrap(name, WIDEST, max_lines=2, placeholder=" …", break_on_hyphens=False))


def place(
    figure: Figure, axes: Axes, names: Sequence[str], points: Sequence[Pixel], taken: Sequence[Bbox] = ()
) -> None:
    """Write each name near its point, where it covers least of points, of other names and of what is taken.

    Args:
        points: in pixels; the limits of the axes must not change after this.
        taken: in pixels, as `extent` gives.
    """
    inside = axes.get_window_extent()
    covered = [*taken, *(_around(point, 5) for point in points)]
    written: list[Bbox] = []
    for name, point in zip(names, points, strict=True):
        text = figure.text(0, 0, shortened(name), ha="center", va="center")
        size = extent(text)
        boxes = _boxes(point, size.width + 2, size.height + 4)
        box = min(boxes, key=lambda box: _cost(box, point, covered, inside) + _crossed(box, point, written))
        text.set_position(in_figure(figure, ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)))
        way = _way(box, point)
        if way:
            lead(figure, way[0], point, GREY)
        written.append(box)
        covered += [box, *(_around(step, 2) for step in way)]


def lead(figure: Figure, start: Pixel, end: Pixel, colour: str) -> None:
    """A fine line that leads from a name to what it names, and ends a little before it."""
    reach = 1 - 6 / max(float(np.hypot(end[0] - start[0], end[1] - start[1])), 6)
    short = start[0] + reach * (end[0] - start[0]), start[1] + reach * (end[1] - start[1])
    (x, y), (to_x, to_y) = in_figure(figure, start), in_figure(figure, short)
    figure.add_artist(Line2D([x, to_x], [y, to_y], color=colour, linewidth=0.8))


def in_figure(figure: Figure, pixel: Pixel) -> tuple[float, float]:
    """A place in shares of the figure's width and height."""
    return float(pixel[0] / figure.bbox.width), float(pixel[1] / figure.bbox.height)


def _boxes(point: Pixel, width: float, height: float) -> list[Bbox]:
    """Where a name could stand around a point, the nearest and best to read first."""
    found = []
    for distance in (9, 18, 30, 46, 64, 86):
        for right, up in DIRECTIONS:
            left = point[0] + right * distance - width * (1 - right) / 2
            bottom = point[1] + up * distance - height * (1 - float(np.sign(up))) / 2
            found.append(Bbox.from_bounds(left, bottom, width, height))
    return found


def _cost(box: Bbox, point: Pixel, covered: Sequence[Bbox], inside: Bbox) -> float:
    """Area that a name would cover or that would be cut off, in square pixels, with a little for its distance."""
    lost = box.width * box.height - _common(box, inside)
    hidden = sum(_common(box, other) for other in covered)
    return 3 * (lost + hidden) + float(np.hypot(*np.subtract(_corner(box, point), point)))


def _crossed(box: Bbox, point: Pixel, written: Sequence[Bbox]) -> float:
    """What it costs when the line from a name to its point crosses other names."""
    return 30.0 * sum(other.contains(x, y) for x, y in _way(box, point) for other in written)


def _way(box: Bbox, point: Pixel) -> list[Pixel]:
    """Steps from a name to its point; none where it is so near that no line is drawn."""
    x, y = _corner(box, point)
    if np.hypot(x - point[0], y - point[1]) <= NEAR:
        return []
    return [(x + share * (point[0] - x), y + share * (point[1] - y)) for share in np.linspace(0, 0.9, 12)]


def _corner(box: Bbox, point: Pixel) -> Pixel:
    """Where a box is nearest to a point."""
    return float(np.clip(point[0], box.x0, box.x1)), float(np.clip(point[1], box.y0, box.y1))


def _around(point: Pixel, reach: float) -> Bbox:
    return Bbox.from_extents(point[0] - reach, point[1] - reach, point[0] + reach, point[1] + reach)


def _common(one: Bbox, other: Bbox) -> float:
    """Area of the overlap of two boxes."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(width, 0) * max(height, 0))


def extent(text: Text) -> Bbox:
    """The box that a text takes, in pixels."""
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
