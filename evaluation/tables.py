"""A comparison in words and tables, for terminals and for Markdown."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import NamedTuple

from rich import box
from rich import table as rich
from rich.console import Console, ConsoleRenderable
from rich.measure import Measurement
from rich.text import Text

from evaluation.bootstrap import Estimate
from evaluation.comparison import Comparison, Entry, Standing
from watchnext.split import FEWEST_WATCHES, INPUT_SHARE, HoldoutName

MARKS: dict[Standing, str] = {"best": "best", "level": "≈ best", "behind": "", "ceiling": "ceiling"}
"""What is written beside a model's name."""

PROTOCOLS: dict[HoldoutName, str] = {
    "leave-one-out": "Each user's last watch is asked for, given all the watches before it; the one before the last "
    "is kept from training, to choose settings. Other users' training watches may be later than what is asked for.",
    "temporal": "One moment cuts all histories: the last {share:.0%} of all watches are asked for, given everything "
    "before; the {share:.0%} before that moment are kept from training, to choose settings. Nothing that was trained "
    "on is later than anything asked for.",
    "temporal-next": "One moment cuts all histories: of each user the first one of the last {share:.0%} of all "
    "watches is asked for, given everything before the moment; the {share:.0%} before it are kept from training, to "
    "choose settings. Nothing that was trained on is later than anything asked for.",
    "users": f"{{share:.0%}} of the users with {FEWEST_WATCHES} watches or more are kept from training altogether: "
    f"given the first {INPUT_SHARE:.0%} of their watches, the rest is asked for. Another {{share:.0%}} choose "
    "settings. Training watches of other users may be later than what is asked for.",
    "users-random": f"{{share:.0%}} of the users with {FEWEST_WATCHES} watches or more are kept from training "
    f"altogether: given a random {INPUT_SHARE:.0%} of their watches, the rest is asked for. Another {{share:.0%}} "
    "choose settings. What is asked for may be earlier than what is given.",
}
"""What the names of protocols mean; `share` is the cells' `holdout_share`."""

READING = (
    "± is the standard error of the mean over users, from resampled users. Differences are paired, user by user, "
    "with their 95 % interval; p is how likely a difference at least as large would be if there was none, not "
    "corrected for the number of models. ≈ best: not distinguishable from the best, p at least .05."
)


class Cell(NamedTuple):
    """A figure, and what stands beside or below it in smaller type."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """A model's cells, as many as the table has heads."""

    label: str
    standing: Standing
    cells: tuple[Cell, ...]

    @property
    def ceiling(self) -> bool:
        """Whether it is drawn apart from the models that compete."""
        return self.standing == "ceiling"


@dataclass(frozen=True)
class Table:
    """Models by figures, all as text."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


Column = tuple[str, Callable[[Entry], Cell]]


def tables(comparison: Comparison) -> list[Table]:
    """How accurate the models are, and what their lists and costs are."""
    return [
        _table(comparison, "How accurate the lists are", _accuracy(comparison)),
        _table(comparison, "What the lists are like, and what fitting took", _lists(comparison) + _costs()),
    ]


def _table(comparison: Comparison, caption: str, columns: list[Column]) -> Table:
    rows = (Row(e.label, e.standing, tuple(cell(e) for _, cell in columns)) for e in comparison.entries)
    return Table(caption, tuple(head for head, _ in columns), tuple(rows))


def _accuracy(comparison: Comparison) -> list[Column]:
    first = comparison.results[0]
    several = first.targets > first.users  # of one, MAP is MRR, and recalls are equal
    own = ("capped_recall", 20) if several else ("mrr", 10)
    wanted = (("hr", 10), ("ndcg", 10), ("map", 10), own, ("recall", 20), ("recall", 50))
    names = dict.fromkeys(name for metric, k in wanted if (name := comparison.metric(metric, k)))
    columns: list[Column] = [(heading(name), _measured(name, 4)) for name in names]
    return [*columns, (f"{heading(comparison.main)} minus the best's", _difference), ("p", _chance)]


def _lists(comparison: Comparison) -> list[Column]:
    whole = [name for metric in ("coverage", "gini") if (name := comparison.catalogue(metric, 10))]
    columns: list[Column] = [(heading(name), _of_catalogue(name)) for name in whole]
    for metric, places, unit in (("novelty", 2, "bits"), ("popularity", 1, "watches"), ("age", 1, "days")):
        if name := comparison.metric(metric, 10):
            columns.append((f"{heading(name)}, {unit}", _measured(name, places)))
    return columns


def _costs() -> list[Column]:
    return [
        ("fit, CPU s", lambda entry: Cell(_three_digits(entry.result.cost.fit_cpu_seconds))),
        ("tuning, CPU s", lambda entry: Cell(_three_digits(entry.result.cost.tune_cpu_seconds))),
        ("peak, MB", lambda entry: Cell(f"{entry.result.cost.peak_megabytes:,.0f}")),
    ]


def _measured(name: str, places: int) -> Callable[[Entry], Cell]:
    return lambda entry: estimate(entry.result.metrics[name], places)


def _of_catalogue(name: str) -> Callable[[Entry], Cell]:
    return lambda entry: estimate(Estimate(entry.result.catalogue[name], nan))


def _difference(entry: Entry) -> Cell:
    if (d := entry.difference) is None or isnan(d.value):
        return Cell("-")
    return Cell(f"{d.value:+.4f}", f"[{d.low:+.4f}, {d.high:+.4f}]")


def _chance(entry: Entry) -> Cell:
    if (d := entry.difference) is None or isnan(d.p):
        return Cell("-")
    return Cell(f"{d.p:.3f}")


def estimate(found: Estimate, places: int = 4) -> Cell:
    """A mean and its standard error; a dash where there is nothing to average.

    >>> estimate(Estimate(0.12345, 0.005))
    Cell(text='0.1235', detail='± 0.0050')
    """
    if isnan(found.value):
        return Cell("-")
    return Cell(f"{found.value:,.{places}f}", "" if isnan(found.error) else f"± {found.error:,.{places}f}")


def _three_digits(value: float) -> str:
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def heading(metric: str) -> str:
    """A metric's name for people.

    >>> heading("ndcg@10"), heading("gini@10"), heading("recall@50")
    ('NDCG@10', 'Gini@10', 'recall@50')
    """
    name, at, k = metric.partition("@")
    known = {"hr": "HR", "ndcg": "NDCG", "mrr": "MRR", "map": "MAP", "gini": "Gini", "capped_recall": "capped recall"}
    return known.get(name, name) + at + k


def verdict(comparison: Comparison) -> str:
    """Who is best, who might be as good, and what the ceiling is."""
    said = []
    for entry in comparison.standing("best"):
        said.append(f"Highest {heading(comparison.main)}: {entry.label}, {_main(comparison, entry)}.")
        level = [other.label for other in comparison.standing("level")]
        if level:
            said.append(f"Not distinguishable from it: {'; '.join(level)}.")
        elif comparison.standing("behind"):
            said.append("All others are distinguishably lower.")
    ceilings = comparison.standing("ceiling")
    said += [f"{e.label}, which knows the true preferences, reaches {_main(comparison, e)}." for e in ceilings]
    return " ".join(said)


def _main(comparison: Comparison, entry: Entry) -> str:
    return " ".join(estimate(entry.result.metrics[comparison.main])).strip()


def protocol(comparison: Comparison) -> str:
    """What was asked of whom, and how it was judged."""
    first = comparison.results[0]
    meaning = PROTOCOLS[first.cell.holdout].format(share=first.cell.holdout_share)
    said = [f"{first.users:,} users and {first.targets:,} held-out watches. {meaning}"]
    if first.untrained_targets:
        said.append(
            f"{first.untrained_targets:,} of the held-out watches are of items that no training watch shows: misses "
            "for every model that needs one."
        )
    if first.without_history:
        said.append(f"{first.without_history:,} users without any watch before the cut are left out.")
    said.append("All items that a user has not watched are ranked, none sampled; ties count by their expected value.")
    return " ".join(said)


def print_tables(compared: Sequence[Comparison], console: Console) -> None:
    """Show comparisons in a terminal. Where it is too narrow, heads and figures are broken into short lines."""
    for comparison in compared:
        console.print(Text(comparison.title, style="bold"), Text(protocol(comparison)), "", sep="\n")
        for table in tables(comparison):
            wide = _for_terminal(table, narrow=False)
            needed = Measurement.get(console, console.options.update(max_width=1000), wide).maximum
            console.print(wide if needed <= console.width else _for_terminal(table, narrow=True))
        console.print(Text(verdict(comparison)), "", sep="\n")
    console.print(Text(READING, style="dim"))


def _for_terminal(table: Table, narrow: bool) -> ConsoleRenderable:
    """The model's column takes the room that the figures leave, and is folded."""
    padding = (0, 0) if narrow else (0, 1, 0, 0)
    shown = rich.Table(title=table.caption, title_justify="left", box=box.SIMPLE_HEAD, padding=padding)
    shown.add_column("model", overflow="fold")
    for head in table.heads:
        broken = head.replace("@", "\n@").replace(" ", "\n")
        shown.add_column(broken if narrow else head, justify="right", no_wrap=True)
    for number, row in enumerate(table.rows):
        if row.ceiling and number and not table.rows[number - 1].ceiling:
            shown.add_section()
        label = Text(_marked(row, row.label), style="bold" if row.standing == "best" else "")
        lines = ("\n".join(cell).replace(", ", ",\n") if narrow else " ".join(cell) for cell in row.cells)
        shown.add_row(label, *(Text(line.strip()) for line in lines))
    return shown


def _marked(row: Row, label: str) -> str:
    mark = MARKS[row.standing]
    return f"{label} ({mark})" if mark else label


def markdown(compared: Sequence[Comparison]) -> str:
    """Comparisons as GitHub-flavoured Markdown, each under a heading of the third level."""
    parts = []
    for comparison in compared:
        parts += [f"### {_plain(comparison.title)}", protocol(comparison), _plain(verdict(comparison))]
        parts += [_in_markdown(table) for table in tables(comparison)]
    return "\n\n".join([*parts, READING]) + "\n"


def _in_markdown(table: Table) -> str:
    lines = [["model", *table.heads], ["---", *["---:"] * len(table.heads)]]
    for row in table.rows:
        label = _plain(_marked(row, row.label))
        shown = {"best": f"**{label}**", "ceiling": f"*{label}*"}.get(row.standing, label)
        lines.append([shown, *(" ".join(filter(None, cell)) for cell in row.cells)])
    return "\n".join([f"{table.caption}:", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line.

    >>> print(_plain("a|b *c* noise_exponent=1"))
    a\\|b \\*c\\* noise_exponent=1
    """
    return re.sub(r"([\\`*\[\]<>|&~#]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
