"""`watchnext evaluate`: how good an export is, beside popularity, on the watches that its training has not seen."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from watchnext.cli import words
from watchnext.cli.console import Json, out, progress, report
from watchnext.errors import UsageError
from watchnext.split import TESTED

if TYPE_CHECKING:
    from evaluation.protocol import Report
    from watchnext.export import Export

MODEL, BASELINE = "model", "popularity"
WORDS = "Vectors of words, without a holdout"
LISTS = ("novelty", "popularity", "age")
BREAKDOWNS = {
    "activity": ("users", "Users by how many watches the model is given"),
    "popularity": (
        "targets",
        "Held-out watches by popularity: items with a third of the training watches each, rare: fewer than 5",
    ),
}


def evaluate(
    export: Annotated[Path, typer.Argument(help="Folder written by `watchnext train`.")] = Path("work/export"),
    k: Annotated[
        list[int] | None,
        typer.Option("-k", min=1, help="Length of the lists to judge. Repeatable; default: 10, 20 and 50."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also a table by users' `activity` or by items' `popularity`. Repeatable; JSON has both."),
    ] = None,
    similarity: Annotated[
        list[Path] | None,
        typer.Option(
            help="Judge the vectors instead by people's scores of pairs: lines of a word, a word and a score."
            " Repeatable.",
            rich_help_panel=WORDS,
        ),
    ] = None,
    analogies: Annotated[
        list[Path] | None,
        typer.Option(
            help="Judge the vectors instead by analogies: lines `: section` and, below, four words a line."
            " Repeatable.",
            rich_help_panel=WORDS,
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(help="Which vectors: `item` (default) or `watched`.", rich_help_panel=WORDS),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(
            help="How near two vectors are: `cosine` (default), `dot` or `euclidean`.", rich_help_panel=WORDS
        ),
    ] = None,
    most_frequent: Annotated[
        int | None,
        typer.Option(
            min=1, help="Only so many words are known and may be answers; default: all.", rich_help_panel=WORDS
        ),
    ] = None,
    match_case: Annotated[
        bool, typer.Option("--match-case", help="Paris is not paris.", rich_help_panel=WORDS)
    ] = False,
    json_: Json = False,
) -> None:
    """Rank all items for the held-out watches, for the model and for popularity.

    The export must have been trained with a --holdout that leaves a test part. Watched items are excluded, all
    others are ranked (no sampling of candidates), ties count as if broken at random. Standard errors and differences
    come from resampling users, the same ones for both.
    """
    asked = words.WordOptions(
        tuple(similarity or ()), tuple(analogies or ()), vectors, measure, most_frequent, match_case
    )
    if asked.wanted:
        words.evaluate(export, asked, {"-k": k, "--by": by}, json_)
        return
    for name in by or []:
        if name not in BREAKDOWNS:
            raise UsageError("--by", repr(name), f"Choose one of: {', '.join(BREAKDOWNS)}.")
    facts = run(export, k or [10, 20, 50], shown=not json_)
    if json_:
        report(True, "", facts)
        return
    show(facts, by or [])
    out.print("Next: [bold]watchnext train[/bold] with the same options, --refit and another --to", soft_wrap=True)


def show(facts: dict[str, Any], by: list[str] | None = None) -> None:
    """Print what `run` found, with the breakdowns that are asked for."""
    out.print(_accuracy(facts), _lists(facts))
    for name in by or []:
        out.print(_breakdown(facts, name))
    out.print(f"{facts['users']:,} users, {facts['targets']:,} held-out watches, holdout {facts['holdout']}")
    for name, text in (
        ("without_history", "users left out: no watch before the cut"),
        (
            "untrained_targets",
            "held-out watches of items that training has not seen: misses, unless the model reads item_features",
        ),
    ):
        if facts[name]:
            out.print(f"{facts[name]:,} {text}")


def run(folder: Path, ks: list[int], shown: bool) -> dict[str, Any]:
    """Evaluate an export and popularity; returns the figures."""
    from watchnext.export import Export

    export = Export.open(folder)
    if export.manifest.holdout not in TESTED:
        raise UsageError(
            str(folder),
            f"an export trained with holdout {export.manifest.holdout!r}: no test part",
            f"Train with one of --holdout {', '.join(TESTED)}, without --refit; or judge vectors of words by "
            "--similarity and --analogies.",
        )
    reports = _reports(export, ks, shown)
    first = reports[MODEL]
    return {
        "holdout": export.manifest.holdout,
        "users": len(first.users),
        "without_history": first.without_history,
        "targets": first.targets,
        "untrained_targets": first.untrained_targets,
        **{name: _plain(r.estimates()) for name, r in reports.items()},
        "difference": _plain(first.minus(reports[BASELINE])),
        "catalogue": {name: r.catalogue for name, r in reports.items()},
        "users_by_activity": {name: int(inside.sum()) for name, inside in first.by_activity().items()},
        "targets_by_popularity": first.targets_by_popularity,
        "by_activity": {name: _plain(r.activity_estimates()) for name, r in reports.items()},
        "by_popularity": {name: _plain(r.popularity_estimates()) for name, r in reports.items()},
    }


def _reports(export: "Export", ks: list[int], shown: bool) -> dict[str, "Report"]:
    from evaluation.protocol import evaluate as judge
    from evaluation.protocol import test_users
    from evaluation.scorers import Popularity, Scorer, VectorScorer
    from evaluation.training import TrainingCounts
    from watchnext.split import asked_last, split

    about = export.manifest
    cut = split(export.histories, about.holdout, about.holdout_share, about.holdout_seed)
    histories = asked_last(export.histories, cut, about.holdout, about.holdout_seed)
    counts = TrainingCounts.of(histories, cut.train, about.items)
    scorers: dict[str, Scorer] = {
        MODEL: VectorScorer(export.item_vectors, export.tower(), replace(export.inputs(), histories=histories)),
        BASELINE: Popularity(counts.watches),
    }
    reports = {}
    with progress(shown) as bar:
        for name, scorer in scorers.items():
            task = bar.add_task(name, total=len(test_users(cut)[0]))
            advance = lambda n, task=task: bar.advance(task, n)  # noqa: E731
            reports[name] = judge(scorer, histories, cut, counts, ks, export.catalogue.uploaded(), advance)
    return reports


def _plain(found: Any) -> Any:
    """Named tuples within dictionaries as dictionaries, NaN as None: what JSON can say."""
    if isinstance(found, dict):
        return {name: _plain(value) for name, value in found.items()}
    return {name: None if value != value else value for name, value in found._asdict().items()}  # noqa: PLR0124


def _accuracy(facts: dict[str, Any]) -> Table:
    title = "Full ranking: mean over users ± standard error, paired difference"
    table = Table("metric", MODEL, BASELINE, "difference", "p", title=title, title_justify="left")
    for metric in facts[MODEL]:
        if metric.partition("@")[0] not in LISTS:
            difference = facts["difference"][metric]
            cells = [_cell(facts[name][metric]) for name in (MODEL, BASELINE)]
            table.add_row(metric.upper().replace("_", " "), *cells, _cell(difference, "+"), f"{difference['p']:.3f}")
    return table


def _lists(facts: dict[str, Any]) -> Table:
    table = Table("what the lists are like", MODEL, BASELINE, title_justify="left")
    for metric in facts["catalogue"][MODEL]:
        table.add_row(_words(metric), *(f"{facts['catalogue'][name][metric]:.4f}" for name in (MODEL, BASELINE)))
    for metric in facts[MODEL]:
        if metric.partition("@")[0] in LISTS:
            table.add_row(_words(metric), *(_cell(facts[name][metric], places=1) for name in (MODEL, BASELINE)))
    return table


def _words(metric: str) -> str:
    name, _, k = metric.partition("@")
    known = {
        "coverage": "share of trained items shown",
        "gini": "Gini of exposure",
        "novelty": "novelty, bits",
        "popularity": "popularity, training watches",
        "age": "age, days",
    }
    return f"{known[name]} @{k}"


def _breakdown(facts: dict[str, Any], by: str) -> Table:
    found, (what, title) = facts[f"by_{by}"], BREAKDOWNS[by]
    metrics = [m for m in next(iter(found[MODEL].values())) if m.startswith("recall")]
    table = Table(by, what, "metric", MODEL, BASELINE, title=title, title_justify="left")
    for bucket, count in facts[f"{what}_by_{by}"].items():
        for first, metric in enumerate(metrics):
            names = ("", "") if first else (bucket, f"{count:,}")
            table.add_row(*names, metric.upper(), *(_cell(found[name][bucket][metric]) for name in (MODEL, BASELINE)))
    return table


def _cell(estimate: dict[str, float | None], sign: str = "", places: int = 4) -> str:
    value, error = estimate["value"], estimate["error"]
    if value is None:
        return "-"
    return f"{value:{sign}.{places}f}" + ("" if error is None else f" ± {error:.{places}f}")
