"""Reads from the SQLite file, on a connection that is opened when it is needed and anew when the file is another."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from serving.fresh import database
from serving.fresh.breaker import Breaker
from watchnext.errors import StoreUnavailableError, UsageError

_LOOK_SECONDS = 1.0


class Reader:
    """One connection, for one thread at a time.

    Args:
        path: a file that `database.prepare` has made.
        seconds: how long to wait for a lock.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds, self._breaker = path, seconds, Breaker()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._look = 0.0

    def read(self, query: str, values: tuple[str, ...]) -> list[Any]:
        """The rows of a query. Raises StoreUnavailableError, and UsageError for values that are not Unicode."""
        self._breaker.check()
        try:
            return self._opened().execute(query, values).fetchall()
        except sqlite3.Error as error:
            self.close()
            raise self._breaker.failed(database.unavailable(self._path, error)) from error
        except StoreUnavailableError as error:
            raise self._breaker.failed(error) from error
        except UnicodeEncodeError as error:
            raise UsageError("user id", ascii(values[0]), "Give ids in UTF-8.") from error

    def close(self) -> None:
        """End the connection; the next query opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        """The connection; each second it is looked whether another file has taken the place of its."""
        now = time.monotonic()
        if self._connection is None or now >= self._look:
            found = database.identity(self._path)
            if self._connection is None or found != self._identity:
                self.close()
                self._connection, self._identity = database.connect(self._path, self._seconds), found
            self._look = now + _LOOK_SECONDS
        return self._connection
