"""`watchnext publish`: from an export and its index to the current release."""

from pathlib import Path
from typing import Annotated

import typer

from watchnext.cli.console import Json, command, report, working
from watchnext.release import ReleaseStore


def publish(
    export: Annotated[Path, typer.Argument(help="Folder of the export.")] = Path("work/export"),
    index: Annotated[Path, typer.Argument(help="Folder of its index.")] = Path("work/index"),
    to: Annotated[Path, typer.Option(help="Folder of all releases.")] = Path("work/releases"),
    name: Annotated[str | None, typer.Option(help="Name of the release; the time in UTC if left out.")] = None,
    json_: Json = False,
) -> None:
    """Check an export and its index as a whole, copy them into a release and make that the current one."""
    from index.publish import publish as publish_release

    with working("Checking and copying", not json_):
        about = publish_release(export, index, ReleaseStore(to), name)
    facts = about.model_dump(include={"name", "items", "users", "dim", "index", "recall_at_50"})
    report(json_, "Release, now current", facts, to / about.name, command("serve", to, "--without-keys"))
