"""Recommendations of all users on disk: a folder of Parquet files, whole or not there; an interrupted run goes on.

part-00000.parquet  the users of the lowest numbers, `part_users` of them; ordered by user number and rank
_manifest.json      release, settings, checksums; readers of Parquet pass over names that begin with _

Until all parts are there they lie in a hidden sibling, `.NAME.unfinished`, beside the settings they were made with.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from index.everyone import Everyone, Lists
from index.recommender import Recommender
from watchnext.config import Closed
from watchnext.errors import UsageError
from watchnext.files import Manifest, place_folder, write_atomic
from watchnext.release import ReleaseManifest
from watchnext.vocabulary import Vocabulary

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("rank", pa.int32()),
        ("item_id", pa.string()),
        ("score", pa.float32()),
        ("source", pa.string()),
    ]
)
"""Columns of a part; ranks start at 1, `source` is `stored` or `popular`."""
PART_USERS = 1 << 14
"""Users a part by default: a file of about 8 MB with 100 items each."""


class Settings(Closed):
    """What all parts of a folder have in common."""

    format: Literal["watchnext-recommendations-1"] = "watchnext-recommendations-1"
    release: str
    release_checksum: str
    """Of the release's files; see `Manifest.checksum`."""
    items_sha256: str
    """Of the items that may be recommended, `Everyone.checksum`: it changes when an item is denied."""
    users: int
    k: int
    """Items a user, at most."""
    part_users: int
    """Users a file."""

    def parts(self) -> dict[str, range]:
        """The users of each file; one file for no users."""
        starts = range(1, max(self.users, 1) + 1, self.part_users)
        ranges = [range(start, min(start + self.part_users, self.users + 1)) for start in starts]
        return {f"part-{number:05d}.parquet": users for number, users in enumerate(ranges)}


class RecommendationsManifest(Manifest):
    """What a folder of recommendations says about itself."""

    made_by: ClassVar[str] = "watchnext recommend --all"
    file_name: ClassVar[str] = "_manifest.json"
    format: Literal["watchnext-recommendations-1"] = "watchnext-recommendations-1"
    settings: Settings
    rows: int
    """In all parts together."""


def recommend_all(
    recommender: Recommender,
    release: ReleaseManifest,
    to: Path,
    k: int,
    part_users: int = PART_USERS,
    advance: Callable[[int], None] = lambda _: None,
) -> RecommendationsManifest:
    """Write what each user of a release is recommended. Killed and started again it goes on after the last part.

    Args:
        recommender: of the release.
        release: what the release says about itself.
        to: the folder; one of recommendations that is there is replaced when the new one is whole.
        k: items a user, at most; at least 1.
        part_users: users a file, at least 1.
        advance: called with the number of users done, also for those that an interrupted run has done.

    An unfinished run of another release, or from before an item was denied, is thrown away. Raises UsageError where
    one of the same release has another k or part_users, where another process is writing this folder, and where
    there is something else at `to`.
    """
    RecommendationsManifest.check_target(to)
    with _alone(to):
        return _recommend_all(recommender, release, to, k, part_users, advance)


def _recommend_all(
    recommender: Recommender,
    release: ReleaseManifest,
    to: Path,
    k: int,
    part_users: int,
    advance: Callable[[int], None],
) -> RecommendationsManifest:
    everyone, users = Everyone(recommender), recommender.export.users
    settings = Settings(
        release=release.name,
        release_checksum=release.checksum,
        items_sha256=everyone.checksum,
        users=len(users),
        k=k,
        part_users=part_users,
    )
    folder = _unfinished(to, settings)
    parts = settings.parts()
    missing = {name: part for name, part in parts.items() if not (folder / name).is_file()}
    advance(settings.users - sum(map(len, missing.values())))
    for name, lists in zip(missing, everyone.parts(missing.values(), k, advance), strict=True):
        write_atomic(folder / name, encoded(table(lists, users, recommender.export.items)))
    rows = sum(pq.read_metadata(folder / name).num_rows for name in parts)
    manifest = RecommendationsManifest.seal(folder, settings=settings, rows=rows)
    place_folder(folder, to)
    shutil.rmtree(folder.parent)
    return manifest


@contextmanager
def _alone(to: Path) -> Iterator[None]:
    """Hold the hidden sibling of a folder, which the system frees when the process dies."""
    beside = _beside(to)
    beside.mkdir(parents=True, exist_ok=True)
    held = os.open(beside, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = beside.is_dir() and os.path.samestat(os.fstat(held), beside.stat())
    except BlockingIOError:
        there = False
    try:
        if not there:
            raise UsageError("--to", f"{to}, which another process is writing", "Wait for it, or end it.")
        yield
    finally:
        os.close(held)


def _beside(to: Path) -> Path:
    return to.with_name(f".{to.name}.unfinished")


def _unfinished(to: Path, settings: Settings) -> Path:
    """The folder of an earlier run with these settings, cleaned of half-written files; else a new one."""
    beside = _beside(to)
    folder, noted = beside / "parts", beside / "settings.json"
    earlier = _read(noted)
    if earlier != settings:
        if earlier and earlier == settings.model_copy(update={"k": earlier.k, "part_users": earlier.part_users}):
            raise UsageError(
                "-k and --part-users",
                f"{settings.k} and {settings.part_users} where {beside} has an interrupted run with "
                f"{earlier.k} and {earlier.part_users}",
                "Give these to go on with it, or delete that folder to start anew.",
            )
        shutil.rmtree(folder, ignore_errors=True)
        write_atomic(noted, settings.model_dump_json().encode())
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in settings.parts():
            path.unlink()
    return folder


def _read(noted: Path) -> Settings | None:
    try:
        return Settings.model_validate_json(noted.read_bytes())
    except (OSError, ValidationError):
        return None


def table(lists: Lists, users: Vocabulary, items: Vocabulary) -> pa.Table:
    """Lists as the rows of `SCHEMA`, ids as dictionaries of those that occur."""
    count, k = lists.numbers.shape
    there = (lists.numbers > 0).ravel()
    kept = slice(None) if there.all() else there
    numbers = lists.numbers.ravel()[kept]
    occurs = np.zeros(len(items) + 1, bool)
    occurs[numbers] = True
    place = np.cumsum(occurs, dtype=np.int32) - 1
    columns = {
        "user_id": pa.DictionaryArray.from_arrays(
            np.repeat(np.arange(count, dtype=np.int32), k)[kept], users.column(lists.users)
        ),
        "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), count)[kept],
        "item_id": pa.DictionaryArray.from_arrays(place[numbers], items.column(np.flatnonzero(occurs))),
        "score": lists.scores.ravel()[kept],
        "source": pa.DictionaryArray.from_arrays(
            np.repeat((~lists.known).astype(np.int8), k)[kept], pa.array(["stored", "popular"])
        ),
    }
    return pa.table(columns)


def encoded(part: pa.Table) -> bytes:
    """A part as a Parquet file, whose columns have the types of `SCHEMA`.

    Ids go into it as the dictionaries that they are, whatever their size; least and greatest ids would take as
    long as everything else together, and help no reader.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        part,
        sink,
        row_group_size=max(1, len(part)),
        compression="zstd",
        use_dictionary=["user_id", "rank", "item_id", "source"],
        column_encoding={"score": "BYTE_STREAM_SPLIT"},
        dictionary_pagesize_limit=1 << 30,
        write_statistics=["rank", "score"],
        store_schema=False,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content
