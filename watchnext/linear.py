"""Exports without a network: a user's vector is a mean of the vectors of the last watches.

For vectors that were learned without a tower, as word2vec's, or elsewhere. The configuration describes a tower of no
layers, with the identity for its weights, so that whatever reads exports computes the mean without a case of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pyarrow as pa

from watchnext.catalogue import USER_SCHEMA, Catalogue, empty_table
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.encoders import parts
from watchnext.export import Export, ExportManifest, user_vectors
from watchnext.features import FeatureSpec, Float32
from watchnext.histories import Histories
from watchnext.inputs import user_inputs
from watchnext.tower import UserTower
from watchnext.vocabulary import Vocabulary


class Log(Protocol):
    """What an export keeps of a log; a corpus is one."""

    @property
    def items(self) -> Vocabulary:
        """Ids of items."""

    @property
    def users(self) -> Vocabulary:
        """Ids of users."""

    @property
    def catalogue(self) -> Catalogue:
        """What is known about items."""

    @property
    def user_table(self) -> pa.Table:
        """What is known about users, `catalogue.USER_SCHEMA`."""

    @property
    def histories(self) -> Histories:
        """Who watched what."""


@dataclass(frozen=True)
class NoLog:
    """Items of which nothing is known but their ids, and no users."""

    items: Vocabulary
    users: Vocabulary = field(default_factory=lambda: Vocabulary([]))
    histories: Histories = field(default_factory=lambda: Histories.of([]))
    user_table: pa.Table = field(default_factory=lambda: empty_table(USER_SCHEMA, 0))

    @property
    def catalogue(self) -> Catalogue:
        """Nothing, for each item."""
        return Catalogue.empty(len(self.items))


def linear_weights(model: ModelConfig) -> dict[str, Float32]:
    """The weights of such a tower: the first part of the encoder's state is the user vector."""
    return {
        "kernel_out": np.eye(parts(model) * model.dim, model.dim, dtype=np.float32),
        "bias_out": np.zeros(model.dim, np.float32),
    }


def linear_export(
    log: Log,
    model: ModelConfig,
    item_vectors: Float32,
    watched_vectors: Float32,
    track: Callable[[range], Iterable[int]] = lambda blocks: blocks,
) -> Export:
    """An export of vectors, with the means of `watched_vectors` as the vectors of users.

    Args:
        log: whose ids, tables and histories.
        model: from `ModelConfig.linear`.
        item_vectors: [items + 1, dim] what users' vectors are multiplied with; 0 for row 0 and items without one.
        watched_vectors: [items + 1, dim] what is averaged, likewise.
        track: see `export.user_vectors`.
    """
    features = FeatureSpec()
    tower = UserTower(model, features, watched_vectors, linear_weights(model))
    manifest = ExportManifest(
        created=datetime.now(UTC),
        files={},
        items=len(log.items),
        users=len(log.users),
        dim=model.dim,
        model=model,
        training=TrainingConfig(),
        features=features,
        holdout="none",
        holdout_share=0.0,
        epochs=0,
        metrics={},
    )
    return Export(
        manifest=manifest,
        item_vectors=item_vectors,
        user_vectors=user_vectors(tower, user_inputs(features, log.histories, log.user_table), track),
        watched_vectors=watched_vectors,
        weights=tower.weights,
        item_counts=np.bincount(log.histories.items, minlength=len(log.items) + 1).astype(np.int64),
        items=log.items,
        users=log.users,
        catalogue=log.catalogue,
        user_table=log.user_table,
        histories=log.histories,
    )
