"""Comparisons as one HTML file that opens without a network: tables, plots and chosen settings, nothing beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from evaluation import plots
from evaluation.bootstrap import Estimate
from evaluation.comparison import Comparison, at_nearest
from evaluation.results import Result
from evaluation.tables import MARKS, READING, heading, protocol, tables, verdict
from watchnext.files import write_atomic

TEMPLATE = "report.html.jinja"


class Plot(NamedTuple):
    """A plot in the page and the sentence below it."""

    svg: Markup
    caption: str
    wide: bool = False


def write_report(compared: Sequence[Comparison], path: Path, title: str) -> None:
    """Write the report, whole or not at all."""
    write_atomic(path, html(compared, title).encode())


def html(compared: Sequence[Comparison], title: str) -> str:
    """The report as text. All names are escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"tables": tables, "protocol": protocol, "verdict": verdict, "plots": all_plots}
    newest = max((r.created for c in compared for r in c.results), default=None)
    return environment.get_template(TEMPLATE).render(
        title=title, comparisons=compared, marks=MARKS, reading=READING, newest=newest
    )


def all_plots(comparison: Comparison) -> list[Plot]:
    """Accuracy against cost and against coverage, and by buckets of users and of items, where there are any."""
    return [
        _against_cost(comparison),
        *_against_coverage(comparison),
        *_by_bucket(
            comparison,
            "ndcg",
            10,
            lambda result: result.by_activity,
            "by how many watches of a user the model was given",
        ),
        *_by_bucket(
            comparison,
            "recall",
            50,
            lambda result: result.by_popularity,
            "by popularity of the held-out items: head, middle and tail have a third of the training watches each,"
            " rare ones fewer than 5",
        ),
    ]


def _against_cost(comparison: Comparison) -> Plot:
    figure = plots.scatter(
        _points(comparison, lambda result: result.cost.fit_cpu_seconds),
        "CPU seconds of fitting, logarithmic",
        heading(comparison.main),
        log=True,
        ceilings=_ceilings(comparison),
    )
    what = f"{heading(comparison.main)} against the CPU seconds of fitting"
    caption = f"{what}: upper left is better. Less than {plots.SMALLEST_LOG} s is drawn as {plots.SMALLEST_LOG} s."
    return _plot(comparison, figure, what, caption)


def _against_coverage(comparison: Comparison) -> list[Plot]:
    coverage = comparison.catalogue("coverage", 10)
    if coverage is None:
        return []
    points = _points(comparison, lambda result: result.catalogue[coverage])
    main = heading(comparison.main)
    figure = plots.scatter(points, heading(coverage), main, ceilings=_ceilings(comparison))
    what = f"{main} against the share of items that stand on anybody's list"
    return [_plot(comparison, figure, what, f"{what}: upper right is better.")]


def _points(comparison: Comparison, x: Callable[[Result], float]) -> list[plots.Point]:
    competing = [entry for entry in comparison.entries if entry.standing != "ceiling"]
    return [plots.Point(entry.label, x(entry.result), entry.result.metrics[comparison.main]) for entry in competing]


def _ceilings(comparison: Comparison) -> dict[str, float]:
    ceilings = comparison.standing("ceiling")
    return {f"{entry.label}, the ceiling": entry.result.metrics[comparison.main].value for entry in ceilings}


Buckets = dict[str, dict[str, Estimate]]


def _by_bucket(
    comparison: Comparison, metric: str, k: int, buckets: Callable[[Result], Buckets], by: str
) -> list[Plot]:
    """Bars of a metric in each bucket that any result has; no plot where there is none."""
    found = {entry.label: buckets(entry.result) for entry in comparison.entries}
    name = at_nearest(metric, k, (bucket for by_name in found.values() for bucket in by_name.values()))
    if name is None:
        return []
    groups = {
        bucket: {label: by_name[bucket][name] for label, by_name in found.items() if bucket in by_name}
        for bucket in dict.fromkeys(bucket for by_name in found.values() for bucket in by_name)
    }
    what = f"{heading(name)} {by}"
    ceilings = [entry.label for entry in comparison.standing("ceiling")]
    figure = plots.bars(groups, list(found), heading(name), ceilings)
    return [_plot(comparison, figure, what, f"{what}.", wide=True)]


def _plot(comparison: Comparison, figure: Figure, what: str, caption: str, wide: bool = False) -> Plot:
    description = f"{what}, on {comparison.title}, for {', '.join(entry.label for entry in comparison.entries)}"
    error = " Error bars: one standard error to each side."
    return Plot(Markup(plots.svg(figure, description)), caption + error, wide)  # noqa: S704  (names are escaped in it)
