"""Tiny exports and releases, made of numpy arrays whose right answers are known by construction."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from index.build import IndexOptions, build_from_export
from index.publish import publish
from watchnext.catalogue import ITEM_SCHEMA, USER_SCHEMA, Catalogue, empty_table
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.export import Export, ExportManifest, write_export
from watchnext.features import FeatureSpec, Float32
from watchnext.histories import Histories
from watchnext.linear import NoLog, linear_export
from watchnext.release import ReleaseManifest, ReleaseStore
from watchnext.vocabulary import Vocabulary

ITEMS, USERS = 200, 40
"""Of the world of two groups."""


def make_export(
    item_vectors: Float32, user_vectors: Float32, watches: Sequence[Sequence[int]], titles: bool = False
) -> Export:
    """An export of vectors with their rows 0 and the watched items of users 1, 2, ...; ids are `i1` and `u1`."""
    items, users, dim = len(item_vectors) - 1, len(user_vectors) - 1, item_vectors.shape[1]
    catalogue = Catalogue.empty(items)
    if titles:
        named = pa.array([None, *(f"Video {n}" if n % 2 else None for n in range(1, items + 1))], pa.large_string())
        catalogue = Catalogue(catalogue.table.set_column(0, ITEM_SCHEMA.field(0), named))
    histories = Histories.of(watches)
    manifest = ExportManifest(
        created=datetime.now(UTC),
        files={},
        items=items,
        users=users,
        dim=dim,
        model=ModelConfig(dim=dim),
        training=TrainingConfig(),
        features=FeatureSpec(),
        holdout="none",
        holdout_share=0.1,
        epochs=1,
        metrics={"recall@50": 0.25},
    )
    return Export(
        manifest=manifest,
        item_vectors=item_vectors,
        user_vectors=user_vectors,
        watched_vectors=np.zeros((items + 1, dim), np.float32),
        weights={"w": np.zeros((dim, dim), np.float32)},
        item_counts=np.bincount(histories.items, minlength=items + 1).astype(np.int64),
        items=Vocabulary([f"i{n}" for n in range(1, items + 1)]),
        users=Vocabulary([f"u{n}" for n in range(1, users + 1)]),
        catalogue=catalogue,
        user_table=empty_table(USER_SCHEMA, users),
        histories=histories,
    )


def mean_world(
    item_vectors: Float32,
    watches: Mapping[str, Sequence[tuple[int, int]]],
    history: int = 50,
    decay: float | None = None,
    similarity: str = "dot",
    ids: Sequence[str] | None = None,
) -> Export:
    """An export without a network: a user's vector is the mean of the vectors of the last watches.

    Args:
        item_vectors: [items + 1, dim].
        watches: (item number, time) in time order, by user id.
        history: how many of the last watches count.
        decay: how much a watch weighs against the one after it; None weighs all alike.
        ids: [items] of items; None is `i1` and so on.
    """
    rows = [[item for item, _ in own] for own in watches.values()]
    log = NoLog(
        items=Vocabulary(ids or [f"i{n}" for n in range(1, len(item_vectors))]),
        users=Vocabulary(watches),
        histories=Histories.of(rows, [[time for _, time in own] for own in watches.values()]),
        user_table=empty_table(USER_SCHEMA, len(watches)),
    )
    model = ModelConfig.linear(item_vectors.shape[1], history, decay, similarity=similarity)
    return linear_export(log, model, item_vectors, item_vectors)


def two_groups() -> Export:
    """Users and items of odd numbers like each other, those of even numbers too; the groups' vectors are orthogonal.

    Within a group the score falls with the number: 1 - number / 1000. User u has watched the first (u + 1) // 2 items
    of the own group, so that u1 gets i3, i5, ..., and u4 gets i6, i8, .... Item 200 was never trained.
    """
    axes = np.eye(4, dtype=np.float32)
    item_vectors = np.array([(1 - n / 1000) * axes[n % 2] for n in range(ITEMS + 1)], np.float32)
    item_vectors[[0, ITEMS]] = 0
    user_vectors = np.array([axes[u % 2] for u in range(USERS + 1)], np.float32)
    user_vectors[0] = 0
    watches = [[2 * n + 2 - u % 2 for n in range((u + 1) // 2)] for u in range(1, USERS + 1)]
    return make_export(item_vectors, user_vectors, watches, titles=True)


def vectors(rows: int, dim: int, seed: int, skew: float = 0.0) -> Float32:
    """[rows + 1, dim] random vectors with a row 0 of zeros; lengths are log-normal of width `skew`."""
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(0, skew, (rows + 1, 1)) if skew else 1
    made = (rng.normal(size=(rows + 1, dim)) * lengths).astype(np.float32)
    made[0] = 0
    return made


def random_export(items: int, users: int, dim: int = 16, seed: int = 0) -> Export:
    """Random vectors; every user has watched 5 random items."""
    watches = np.random.default_rng(seed + 2).integers(1, items + 1, (users, 5)).tolist()
    return make_export(vectors(items, dim, seed), vectors(users, dim, seed + 1), watches)


def write_both(export: Export, folder: Path, options: IndexOptions | None = None) -> tuple[Path, Path]:
    """Write an export and its index below a folder; returns the two folders."""
    write_export(export, folder / "export")
    build_from_export(folder / "export", folder / "index", options or IndexOptions())
    return folder / "export", folder / "index"


def write_release(export: Export, folder: Path, name: str | None = None) -> tuple[ReleaseStore, ReleaseManifest]:
    """Publish an export into `folder/releases`."""
    store = ReleaseStore(folder / "releases")
    return store, publish(*write_both(export, folder), store, name)
