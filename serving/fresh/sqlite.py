"""Fresh watches in one SQLite file, which all processes of a host share.

What a recommendation needs is read in the event loop: a point query takes less than handing it to a thread would.
Histories, which may be long, are read in a thread, and another writes, as that waits for the disk
(`serving/fresh/writer.py`).
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from serving.fresh import database
from serving.fresh.reader import Reader
from serving.fresh.store import MOST, MOST_TOLD, NOTHING, Fresh, Learned, Watch, check, check_id
from serving.fresh.writer import Writer
from watchnext.api.requests import LATEST
from watchnext.errors import UsageError

_OF = f"""
SELECT * FROM (SELECT item, time FROM watches WHERE user = ?1 ORDER BY time DESC, place DESC LIMIT {MOST})
UNION ALL SELECT NULL, time FROM erased WHERE user = ?1
"""
_TOLD = f"""
SELECT json_group_array(item), json_group_array(time), (SELECT time FROM erased WHERE user = ?1) FROM (
    SELECT item, time FROM watches WHERE user = ?1 ORDER BY time DESC, place DESC LIMIT {MOST_TOLD}
)
"""  # one row: Python gives up its lock for each, and may have to wait for the event loop to get it back
_ADD = """
INSERT INTO watches (user, time, place, item, event, fraction)
SELECT ?1, ?2, (SELECT coalesce(max(place), 0) + 1 FROM watches WHERE user = ?1 AND time = ?2), ?3, ?4, ?5
WHERE NOT EXISTS (SELECT 1 FROM erased WHERE user = ?1 AND time >= ?2)
ON CONFLICT (event) DO NOTHING
"""
_ERASED = """
INSERT INTO erased SELECT ?1, max(?2, coalesce(max(time), ?2)) FROM watches WHERE user = ?1
ON CONFLICT (user) DO UPDATE SET time = max(time, excluded.time)
"""
_PAGE = """
SELECT user, time, place, item, event, fraction FROM watches
WHERE (user, time, place) > (?, ?, ?) AND time < ? ORDER BY user, time, place LIMIT ?
"""
_PAGE_ROWS = 5000
_GREW = "UPDATE size SET watches = watches + ?"


class SqliteStore:
    """A `FreshStore`.

    Args:
        path: the file; made where there is none.
        read_seconds: how long to wait for a lock when reading, during which the event loop stands still. Readers wait
            for nobody but a program that locks the file for itself alone.
        write_seconds: how long adding and erasing may take.
        clock: seconds since 1970.

    Raises what `database.prepare` does.
    """

    def __init__(
        self,
        path: Path,
        read_seconds: float = 0.02,
        write_seconds: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        database.prepare(path)
        self._clock = clock
        self._writer = Writer(path, write_seconds)
        self._reader, self._teller = Reader(path, read_seconds), Reader(path, read_seconds)
        self._telling = _one_thread()

    async def of(self, user_id: str) -> Fresh:
        """What is known of a user."""
        rows: list[tuple[Any, int]] = self._reader.read(_OF, (user_id,))
        if not rows:
            return NOTHING
        erased = rows.pop()[1] if rows[-1][0] is None else None
        rows.reverse()
        return Fresh(tuple(rows), erased)

    async def history(self, user_id: str) -> Fresh:
        """The same of a long history, read in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._telling, self._told, user_id)

    async def add(self, watches: Sequence[Watch]) -> int:
        """Keep watches; returns how many were new."""
        check(watches)
        rows = [(w.user_id, w.time, w.item_id, w.event_id, w.fraction) for w in watches]

        def work(con: sqlite3.Connection) -> int:
            before = con.total_changes
            con.executemany(_ADD, rows)
            new = con.total_changes - before
            if new:  # nothing to write, nothing to wait for
                con.execute(_GREW, (new,))
            return new

        return await self._writer.run(work)

    async def erase(self, user_id: str) -> int:
        """Forget all watches of a user."""
        check_id("user id", user_id)

        def work(con: sqlite3.Connection) -> int:
            con.execute(_ERASED, (user_id, int(self._clock())))
            gone = con.execute("DELETE FROM watches WHERE user = ?", (user_id,)).rowcount
            con.execute(_GREW, (-gone,))
            return gone

        return await self._writer.run(work, truncate=True)

    async def size(self) -> int:
        """How many watches there are."""
        return int(self._reader.read("SELECT watches FROM size", ())[0][0])

    async def close(self) -> None:
        """End the threads and all connections."""
        await self._writer.close()
        told, self._telling = self._telling, _one_thread()
        await asyncio.to_thread(told.shutdown)
        self._teller.close()
        self._reader.close()

    def _told(self, user_id: str) -> Fresh:
        ((items, times, erased),) = self._teller.read(_TOLD, (user_id,))
        return Fresh(tuple(zip(orjson.loads(items)[::-1], orjson.loads(times)[::-1], strict=True)), erased)


def _one_thread() -> ThreadPoolExecutor:
    """A thread for reading, which starts when it is needed."""
    return ThreadPoolExecutor(1, thread_name_prefix="fresh-history")


class SqliteUpkeep:
    """An `Upkeep` of a file that is there. Nothing of it keeps others from writing for longer than a moment."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(f"store {path}", "no such file", "Give the file that `watchnext serve` writes.")
        database.prepare(path)
        self._path, self._con = path, database.connect(path, 2.0)

    def watches(self) -> Iterator[Watch]:
        """All watches, by user."""
        for rows in self._pages(LATEST):
            for user, at, _, item, event, fraction in rows:
                yield Watch(event, user, item, at, fraction)

    def erased(self) -> Iterator[tuple[str, int]]:
        """All users that were ever erased."""
        yield from self._ask("SELECT user, time FROM erased ORDER BY user", ())

    def prune(self, before: int, learned: Container[Learned] | None = None) -> int:
        """Forget watches from before a time, all or those that were learned."""
        gone = 0
        for rows in self._pages(before):
            keys = [row[:3] for row in rows if learned is None or (row[0], row[3], row[1]) in learned]
            gone += self._delete(keys) if keys else 0
        return gone

    def close(self) -> None:
        """End the connection."""
        self._con.close()

    def _pages(self, before: int) -> Iterator[list[Any]]:
        last: tuple[Any, ...] = ("", 0, 0)
        while rows := self._ask(_PAGE, (*last, before, _PAGE_ROWS)):
            yield rows
            last = rows[-1][:3]

    def _delete(self, keys: Sequence[tuple[Any, ...]]) -> int:
        try:
            with database.locked(self._path):
                self._con.execute("BEGIN IMMEDIATE")
                before = self._con.total_changes
                self._con.executemany("DELETE FROM watches WHERE user = ? AND time = ? AND place = ?", keys)
                gone = self._con.total_changes - before
                self._con.execute(_GREW, (-gone,))
                self._con.execute("COMMIT")
                database.truncate(self._con)
        except (sqlite3.Error, OSError) as error:
            raise database.unavailable(self._path, error) from error
        return gone

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            return self._con.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise database.unavailable(self._path, error) from error
