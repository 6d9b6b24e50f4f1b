"""A world of watches: popularity by a power law over the whole catalogue, whatever its size. Only numpy."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

USERS = 1000
WATCHES_PER_ITEM = 10
FLATTENED = 20
"""How many of the most popular items are about equally popular."""


class World(NamedTuple):
    """Watches of users 1, 2, ... one after the other.

    Args:
        items: [watches] item numbers from 1, in the order of popularity.
        lengths: [users] watches of each user, 2 to 200.
        counts: [items + 1] how often each item was watched in all the log that these users are a sample of.
    """

    items: NDArray[np.int32]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]


def make(items: int, users: int = USERS, seed: int = 0) -> World:
    """A sample of users; the n-th most popular item is watched in proportion to 1 / (n + 20)."""
    rng = np.random.default_rng(seed)
    share = 1.0 / (np.arange(1, items + 1) + FLATTENED)
    cumulated = np.cumsum(share / share.sum())
    lengths = rng.integers(2, 201, users)
    drawn = np.searchsorted(cumulated, rng.random(int(lengths.sum())), side="right")
    counts = np.ceil(WATCHES_PER_ITEM * items * share / share.sum())
    return World(
        np.minimum(drawn + 1, items).astype(np.int32),
        lengths,
        np.concatenate([[0], counts]).astype(np.int64),
    )


def examples(world: World, history: int, most: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The usual rows for training, one an example: the watches before it, padded with 0 at the end, and its label.

    Args:
        most: how many examples, the first ones.

    Returns [examples, history] and [examples] item numbers.

    >>> world = World(np.array([7, 8, 9, 5, 6], np.int32), np.array([3, 2]), np.zeros(10, np.int64))
    >>> [part.tolist() for part in examples(world, 2, 9)]
    [[[7, 0], [7, 8], [5, 0]], [8, 9, 6]]
    """
    starts = np.concatenate([[0], np.cumsum(world.lengths)[:-1]])
    within = np.arange(len(world.items)) - np.repeat(starts, world.lengths)
    label = np.flatnonzero(within > 0)[:most]
    first = label - np.minimum(within[label], history)
    places = first[:, None] + np.arange(history)
    seen = places < label[:, None]
    return np.where(seen, world.items[np.where(seen, places, 0)], 0).astype(np.int32), world.items[label]
