"""Cleaned arrays -> the files of a corpus."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from corpus.clean import Kept
from corpus.corpus import HISTORIES, ITEM_VOCABULARY, USER_VOCABULARY
from corpus.sort import SortedLog
from watchnext.histories import Int32, Int64
from watchnext.vocabulary import Vocabulary

_CHUNK = 1 << 21


@dataclass(frozen=True)
class Written:
    """What `write_histories` wrote: the vocabularies, and the first and last time."""

    items: Vocabulary
    users: Vocabulary
    first_time: int
    last_time: int


def write_histories(log: SortedLog, kept: Kept, folder: Path, advance: Callable[[int, int], None]) -> Written:
    """Write the histories and both vocabularies of the watches that stay.

    Args:
        folder: an existing folder.
        advance: called with the watches looked at so far and those there are.
    """
    item_order = np.argsort(-kept.item_counts, kind="stable")  # by falling frequency, ties by id
    item_order = item_order[: np.count_nonzero(kept.item_counts)]
    number = np.zeros(len(kept.item_counts), np.int32)
    number[item_order] = np.arange(1, len(item_order) + 1)
    user_order = np.flatnonzero(kept.user_counts)
    (folder / HISTORIES).mkdir()
    offsets = np.concatenate([[0, 0], np.cumsum(kept.user_counts[user_order])]).astype(np.int64)
    np.save(folder / HISTORIES / "offsets.npy", offsets)
    first, last = _write_watches(log, kept, number, folder / HISTORIES, advance)
    items, users = _vocabulary(log.item_ids, item_order), _vocabulary(log.user_ids, user_order)
    items.save(folder / ITEM_VOCABULARY)
    users.save(folder / USER_VOCABULARY)
    return Written(items, users, first, last)


def _write_watches(
    log: SortedLog, kept: Kept, number: Int32, folder: Path, advance: Callable[[int, int], None]
) -> tuple[int, int]:
    total = int(kept.user_counts.sum())
    items: Int32 = np.lib.format.open_memmap(folder / "items.npy", "w+", np.int32, (total,))
    times: Int64 = np.lib.format.open_memmap(folder / "times.npy", "w+", np.int64, (total,))
    done, first, last = 0, np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for start in range(0, len(kept.keep), _CHUNK):
        part = slice(start, start + _CHUNK)
        keep = kept.keep[part]
        chunk = log.times[part][keep]
        end = done + len(chunk)
        items[done:end] = number[log.items[part][keep]]
        times[done:end] = chunk
        if len(chunk):
            first, last = min(first, int(chunk.min())), max(last, int(chunk.max()))
        done = end
        advance(min(start + _CHUNK, len(kept.keep)), len(kept.keep))
    return first, last


def _vocabulary(ids: pa.Array, order: Int64) -> Vocabulary:
    return Vocabulary(ids.take(pa.array(order)))
