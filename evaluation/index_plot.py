"""What building an index tried, as a plot: recall against CPU time, a line for each kind."""

from matplotlib.figure import Figure

from evaluation.plots import Line, lines
from index.folder import IndexManifest
from index.kinds import Kind
from index.trial import Trial

SHOWN = 0.8
"""Searches of less recall are left out: what matters lies far above."""


def index_plot(about: IndexManifest) -> Figure:
    """Each kind's searches that no other of it beats, and the target as a dashed line."""
    kinds: dict[str, list[Trial]] = {}
    for trial in about.trials:
        if trial.recall_at_50 >= SHOWN:
            kinds.setdefault(Kind(trial.kind, trial.space).describe(), []).append(trial)
    drawn = [
        Line(name, [t.microseconds for t in best], [t.recall_at_50 for t in best])
        for name, best in ((name, _front(tried)) for name, tried in kinds.items())
    ]
    times = [time for line in drawn for time in line.x]
    if times:
        drawn.append(Line("target", [min(times), max(times)], [about.target_recall] * 2, dashed=True))
    return lines(drawn, "CPU time of a query, µs", "recall@50", log=bool(drawn))


def _front(tried: list[Trial]) -> list[Trial]:
    """By rising time, only those with more recall than all faster ones."""
    front: list[Trial] = []
    for trial in sorted(tried, key=lambda trial: (trial.microseconds, -trial.recall_at_50)):
        if not front or trial.recall_at_50 > front[-1].recall_at_50:
            front.append(trial)
    return front
