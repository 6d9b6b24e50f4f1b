"""Whoever asks: from what is stored and what is new of a user to a vector. Knows nothing of items to recommend.

The vector of somebody of whom nothing new is known is the stored one; else the tower computes it, in numpy, from the
stored history with the new watches merged in by time. It reads the last `ModelConfig.history` watches and no more, so
its cost does not grow with the history.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from watchnext.api.answers import Source
from watchnext.export import Export
from watchnext.features import ContextArrays, Float32, UserContext
from watchnext.histories import Int32, Int64
from watchnext.search_tokens import search_tokens
from watchnext.tower import uses_context

NO_ITEMS = np.zeros(0, np.int32)
NO_TIMES = np.zeros(0, np.int64)


class News(NamedTuple):
    """What a request or the store of fresh watches tells beside what is stored."""

    items: Int32 = NO_ITEMS
    """[watches] item numbers, 0 where the release does not know the item."""
    times: Int64 = NO_TIMES
    """[watches] seconds since 1970, never falling."""
    searches: Sequence[str] = ()
    """Texts of searches, the oldest first."""
    context: UserContext | None = None
    """Where and who the user is now; what is None there is taken from the users table."""
    erased: int | None = None
    """Seconds since 1970 until which the user is erased: nothing stored is read, but a history that begins later."""


class Asker(NamedTuple):
    """Whoever asks, as one release sees them."""

    vector: Float32 | None
    """[dim] the user vector; None where nothing is known that the model reads."""
    watched: Int32
    """Numbers of the items that must not be recommended."""
    source: Source
    """Where the vector comes from; of `popular` where there is none."""
    recent: Int32
    """[at most `history`] numbers of the last watched items, the last one last: what the vector comes from."""
    country: str | None = None
    """Where they are, where that is known."""


class Askers:
    """Finds the vectors of users in an export; all methods may be called from several threads at once."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._histories, self._window = export.histories, export.manifest.model.history
        self._vectors: Float32 = np.asarray(export.user_vectors)  # a view: rows of a memmap are slow to take
        self._items, self._offsets = np.asarray(export.histories.items), export.histories.offsets
        self._reads_context = uses_context(export.manifest.model, export.manifest.features)
        self._tower = export.tower()

    def stored(self, user: int) -> Asker:
        """A user by number, 0 for an unknown one, as training left them."""
        watched = self._items[self._offsets[user] : self._offsets[user + 1]]
        vector = self._vectors[user]
        if user and len(watched) and (vector.item(0) or vector.any()):  # `any` takes 3 us
            return Asker(vector, watched, "stored", watched[-self._window :])
        return self.ask(user, News(), 0)

    def ask(self, user: int, news: News, now: int) -> Asker:
        """A user by number, 0 for an unknown one, with what is new.

        Args:
            now: seconds since 1970, the moment of asking; read by models that know the time between watches.
        """
        user = self.unless_erased(user, news.erased)
        items, times = self._merged(user, news)
        stored = self._stored_context(user)
        context = _overridden(stored, news.context)
        tokens = self._tokens(user, news.searches)
        new = len(items) > self._offsets[user + 1] - self._offsets[user]
        changed = new or news.searches or (self._reads_context and context != stored)
        if len(items) and not changed:
            vector = self._vectors[user]
            source: Source = "stored"
        elif len(items) or (tokens is not None and len(tokens)):
            vector, source = self._vector(items, times, context, tokens, now), "fresh"
        elif self._reads_context and self._is_known(context):
            vector, source = self._vector(items, times, context, tokens, now), "context"
        else:
            vector, source = self._vectors[0][:0], "popular"
        if vector.any():
            return Asker(vector, items, source, items[-self._window :], context.country)
        return Asker(None, items, "popular", NO_ITEMS, context.country)

    def unless_erased(self, user: int, erased: int | None) -> int:
        """A user's number; 0 where what is stored is from before the user was erased, see `News.erased`."""
        if erased is None:
            return user
        times = self._histories.times_of(user)
        return user if len(times) and times[0] > erased else 0

    def _merged(self, user: int, news: News) -> tuple[Int32, Int64]:
        """The stored watches of a user with those new ones that are not among them, in time order."""
        items, times = self._histories[user], self._histories.times_of(user)
        known = news.items > 0
        fresh_items, fresh_times = news.items[known], news.times[known]
        if not len(fresh_items):
            return items, times
        if len(items) and fresh_times[0] <= times[-1]:  # watches that a later training has seen meanwhile
            since = np.searchsorted(times, fresh_times[0])
            stored = set(zip(items[since:].tolist(), times[since:].tolist(), strict=True))
            pairs = zip(fresh_items.tolist(), fresh_times.tolist(), strict=True)
            unseen = np.array([pair not in stored for pair in pairs], bool)
            fresh_items, fresh_times = fresh_items[unseen], fresh_times[unseen]
        all_items, all_times = np.concatenate([items, fresh_items]), np.concatenate([times, fresh_times])
        if len(items) and len(fresh_times) and fresh_times[0] < times[-1]:
            order = np.argsort(all_times, kind="stable")
            return all_items[order], all_times[order]
        return all_items, all_times

    def _tokens(self, user: int, searches: Sequence[str]) -> Int32 | None:
        """Numbers of search tokens, the stored ones first; None for a model without searches."""
        if self._export.searches is None or self._export.search_tokens is None:
            return None
        made = [token for text in searches for token in search_tokens(text)]
        numbers = self._export.search_tokens.numbers(made)
        return np.concatenate([self._export.searches[user], numbers[numbers > 0]])

    def _stored_context(self, user: int) -> UserContext:
        """What the users table says; nothing where neither the model nor the popular items of countries need it."""
        if not user or not (self._reads_context or self._export.manifest.features.countries):
            return UserContext()
        table = self._export.user_table
        return UserContext(**{name: table.column(name)[user].as_py() for name in table.column_names})

    def _is_known(self, context: UserContext) -> bool:
        """Whether a context tells the model anything."""
        encoded, unknown = self._encode(context), self._encode(UserContext())
        return any(not np.array_equal(a, b) for a, b in zip(encoded, unknown, strict=True))

    def _encode(self, context: UserContext) -> ContextArrays:
        return self._export.manifest.features.encode([context])

    def _vector(self, items: Int32, times: Int64, context: UserContext, tokens: Int32 | None, now: int) -> Float32:
        """[dim] what the tower makes of a history."""
        recent = slice(max(0, len(items) - self._window), None)
        vector: Float32 = self._tower.user_vectors(
            [items[recent]],
            self._encode(context) if self._reads_context else None,
            None if tokens is None else [tokens],
            times=[times[recent]],
            asked=np.array([now], np.int64),
        )[0]
        return vector


def _overridden(stored: UserContext, given: UserContext | None) -> UserContext:
    """What is stored of a user, replaced by what is given."""
    if given is None:
        return stored
    known = {name: value for name, value in vars(given).items() if value is not None}
    return replace(stored, **known)
