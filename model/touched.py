"""The rows of a table that a batch touches, as a list of fixed length that places refer to."""

import numpy as np

from watchnext.histories import Int32

LEAST = 256
"""Lists without a size of their own are padded to a power of two from this on, so that few shapes are compiled."""


def touched(numbers: Int32, size: int | None = None) -> tuple[Int32, Int32]:
    """The numbers, each once and padded with 0, and the place of each among them.

    Args:
        numbers: [n] of rows.
        size: of the list, at least as many as there are different numbers; None for a power of two.

    >>> rows, places = touched(np.array([7, 5, 7], np.int32))
    >>> rows[:3].tolist(), len(rows), places.tolist()
    ([5, 7, 0], 256, [1, 0, 1])
    >>> touched(np.array([7, 5, 7], np.int32), 3)[0].tolist()
    [5, 7, 0]
    """
    found, places = np.unique(numbers, return_inverse=True)
    rows = np.zeros(max(LEAST, 1 << int(max(len(found), 1) - 1).bit_length()) if size is None else size, np.int32)
    rows[: len(found)] = found
    return rows, places.astype(np.int32)
