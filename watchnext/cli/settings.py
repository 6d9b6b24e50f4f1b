"""`watchnext settings`: every hyper-parameter, its value in a preset, and what it does."""

from typing import Annotated, Any

import typer
from rich.table import Table

from watchnext.cli.console import Json, out, report
from watchnext.presets import PRESETS, preset, text_of


def settings(
    preset_: Annotated[str, typer.Argument(metavar="PRESET", help=f"One of: {', '.join(PRESETS)}.")] = "default",
    json_: Json = False,
) -> None:
    """List what `watchnext train --set` can change, with its value in a preset."""
    chosen = preset(preset_)
    table = Table("setting", preset_, "meaning", title="Settings", title_justify="left", show_lines=True)
    values: dict[str, Any] = {}
    for group in chosen.groups:
        for name, field in type(group).model_fields.items():
            values[name] = getattr(group, name)
            table.add_row(name, text_of(values[name]), (field.description or "").replace("\n", " "))
    if json_:
        report(True, "", values)
    else:
        out.print(table)
