"""The rows of a table that a batch touches, as a list of fixed length that places refer to."""

import numpy as np

from watchnext.histories import Int32

LEAST = 256
"""What lists without a size of their own are padded to at least."""


def padded(count: int, least: int) -> int:
    """The power of two from `least` on that a list of `count` is padded to, so that few shapes are compiled.

    >>> padded(0, 256), padded(257, 256)
    (256, 512)
    """
    return max(least, 1 << max(count - 1, 0).bit_length())


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
    rows = np.zeros(padded(len(found), LEAST) if size is None else size, np.int32)
    rows[: len(found)] = found
    return rows, places.astype(np.int32)
