"""`watchnext deny`: items that must not be recommended any more, from this moment on."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from watchnext.cli.console import Json, out, report
from watchnext.denied import DENIED, read_denied
from watchnext.denied import deny as deny_items
from watchnext.denied import lift as lift_items
from watchnext.errors import UsageError, WatchnextError
from watchnext.release import CURRENT, EXPORT, ReleaseStore


def deny(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of items.", show_default=False)] = None,
    releases: Annotated[Path, typer.Option(help="Folder of all releases.")] = Path("work/releases"),
    lift: Annotated[bool, typer.Option("--lift", help="Allow these items again.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show what is denied, and change nothing.")] = False,
    json_: Json = False,
) -> None:
    """Deny items: no release recommends them or finds them near others. Running servers heed it at once.

    Ids that no release has may be denied, too. Put -- before ids that begin with a dash.
    """
    if list_ and (ids or lift):
        raise UsageError("--list", "something to change beside it", "Give --list alone.")
    if not list_ and not ids:
        raise UsageError("ids", "none", "Name items by their ids, or give --list.")
    if not ((releases / CURRENT).is_file() or (releases / DENIED).is_file()):
        raise UsageError("--releases", f"{releases}, where nothing was published", "Give the folder of all releases.")
    if list_:
        _list(releases, json_)
        return
    changed = (lift_items if lift else deny_items)(releases, ids or ())
    unknown = [id_ for id_, number in zip(ids or (), _numbers(releases, ids or ()), strict=True) if not number]
    facts: dict[str, Any] = {
        "allowed_again" if lift else "newly_denied": list(changed),
        "not_in_the_current_release": unknown,
        "denied_in_all": len(read_denied(releases)),
    }
    if not json_:
        facts |= {name: escape(", ".join(map(str, fact))) for name, fact in facts.items() if isinstance(fact, list)}
    report(json_, "Deny list", facts)


def _list(releases: Path, json_: bool) -> None:
    ids = read_denied(releases)
    rows = [{"item_id": id_, "in_release": bool(n)} for id_, n in zip(ids, _numbers(releases, ids), strict=True)]
    if json_:
        report(True, "", {"denied": rows})
        return
    table = Table("item", "in the current release", title=f"Denied in {releases}", title_justify="left")
    for row in rows:
        table.add_row(escape(str(row["item_id"])), "yes" if row["in_release"] else "no")
    out.print(table)


def _numbers(releases: Path, ids: tuple[str, ...] | list[str]) -> list[int]:
    """The item numbers of ids in the current release, 0 where it lacks one; all 0 where no release can be read."""
    from watchnext.vocabulary import Vocabulary

    store = ReleaseStore(releases)
    try:
        items = Vocabulary.open(store.path(store.current()) / EXPORT / "item_vocabulary.arrow")
    except WatchnextError:
        return [0] * len(ids)
    return list(map(int, items.numbers(ids)))
