"""The table `log` -> three arrays in the order of user, time and log, with ids numbered.

Ids are numbered in the order of their UTF-8 bytes; users whose ids are whole numbers in all files, by value, since
the sorted log then gives their numbers for nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from corpus.read import GOOD
from corpus.sources import count
from watchnext.histories import Int32, Int64

_BATCH = 1 << 20


@dataclass(frozen=True)
class SortedLog:
    """All good watches, those of a user together, in time order; equal times keep the order of the log.

    Args:
        users, items: [watches] positions in `user_ids` and `item_ids`.
        times: [watches] seconds since 1970.
        user_ids, item_ids: ids in the order of their numbers.
    """

    users: Int32
    items: Int32
    times: Int64
    user_ids: pa.Array
    item_ids: pa.Array


def sort_log(con: duckdb.DuckDBPyConnection, scratch: Path, advance: Callable[[int, int], None]) -> SortedLog:
    """Number the ids, sort the watches, and fetch them batch by batch into memory-mapped files in `scratch`.

    Args:
        advance: called with the watches fetched so far and those there are.
    """
    whole = str(con.table("log").types[0]) == "BIGINT"
    item_ids = _number_ids(con, "item")
    user_ids = None if whole else _number_ids(con, "user")
    user, join = ("log.user", "") if whole else ("u.number", " JOIN user_ids u ON log.user = u.key")
    rows = count(con, f"SELECT count(*) FROM log WHERE status = {GOOD}")
    users, items, times = _arrays(scratch, rows)
    reader = con.sql(
        f"SELECT {user}, i.number, time FROM log{join} JOIN item_ids i ON log.item = i.key"
        f" WHERE status = {GOOD} ORDER BY {user}, time, log.rowid"
    ).to_arrow_reader(_BATCH)
    numbering = _Numbering()
    done = 0
    for batch in filter(len, reader):
        end = done + batch.num_rows
        keys, items[done:end], times[done:end] = (column.to_numpy() for column in batch.columns)
        users[done:end] = numbering.number(keys) if whole else keys
        done = end
        advance(done, rows)
    if done != rows:
        raise RuntimeError(f"{done} of {rows} watches came back sorted")
    return SortedLog(users, items, times, numbering.ids() if user_ids is None else user_ids, item_ids)


class _Numbering:
    """Numbers the distinct values of sorted arrays that come one after the other."""

    def __init__(self) -> None:
        self._keys: list[Int64] = []
        self._last: int | None = None
        self._count = 0

    def number(self, keys: Int64) -> Int32:
        """[keys] the number of each, from 0."""
        new = np.insert(keys[1:] != keys[:-1], 0, self._last is None or keys[0] != self._last)
        numbers: Int32 = (self._count - 1 + np.cumsum(new)).astype(np.int32)
        self._keys.append(keys[new])
        self._last, self._count = int(keys[-1]), int(numbers[-1]) + 1
        return numbers

    def ids(self) -> pa.Array:
        """The distinct values as text, in the order of their numbers."""
        return pa.array(np.concatenate([np.zeros(0, np.int64), *self._keys])).cast(pa.large_string())


def _number_ids(con: duckdb.DuckDBPyConnection, role: str) -> pa.Array:
    """Make the table `{role}_ids` (key, number) and return the ids as text in the order of their numbers."""
    con.execute(
        f"CREATE TEMP TABLE {role}_ids AS SELECT {role} AS key, (row_number() OVER (ORDER BY {role}::VARCHAR) - 1)"
        f"::INTEGER AS number FROM (SELECT DISTINCT {role} FROM log WHERE status = {GOOD})"
    )
    ids = con.sql(f"SELECT key::VARCHAR AS id FROM {role}_ids ORDER BY number").to_arrow_table()
    return ids.column("id").cast(pa.large_string()).combine_chunks()


def _arrays(scratch: Path, rows: int) -> tuple[Int32, Int32, Int64]:
    def array(name: str, dtype: type) -> Any:
        if not rows:  # a file of no bytes cannot be mapped
            return np.empty(0, dtype)
        return np.memmap(scratch / name, dtype, "w+", shape=(rows,))

    return array("users", np.int32), array("items", np.int32), array("times", np.int64)
