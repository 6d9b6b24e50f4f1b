"""The videos of a world: topic, home country, series, upload time, popularity."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from simulation import words
from simulation.clock import DAY, START
from simulation.config import WorldConfig
from simulation.hashing import Float64
from simulation.ids import ITEM, IdTable
from watchnext.catalogue import row_numbers
from watchnext.histories import Int32, Int64

INTERNATIONAL_SHARE = 0.4
"""Series that belong to no country; the others are spread over countries as users are."""


@dataclass(frozen=True)
class Items:
    """All items, ordered by cell; a cell is a topic together with a home country, or with none.

    Args:
        cell: [items] topic * (countries + 1) + home, where home 0 is international and home c + 1 is country c.
        cell_offsets: [cells + 1] cell k has the rows `cell_offsets[k]` to `cell_offsets[k + 1]`.
        series: [items] number of the series, rising; its items stand together, in the order of their uploads.
        uploaded: [items] seconds since 1970.
        popularity: [items] weight of an item beside those of the same topic, its age apart.
        homes: the number of homes, countries + 1.
    """

    cell: Int32
    cell_offsets: Int64
    series: Int32
    uploaded: Int64
    popularity: Float64
    homes: int

    def __len__(self) -> int:
        """The number of items."""
        return len(self.cell)

    @property
    def topic(self) -> Int32:
        """[items] topic of each."""
        return self.cell // np.int32(self.homes)


def power_law(size: int, exponent: float) -> Float64:
    """[size] shares of ranks 1 to `size`: rank^-exponent, scaled to sum to 1."""
    weights: Float64 = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    shares: Float64 = weights / weights.sum()
    return shares


def make_items(config: WorldConfig, topic_shares: Float64, country_shares: Float64) -> Items:
    """Make the items of a world.

    Args:
        topic_shares: [topics] share of series about each topic.
        country_shares: [countries] share of users in each country.
    """
    rng = np.random.default_rng([config.seed, 1])
    lengths = _series_lengths(config, rng)
    homes = config.countries + 1
    topic = rng.choice(config.topics, len(lengths), p=topic_shares)
    topic[: config.topics] = np.arange(config.topics)  # none is empty
    home_shares = [INTERNATIONAL_SHARE, *((1 - INTERNATIONAL_SHARE) * country_shares)]
    cell = topic * homes + rng.choice(homes, len(lengths), p=home_shares)
    order = np.argsort(cell, kind="stable")
    cell, lengths = np.repeat(cell[order], lengths[order]), lengths[order]
    series = np.repeat(np.arange(len(lengths)), lengths)
    exponent = config.popularity_exponent if config.long_tail else 0.0
    return Items(
        cell=cell.astype(np.int32),
        cell_offsets=np.searchsorted(cell, np.arange(config.topics * homes + 1)),
        series=series.astype(np.int32),
        uploaded=_uploads(config, cell // homes, series, rng),
        popularity=rng.permutation(power_law(config.items, exponent)),
        homes=homes,
    )


def _series_lengths(config: WorldConfig, rng: np.random.Generator) -> Int64:
    """Whole numbers from 1 to 2 * mean - 1, with equal chance, that sum to the number of items."""
    lengths = rng.integers(1, 2 * config.series_items, config.items)
    ends = np.cumsum(lengths)
    count = int(np.searchsorted(ends, config.items)) + 1
    lengths[count - 1] -= ends[count - 1] - config.items
    return lengths[:count]


def _uploads(config: WorldConfig, topic: Int64, series: Int64, rng: np.random.Generator) -> Int64:
    """Spread evenly over the days before the log and, with freshness, the log itself; sorted within a series."""
    first = START - config.catalogue_days * DAY
    last = START + (config.days * DAY if config.freshness else 0)
    times = rng.integers(first, last, len(series))
    times[np.searchsorted(topic, np.arange(config.topics))] = first  # every topic has something to watch
    key = np.sort((series << 32) + (times - first))  # a log is far shorter than 2^32 seconds
    uploaded: Int64 = first + (key & 0xFFFFFFFF)
    return uploaded


def item_table(items: Items) -> pa.Table:
    """Item, title (series, two words of the topic, episode), categories (the topic's name) and upload time."""
    rows = np.arange(len(items))
    which = np.random.default_rng(0).integers(0, words.WORDS_PER_TOPIC, (2, len(items)))
    starts = np.flatnonzero(np.diff(items.series, prepend=-1))
    episode = rows - starts[items.series] + 1
    title = pc.binary_join_element_wise(
        pc.utf8_capitalize(words.words(items.series, words.SERIES)),
        words.topic_words(items.topic, which[0]),
        words.topic_words(items.topic, which[1]),
        pa.array(episode).cast(pa.large_string()),
        pa.scalar(" ", pa.large_string()),
    )
    topics = int(items.topic[-1]) + 1
    names = words.words(np.arange(topics), words.TOPIC).take(row_numbers(items.topic.astype(np.int64)))
    categories = pa.LargeListArray.from_arrays(pa.array(np.arange(len(items) + 1)), names)
    item = IdTable(ITEM, len(items)).take(rows)
    return pa.table({"item": item, "title": title, "categories": categories, "uploaded": items.uploaded})


def same_series(items: Items) -> NDArray[np.bool_]:
    """[items] whether the item after it is the next episode of the same series."""
    return np.append(items.series[1:] == items.series[:-1], False)
