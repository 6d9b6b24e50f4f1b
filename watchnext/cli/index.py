"""`watchnext index`: from an export to an index of its items."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from watchnext.cli.console import Json, err, out, report, working

if TYPE_CHECKING:
    from index.folder import Trial


def index(
    export: Annotated[Path, typer.Argument(help="Folder of the export.")] = Path("work/export"),
    to: Annotated[Path, typer.Option(help="Folder to write the index to.")] = Path("work/index"),
    target_recall: Annotated[
        float, typer.Option(min=0.01, max=1, help="Least recall@50 against exact search of an approximate index.")
    ] = 0.99,
    queries: Annotated[int, typer.Option(min=1, help="At most so many user vectors measure the recall.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Draws these user vectors.")] = 0,
    json_: Json = False,
) -> None:
    """Build the index of an export: the fastest kind that reaches the target recall, else exact search."""
    from index.build import IndexOptions, build_from_export

    options = IndexOptions(target_recall=target_recall, queries=queries, seed=seed)
    with working("Building the index", not json_) as say:
        about = build_from_export(export, to, options, say)
    chosen = next((trial for trial in about.trials if (trial.kind, trial.search) == (about.kind, about.search)), None)
    if not json_:
        _print_trials(about.trials, chosen)
        if about.fell_back:
            err.print(f"No faster index reached recall@50 {target_recall}: exact search is used.")
    facts = {
        "index": chosen.describe() if chosen else about.kind,
        "items_indexed": about.indexed,
        "items_without_vector": about.items - about.indexed,
        "dimensions": about.dim,
        "recall_at_50": about.recall_at_50,
        "target_recall": about.target_recall,
        "user_vectors_measured": about.queries,
    }
    if json_:
        facts |= {"fell_back": about.fell_back, "trials": [trial.model_dump() for trial in about.trials]}
    report(json_, "Index", facts, to, f"watchnext publish {export} {to}")


def _print_trials(trials: "tuple[Trial, ...]", chosen: "Trial | None") -> None:
    table = Table("index", "recall@50", "CPU µs a query", "", title="Candidates", title_justify="left")
    for trial in trials:
        figures = f"{trial.recall_at_50:.4f}", f"{trial.microseconds:,.0f}"
        table.add_row(trial.describe(), *figures, "chosen" if trial is chosen else "")
    out.print(table)
