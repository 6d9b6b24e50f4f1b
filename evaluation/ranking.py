"""Full ranking: the best list of each user, and where the held-out watches stand among all items not watched before.

Users are ranked in blocks, each by one thread, so that the matrix product of the next block runs beside the selection
of this one. No row is sorted. Its scores fall into groups; the k-th largest of the groups' maxima is a lower bound of
the k-th largest score. What is above the bound, in fewer than k groups, is sorted; what is at the bound is counted.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from math import isqrt
from os import cpu_count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evaluation.scorers import Scorer
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64, spans
from watchnext.split import Ask

THREADS = cpu_count() or 1
BLOCK_SCORES = min(1 << 23, (1 << 26) // THREADS)
"""Scores that a thread has in memory at once: 32 MiB of float32, and no more than 256 MiB in all threads."""
BLOCK_USERS = 512
"""At most so many users a block, however small the catalogue is."""
GROUP = 32
"""At most so many scores a group."""
GROUPS_PER_PLACE = 8
"""At least so many groups for each place of the list, so that few of the best share one."""


@dataclass(frozen=True)
class Ranking:
    """Lists and targets; a target is a distinct held-out item of a user.

    Args:
        users: [users] user numbers.
        items: [users, k] the best items of each user from the best on, tied items by number; 0 where fewer than k
            can be recommended.
        row: [targets] the row of `users` that a target belongs to, rising.
        target: [targets] item numbers.
        greater: [targets] items that score higher. Only for found targets.
        equal: [targets] other items with the same score. Only for found targets.
        found: [targets] whether some order of the tied items puts the target on the list. False, too, for what the
            user watched before and for what the scorer cannot recommend: the service could not have shown it.
    """

    users: Int32
    items: Int32
    row: Int64
    target: Int32
    greater: Int64
    equal: Int64
    found: NDArray[np.bool_]

    def only(self, chosen: NDArray[np.bool_]) -> "Ranking":
        """The same with some targets only; chosen: [targets]."""
        columns = ("row", "target", "greater", "equal", "found")
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})


def rank(
    scorer: Scorer,
    histories: Histories,
    ask: Ask,
    users: Int32,
    k: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Ranking:
    """Rank all items for some users.

    Args:
        ask: which watches are targets, and how many before them the scorer may see. These are never recommended.
        users: [users] user numbers.
        k: length of the lists; ranks beyond it are not told apart.
        advance: called with the number of users done.
    """
    parts: list[Ranking] = []
    pool = ThreadPoolExecutor(THREADS)
    try:
        with threadpool_limits(1, "blas"):
            width = scorer.scores(users[:1], ask.given[users[:1]]).shape[1]
            for part in pool.map(lambda block: _rank_block(scorer, histories, ask, block, k), _blocks(users, width)):
                parts.append(part)
                advance(len(part.users))
    finally:
        pool.shutdown(cancel_futures=True)
    starts = np.cumsum([0, *(len(part.users) for part in parts)])
    columns = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Ranking)}
    columns["row"] += np.repeat(starts[:-1], [len(part.row) for part in parts])
    return Ranking(**columns)


def _blocks(users: Int32, width: int) -> Iterator[Int32]:
    size = max(1, min(BLOCK_USERS, BLOCK_SCORES // width))
    return (users[start : start + size] for start in range(0, max(len(users), 1), size))


def _rank_block(scorer: Scorer, histories: Histories, ask: Ask, users: Int32, k: int) -> Ranking:
    given, until = ask.given[users], ask.until[users]
    scores = np.ascontiguousarray(scorer.scores(users, given))
    width = scores.shape[1]
    rows, positions = histories.positions(users, np.zeros_like(given), given)
    scores.ravel()[rows * width + histories.items[positions]] = -np.inf
    scores[:, 0] = -np.inf
    rows, positions = histories.positions(users, given, until)
    asked = np.unique(rows * width + histories.items[positions])  # places in the flattened scores
    best = _best(scores, k)
    greater, equal, found = _places(best, scores, asked, k)
    row, target = np.divmod(asked, width)
    return Ranking(users, _lists(best, scores.shape, k), row, target.astype(np.int32), greater, equal, found)


class _Best(NamedTuple):
    """What stands above each row's bound, and at it. Places are positions in the flattened scores.

    Args:
        bound: [rows] a lower bound of the k-th largest score.
        above: [above] places above the bound of their row, by row, then by falling score, then by item.
        scores: [above] their scores.
        begin: [rows + 1] where each row begins in `above`.
        tied: [rows] how many items score the bound; 0 where k or more are above it.
        fill: for each row the first places at the bound, as many as its list has left.
    """

    bound: Float32
    above: Int64
    scores: Float32
    begin: Int64
    tied: Int64
    fill: list[Int64]


def _best(scores: Float32, k: int) -> _Best:
    """Find the candidates for the k best of each row; NaN and -inf are none. scores: [rows, width], column 0 -inf."""
    rows, width = scores.shape
    bound, places = _above_bound(scores, k)
    row, score = places // width, scores.ravel()[places]
    order = np.lexsort((places, -score, row))
    begin = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
    left = np.where(bound > -np.inf, k - np.diff(begin), 0)
    at_bound = [
        row * width + np.flatnonzero(scores[row] == bound[row]) if left[row] > 0 else places[:0]
        for row in range(rows)
    ]
    tied = np.array([len(at) for at in at_bound])
    fill = [at[: left[row]] for row, at in enumerate(at_bound)]
    return _Best(bound, places[order], score[order], begin, tied, fill)


def _above_bound(scores: Float32, k: int) -> tuple[Float32, Int64]:
    """A lower bound of the k-th largest score of each row, [rows], and the places of all scores above it."""
    rows, width = scores.shape
    size = max(1, min(GROUP, width // (GROUPS_PER_PLACE * k), isqrt(width)))
    groups = width // size
    # Group g holds the columns g, groups + g, 2 groups + g, ..., the first groups one more where that leaves a rest.
    rest = width - size * groups
    maxima = np.fmax.reduce(scores[:, : size * groups].reshape(rows, size, groups), 1)
    maxima[:, :rest] = np.fmax(maxima[:, :rest], scores[:, size * groups :])
    maxima[np.isnan(maxima)] = -np.inf
    bound = np.partition(maxima, -k, 1)[:, -k] if k < groups else np.full(rows, -np.inf, scores.dtype)
    row, group = np.nonzero(maxima > bound[:, None])
    members = group[:, None] + groups * np.arange(size + (rest > 0))
    if rest:
        members[members[:, -1] >= width, -1] = 0
    members += (row * width)[:, None]
    reached = np.flatnonzero(scores.ravel()[members] > bound[row, None])
    return bound, members.ravel()[reached]


def _lists(best: _Best, shape: tuple[int, int], k: int) -> Int32:
    """[rows, k] item numbers."""
    rows, width = shape
    lists = np.zeros((rows, k), np.int32)
    fill = np.concatenate(best.fill)
    begin = np.cumsum([0, *(len(places) for places in best.fill)])
    for places, shift in ((best.above, -best.begin), (fill, np.diff(best.begin, append=0) - begin)):
        row = places // width
        column = np.arange(len(places)) + shift[row]
        shown = column < k
        lists[row[shown], column[shown]] = places[shown] % width
    return lists


def _places(best: _Best, scores: Float32, asked: Int64, k: int) -> tuple[Int64, Int64, NDArray[np.bool_]]:
    """Greater, equal and found of the places that are asked for: [asked] each."""
    row, score = asked // scores.shape[1], scores.ravel()[asked]
    owner, other = spans(best.begin[row], best.begin[row + 1])
    greater = np.bincount(owner[best.scores[other] > score[owner]], minlength=len(asked))
    equal = np.bincount(owner[best.scores[other] == score[owner]], minlength=len(asked))
    bound = best.bound[row]
    equal = np.where(score == bound, best.tied[row], equal) - 1
    return greater, equal, (score >= bound) & (score > -np.inf) & (greater < k)
