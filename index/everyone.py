"""What a release recommends to all of its users, a part after the other. Nothing is written here."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from os import cpu_count
from typing import NamedTuple, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from index.batch import BLOCK_USERS, BatchSearch, small_buffers
from index.interface import Bool
from index.recommender import Recommender
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Int32, Int64

THREADS = cpu_count() or 1
_AHEAD = 8
"""So many blocks a thread are begun before the oldest is taken, to have work while a part is written."""
_NOTHING = np.zeros(0, np.int32)
Given = TypeVar("Given")
Made = TypeVar("Made")


class Lists(NamedTuple):
    """The best items of some users.

    Args:
        users: [users] their numbers.
        scores: [users, k] falling; dot products, or shares of all watches for users that are not known.
        numbers: [users, k] item numbers; 0 where fewer than k are left.
        known: [users] whether the model knows the user; others get the most watched items.
    """

    users: Int32
    scores: Float32
    numbers: Int32
    known: Bool


class Everyone:
    """Recommends what `Recommender.recommend` does with an exact index, to many users at a time.

    Args:
        recommender: what it may recommend is asked once, at the beginning.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._export, self._popular = recommender.export, recommender.popular
        self._user_vectors: Float32 = np.asarray(self._export.user_vectors)
        self._allowed = recommender.allowed()
        numbers = recommender.index.findable()
        self.items = numbers if self._allowed is None else numbers[self._allowed[numbers]]
        """[items] the numbers of the items that known users may get, rising."""
        self._search = BatchSearch(self._export.item_vectors, self.items)

    @property
    def checksum(self) -> str:
        """64 hexadecimal digits that change with the items that anybody may get, by vector or as popular ones."""
        allowed = b"" if self._allowed is None else self._allowed.tobytes()
        return hashlib.sha256(self.items.tobytes() + allowed).hexdigest()

    def parts(
        self, parts: Iterable[range], k: int, advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[Lists]:
        """The lists of each part, one after the other.

        Args:
            parts: ranges of user numbers.
            k: how many items a user gets, at least 1.
            advance: called with the number of users done.

        Raises UsageError for k below 1.
        """
        if k < 1:
            raise UsageError("k", k, "Ask for at least 1 item.")
        k = min(k, max(1, len(self._export.items)))
        parts = list(parts)
        blocks = (block for part in parts for block in _blocks(part))
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(THREADS, initializer=small_buffers) as pool:
            try:
                done = _in_order(pool, lambda users: self._block(users, k), blocks)
                for part in parts:
                    found = []
                    for _ in _blocks(part):
                        found.append(next(done))
                        advance(len(found[-1].users))
                    yield Lists(*map(np.concatenate, zip(*found, strict=True)))
            finally:
                pool.shutdown(cancel_futures=True)

    def _block(self, block: range, k: int) -> Lists:
        histories = self._export.histories
        users = np.arange(block.start, block.stop, dtype=np.int32)
        vectors = self._user_vectors[block.start : block.stop]
        lengths = np.diff(histories.offsets[block.start : block.stop + 1])
        known = vectors.any(axis=1) & (lengths > 0)
        scores, numbers = np.zeros((len(users), k), np.float32), np.zeros((len(users), k), np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths[known])])
        _, watches = histories.positions(users[known], np.zeros_like(lengths[known]), lengths[known])
        scores[known], numbers[known] = self._search.search(vectors[known], k, histories.items[watches], offsets)
        self._fill(scores, numbers, np.flatnonzero(~known & (lengths == 0)), _NOTHING)
        for row in np.flatnonzero(~known & (lengths > 0)).tolist():
            self._fill(scores, numbers, np.array([row]), histories[block[row]])
        return Lists(users, scores, numbers, known)

    def _fill(self, scores: Float32, numbers: Int32, rows: Int64, watched: Int32) -> None:
        """Give the most watched items, without those watched, to some rows of a block."""
        found, best = self._popular.search(scores.shape[1], watched, self._allowed)
        scores[rows, : len(best)], numbers[rows, : len(best)] = found, best


def _blocks(part: range) -> list[range]:
    """A part cut into blocks; of an empty part an empty block."""
    starts = range(part.start, max(part.stop, part.start + 1), BLOCK_USERS)
    return [range(start, min(start + BLOCK_USERS, part.stop)) for start in starts]


def _in_order(pool: Executor, work: Callable[[Given], Made], tasks: Iterable[Given]) -> Iterator[Made]:
    """What work makes of tasks, in their order; unlike `Executor.map` it begins few before they are asked for."""
    begun: deque[Future[Made]] = deque()
    for task in tasks:
        begun.append(pool.submit(work, task))
        if len(begun) > _AHEAD * THREADS:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()
