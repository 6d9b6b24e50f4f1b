"""`watchnext recommend`: for one user on screen, or for all users as a Parquet file."""

import math
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from watchnext.cli.console import Json, out, progress, report
from watchnext.errors import UsageError
from watchnext.files import sync
from watchnext.release import ReleaseStore

if TYPE_CHECKING:
    from index.recommender import Recommendation, Recommender


def recommend(
    releases: Annotated[Path, typer.Argument(help="Folder of all releases.")] = Path("work/releases"),
    user: Annotated[str | None, typer.Option(help="Id of one user.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="For all users of the release.")] = False,
    to: Annotated[Path | None, typer.Option(help="With --all: Parquet file to write.")] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Candidates a user.")] = 20,
    category: Annotated[
        list[str] | None, typer.Option(help="Only items in this category; repeat it for: or in that.")
    ] = None,
    uploaded_after: Annotated[
        str | None, typer.Option(help="Only items uploaded then or later: 2024-01-31, with a time, or seconds.")
    ] = None,
    uploaded_before: Annotated[str | None, typer.Option(help="Only items uploaded earlier.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only the item of this id; repeat it for: or that.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Not the item of this id; repeat it for more.")] = None,
    json_: Json = False,
) -> None:
    """Recommend from the current release: to one user (--user), or to all users (--all --to FILE).

    Times are UTC unless they say otherwise, seconds are since 1970. Ids that no item has are ignored.
    """
    if everyone == (user is not None):
        raise UsageError("--user and --all", "both" if everyone else "neither", "Give exactly one of them.")
    if everyone != (to is not None):
        raise UsageError("--to", to or "nothing", "Give --to FILE together with --all, and only then.")
    if to is not None:
        _check_target(to)
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
        raise UsageError("--all", "a choice of items", "Choose items for one user, with --user.")
    store = ReleaseStore(releases)
    recommender = open_release(store.path(store.current()))
    if user is not None:
        _print(recommender.recommend(user, k, wanted), user, json_)
    elif to is not None:
        rows = _write(recommender, to, k, json_)
        facts = {"release": recommender.release, "users": recommender.export.manifest.users, "rows": rows}
        report(json_, "Recommendations", facts, to)


def _check_target(to: Path) -> None:
    """Refuse to replace anything but an earlier file of recommendations."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from index.recommender import RECOMMENDATIONS

    if to.suffix != ".parquet" or to.is_dir():
        raise UsageError("--to", to, "Name a file that ends in .parquet.")
    try:
        ours = not to.exists() or pq.read_schema(to).equals(RECOMMENDATIONS)
    except pa.ArrowInvalid:
        ours = False
    if not ours:
        raise UsageError("--to", f"{to}, which holds no recommendations", "Name another file, or delete this one.")


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
    table = Table("rank", "item", "title", "score", title=f"For {user}, from {answer.source}", title_justify="left")
    for rank, candidate in enumerate(answer.candidates, 1):
        table.add_row(str(rank), candidate.id, candidate.title or "", f"{candidate.score:.4f}")
    out.print(table)


def _write(recommender: "Recommender", to: Path, k: int, json_: bool) -> int:
    """Write Parquet so that the file is whole or not there; returns its number of rows."""
    import pyarrow.parquet as pq

    from index.recommender import RECOMMENDATIONS

    to.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
    os.close(handle)
    temporary, rows, batch = Path(name), 0, 1024
    users = recommender.export.manifest.users
    try:
        with progress(not json_) as bar, pq.ParquetWriter(temporary, RECOMMENDATIONS, compression="zstd") as writer:
            task = bar.add_task("Recommending to users", total=users)
            for record_batch in recommender.recommend_all(k, batch):
                writer.write_batch(record_batch)
                rows += record_batch.num_rows
                bar.update(task, completed=min(users, bar.tasks[task].completed + batch))
        temporary.chmod(0o644)
        sync(temporary)
        temporary.replace(to)
    finally:
        temporary.unlink(missing_ok=True)
    return rows
