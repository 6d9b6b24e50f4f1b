"""Plots as SVG that stands in a page and is read on light and on dark ground.

Uses matplotlib's figures alone, no pyplot, so nothing is left behind in the process. Knows nothing of results: values
and names in, figures out. Text stays text, so a page can give it its own font and colour.
"""

import hashlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import isnan, log10
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from evaluation.bootstrap import Estimate
from evaluation.labels import GREY, extent, in_figure, lead, place, shortened, spread

Floats = Sequence[float] | NDArray[np.float64]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart by colour-blind people (Okabe and Ito 2008); no black or yellow, lost on dark or light ground."""
MARKERS = ("o", "s", "D", "^", "v")
DPI = 72
"""A pixel is a point, as in the SVG that is written."""
MOST_MARKS = 12
"""Lines of more points have no marks, and bands for error bars."""
LINE_GAP = 14
"""Points between the names of lines."""
SMALLEST_LOG = 0.01
"""What a logarithmic axis shows for smaller values, 0 among them."""

STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.usetex": False,
    "text.parse_math": False,
    "text.color": GREY,
    "axes.facecolor": "none",
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "svg.fonttype": "none",
    "svg.hashsalt": "watchnext",
}


@dataclass(frozen=True)
class Point:
    """A named point with an error in y."""

    label: str
    x: float
    y: Estimate


@dataclass(frozen=True)
class Line:
    """A named line.

    Args:
        x, y: [points] each.
        error: [points] standard errors of y, drawn as bars, for many points as a band.
        dashed: in grey, for what is known rather than measured.
    """

    label: str
    x: Floats
    y: Floats
    error: Floats | None = None
    dashed: bool = False


@rc_context(STYLE)
def scatter(
    points: Sequence[Point], xlabel: str, ylabel: str, log: bool = False, ceilings: Mapping[str, float] | None = None
) -> Figure:
    """Named points with error bars, in colours and marks by their place in the order.

    Args:
        log: whether x is logarithmic.
        ceilings: values of y with names, drawn as dashed lines across.
    """
    figure, axes = _axes(xlabel, ylabel)
    at = [max(p.x, SMALLEST_LOG) if log else p.x for p in points]
    for number, (point, x) in enumerate(zip(points, at, strict=True)):
        marker, error = MARKERS[number % len(MARKERS)], _known(point.y.error)
        axes.errorbar(x, point.y.value, error, fmt=marker, color=colour(number), markersize=6.5, elinewidth=1.2)
    axes.margins(0.15, 0.12)
    if log and at:
        _logarithmic(axes, at)
    for value in (ceilings or {}).values():
        axes.axhline(value, color=GREY, linestyle=(0, (5, 4)), linewidth=1)
    axes.autoscale_view()
    axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
    with _any_glyph():
        taken = [_over_line(axes, name, value) for name, value in (ceilings or {}).items()]
        taken += [_error_bar(axes, x, p.y) for x, p in zip(at, points, strict=True)]
        pixels = _pixels(axes, [(x, p.y.value) for x, p in zip(at, points, strict=True)])
        place(figure, axes, [p.label for p in points], pixels, taken)
    return figure


@rc_context(STYLE)
def lines(series: Sequence[Line], xlabel: str, ylabel: str, log: bool = False) -> Figure:
    """Named lines, each with its name at its right end.

    Args:
        log: whether x is logarithmic.
    """
    figure, axes = _axes(xlabel, ylabel, width=6)
    for number, line in enumerate(series):
        _line(axes, number, line)
    if log:
        _logarithmic(axes, [x for line in series for x in line.x])
    axes.autoscale_view()
    with _any_glyph():
        _name_ends(figure, axes, series)
    return figure


def _line(axes: Axes, number: int, line: Line) -> None:
    x, y = np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)
    few = len(x) <= MOST_MARKS
    style: Any = (0, (4, 3)) if line.dashed else "-"
    marker = MARKERS[number % len(MARKERS)] if few and not line.dashed else ""
    axes.plot(x, y, color=_ink(number, line), linestyle=style, marker=marker, markersize=5, linewidth=1.6)
    if line.error is None:
        return
    error = np.nan_to_num(np.asarray(line.error, np.float64))
    if few:
        axes.errorbar(x, y, error, fmt="none", color=colour(number), elinewidth=1.2)
    else:
        axes.fill_between(x, y - error, y + error, color=colour(number), alpha=0.2, linewidth=0)


@rc_context(STYLE)
def bars(
    groups: Mapping[str, Mapping[str, Estimate]], names: Sequence[str], xlabel: str, ceilings: Collection[str] = ()
) -> Figure:
    """A panel of bars for each group, all with the same names and the same scale.

    Args:
        groups: estimates by group, then by name; what is missing or NaN has no bar.
        names: from top to bottom; the n-th has the colour of the n-th point of a `scatter`.
        ceilings: names whose bars are drawn as outlines, to stand apart.
    """
    figure = Figure(figsize=(10, 0.9 + 0.3 * len(names)), dpi=DPI, layout="constrained", facecolor="none")
    panels = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    ends = [e.value + (_known(e.error) or 0) for g in groups.values() for e in g.values() if not isnan(e.value)]
    longest = max(ends, default=0) or 1
    for axes, (group, found) in zip(panels, groups.items(), strict=True):
        _grid(axes, "x")
        axes.set_title(group, loc="left", fontsize=10)
        for number, name in enumerate(names):
            if name in found and not isnan(found[name].value):
                _bar(axes, number, found[name], longest, outlined=name in ceilings)
        axes.set_xlim(0, 1.4 * longest)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(names)), [shortened(name) for name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(xlabel, fontsize=9, color=GREY)
    return figure


def _bar(axes: Axes, number: int, found: Estimate, longest: float, outlined: bool) -> None:
    error, ink = _known(found.error), GREY if outlined else colour(number)
    if outlined:
        axes.barh(number, found.value, height=0.68, facecolor="none", edgecolor=ink, linestyle=(0, (5, 4)))
    else:
        axes.barh(number, found.value, height=0.68, color=ink, alpha=0.5)
    if error is not None:
        axes.errorbar(found.value, number, xerr=error, fmt="none", ecolor=ink, elinewidth=2)
    axes.text(found.value + (error or 0) + 0.03 * longest, number, f"{found.value:.3f}", va="center", fontsize=8)


def _ink(number: int, line: Line) -> str:
    return GREY if line.dashed else colour(number)


def colour(number: int) -> str:
    """The colour of the n-th thing, from 0; after the last it begins anew."""
    return COLOURS[number % len(COLOURS)]


def _axes(xlabel: str, ylabel: str, width: float = 5) -> tuple[Figure, Axes]:
    """A figure with one plot; of 5 inches, two stand side by side on a desk and one is read on a phone."""
    figure = Figure(figsize=(width, 3.9), dpi=DPI, facecolor="none")
    axes = figure.add_axes((0.68 / width, 0.135, 1 - 0.83 / width, 0.83))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    _grid(axes, "both")
    return figure, axes


def _grid(axes: Axes, axis: Literal["both", "x", "y"]) -> None:
    axes.grid(axis=axis, color=GREY, alpha=0.2, linewidth=0.7)


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic x with plain numbers, more of them where it spans little."""
    axes.set_xscale("log")
    decades = log10(max(values) / min(values))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _over_line(axes: Axes, name: str, value: float) -> Bbox:
    """Write the name of a line across at its left end, above it; returns the box it takes."""
    text = axes.annotate(shortened(name), (0, value), (3, 3), ("axes fraction", "data"), "offset points")
    return extent(text)


def _error_bar(axes: Axes, x: float, y: Estimate) -> Bbox:
    """The box of an error bar with a little room beside it, in pixels."""
    error = _known(y.error) or 0
    (middle, bottom), (_, top) = _pixels(axes, [(x, y.value - error), (x, y.value + error)])
    return Bbox.from_extents(middle - 3, bottom, middle + 3, top)


def _name_ends(figure: Figure, axes: Axes, series: Sequence[Line]) -> None:
    """Names right of the axes, which are made smaller, each as high as its line ends, or near with a line to it."""
    names = [figure.text(0, 0, shortened(line.label), va="center") for line in series]
    room = max((extent(name).width for name in names), default=0) + 2 * LINE_GAP
    area = axes.get_position()
    axes.set_position((area.x0, area.y0, 1 - area.x0 - room / figure.bbox.width, area.height))
    edge = axes.get_window_extent()
    ends = _pixels(axes, [(line.x[-1], line.y[-1]) for line in series])
    heights = spread([y for _, y in ends], LINE_GAP, edge.y1)
    for number, (name, end, height) in enumerate(zip(names, ends, heights, strict=True)):
        left = edge.x1 + LINE_GAP
        name.set_position(in_figure(figure, (left, height)))
        lead(figure, (left - 2, height), end, _ink(number, series[number]))


def _pixels(axes: Axes, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points in the units of the axes as pixels of the figure."""
    return [(float(x), float(y)) for x, y in axes.transData.transform(np.array(points).reshape(-1, 2))]


def _known(error: float) -> float | None:
    return None if isnan(error) else error


@contextmanager
def _any_glyph() -> Iterator[None]:
    """Letters that matplotlib's own font lacks are no trouble: text stays text, and the reader's fonts show it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


@rc_context(STYLE)
def svg(figure: Figure, description: str) -> str:
    """A figure as an `<svg>` element to stand in an HTML page: no references to anything outside.

    It fills the width it is given. Its ids are its own, so that several stand in one page.

    Args:
        description: what is shown, for those who do not see it.
    """
    buffer = BytesIO()
    with _any_glyph():
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314  (matplotlib has just written it)
    own = hashlib.sha256(description.encode() + buffer.getvalue()).hexdigest()[:8]
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(name): _owned(_local(name), value, own) for name, value in element.attrib.items()}
        for style in element.findall("{*}style"):
            element.remove(style)  # it would hold for the whole page
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": description,
        "style": "stroke-linejoin: round; stroke-linecap: butt",
    }
    return ElementTree.tostring(root, encoding="unicode")


def svg_file(figure: Figure, description: str) -> bytes:
    """The same as a file of its own: outside of a page the element needs its namespace."""
    return svg(figure, description).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).encode()


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _owned(name: str, value: str, own: str) -> str:
    """An attribute's value; ids, and what refers to them, begin with the figure's own letters."""
    if name == "id":
        return f"{own}-{value}"
    return value.replace("#", f"#{own}-") if name == "href" else value.replace("url(#", f"url(#{own}-")
