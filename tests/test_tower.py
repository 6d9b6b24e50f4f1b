"""The numpy tower that serves equals the TensorFlow network that was trained, and both equal sums done by hand."""

from itertools import product

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from model.batches import BatchBuilder
from model.network import Network
from watchnext.catalogue import USER_SCHEMA
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.features import FeatureSpec, UserContext
from watchnext.histories import Histories
from watchnext.tower import UserTower, lag_weights

USERS = pa.table(
    [
        pa.array([None, "NO", "NO", "PT", None], pa.large_string()),
        pa.array([None, "tv", "phone", None, "tv"], pa.large_string()),
        pa.array([None, 20, 40, 60, None], pa.float32()),
        pa.array([None, "f", "Male", "other", None], pa.large_string()),
    ],
    schema=USER_SCHEMA,
)

CONFIGS = [
    ModelConfig(dim=8, tower=(16, 8), history=5, encoder=encoder, residual=residual, similarity=similarity, **more)
    for (encoder, residual), (similarity, more) in product(
        [("mean", False), ("decay", True)],
        [("cosine", {"tied": True}), ("dot", {"tied": False, "bias": True, "output_relu": True})],
    )
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.encoder}-{c.similarity}")
@pytest.mark.parametrize("with_context", [True, False])
def test_numpy_equals_tensorflow_at_every_position(config: ModelConfig, with_context: bool) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, 30, n).tolist() for n in (3, 200, 7, 1)]
    histories = Histories.of(rows)
    features = FeatureSpec.fit(USERS) if with_context else FeatureSpec()
    context = features.encode_table(USERS)
    network = Network(config, features, 29, seed=4)
    for variable in network.variables().values():
        variable.assign(tf.random.normal(variable.shape, stddev=0.5, seed=5))
    tower = network.tower()
    builder = BatchBuilder.of(histories, histories.lengths, config, TrainingConfig(batch_examples=256))
    compared = 0
    for batch in builder.epoch(0).batches():
        x = tf.gather(network.watched_table, batch.watched) * tf.cast(batch.segment > 0, tf.float32)[..., None]
        batch_context = {n: v[batch.user] for n, v in context._asdict().items()} if with_context else {}
        got = network.user_vectors(network.dense, x, batch.segment, batch_context).numpy()
        for place in np.flatnonzero(batch.weight):
            user, label = int(batch.user.flat[place]), int(batch.label.flat[place])
            row, t = divmod(int(place), batch.watched.shape[1])
            same = batch.segment[row] == batch.segment[row, t]
            prefix = batch.watched[row, : t + 1][same[: t + 1]]
            alone = tower.user_vectors([prefix], context.rows(np.array([user], np.int32)) if with_context else None)
            assert got[place] == pytest.approx(alone[0, : config.dim], abs=1e-5)
            assert label in rows[user - 1]
            compared += 1
    assert compared == 2 + 199 + 6


def test_encoder_by_hand() -> None:
    # One dimension, no hidden layer, output = sum of the state's parts.
    config = ModelConfig(dim=1, decays=(0.5,), history=3, tower=(), residual=False, similarity="dot")
    weights = {"kernel_out": np.array([[1.0], [10.0]], np.float32), "bias_out": np.zeros(1, np.float32)}
    watched = np.array([[7], [1], [2], [4], [8]], np.float32)
    tower = UserTower(config, FeatureSpec(), watched, weights)
    histories = [np.array(h, np.int32) for h in ([1, 2, 3, 4], [3], [])]
    got = tower.user_vectors(histories)[:, 0]
    decayed = (8 + 4 / 2 + 2 / 4) / (1 + 1 / 2 + 1 / 4)
    assert got == pytest.approx([decayed + 80, 4 + 40, 0])


def test_mean_encoder_weighs_the_last_watches_alike() -> None:
    assert lag_weights(ModelConfig(encoder="mean", history=3)).tolist() == [[1, 1, 1]]


def test_a_bias_is_one_more_dimension_whose_dot_product_adds_it() -> None:
    config = ModelConfig(dim=4, tower=(), bias=True, history=2)
    network = Network(config, FeatureSpec(), 6, seed=0)
    plain = network.item_vectors()
    network.tables["item_bias"].assign(tf.range(7.0)[:, None])
    users = network.tower().user_vectors([np.array([1, 2], np.int32)])
    assert users.shape == (1, 5)
    assert (users @ network.item_vectors().T - users @ plain.T)[0] == pytest.approx(np.arange(7))


def test_context_features_by_hand() -> None:
    spec = FeatureSpec.fit(USERS)
    assert spec.countries == ("NO", "PT")
    assert spec.devices == ("tv", "phone")
    arrays = spec.encode([UserContext("PT", "tv", 30, "F"), UserContext("XX", None, None, None), UserContext(age=99)])
    assert arrays.country.tolist() == [2, 0, 0]
    assert arrays.device.tolist() == [1, 0, 0]
    # 30 is half-way from the youngest (20) to the median (40): quantile 1/4
    assert arrays.reals[0] == pytest.approx([1, 0.25, 0.0625, 0.5, 0])
    assert arrays.reals[1] == pytest.approx([0, 0, 0, 0, 0.5])
    assert arrays.reals[2] == pytest.approx([1, 1, 1, 1, 0.5])
    assert FeatureSpec.fit(USERS.slice(0, 1)).empty
