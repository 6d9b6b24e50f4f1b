"""Vectors to search: of an export, or made up with lengths that differ; and the exact answers to some queries."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from benchmarks._rivals.search import Array, K
from watchnext.export import Export
from watchnext.features import Float32

DIM, SPREAD = 64, 0.5
"""Of made-up vectors; the standard deviation of the logarithms of their lengths."""
_CHUNK = 1 << 18
_TOLERANCE = 1e-5
"""Scores that differ by less than this share of the best are equal."""


@dataclass(frozen=True)
class Vectors:
    """A folder as `benchmarks._rivals.search` wants it.

    Args:
        name: for tables.
        folder: has the files.
        items: how many items there are.
        dim: of the vectors.
    """

    name: str
    folder: Path
    items: int
    dim: int


def from_export(path: Path, folder: Path, judged: int) -> Vectors:
    """The trained items of an export, and its users in random order: so many judge, the others are known."""
    export = Export.open(path)
    items = np.asarray(export.item_vectors)[1:]
    items = items[items.any(axis=1)]
    users = np.asarray(export.user_vectors)[1:]
    users = np.random.default_rng(0).permutation(users[users.any(axis=1)])
    vectors = _create(folder, *items.shape)
    vectors[1:] = items
    return _finish(path.name, folder, vectors, users, min(judged, len(users) // 2))


def synthetic(items: int, folder: Path, judged: int, known: int = 4000) -> Vectors:
    """Items around centres, the more popular of which have more of them, with log-normal lengths; users likewise."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(20, round(np.sqrt(items) / 2)), DIM), np.float32)
    weights = 1 / np.arange(1, len(centres) + 1)
    weights /= weights.sum()

    def around(rows: int) -> Float32:
        made = centres[rng.choice(len(centres), rows, p=weights)]
        made += 0.7 * rng.standard_normal(made.shape, np.float32)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        found: Float32 = made
        return found

    vectors = _create(folder, items, DIM)
    for start in range(1, items + 1, _CHUNK):
        rows = vectors[start : start + _CHUNK]
        rows[:] = around(len(rows)) * rng.lognormal(0, SPREAD, (len(rows), 1)).astype(np.float32)
    return _finish(f"synthetic {items:,}", folder, vectors, around(judged + known), judged)


def _create(folder: Path, items: int, dim: int) -> Array:
    vectors = open_memmap(folder / "vectors.npy", "w+", np.float32, (items + 1, dim))
    vectors[0] = 0
    return vectors


def _finish(name: str, folder: Path, vectors: Array, users: Float32, judged: int) -> Vectors:
    np.save(folder / "judged.npy", users[:judged])
    np.save(folder / "known.npy", users[judged:])
    np.save(folder / "least.npy", least_of_best(vectors, users[:judged]))
    return Vectors(name, folder, len(vectors) - 1, vectors.shape[1])


def least_of_best(vectors: Array, queries: Float32) -> Float32:
    """[queries] the score that an item needs to be among the 50 best of a query, less what rounding may change.

    Args:
        vectors: [items + 1, dim]; row 0 is no item.
        queries: [queries, dim].
    """
    best = np.full((len(queries), K), -np.inf, np.float32)
    block = max(1, (1 << 27) // max(1, len(queries)))
    for start in range(1, len(vectors), block):
        scores = np.concatenate([best, queries @ vectors[start : start + block].T], axis=1)
        best = np.partition(scores, -K, axis=1)[:, -K:]
    least: Float32 = best.min(axis=1) - _TOLERANCE * np.abs(best).max(axis=1)
    return least
