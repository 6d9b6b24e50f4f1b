"""`watchnext evaluate`: how good an export is, beside popularity, on the watches that its training has not seen."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from watchnext.cli.console import Json, out, progress, report
from watchnext.errors import UsageError


def evaluate(
    export: Annotated[Path, typer.Argument(help="Folder written by `watchnext train`.")] = Path("work/export"),
    k: Annotated[
        list[int] | None, typer.Option("-k", help="Length of the lists to judge. Repeatable; default: 10 and 50.")
    ] = None,
    json_: Json = False,
) -> None:
    """Rank all items for the held-out watches, for the model and for popularity.

    The export must have been trained with --holdout leave-one-out or temporal. Watched items are excluded, all others
    are ranked (no sampling of candidates), ties count as if broken at random.
    """
    facts = run(export, k or [10, 50], shown=not json_)
    if json_:
        report(True, "", facts)
        return
    show(facts)
    out.print(f"Next: [bold]watchnext index {export}[/bold]", soft_wrap=True)


def show(facts: dict[str, Any]) -> None:
    """Print what `run` found."""
    out.print(_table(facts))
    out.print(f"{facts['users']:,} users, {facts['targets']:,} held-out watches, holdout {facts['holdout']}")
    for name, text in (
        ("without_history", "users left out: no watch before the cut"),
        ("untrained_targets", "held-out watches of items that training has not seen: misses for both"),
    ):
        if facts[name]:
            out.print(f"{facts[name]:,} {text}")


def run(folder: Path, ks: list[int], shown: bool) -> dict[str, Any]:
    """Evaluate an export and popularity; returns the figures."""
    from evaluation.protocol import evaluate as judge
    from evaluation.protocol import test_users
    from evaluation.scorers import Popularity, Scorer, VectorScorer
    from watchnext.export import Export
    from watchnext.split import split

    export = Export.open(folder)
    about = export.manifest
    if about.holdout not in {"leave-one-out", "temporal"}:
        raise UsageError(
            str(folder),
            f"an export trained with holdout {about.holdout!r}: no test part",
            "Train with --holdout leave-one-out or --holdout temporal, without --refit.",
        )
    cut = split(export.histories, about.holdout, about.holdout_share)
    scorers: dict[str, Scorer] = {
        "model": VectorScorer(export.item_vectors, export.tower(), export.inputs()),
        "popularity": Popularity(export.item_counts),
    }
    reports = {}
    with progress(shown) as bar:
        for name, scorer in scorers.items():
            task = bar.add_task(name, total=len(test_users(cut)[0]))
            advance = lambda n, task=task: bar.advance(task, n)  # noqa: E731
            reports[name] = judge(scorer, export.histories, cut, export.item_counts, ks, advance)
    first = reports["model"]
    return {
        "holdout": about.holdout,
        "users": first.users,
        "without_history": first.without_history,
        "targets": first.targets,
        "untrained_targets": first.untrained_targets,
        **{
            name: {m: {"value": e.value, "error": e.error} for m, e in r.metrics.items()}
            for name, r in reports.items()
        },
    }


def _table(facts: dict[str, Any]) -> Table:
    table = Table("metric", "model", "popularity", title="Full ranking, mean ± standard error", title_justify="left")
    for metric in facts["model"]:
        cells = [facts[name][metric] for name in ("model", "popularity")]
        table.add_row(metric.upper(), *(f"{c['value']:.4f} ± {c['error']:.4f}" for c in cells))
    return table
