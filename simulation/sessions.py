"""What happens in one slot: who has a session, what is watched in it, how far, and what was searched for before.

Arrays for all users at once. Draws depend on (seed, slot) alone, so slots can be made in any order, by any process.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from simulation import words
from simulation.clock import SLOT, SLOTS, START
from simulation.hashing import Float64
from simulation.items import same_series
from simulation.users import LONGEST_SESSION
from simulation.world import World
from watchnext.catalogue import row_numbers
from watchnext.features import Float32
from watchnext.histories import Int64

Bool = NDArray[np.bool_]

LATEST_START = 3_600
"""Seconds into its slot at which a session begins at the latest."""
GAPS = (120, 600)
"""Seconds between the watches of a session, the same throughout it. 30 watches end before the slot does."""
SEARCH_LEAD = (5, 60)
"""Seconds from a search to the watch that it leads to."""


@dataclass(frozen=True)
class Shelf:
    """What can be watched on one day, and how likely each item is picked within its topic.

    Args:
        day: number of the day.
        ladder: [items + 1] cumulative weights of the items before each.
        steps: [cells + 1] the same, at the borders of cells.
        follows: [items] whether the next row is the next episode and has been uploaded.
    """

    day: int
    ladder: Float64
    steps: Float64
    follows: Bool

    @classmethod
    def of(cls, world: World, day: int) -> Self:
        """The shelf of a day."""
        weights = world.item_weights(day)
        ladder = np.concatenate([[0.0], np.cumsum(weights)])
        follows = same_series(world.items)
        follows[:-1] &= weights[1:] > 0
        return cls(day, ladder, ladder[world.items.cell_offsets], follows)

    def draw(self, world: World, topics: Int64, users: Int64, rng: np.random.Generator) -> Int64:
        """[draws] an item of each topic for each user, by weight; `home_share` of them made in the user's country.

        A home cell in which nothing has been uploaded yet counts as absent, its share goes to the whole topic.
        """
        homes = world.items.homes
        first = topics * homes
        low, high = self.steps[first], self.steps[first + homes]
        if world.config.demographics:
            home = first + 1 + world.users.country[users]
            home_low, home_high = self.steps[home], self.steps[home + 1]
            at_home = (rng.random(len(topics)) < world.config.home_share) & (home_high > home_low)
            low, high = np.where(at_home, home_low, low), np.where(at_home, home_high, high)
        target = np.minimum(low + (high - low) * rng.random(len(topics)), np.nextafter(high, 0))
        return np.searchsorted(self.ladder, target, side="right") - 1


@dataclass(frozen=True)
class Runs:
    """Stretches of watches on one topic.

    Args:
        first: [runs] position of the first watch among the slot's watches.
        user: [runs] user rows.
        topic: [runs] what it is about.
        excursion: [runs] whether that is none of the user's interests.
        of: [watches] the run of each watch.
    """

    first: Int64
    user: Int64
    topic: Int64
    excursion: Bool
    of: Int64


@dataclass(frozen=True)
class SlotLog:
    """The watches and searches of one slot, ordered by user, then time.

    Args:
        users, items: [watches] rows.
        times: [watches] seconds since 1970.
        fractions: [watches] how much of the item was watched, from 0 to 1.
        searches: user (row), query and time of each search.
    """

    users: Int64
    items: Int64
    times: Int64
    fractions: Float32
    searches: pa.Table


def draw_slot(world: World, shelf: Shelf, slot: int) -> SlotLog:
    """Everything that is logged in a slot of the shelf's day."""
    config = world.config
    rng = np.random.default_rng([config.seed, 4, slot])
    present = np.flatnonzero(rng.random(len(world.users), np.float32) < world.users.session_chance)
    lengths = np.minimum(rng.geometric(1 / config.session_watches, len(present)), LONGEST_SESSION)
    starts = np.cumsum(lengths) - lengths  # [sessions]
    session = np.repeat(np.arange(len(present)), lengths)  # [watches]
    position = np.arange(len(session)) - starts[session]
    users = present[session]
    begin = START + slot * SLOT + rng.integers(SEARCH_LEAD[1], LATEST_START, len(present))
    times = begin[session] + position * rng.integers(*GAPS, len(present), endpoint=True)[session]
    runs = _runs(world, slot, users, position, rng)
    items = shelf.draw(world, runs.topic[runs.of], users, rng)
    if config.order:
        _follow_series(items, shelf, runs, starts, lengths, rng.random(len(items)) < config.next_episode)
    fractions = _fractions(world, runs, rng)
    return SlotLog(users, items, times, fractions, _searches(world, runs, items, times, rng))


def _runs(world: World, slot: int, users: Int64, position: Int64, rng: np.random.Generator) -> Runs:
    config = world.config
    begins = position == 0
    begins |= (rng.random(len(users)) >= config.stickiness) if config.order else True
    first = np.flatnonzero(begins)
    user = users[first]
    excursion = rng.random(len(first)) < config.excursions
    ladder = np.cumsum(config.interests)
    interest = np.minimum(np.searchsorted(ladder, rng.random(len(first)), side="right"), len(ladder) - 1)
    topic = np.where(
        excursion,
        world.topics_at(user, rng.random(len(first))),
        world.interest_topics(user, interest, np.array([slot])),
    )
    return Runs(first, user, topic, excursion, np.cumsum(begins) - 1)


def _follow_series(items: Int64, shelf: Shelf, runs: Runs, starts: Int64, lengths: Int64, wanted: Bool) -> None:
    """Replace items by the next episode of the one before, in place, where that is wanted and there is one."""
    wanted[runs.first] = False
    for position in range(1, int(lengths.max(initial=0))):
        at = starts[lengths > position] + position
        at = at[wanted[at]]
        before = items[at - 1]
        items[at] = np.where(shelf.follows[before], before + 1, items[at])


def _fractions(world: World, runs: Runs, rng: np.random.Generator) -> Float32:
    """[watches] Beta(3, 1) on interests, Beta(1, 3) on excursions; without the effect, the same mix for both."""
    excursion = runs.excursion[runs.of]
    if not world.config.fractions:
        excursion = rng.random(len(excursion)) < world.config.excursions
    high = np.cbrt(rng.random(len(excursion), np.float32))
    fractions: Float32 = np.where(excursion, 1 - high, high)
    return fractions


def _searches(world: World, runs: Runs, items: Int64, times: Int64, rng: np.random.Generator) -> pa.Table:
    """The searches with which runs begin: up to three words of the topic, or the name of the series and a word."""
    config = world.config
    chance = np.where(runs.excursion, config.search_excursion, config.search_interest)
    searched = np.flatnonzero(rng.random(len(chance)) < chance) if config.searches else np.array([], np.int64)
    watch = runs.first[searched]
    item = items[watch]
    n = len(item)
    by_name = rng.random(n) < config.search_series
    shown = rng.integers(1, 4, n) > np.array([[0], [1], [2]])  # [3, searches]
    which = rng.integers(0, words.WORDS_PER_TOPIC, (3, n))
    topic = world.items.topic[item]
    texts = [_shown(words.topic_words(topic, column), keep) for column, keep in zip(which, shown, strict=True)]
    name = words.words(world.items.series[item], words.SERIES)
    texts[0] = pc.if_else(pa.array(by_name), name, texts[0])
    texts[2] = _shown(texts[2], ~by_name)
    query = pc.binary_join_element_wise(*texts, pa.scalar(" ", pa.large_string()), null_handling="skip")
    lead = rng.integers(*SEARCH_LEAD, n, endpoint=True)
    return pa.table({"user": row_numbers(runs.user[searched]), "query": query, "time": times[watch] - lead})


def _shown(texts: pa.Array, keep: Bool) -> pa.Array:
    return pc.if_else(pa.array(keep), texts, pa.scalar(None, pa.large_string()))


def slots_of(day: int) -> range:
    """The four slots of a day."""
    return range(day * SLOTS, (day + 1) * SLOTS)
