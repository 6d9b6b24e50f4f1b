"""Searches of requests that came together are made together: one search for all that the event loop has read by now.

A search reads some megabytes and leaves nothing else in a processor's caches, after which Python takes two to four
times as long as before it. So requests are read one after the other, then all are searched for, then all are answered
(`python -m benchmarks.serving --studies`). Somebody who asks alone waits for nobody.
"""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

from index.askers import Asker
from index.interface import Bool
from index.recommender import Found, Recommender

MOST = 16
"""Searches that are made without a look at what else has come."""


class Searched(NamedTuple):
    """What was found, and how."""

    found: Found
    allowed: Bool | None
    filter: float
    """Seconds that making the mask of allowed items took."""
    search: float
    """Seconds that the search took, of all that were searched together."""


class _Waiting(NamedTuple):
    recommender: Recommender
    asker: Asker
    k: int
    result: "asyncio.Future[Searched]"


class Together:
    """Collects searches; all methods are for one event loop."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    async def search(self, recommender: Recommender, asker: Asker, k: int) -> Searched:
        """What `Recommender.answer` finds among all items that may be found now. Raises what that raises."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(recommender, asker, k, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._search)
        self._waiting.append(waiting)
        return await waiting.result

    def _search(self) -> None:
        now, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._search)
        alike: dict[tuple[int, int], list[_Waiting]] = {}
        for one in now:
            alike.setdefault((id(one.recommender), one.k), []).append(one)
        for some in alike.values():
            _answer(some)


def _answer(some: Sequence[_Waiting]) -> None:
    """Search for some that ask one release for equally many."""
    recommender, _, k, _ = some[0]
    try:
        start = perf_counter()
        allowed = recommender.allowed()
        filtered = perf_counter()
        found = recommender.answers([one.asker for one in some], k, allowed)
        end = perf_counter()
    except Exception as error:  # it is the requests' to tell
        for one in some:
            if not one.result.done():
                one.result.set_exception(error)
        return
    for one, its in zip(some, found, strict=True):
        if not one.result.done():  # cancelled meanwhile
            one.result.set_result(Searched(its, allowed, filtered - start, end - filtered))
