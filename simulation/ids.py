"""Rows of a world's tables and the ids that stand for them in its files: row 12 of the items is `v0000012`."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from watchnext.errors import UsageError
from watchnext.histories import Int64

ITEM, USER = "v", "u"
_DIGITS = 7


class IdTable:
    """The ids of rows 0 to `count` - 1, eight bytes each, so that a million of them are gathered in milliseconds."""

    def __init__(self, prefix: str, count: int) -> None:
        rows = np.arange(count)
        letters = np.full((count, _DIGITS + 1), ord(prefix), np.uint8)
        for position in range(_DIGITS):
            letters[:, _DIGITS - position] = rows // 10**position % 10 + ord("0")
        self._ids: NDArray[np.uint64] = letters.view(np.uint64).ravel()

    def take(self, rows: NDArray[np.integer]) -> pa.Array:
        """[rows] their ids, as strings."""
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * (_DIGITS + 1)
        return pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(self._ids[rows]))


def rows_of(ids: list[str], prefix: str, count: int) -> Int64:
    """[ids] the row of each. Raises UsageError if one is not of a world with `count` rows."""
    rows = np.empty(len(ids), np.int64)
    for i, id_ in enumerate(ids):
        digits = id_[1:]
        valid = id_[:1] == prefix and len(digits) == _DIGITS and digits.isdecimal() and int(digits) < count
        if not valid:
            raise UsageError("ids", repr(id_), f"Give a corpus of this world: ids {prefix}0000000 and on.")
        rows[i] = int(digits)
    return rows
