"""`watchnext recommend`: for one user on screen, or for all users as a folder of Parquet files."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from watchnext.cli.console import Json, out, progress, report
from watchnext.errors import UsageError
from watchnext.release import ReleaseManifest, ReleaseStore

if TYPE_CHECKING:
    from index.recommender import Recommendation, Recommender


def recommend(
    releases: Annotated[Path, typer.Argument(help="Folder of all releases.")] = Path("work/releases"),
    user: Annotated[str | None, typer.Option(help="Id of one user.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="For all users of the release.")] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="With --all: folder of Parquet files; older recommendations there are replaced."),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Candidates a user.")] = 20,
    part_users: Annotated[
        int | None, typer.Option(min=1, help="With --all: users a file; 16,384 if left out.", show_default=False)
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="With --user: only items in this category; repeat it for: or in that.")
    ] = None,
    uploaded_after: Annotated[
        str | None,
        typer.Option(help="With --user: only items uploaded then or later: 2024-01-31, with a time, or seconds."),
    ] = None,
    uploaded_before: Annotated[str | None, typer.Option(help="With --user: only items uploaded earlier.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="With --user: only the item of this id; repeat it for: or that.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="With --user: not the item of this id; repeat it for more.")
    ] = None,
    json_: Json = False,
) -> None:
    """Recommend from the current release: to one user (--user), or to all users (--all --to FOLDER).

    Interrupted, the same command goes on where it was.
    Times are UTC unless they say otherwise, seconds are since 1970. Ids that no item has are ignored.
    """
    if everyone == (user is not None):
        raise UsageError("--user and --all", "both" if everyone else "neither", "Give exactly one of them.")
    if everyone != (to is not None):
        raise UsageError("--to", to or "nothing", "Give --to FOLDER together with --all, and only then.")
    if part_users is not None and not everyone:
        raise UsageError("--part-users", part_users, "Give it together with --all.")
    from index.filters import ItemFilter
    from index.recommender import open_release

    wanted = ItemFilter.checked(
        {
            "categories": tuple(category or ()),
            "uploaded_after": _seconds("--uploaded-after", uploaded_after),
            "uploaded_before": _seconds("--uploaded-before", uploaded_before),
            "only": tuple(only) if only else None,
            "without": tuple(without or ()),
        }
    )
    if everyone and wanted != ItemFilter():
        raise UsageError("--all", "a choice of items by category, time or id", "Choose for one user, with --user.")
    store = ReleaseStore(releases)
    name = store.current()
    recommender = open_release(store.path(name))
    if user is not None:
        _print(recommender.recommend(user, k, wanted), user, json_)
    elif to is not None:
        _write(recommender, store.manifest(name), to, k, part_users, json_)


def _seconds(option: str, text: str | None) -> int | None:
    """Seconds since 1970 of a date, of a date and time, or of seconds; the first whole second not before it.

    Eight digits are a date: 20240131.
    """
    if text is None:
        return None
    try:
        if text.lstrip("-").isdigit() and len(text) != len("20240131"):
            return int(text)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(option, repr(text), "Give a date like 2024-01-31, or seconds since 1970.") from error
    return math.ceil((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _print(answer: "Recommendation", user: str, json_: bool) -> None:
    facts = {"user_id": user, "release": answer.release, "source": answer.source}
    if json_:
        rows = [c.plain() for c in answer.candidates]
        report(json_, "", {**facts, "candidates": rows})
        return
    title = escape(f"For {user}, from {answer.source}")
    table = Table("rank", "item", "title", "score", title=title, title_justify="left")
    for rank, candidate in enumerate(answer.candidates, 1):
        table.add_row(str(rank), escape(candidate.id), escape(candidate.title or ""), f"{candidate.score:.4f}")
    out.print(table)


def _write(
    recommender: "Recommender", release: ReleaseManifest, to: Path, k: int, part_users: int | None, json_: bool
) -> None:
    from index.recommendations import PART_USERS, recommend_all

    with progress(not json_) as bar:
        task = bar.add_task("Recommending to users", total=release.users)
        made = recommend_all(
            recommender, release, to, k, part_users or PART_USERS, lambda users: bar.advance(task, users)
        )
    facts = {"release": release.name, "users": release.users, "rows": made.rows, "files": len(made.files)}
    report(json_, "Recommendations", facts, to)
