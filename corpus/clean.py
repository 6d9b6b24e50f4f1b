"""Which of the sorted watches stay: duplicates, the vocabulary, and minima. Arrays in, arrays out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchnext.histories import Int32, Int64

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Kept:
    """What cleaning left, and how many watches left at each step.

    Args:
        keep: [watches] whether a watch stays.
        user_counts: [user ids] watches that stay.
        item_counts: [item ids] watches that stay.
    """

    keep: Bool
    user_counts: Int64
    item_counts: Int64
    duplicates: int
    out_of_vocabulary: int
    by_short_users: int


def clean(
    users: Int32,
    items: Int32,
    times: Int64,
    *,
    unique: bool,
    max_items: int | None,
    min_item_watches: int,
    min_user_watches: int,
) -> Kept:
    """Clean watches that are sorted by user, then time.

    First duplicates go; then the vocabulary is chosen: items with `min_item_watches`, of these the `max_items` most
    watched, ties by id; then users with fewer than `min_user_watches`. With `min_item_watches` above 1, items and
    users that fall below their minimum by this go too, until none does.

    Args:
        users: [watches] numbers from 0.
        items: [watches] numbers from 0, in the order of their ids.
        times: [watches] seconds.
        unique: whether one user, item and time is one watch; the first stays.
    """
    keep = ~duplicates(users, items, times) if unique else np.ones(len(users), np.bool_)
    dropped = len(keep) - int(keep.sum())
    item_counts, user_counts = _count(items, keep), _count(users, keep)
    allowed = _vocabulary(item_counts, max_items, min_item_watches)
    unknown = short = 0
    while True:
        out = _drop(items, keep, item_counts, allowed)
        user_counts = _count(users, keep) if out else user_counts
        brief = _drop(users, keep, user_counts, user_counts >= min_user_watches)
        if out or brief:
            item_counts, user_counts = _count(items, keep), _count(users, keep)
        unknown, short = unknown + out, short + brief
        allowed = item_counts >= min_item_watches
        if not (brief and np.any((item_counts > 0) & ~allowed)):
            return Kept(keep, user_counts, item_counts, dropped, unknown, short)


def duplicates(users: Int32, items: Int32, times: Int64) -> Bool:
    """[watches] True where user, item and time have occurred before.

    >>> duplicates(np.array([0, 0, 0]), np.array([7, 8, 7]), np.array([5, 5, 5])).tolist()
    [False, False, True]
    """
    found = np.zeros(len(users), np.bool_)
    same = (users[1:] == users[:-1]) & (times[1:] == times[:-1])  # [watches - 1] as the watch before
    tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))  # in runs longer than 1
    if len(tied):
        new = np.insert(~same, 0, True)[tied]
        run = np.cumsum(new, dtype=np.int64) * (int(items.max()) + 1) + items[tied]
        order = np.argsort(run, kind="stable")
        repeated = order[1:][run[order][1:] == run[order][:-1]]
        found[tied[repeated]] = True
    return found


def _vocabulary(counts: Int64, max_items: int | None, minimum: int) -> Bool:
    allowed: Bool = counts >= minimum
    if max_items is not None and int(allowed.sum()) > max_items:
        best = np.argsort(-counts, kind="stable")[:max_items]  # stable: ties by id
        chosen = np.zeros(len(counts), np.bool_)
        chosen[best] = True
        allowed &= chosen
    return allowed


def _count(numbers: Int32, keep: Bool) -> Int64:
    size = int(numbers.max()) + 1 if len(numbers) else 0
    counts: Int64 = np.bincount(numbers if keep.all() else numbers[keep], minlength=size)
    return counts


def _drop(numbers: Int32, keep: Bool, counts: Int64, allowed: Bool) -> int:
    """Clear `keep` where a number is not allowed; return how many watches that was."""
    lost = int(counts[~allowed].sum())
    if lost:
        keep &= allowed[numbers]
    return lost
