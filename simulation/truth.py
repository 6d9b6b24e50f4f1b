"""What nobody can know of a real log: the true chance of every item to be the next watch.

Knows nothing of how sessions are drawn (`simulation/sessions.py`): it computes from the world's definition what the
draws there must follow, and tests compare the two.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simulation import words
from simulation.clock import SLOTS, START, slot_of
from simulation.hashing import Float64
from simulation.ids import ITEM, USER, rows_of
from simulation.items import same_series
from simulation.world import World
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64
from watchnext.vocabulary import Vocabulary

NONE = -1
"""In place of an item row: a session begins, there is no watch before."""
_BLOCK = 1 << 23
"""Probabilities computed at once by `Oracle`: 64 MiB of float64, and a few times that on the way."""


def probabilities(
    world: World,
    users: Int64,
    times: Int64,
    last_items: Int64 | None = None,
    queries: Sequence[str | None] | None = None,
) -> Float64:
    """[n, items] how probably a user watches each item at a time, given that something is watched then.

    It is conditioned on the user's interests at that time, on what has been uploaded and how fresh it is, and on:

    Args:
        users: [n] rows of the users table.
        times: [n] seconds since 1970, within the logged days.
        last_items: [n] the row of the item watched before in the same slot, which is the same session; -1 where a
            session begins. Left out: a session begins. Without the effect `order` it says nothing.
        queries: [n] the search just before this watch, None where there was none. Left out: whether and what was
            searched for is not known. Needs the effect `searches`.

    Raises UsageError for a time outside of the logged days, or for queries where nothing is searched for.
    """
    slots = slot_of(times)
    if len(slots) and not (slots.min() >= 0 and slots.max() < world.config.days * SLOTS):
        raise UsageError("times", "a time outside of the logged days", "Ask about a moment within the log.")
    if queries is not None and not world.config.searches:
        raise UsageError("queries", "searches in a world without them", "Leave them out.")
    last = np.full(len(users), NONE) if last_items is None else np.asarray(last_items)
    result = np.empty((len(users), len(world.items)))
    for day in np.unique(slots // SLOTS).tolist():
        rows = np.flatnonzero(slots // SLOTS == day)
        asked = None if queries is None else [queries[row] for row in rows.tolist()]
        result[rows] = _of_day(world, day, users[rows], slots[rows], last[rows], asked)
    return result


def _of_day(
    world: World, day: int, users: Int64, slots: Int64, last: Int64, queries: Sequence[str | None] | None
) -> Float64:
    weights = world.item_weights(day)
    kinds = _kinds(world, last, queries)
    topics = kinds.interest[:, None] * interest_shares(world, users, slots)  # [n, topics]
    topics += kinds.excursion[:, None] * world.topic_shares[world.users.group[users]]
    goes_on = np.flatnonzero(kinds.stays > 0)
    before = last[goes_on]
    has_next = same_series(world.items)[before] & (np.append(weights, 0.0)[before + 1] > 0)
    episode = kinds.stays[goes_on] * world.config.next_episode * has_next
    topics[goes_on, world.items.topic[before]] += kinds.stays[goes_on] - episode
    result = _items_of_topics(world, weights, users, topics)
    result[goes_on[has_next], before[has_next] + 1] += episode[has_next]
    if queries is not None:
        _restrict(world, result, queries)
    return result


class _Kinds(NamedTuple):
    """[n] chances of the three ways in which a watch comes about."""

    stays: Float64
    interest: Float64
    excursion: Float64


def _kinds(world: World, last: Int64, queries: Sequence[str | None] | None) -> _Kinds:
    config = world.config
    stays = np.where(last != NONE, config.stickiness if config.order else 0.0, 0.0)
    table = np.stack([stays, (1 - stays) * (1 - config.excursions), (1 - stays) * config.excursions])
    if queries is not None:  # by Bayes' rule; only a run begins with a search
        searched = np.array([query is not None for query in queries], np.bool_)
        chance = np.array([[0.0], [config.search_interest], [config.search_excursion]])
        table *= np.where(searched, chance, 1 - chance)
        table /= table.sum(0)
    return _Kinds(*table)


def interest_shares(world: World, users: Int64, slots: Int64) -> Float64:
    """[n, topics] how users' interests share themselves among topics in slots; excursions are not counted."""
    shares = np.zeros((len(users), world.config.topics))
    rows = np.arange(len(users))
    for interest, share in enumerate(world.config.interests):
        shares[rows, world.interest_topics(users, np.array([interest]), slots)] += share
    return shares


def _items_of_topics(world: World, weights: Float64, users: Int64, topics: Float64) -> Float64:
    """[n, items] chances of items from chances of topics, on a day with these item weights."""
    homes = world.items.homes
    cells = np.bincount(world.items.cell, weights, world.config.topics * homes).reshape(-1, homes)  # [topics, homes]
    rate = np.repeat((topics / cells.sum(1))[:, :, None], homes, 2)  # [n, topics, homes] chance of a unit of weight
    if world.config.demographics:
        rows, home = np.arange(len(users)), 1 + world.users.country[users]
        mass = cells[:, home].T  # [n, topics] of what was made at home
        share = np.where(mass > 0, world.config.home_share, 0.0)
        rate *= (1 - share)[:, :, None]
        rate[rows, :, home] += topics * np.divide(share, mass, out=np.zeros_like(mass), where=mass > 0)
    result: Float64 = rate.reshape(len(users), -1)[:, world.items.cell] * weights
    return result


def _restrict(world: World, chances: Float64, queries: Sequence[str | None]) -> None:
    """Set items that a query cannot have led to zero, in place, and scale the rest to sum to 1."""
    for row, query in enumerate(queries):
        if query is None:
            continue
        topic, series = words.meaning(query)
        named = world.items.series == series if series >= 0 else world.items.topic == topic
        chances[row, ~named] = 0
        chances[row] /= chances[row].sum()


class Oracle:
    """The best possible recommender: a scorer (`evaluation/scorers.py`) that knows the true probabilities.

    It is asked at the moment of the watch at position `end` of a history. The watch before counts as the last of the
    session if it is in the same slot. What it gives is the distribution of that watch, not of later ones.

    Args:
        histories, items, users: of a corpus made from this world.
        searches: columns user, query and time (`searches/*.parquet`); without it the oracle does not know the
            searches, and a model that does can be better.

    Raises UsageError if an id is not of this world.
    """

    def __init__(
        self,
        world: World,
        histories: Histories,
        items: Vocabulary,
        users: Vocabulary,
        searches: pa.Table | None = None,
    ) -> None:
        self.world, self.histories = world, histories
        self._items = _rows(items, ITEM, len(world.items))
        self._users = _rows(users, USER, len(world.users))
        self._searches = None if searches is None else _Searches.of(searches, len(world.users))

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] probabilities. Raises UsageError where a user has no watch at position `end`."""
        if np.any(ends >= self.histories.lengths[users]):
            raise UsageError("ends", "the end of a history", "Ask about positions that are held out.")
        result = np.full((len(users), len(self._items)), -np.inf, np.float32)
        step = max(1, _BLOCK // len(self.world.items))
        for start in range(0, len(users), step):
            block = slice(start, start + step)
            result[block, 1:] = self._probabilities(users[block], ends[block])[:, self._items[1:]]
        return result

    def _probabilities(self, users: Int32, ends: Int64) -> Float64:
        at = self.histories.offsets[users] + ends
        times = self.histories.times[at].astype(np.int64)
        before = np.where(ends > 0, self.histories.times[at - 1], START - 1)
        goes_on = slot_of(before) == slot_of(times)
        last = np.where(goes_on, self._items[self.histories.items[at - 1]], NONE)
        rows = self._users[users]
        queries = None if self._searches is None else self._searches.between(rows, before, times)
        return probabilities(self.world, rows, times, last, queries)


def _rows(vocabulary: Vocabulary, prefix: str, count: int) -> Int64:
    """[len + 1] the world's row of each number; number 0 has none."""
    ids = vocabulary.ids(np.arange(1, len(vocabulary) + 1))
    return np.concatenate([[NONE], rows_of(ids, prefix, count)])


class _Searches(NamedTuple):
    """All searches in the order of `key`: user row and time in one number."""

    key: Int64
    query: pa.Array

    @classmethod
    def of(cls, table: pa.Table, users: int) -> Self:
        rows = rows_of(table.column("user").to_pylist(), USER, users)
        key = _key(rows, table.column("time").to_numpy())
        order = np.argsort(key)
        return cls(key[order], table.column("query").take(pa.array(order)).combine_chunks())

    def between(self, users: Int64, after: Int64, until: Int64) -> list[str | None]:
        """[n] the last search of each user after one time and before another, None where there is none."""
        found = np.searchsorted(self.key, _key(users, until)) - 1
        there = found >= 0
        there[there] = self.key[found[there]] > _key(users, after)[there]
        queries: list[str | None] = pc.take(self.query, pa.array(found, mask=~there)).to_pylist()
        return queries


def _key(users: Int64, times: Int64) -> Int64:
    return users * (1 << 34) + times
