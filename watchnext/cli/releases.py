"""`watchnext releases`: what was published, and the way back."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from watchnext.cli.console import Json, command, out, report
from watchnext.errors import CorruptError, UsageError
from watchnext.release import ReleaseManifest, ReleaseStore
from watchnext.variants import CURRENT_VARIANT, Variants, read_variants, write_variants

releases = typer.Typer(
    name="releases", help="List releases, show one, go back to an earlier one.", no_args_is_help=True
)
Folder = Annotated[Path, typer.Argument(help="Folder of all releases.")]


@releases.command("list")
def list_releases(folder: Folder = Path("work/releases"), json_: Json = False) -> None:
    """All releases, oldest first; the current one is marked."""
    store = ReleaseStore(folder)
    current = store.current_if_any()
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
    then = command("serve", folder, "--without-keys") if manifests else command("publish", "--to", folder)
    out.print(f"Next: [bold]{escape(then)}[/bold]", soft_wrap=True)


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
    facts = {**_facts(manifest), "current": manifest.name == store.current_if_any()}
    metrics = {"metrics": manifest.metrics} if json_ else manifest.metrics
    report(json_, "Release", {**facts, **metrics, "folder": str(path)})


@releases.command()
def rollback(
    folder: Folder = Path("work/releases"),
    to: Annotated[str | None, typer.Option(help="The one that the current one replaced if left out.")] = None,
    json_: Json = False,
) -> None:
    """Make an earlier release the current one; nothing is deleted. Running servers follow in a moment."""
    from index.publish import alone

    store = ReleaseStore(folder)
    if to is None:
        store.current()  # where nothing was published, nothing is written
    else:
        store.path(to)
    with alone(store):
        left, name = store.current_if_any(), to or store.previous()
        store.manifest(name).verify(store.path(name))
        store.make_current(name)
    facts, then = {"current": name, "before": left}, command("serve", folder, "--without-keys")
    if why := _why_unheeded(folder):
        facts, then = {**facts, "no_answer_changes": why}, command("releases", "split", folder, "--reset")
    report(json_, "Rolled back", facts, then=then)


@releases.command()
def split(
    folder: Folder = Path("work/releases"),
    shares: Annotated[
        list[str] | None, typer.Argument(help="NAME=WEIGHT of releases; `current` follows publications.")
    ] = None,
    shadow: Annotated[
        str | None, typer.Option(help="A release that is asked, too, and whose answers are compared, never shown.")
    ] = None,
    no_shadow: Annotated[bool, typer.Option("--no-shadow", help="End the shadow, which else stays.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="All users get the current release; no shadow.")] = False,
    json_: Json = False,
) -> None:
    """Say which releases answer which share of the users, always the same users: current=90 20260131-120000=10.

    Running servers heed it in a moment. Without shares the split is shown.
    """
    if "=" in folder.name and not folder.exists():
        raise UsageError("folder", folder, "Name the folder of all releases first, then NAME=WEIGHT.")
    store = ReleaseStore(folder)
    store.current()
    if reset and (shares or shadow or no_shadow):
        raise UsageError("--reset", "shares, --shadow or --no-shadow beside it", "Give --reset alone.")
    if shadow and no_shadow:
        raise UsageError("--no-shadow", "--shadow beside it", "Give one of them.")
    if reset:
        write_variants(folder, Variants())
    elif shares or shadow or no_shadow:
        write_variants(folder, _changed(store, shares or [], shadow, no_shadow))
    now = read_variants(folder)
    total = sum(now.split.values())
    facts = {name: f"{weight / total:.1%}" for name, weight in now.split.items()}
    if json_:
        report(True, "", now.model_dump())
    else:
        report(False, "Split", facts | ({"shadow": now.shadow} if now.shadow else {}))


def _changed(store: ReleaseStore, shares: list[str], shadow: str | None, no_shadow: bool) -> Variants:
    """The variants of a folder with what is asked for; what is not, stays."""
    whole = shares and (shadow or no_shadow)
    before = Variants() if whole else read_variants(store.root)
    weights = _weights(shares) if shares else before.split
    shadow = None if no_shadow else shadow or before.shadow
    if shadow in weights:
        cure = "Take it out of the split, or give --no-shadow or another --shadow."
        raise UsageError("--shadow", f"{shadow!r}, which is part of the split", cure)
    for name in {*weights, *([shadow] if shadow else [])} - {CURRENT_VARIANT}:
        store.path(name)
    return Variants.checked({"split": weights, "shadow": shadow})


def _why_unheeded(folder: Path) -> str | None:
    """Why another current release changes nobody's answers; None where it does."""
    try:
        split = read_variants(folder).split
    except CorruptError as error:
        return str(error)
    return None if CURRENT_VARIANT in split else f"the split leaves `current` out: {', '.join(split)}"


def _weights(shares: list[str]) -> dict[str, float]:
    """From `NAME=WEIGHT` to weights by name."""
    weights: dict[str, float] = {}
    for share in shares:
        name, _, weight = share.rpartition("=")
        try:
            number = float(weight)
        except ValueError:
            name, number = "", 0.0
        if not name or name in weights or not number > 0:
            raise UsageError("share", repr(share), "Give each release once, as NAME=WEIGHT, above 0: current=90.")
        weights[name] = number
    return weights


def _facts(manifest: ReleaseManifest) -> dict[str, object]:
    about = manifest.model_dump(
        include={"name", "items", "users", "dim", "index", "recall_at_50", "updated_from"}, exclude_none=True
    )
    return {**about, "created": manifest.created.isoformat(timespec="seconds")}
