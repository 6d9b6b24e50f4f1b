"""The SQLite file of fresh watches: its schema, its lock, how it is opened, and what its errors mean.

STORE           the database, in WAL mode; `application_id` says whose it is, `user_version` which schema it has
STORE-wal, STORE-shm
                belong to it while it is open
STORE.lock      held by who writes, over all processes and threads

Writers hold a lock of ours since SQLite before 3.51.3 may damage a database in WAL mode when two connections write or
checkpoint at the same instant (the "WAL-reset bug"), and since its own lock is polled, up to 100 ms late.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from watchnext.errors import CorruptError, StoreUnavailableError, UsageError

APPLICATION_ID = 0x776E6677  # "wnfw"
VERSION = 1
SCHEMA = """
CREATE TABLE watches (
    user TEXT NOT NULL,
    time INTEGER NOT NULL,
    place INTEGER NOT NULL, -- among the user's watches of this time, in the order in which they came
    item TEXT NOT NULL,
    event TEXT NOT NULL UNIQUE,
    fraction REAL,
    PRIMARY KEY (user, time, place)
) WITHOUT ROWID;
CREATE TABLE erased (user TEXT NOT NULL PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE size (watches INTEGER NOT NULL);
INSERT INTO size VALUES (0);
"""
_MOVE = "Restore it, or move it away with its -wal and -shm and restart, to begin with an empty one."
_RIGHTS = "Let this process read and write the file and its folder."
_CAUSES = {
    sqlite3.SQLITE_BUSY: ("a lock of another process", "End what holds it: only watchnext may write there."),
    sqlite3.SQLITE_LOCKED: ("a lock of another process", "End what holds it: only watchnext may write there."),
    sqlite3.SQLITE_FULL: ("a full disk", "Make room on it; then the store goes on."),
    sqlite3.SQLITE_READONLY: ("a file that may not be written", _RIGHTS),
    sqlite3.SQLITE_PERM: ("a file that may not be opened", _RIGHTS),
    sqlite3.SQLITE_CANTOPEN: ("a file that is not there or may not be opened", f"Put it back, or restart. {_RIGHTS}"),
    sqlite3.SQLITE_IOERR: ("an error of the disk", "See whether it is there, whole, and has room."),
    sqlite3.SQLITE_CORRUPT: ("a damaged database", _MOVE),
    sqlite3.SQLITE_NOTADB: ("a damaged database", _MOVE),
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def prepare(path: Path) -> None:
    """Make the file with its schema where there is none, whoever else does so at the same time. Leaves nothing open.

    Raises UsageError where there is something else, CorruptError for a damaged database, StoreUnavailableError where
    it is locked or may not be written.
    """
    try:
        if path.is_dir():
            raise UsageError(f"store {path}", "a folder", "Name a file; one that is not there is made.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as con:
            if _is_empty(con):
                with locked(path):
                    _make(con)
            _recognise(con, path)
            con.execute("BEGIN IMMEDIATE")  # an error where it may not be written
            con.execute("ROLLBACK")
    except (sqlite3.Error, OSError) as error:
        if _code(error) in _DAMAGED:
            raise CorruptError(f"store {path}", error, _MOVE) from error
        raise unavailable(path, error) from error


def connect(path: Path, seconds: float) -> sqlite3.Connection:
    """Open the file, which must be there; transactions are begun explicitly.

    Args:
        seconds: how long to wait for SQLite's locks.

    Raises sqlite3.Error, or StoreUnavailableError where the file is another one by now.
    """
    con = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        timeout=seconds,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
    try:
        con.execute("PRAGMA synchronous = FULL")
        con.execute("PRAGMA secure_delete = ON")
        _recognise(con, path)
    except UsageError as error:
        con.close()
        raise StoreUnavailableError(error.argument, error.got, error.cure) from error
    except sqlite3.Error:
        con.close()
        raise
    return con


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of those who write. Waits for it without end, in the kernel."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def identity(path: Path) -> tuple[int, int] | None:
    """What changes when another file takes the place of this one; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def truncate(con: sqlite3.Connection) -> None:
    """Take everything out of the write-ahead log, so that what is deleted is nowhere. Raises sqlite3.Error."""
    busy = con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error


def unavailable(path: Path, error: sqlite3.Error | OSError) -> StoreUnavailableError:
    """What to raise where SQLite or the operating system has an error with the file."""
    if isinstance(error, OSError):
        cure = (
            _RIGHTS if isinstance(error, PermissionError) else "See whether its disk is there, whole, and has room."
        )
        return StoreUnavailableError(f"store {path}", error.strerror, cure)
    got, cure = _CAUSES.get(_code(error), (str(error), "See what is wrong with the file."))
    return StoreUnavailableError(f"store {path}", f"{got} ({getattr(error, 'sqlite_errorname', 'SQLite')})", cure)


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 for what is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_empty(con: sqlite3.Connection) -> bool:
    tables = con.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return not (tables or _number(con, "application_id") or _number(con, "user_version"))


def _make(con: sqlite3.Connection) -> None:
    if _is_empty(con):
        con.executescript(
            "PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL;"
            f" BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {VERSION}; COMMIT"
        )


def _recognise(con: sqlite3.Connection, path: Path) -> None:
    if _number(con, "application_id") != APPLICATION_ID:
        raise UsageError(f"store {path}", "another SQLite database", "Name a file of its own for fresh watches.")
    version = _number(con, "user_version")
    if version != VERSION:
        cure = f"Use the watchnext that wrote it; this one has version {VERSION}."
        raise UsageError(f"store {path}", f"a store of version {version}", cure)


def _number(con: sqlite3.Connection, pragma: str) -> int:
    return int(con.execute(f"PRAGMA {pragma}").fetchone()[0])
