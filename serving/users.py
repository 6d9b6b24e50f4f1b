"""From a user id and fresh watches to a vector, on one release; remembers those that asked last."""

import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from index.askers import NO_ITEMS, NO_TIMES, Asker, News
from index.recommender import Recommender
from serving.fresh.store import Fresh
from watchnext.features import UserContext
from watchnext.histories import Int32, Int64

MOST_USERS = 4096
"""Users with fresh watches whose vectors are kept."""
MOST_WATCHES = 4_000_000
"""Watches of these users in all, stored and fresh ones, at 4 bytes each."""


class _Kept(NamedTuple):
    mark: int
    asker: Asker


class _Memory:
    """The askers that were used last, of so many users with so many watches in all. For several threads."""

    def __init__(self, users: int, watches: int) -> None:
        self._users, self._most = users, watches
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._watches = 0
        self._lock = threading.Lock()

    def get(self, user_id: str, mark: int) -> Asker | None:
        """A user's asker, if it was kept under this mark."""
        with self._lock:
            kept = self._kept.get(user_id)
            if kept is None or kept.mark != mark:
                return None
            self._kept.move_to_end(user_id)
            return kept.asker

    def keep(self, user_id: str, mark: int, asker: Asker) -> None:
        """Keep a user's asker in place of an earlier one, and forget those that were not used for the longest."""
        with self._lock:
            before = self._kept.pop(user_id, None)
            self._kept[user_id] = _Kept(mark, asker)
            self._watches += len(asker.watched) - (0 if before is None else len(before.asker.watched))
            while len(self._kept) > self._users or self._watches > self._most:
                self._watches -= len(self._kept.popitem(last=False)[1].asker.watched)


class FreshAskers:
    """Finds the vectors of users of one release; may be called from several threads at once.

    A vector that was computed from fresh watches is kept until the user has others. Of these a hash is kept, 64 bits
    with a key of this process, since they themselves would take some 150 bytes each.

    Args:
        recommender: of the release.
        users: whose vectors are kept at most.
        watches: of these users in all, at most.
    """

    def __init__(self, recommender: Recommender, users: int = MOST_USERS, watches: int = MOST_WATCHES) -> None:
        export = recommender.export
        self._askers, self._users, self._items = recommender.askers, export.users, export.items
        self._histories = export.histories
        self._keep = not export.manifest.model.time_gaps  # else a vector depends on when it is asked for
        self._memory = _Memory(users, watches)

    def ask(self, user_id: str, fresh: Fresh, context: UserContext | None, now: int) -> Asker:
        """Somebody with an id.

        Args:
            fresh: what the store of fresh watches knows.
            context: what the request tells; None where it tells nothing.
            now: seconds since 1970.
        """
        if context is None and not fresh.watches and fresh.erased is None:
            return self._askers.stored(self._users.number(user_id))
        if context is not None or not self._keep:
            return self._askers.ask(self._users.number(user_id), self.news(fresh, context), now)
        mark = hash(fresh)
        asker = self._memory.get(user_id, mark)
        if asker is None:
            asker = self._askers.ask(self._users.number(user_id), self.news(fresh, None), now)
            self._memory.keep(user_id, mark, asker)
        return asker

    def stored_watches(self, user_id: str, erased: int | None) -> tuple[Int32, Int64]:
        """Item numbers and times of a user's stored watches, the oldest first; none of somebody erased since."""
        user = self._askers.unless_erased(self._users.number(user_id), erased)
        return self._histories[user], self._histories.times_of(user)

    def news(self, fresh: Fresh, context: UserContext | None = None) -> News:
        """Fresh watches with item numbers in place of ids."""
        if not fresh.watches:
            return News(NO_ITEMS, NO_TIMES, (), context, fresh.erased)
        ids, times = zip(*fresh.watches, strict=True)
        return News(self._items.numbers(ids), np.array(times, np.int64), (), context, fresh.erased)
