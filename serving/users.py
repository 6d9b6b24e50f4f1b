"""From a user id and fresh watches to a vector, on one release; remembers those that asked last."""

import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from index.askers import NO_ITEMS, NO_TIMES, Asker, News
from index.recommender import Recommender
from serving.fresh.store import Fresh
from watchnext.features import UserContext

REMEMBERED = 4096
"""Users with fresh watches whose vectors are kept."""


class _Remembered(NamedTuple):
    fresh: Fresh
    asker: Asker


class FreshAskers:
    """Finds the vectors of users of one release; may be called from several threads at once.

    A vector that was computed from fresh watches is kept until the user has others.
    """

    def __init__(self, recommender: Recommender) -> None:
        export = recommender.export
        self._askers, self._users, self._items = recommender.askers, export.users, export.items
        self._histories = export.histories
        self._keep = not export.manifest.model.time_gaps  # else a vector depends on when it is asked for
        self._kept: OrderedDict[str, _Remembered] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, user_id: str, fresh: Fresh, context: UserContext | None, now: int) -> Asker:
        """Somebody with an id.

        Args:
            fresh: what the store of fresh watches knows.
            context: what the request tells; None where it tells nothing.
            now: seconds since 1970.
        """
        if context is None and not fresh.watches and fresh.erased is None:
            return self._askers.stored(self._users.number(user_id))
        kept = self._kept.get(user_id) if context is None else None
        if kept is not None and kept.fresh == fresh:
            return kept.asker
        asker = self._askers.ask(self._users.number(user_id), self.news(fresh, context), now)
        if context is None and self._keep:
            with self._lock:
                self._kept[user_id] = _Remembered(fresh, asker)
                self._kept.move_to_end(user_id)
                if len(self._kept) > REMEMBERED:
                    self._kept.popitem(last=False)
        return asker

    def stored_watches(self, user_id: str, fresh: Fresh) -> list[tuple[str, int]]:
        """Item ids and times of a user's stored watches, the oldest first; none of somebody who was erased since."""
        user = self._askers.unless_erased(self._users.number(user_id), fresh.erased)
        items, times = self._histories[user], self._histories.times_of(user)
        return list(zip(self._items.ids(items), times.tolist(), strict=True))

    def news(self, fresh: Fresh, context: UserContext | None = None) -> News:
        """Fresh watches with item numbers in place of ids."""
        if not fresh.watches:
            return News(NO_ITEMS, NO_TIMES, (), context, fresh.erased)
        ids, times = zip(*fresh.watches, strict=True)
        return News(self._items.numbers(ids), np.array(times, np.int64), (), context, fresh.erased)
