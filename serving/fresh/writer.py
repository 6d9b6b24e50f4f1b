"""Writes to the SQLite file in a thread: what is waiting goes into one transaction, so that all share an fsync."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from serving.fresh import database
from watchnext.errors import StoreUnavailableError

MOST_WAITING = 10_000
"""Jobs; beyond it they are refused at once."""
_TOGETHER = 1000
"""Jobs of one transaction at most."""


class _Job(NamedTuple):
    work: Callable[[sqlite3.Connection], int]
    truncate: bool
    answer: "asyncio.Future[int]"


class Writer:
    """One connection and one thread of this process, from the first job on.

    Args:
        path: a file that `database.prepare` has made.
        seconds: how long a job may take; SQLite's locks are waited for half as long.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    async def run(self, work: Callable[[sqlite3.Connection], int], truncate: bool = False) -> int:
        """Run a job in a transaction; returns what it returns when that is on disk.

        Args:
            work: changes the database; its errors undo the transaction of all jobs in it.
            truncate: whether nothing of it may be left in the write-ahead log.

        Raises StoreUnavailableError.
        """
        if self._jobs.qsize() > MOST_WAITING:
            raise self._slow(f"{MOST_WAITING:,} jobs that wait for it already")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fresh-writer", daemon=True)
            self._thread.start()
        job = _Job(work, truncate, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        try:
            async with asyncio.timeout(self._seconds):
                return await job.answer
        except TimeoutError as error:
            raise self._slow(f"no answer in {self._seconds:g} s") from error

    async def close(self) -> None:
        """End the thread when it has done what waits; one that hangs is left to itself."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, self._seconds)
            self._thread = None

    def _slow(self, got: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"store {self._path}", got, "See what its disk is busy with, or what holds the lock."
        )

    def _work(self) -> None:
        last = False
        while not last:
            jobs, last = self._take()
            self._write(jobs)
        self._drop()

    def _take(self) -> tuple[list[_Job], bool]:
        """The jobs that wait, and whether the end has come."""
        taken = [self._jobs.get()]
        with suppress(Empty):
            while taken[-1] is not None and len(taken) < _TOGETHER:
                taken.append(self._jobs.get_nowait())
        return [job for job in taken if job is not None], taken[-1] is None

    def _write(self, jobs: list[_Job]) -> None:
        left = jobs
        try:
            with database.locked(self._path):
                left = jobs = [job for job in jobs if not job.answer.done()]  # the others were given up
                if not jobs:
                    return
                con = self._opened()
                con.execute("BEGIN IMMEDIATE")
                results = [job.work(con) for job in jobs]
                con.execute("COMMIT")
                left = [job for job in jobs if job.truncate]
                for job, result in zip(jobs, results, strict=True):
                    if not job.truncate:
                        _settle(job, result)
                if left:
                    database.truncate(con)
            for job, result in zip(jobs, results, strict=True):
                if job.truncate:
                    _settle(job, result)
        except Exception as error:  # whatever it is, those who wait are told, and the next jobs find a thread
            self._drop()
            told = database.unavailable(self._path, error) if isinstance(error, sqlite3.Error | OSError) else error
            for job in left:
                _settle(job, told)

    def _opened(self) -> sqlite3.Connection:
        """The connection; a new one where another file has taken the place of the old."""
        found = database.identity(self._path)
        if self._connection is None or found != self._identity:
            self._drop()
            self._connection, self._identity = database.connect(self._path, self._seconds / 2), found
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _settle(job: _Job, result: int | Exception) -> None:
    """Hand a result to who waits for it, in their loop."""

    def settle() -> None:
        if job.answer.done():
            return
        if isinstance(result, Exception):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)

    try:
        job.answer.get_loop().call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed: nobody waits
        return
