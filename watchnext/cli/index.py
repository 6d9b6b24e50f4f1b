"""`watchnext index`: from an export to an index of its items."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from watchnext.cli.console import Json, command, err, out, report, working
from watchnext.errors import UsageError
from watchnext.files import write_atomic

if TYPE_CHECKING:
    from index.folder import IndexManifest


def index(
    export: Annotated[Path, typer.Argument(help="Folder of the export.")] = Path("work/export"),
    to: Annotated[Path, typer.Option(help="Folder to write the index to.")] = Path("work/index"),
    target_recall: Annotated[
        float, typer.Option(min=0.01, max=1, help="Least recall@50 against exact search of an approximate index.")
    ] = 0.99,
    memory_megabytes: Annotated[
        float | None,
        typer.Option(min=0.001, help="The most that index.faiss may take; item vectors and filters are not counted."),
    ] = None,
    build_seconds: Annotated[
        float, typer.Option(min=0.001, help="After so long no other kind of index is tried.")
    ] = 900,
    queries: Annotated[
        int, typer.Option(min=1, help="At most so many user vectors tune the search; as many others check it.")
    ] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Draws these user vectors.")] = 0,
    report_: Annotated[
        Path | None, typer.Option("--report", help="SVG file to draw: recall against CPU time of all that was tried.")
    ] = None,
    json_: Json = False,
) -> None:
    """Build the index of an export: of many kinds the fastest that reaches the target recall, else exact search."""
    from index.build import IndexOptions, build_from_export

    if report_ is not None and (report_.suffix != ".svg" or report_.is_dir()):
        raise UsageError("--report", report_, "Name a file that ends in .svg.")
    values = {
        "target_recall": target_recall,
        "memory_megabytes": memory_megabytes,
        "build_seconds": build_seconds,
        "queries": queries,
        "seed": seed,
    }
    with working("Building the index", not json_) as say:
        about = build_from_export(export, to, IndexOptions.checked(values), say)
    if report_ is not None:
        from evaluation.index_plot import index_plot
        from evaluation.plots import svg_file

        write_atomic(report_, svg_file(index_plot(about), "Recall against CPU time of a query"))
    chosen = about.chosen()
    if not json_:
        _print_trials(about)
        for warning in about.warnings:
            err.print(warning, markup=False)
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
        listed = {"warnings", "fell_back", "skew", "effort", "trials"}
        facts |= about.model_dump(mode="json", include=listed)
    report(json_, "Index", facts, to, command("publish", export, to))


def _print_trials(about: "IndexManifest") -> None:
    """Of each kind the fastest search that reached the target, or else the most thorough."""
    columns = ("index", "recall@50", "CPU µs a query", "MB", "built in s", "")
    table = Table(*columns, title="Candidates", title_justify="left")
    chosen = about.chosen()
    for trial in about.best_of_each_kind():
        figures = (
            f"{trial.recall_at_50:.4f}",
            f"{trial.microseconds:,.0f}",
            f"{trial.megabytes:,.1f}",
            f"{trial.build_seconds:,.1f}",
        )
        table.add_row(trial.describe(), *figures, "chosen" if trial == chosen else "")
    out.print(table)
