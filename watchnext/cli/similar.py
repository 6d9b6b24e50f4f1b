"""`watchnext similar`: the items nearest to one."""

from pathlib import Path
from typing import Annotated

import typer

from watchnext.cli.console import Json
from watchnext.cli.neighbours import Count, MeasureName, Of, Vectors, chosen, named, open_neighbours, show, spoken


def similar(
    item: Annotated[str, typer.Argument(help="Id, title, or a part of a title that no other has.")],
    of: Of = Path("work/releases"),
    k: Count = 20,
    measure: MeasureName = "cosine",
    vectors: Vectors = "item",
    json_: Json = False,
) -> None:
    """The items nearest to one by their vectors, without itself."""
    how = chosen(measure, vectors)
    from index.lookup import find_item

    neighbours = open_neighbours(of)
    number = find_item(item, neighbours.export)
    asked = named(number, neighbours)
    found = neighbours.similar(number, k, *how)
    show(f"Similar to {spoken(asked)}", {**asked, "measure": measure, "vectors": vectors}, found, json_)
