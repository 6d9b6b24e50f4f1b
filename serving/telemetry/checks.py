"""Looking closer at a few answers: what an exact search would have found, and what a shadow would have answered.

Both are counted only; no answer waits for them. They share one thread of lower priority and a short queue, and what
does not fit into it is left out.
"""

import logging
import math
import os
import queue
import random
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np

from index.exact import largest
from index.interface import NO_SCORE, Bool
from index.recall import recall_of_each
from index.recommender import Recommender
from serving.telemetry.metrics import CHECKS, WorkerMetrics
from watchnext.features import Float32
from watchnext.histories import Int32

_RECALL, _SHADOW = map(CHECKS.index, ("recall", "shadow"))
_NICER = 5
"""A thread of the lowest priority would hold the interpreter's lock while others keep it from running."""

log = logging.getLogger(__name__)


class Checks:
    """The thread that checks and its queue; one for each worker process, started after the fork.

    Args:
        metrics: of this worker; counts what is found.
        every: one answer of so many is searched exactly, at random; 0: none.
        waiting: most checks in the queue. One holds on to its mask of allowed items.
    """

    def __init__(self, metrics: WorkerMetrics, every: int, waiting: int = 8) -> None:
        self._metrics, self._every = metrics, every
        self._jobs: queue.Queue[tuple[int, Callable[[], None]] | None] = queue.Queue(waiting)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checks", daemon=True)
        self._findable: WeakKeyDictionary[Recommender, Bool] = WeakKeyDictionary()
        self._left = self._drawn()

    def start(self) -> None:
        """Begin to check."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, once the check that it is at is done; those that wait are left out."""
        self._stopped.set()
        with suppress(queue.Full):
            self._jobs.put_nowait(None)
        self._thread.join()

    def due(self) -> bool:
        """Whether the answer at hand is to be searched exactly; ask once for each."""
        self._left -= 1
        if self._left:
            return False
        self._left = self._drawn()
        return True

    def recall(
        self,
        variant: int,
        recommender: Recommender,
        query: Float32,
        k: int,
        exclude: Int32,
        allowed: Bool | None,
        found: Int32,
    ) -> None:
        """Search exactly what was searched, later.

        Args:
            variant: slot of the release.
            recommender: whose index was asked. Its release stays open until this is checked.
            query: [dim] what was asked.
            k: how many were asked for.
            exclude: item numbers that could not be found.
            allowed: [items + 1] items that could be found, not changed any more; None: all.
            found: [at most k] item numbers that the index found.
        """
        self._put(_RECALL, partial(self._recall, variant, recommender, query, k, exclude, allowed, found))

    def shadow(self, shadow: int, k: int, shown: Collection[str], ask: Callable[[], Collection[str]]) -> None:
        """Ask another release the same, later. Item numbers of two releases differ, so ids are compared.

        Args:
            shadow: slot of the other release.
            k: how many were asked for.
            shown: ids of the items that were answered.
            ask: gives the ids that the other release answers; called in the thread.
        """
        self._put(_SHADOW, partial(self._shadow, shadow, k, shown, ask))

    def _drawn(self) -> int:
        """Answers until the next one that is checked: geometric, with the mean `every`."""
        if self._every < 2:
            return self._every
        return 1 + int(random.expovariate(-math.log1p(-1 / self._every)))

    def _put(self, check: int, job: Callable[[], None]) -> None:
        try:
            self._jobs.put_nowait((check, job))
        except queue.Full:
            self._metrics.check_dropped(check)

    def _run(self) -> None:
        if sys.platform == "linux":  # where each thread has a priority of its own
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)
        while (waiting := self._jobs.get()) is not None and not self._stopped.is_set():
            check, job = waiting
            try:
                job()
            except Exception:  # a check that fails must not end those after it
                self._metrics.check_failed(check)
                log.exception("The check of %s failed", CHECKS[check])
            del waiting, job  # a release that is swapped out must not stay open until the next check

    def _recall(
        self,
        variant: int,
        recommender: Recommender,
        query: Float32,
        k: int,
        exclude: Int32,
        allowed: Bool | None,
        found: Int32,
    ) -> None:
        findable = self._findable.get(recommender)
        if findable is None:
            findable = self._findable[recommender] = _findable(recommender)
        vectors = np.asarray(recommender.export.item_vectors)
        exact = exact_best(vectors, query, k, findable if allowed is None else findable & allowed, exclude)
        self._metrics.recall(variant, float(recall_of_each(found[None], exact, query[None], vectors)[0]))

    def _shadow(self, shadow: int, k: int, shown: Collection[str], ask: Callable[[], Collection[str]]) -> None:
        self._metrics.overlap(shadow, overlap_at_k(shown, ask(), k))


def exact_best(vectors: Float32, query: Float32, k: int, allowed: Bool, exclude: Int32) -> Float32:
    """[1, k] the best scores of an exact search, falling; -inf where fewer items are left.

    It is `ExactIndex` for one query without BLAS, whose own threads would have the priority of requests, and in few
    long steps, in which the interpreter's lock is free. The vectors are read where they are, not copied.

    Args:
        vectors: [items + 1, dim].
        query: [dim].
        k: how many.
        allowed: [items + 1] items to choose from.
        exclude: item numbers not to choose.
    """
    scores = np.vecdot(vectors, query)  # [items + 1]
    np.putmask(scores, ~allowed, NO_SCORE)
    scores[exclude] = NO_SCORE
    return largest(scores[None], k)[0]


def overlap_at_k(one: Collection[str], other: Collection[str], k: int) -> float:
    """The share of k items that two answers have in common: |A and B| / k.

    Where neither has k items, since there are no more, the length of the longer one takes the place of k.

    >>> overlap_at_k(["a", "b", "c", "d"], ["c", "d", "e", "f"], 4)
    0.5
    """
    longest = min(k, max(len(one), len(other)))
    return len(set(one) & set(other)) / longest if longest else 1.0


def _findable(recommender: Recommender) -> Bool:
    """[items + 1] items that an index should find: trained ones that are not withdrawn."""
    findable: Bool = np.any(recommender.export.item_vectors, axis=1)
    findable[0] = False
    findable[recommender.export.withdrawn] = False
    return findable
