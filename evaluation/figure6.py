"""The paper's Figure 6: accuracy by the features that the network reads and by the depth of its tower.

Covington et al. 2016, section 4.3: "Features beyond video embeddings improve holdout Mean Average Precision (MAP) and
layers of depth add expressiveness so that the model can effectively use these additional features by modeling their
interaction." Widths here are the paper's divided by a scale.
"""

from collections.abc import Mapping

from matplotlib.figure import Figure

from evaluation.bootstrap import Difference
from evaluation.plots import Line, lines
from evaluation.results import Result

METRIC = "map@50"
FEATURES: dict[str, tuple[str, ...]] = {
    "watches only": ("searches=false", "example_age=false", "context=false"),
    "+ searches": ("searches=true", "example_age=false", "context=false"),
    "+ example age": ("searches=true", "example_age=true", "context=false"),
    "all features": ("searches=true", "example_age=true", "context=true"),
}
"""Each reads what the one before reads, and more: the settings of the network by the name in the figure."""
WIDTHS: tuple[tuple[int, ...], ...] = ((), (256,), (512, 256), (1024, 512, 256), (2048, 1024, 512, 256))
"""Widths of the ReLU layers by depth; depth 0 is one linear layer of width 256. The last is the user vector's."""
PAPER: dict[str, tuple[float, ...]] = {
    "watches only": (6.40,) * 5,
    "+ searches": (8.90, 9.70, 9.90, 10.10, 10.10),
    "+ example age": (9.50, 10.60, 10.70, 10.90, 10.95),
    "all features": (10.80, 12.10, 12.40, 12.80, 12.90),
}
"""Holdout MAP in percent by depth, read off the paper's figure."""

Grid = Mapping[tuple[str, int], Result]
"""Results by features and depth."""


def settings(features: str, depth: int, scale: int) -> tuple[str, ...]:
    """What to change of the preset `youtube2016` for a point of the figure.

    >>> settings("+ searches", 2, 8)[-3:]
    ('dim=32', 'tower=64', 'output_relu=true')
    """
    widths = [max(1, width // scale) for width in WIDTHS[depth]]
    tower = ",".join(map(str, widths[:-1]))
    dim, relu = max(1, 256 // scale), str(depth > 0).lower()
    return (*FEATURES[features], f"dim={dim}", f"tower={tower}", f"output_relu={relu}")


def plot(grid: Grid) -> Figure:
    """MAP by depth, a line for each set of features."""
    return lines([_line(grid, name) for name in FEATURES], "depth of the tower", METRIC.upper())


def _line(grid: Grid, name: str) -> Line:
    depths = [depth for features, depth in grid if features == name]
    found = [grid[name, depth].metrics[METRIC] for depth in depths]
    return Line(name, depths, [e.value for e in found], [e.error for e in found])


def markdown(grid: Grid, steps: Mapping[str, Difference]) -> str:
    """The figure as a table, and what each feature adds at the greatest depth, in pairs over the same users."""
    depths = sorted({depth for _, depth in grid})
    rows = [["features", *(f"depth {d}" for d in depths)], ["---", *("---:" for _ in depths)]]
    for name in FEATURES:
        found = [grid[name, d].metrics[METRIC] for d in depths]
        rows.append([name, *(f"{e.value:.4f} ± {e.error:.4f}" for e in found)])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    gains = [f"- {name}: {_gain(step)}" for name, step in steps.items()]
    return (
        f"{METRIC.upper()}, mean ± standard error\n\n{table}\n\nGained at the greatest depth by:\n\n"
        + "\n".join(gains)
        + "\n"
    )


def _gain(step: Difference) -> str:
    if not step.error:
        return "no difference for any user"
    return f"{step.value:+.4f} ± {step.error:.4f} ({step.value / step.error:+.1f} standard errors)"
