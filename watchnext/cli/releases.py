"""`watchnext releases`: what was published, and the way back."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from watchnext.cli.console import Json, out, report
from watchnext.errors import UsageError, WatchnextError
from watchnext.release import ReleaseManifest, ReleaseStore

releases = typer.Typer(
    name="releases", help="List releases, show one, go back to an earlier one.", no_args_is_help=True
)
Folder = Annotated[Path, typer.Argument(help="Folder of all releases.")]


@releases.command("list")
def list_releases(folder: Folder = Path("work/releases"), json_: Json = False) -> None:
    """All releases, oldest first; the current one is marked."""
    store = ReleaseStore(folder)
    current = _current(store)
    manifests = [store.manifest(name) for name in store.names()]
    if not manifests and not (folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir())):
        got = "no readable release" if folder.is_dir() else "no such folder"
        raise UsageError(str(folder), got, "Give the folder that `watchnext publish --to` names.")
    if json_:
        rows = [{**_facts(manifest), "current": manifest.name == current} for manifest in manifests]
        report(True, "", {"releases": rows})
        return
    table = Table("name", "created", "items", "users", "index", "", title=str(folder), title_justify="left")
    for manifest in manifests:
        created, mark = f"{manifest.created:%Y-%m-%d %H:%M:%S}", "current" if manifest.name == current else ""
        sizes = f"{manifest.items:,}", f"{manifest.users:,}"
        table.add_row(manifest.name, created, *sizes, manifest.index, mark)
    out.print(table)
    out.print(f"Next: [bold]watchnext {f'serve {folder}' if manifests else 'publish'}[/bold]", soft_wrap=True)


@releases.command()
def show(
    folder: Folder = Path("work/releases"),
    name: Annotated[str | None, typer.Argument(help="The current one if left out.")] = None,
    json_: Json = False,
) -> None:
    """What a release says about itself."""
    store = ReleaseStore(folder)
    path = store.path(name or store.current())
    manifest = ReleaseManifest.read(path)
    facts = {**_facts(manifest), "current": manifest.name == _current(store)}
    metrics = {"metrics": manifest.metrics} if json_ else manifest.metrics
    report(json_, "Release", {**facts, **metrics, "folder": str(path)})


@releases.command()
def rollback(
    folder: Folder = Path("work/releases"),
    to: Annotated[str | None, typer.Option(help="The one published before the current if left out.")] = None,
    json_: Json = False,
) -> None:
    """Make an earlier release the current one; nothing is deleted. A running server keeps its release."""
    store = ReleaseStore(folder)
    left, name = _current(store), to or store.previous()
    store.make_current(name)
    report(json_, "Rolled back", {"current": name, "before": left}, then=f"watchnext serve {folder}")


def _current(store: ReleaseStore) -> str | None:
    try:
        return store.current()
    except WatchnextError:
        return None


def _facts(manifest: ReleaseManifest) -> dict[str, object]:
    about = manifest.model_dump(
        include={"name", "items", "users", "dim", "index", "recall_at_50", "updated_from"}, exclude_none=True
    )
    return {**about, "created": manifest.created.isoformat(timespec="seconds")}
