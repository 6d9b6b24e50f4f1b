"""`watchnext update`: new, changed and withdrawn items, without training or building an index."""

from pathlib import Path
from typing import Annotated

import typer

from watchnext.cli.console import Json, command, err, report, working
from watchnext.errors import UsageError
from watchnext.release import EXPORT, ReleaseStore


def update(
    releases: Annotated[Path, typer.Argument(help="Folder of all releases.")] = Path("work/releases"),
    items: Annotated[
        Path | None,
        typer.Option(
            help="New and changed items, as Parquet, Arrow or JSONL: item_id, vector, title, categories, uploaded."
        ),
    ] = None,
    withdraw: Annotated[
        list[str] | None, typer.Option(help="Id of an item to find no more; repeat it for more.")
    ] = None,
    withdraw_from: Annotated[Path | None, typer.Option(help="File of such ids, one a line.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Release to start from; the current if left out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the release; the time in UTC if left out.")] = None,
    json_: Json = False,
) -> None:
    """Make a release with new, changed and withdrawn items, and make it the current one.

    An unknown item_id is a new item and needs a vector; a known one gets what is given, and null keeps what is known.
    Vectors must be of the same space as those of the release. A withdrawn item comes back with a vector. Releases
    that are trained later know nothing of it: what none of them may have, deny.
    """
    from index.update import update as update_release

    store, ids = ReleaseStore(releases), [*(withdraw or ()), *_lines(withdraw_from)]
    with working("Updating", not json_):
        done = update_release(store, items, ids, from_, name)
    made = done.manifest
    facts = {
        **made.model_dump(include={"name", "updated_from", "items"}),
        "new_items": done.new,
        "vectors_replaced": done.replaced,
        "facts_changed": done.described,
        "withdrawn": done.withdrawn,
        "restored": done.restored,
        "scored_beside_the_index": done.fresh,
    }
    folder = releases / made.name
    if json_:
        facts["rebuild"] = done.rebuild
    elif done.rebuild:
        err.print(
            f"{done.fresh:,} items are scored with every query beside the index, which takes longer than the index "
            f"does. Build it again: {command('index', folder / EXPORT, '--to', 'work/index')} && "
            f"{command('publish', folder / EXPORT, 'work/index', '--to', releases)}",
            markup=False,
            soft_wrap=True,
        )
    report(json_, "Release, now current", facts, folder, command("serve", releases, "--without-keys"))


def _lines(path: Path | None) -> list[str]:
    """The lines of a file that are not blank."""
    if path is None:
        return []
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "--withdraw-from", f"{path}: {error}", "Name a text file in UTF-8, one id a line."
        ) from error
    return [line.removesuffix("\r") for line in lines if line.strip()]
