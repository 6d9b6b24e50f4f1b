"""What `watchnext similar` and `watchnext analogy` share: options, opening an export, showing what was found."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Table

from watchnext.cli.console import out, report
from watchnext.errors import UsageError

if TYPE_CHECKING:
    from index.candidates import Candidate
    from index.neighbours import Measure, Neighbours, VectorsName

Of = Annotated[Path, typer.Option("--of", help="An export, a release, or a folder of releases: its current one.")]
Count = Annotated[int, typer.Option("--k", "-k", min=1, help="Items to find.")]
MeasureName = Annotated[
    str, typer.Option("--measure", help="`cosine`, `dot`, or `euclidean`: a distance, the smallest first.")
]
Vectors = Annotated[
    str, typer.Option("--vectors", help="`item`: those that are scored; `watched`: the inputs of the network.")
]


def open_neighbours(folder: Path) -> "Neighbours":
    """Open what --of names, without what its deny list names. Raises UsageError where there is no export."""
    from index.denied import DeniedItems
    from index.neighbours import Neighbours
    from watchnext.denied import DenyList
    from watchnext.export import Export
    from watchnext.release import export_in, store_of

    export, store = Export.open(export_in(folder)), store_of(folder)
    return Neighbours(export, None if store is None else DeniedItems(DenyList(store), export.items))


def chosen(measure: str, vectors: str) -> tuple["Measure", "VectorsName"]:
    """What --measure and --vectors name. Raises UsageError where one has another value."""
    from index.neighbours import MEASURES, VECTORS

    for option, value, choices in (("--measure", measure, MEASURES), ("--vectors", vectors, VECTORS)):
        if value not in choices:
            raise UsageError(option, repr(value), f"Choose one of: {', '.join(choices)}.")
    return cast("Measure", measure), cast("VectorsName", vectors)


def named(number: int, neighbours: "Neighbours") -> dict[str, Any]:
    """An item as JSON has it: id and title."""
    return {"item_id": neighbours.export.items.id(number), "title": neighbours.export.catalogue.title(number)}


def spoken(item: dict[str, Any]) -> str:
    """An item as people call it: its title, or its id where it has none."""
    return str(item["title"] or item["item_id"])


def show(title: str, facts: dict[str, Any], found: Sequence["Candidate"], json_: bool) -> None:
    """Print what was found, as a table under a line that says what was asked, or with facts as JSON."""
    if json_:
        rows = [c.plain() for c in found]
        report(True, "", {**facts, "candidates": rows})
        return
    score = "distance" if facts["measure"] == "euclidean" else "score"
    table = Table("rank", "item", "title", score)
    for rank, candidate in enumerate(found, 1):
        table.add_row(str(rank), escape(candidate.id), escape(candidate.title or ""), f"{candidate.score:.4f}")
    out.print(escape(title), soft_wrap=True)
    out.print(table)
