"""`watchnext keys`: who may use the API."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from serving.guard.key_file import Scope, StoredKey, create_key, read_keys, revoke_key
from watchnext.cli.console import Json, out, report

keys = typer.Typer(name="keys", help="Make, list and revoke the keys of the API.", no_args_is_help=True)
File = Annotated[Path, typer.Option("--file", help="File of the keys; it holds their hashes only.")]
FILE = Path("work/keys.json")


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="Whose it is.", show_default=False)],
    scope: Annotated[list[Scope], typer.Option(help="What it may be used for; repeat for more.", show_default=False)],
    rate: Annotated[float | None, typer.Option(help="Requests a second; the server's default if left out.")] = None,
    file: File = FILE,
    json_: Json = False,
) -> None:
    """Make a key and show it, once. Running servers know it within a second.

    A request says: Authorization: Bearer KEY. The scope admin includes read and write; neither of these includes the
    other.
    """
    id_, key = create_key(file, name, tuple(scope), rate)
    facts = _facts(read_keys(file)[id_])
    if json_:
        report(True, "", {"id": id_, "key": key, **facts, "written": str(file)})
        return
    report(False, "Key", {"id": id_, **_shown(facts)}, written=file)
    out.print(f"The key, shown this once: [bold]{key}[/bold]", soft_wrap=True)


@keys.command("list")
def list_keys(file: File = FILE, json_: Json = False) -> None:
    """All keys, oldest first; what is secret of them is not known."""
    rows = [{"id": id_, **_facts(key)} for id_, key in read_keys(file).items()]
    if json_:
        report(True, "", {"keys": rows})
        return
    table = Table("id", "name", "scopes", "requests a second", "created", title=str(file), title_justify="left")
    for row in rows:
        shown = _shown(row)
        table.add_row(*(shown[fact] for fact in ("id", "name", "scopes", "requests_per_second", "created")))
    out.print(table)


@keys.command()
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it.", show_default=False)],
    file: File = FILE,
    json_: Json = False,
) -> None:
    """Revoke a key. Running servers refuse it within a second."""
    facts = _facts(revoke_key(file, id_))
    report(json_, "Revoked", {"id": id_, **(facts if json_ else _shown(facts))})


def _facts(key: StoredKey) -> dict[str, Any]:
    return key.model_dump(mode="json", exclude={"sha256"})


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    """The same for people."""
    rate = facts["requests_per_second"]
    told = {"name": escape(facts["name"]), "scopes": ", ".join(facts["scopes"])}
    return {**facts, **told, "requests_per_second": "default" if rate is None else f"{rate:g}"}
