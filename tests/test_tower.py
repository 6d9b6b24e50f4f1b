"""The numpy tower that serves equals the TensorFlow network that was trained, and both equal sums done by hand."""

from itertools import product
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from model.batches import Batch, BatchBuilder
from model.network import CONTEXT_DIM, Network
from model.prepare import Preparer
from model.sampler import NegativeSampler
from watchnext.catalogue import USER_SCHEMA
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.encoders import lag_weights
from watchnext.features import POWERS, REALS, FeatureSpec, Float32, UserContext
from watchnext.histories import Histories
from watchnext.inputs import user_inputs
from watchnext.tower import ACTIVATIONS, UserTower

USERS = pa.table(
    [
        pa.array([None, "NO", "NO", "PT", None], pa.large_string()),
        pa.array([None, "tv", "phone", None, "tv"], pa.large_string()),
        pa.array([None, 20, 40, 60, None], pa.float32()),
        pa.array([None, "f", "Male", "other", None], pa.large_string()),
        pa.array([None, True, False, None, True], pa.bool_()),
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
CONFIGS += [
    ModelConfig(dim=8, tower=(16, 8), history=5, activation="linear"),
    ModelConfig(dim=8, tower=(16, 8), history=5, activation="sigmoid"),
    ModelConfig(dim=8, tower=(16,), history=5, encoder="decay", learned_decays=True),
    ModelConfig(dim=8, tower=(16,), history=5, encoder="attention", learned_decays=True),
    ModelConfig(dim=8, tower=(16,), history=5, encoder="attention", time_gaps=True),
    ModelConfig(dim=8, tower=(16,), history=5, encoder="decay", time_gaps=True),
    ModelConfig(dim=8, tower=(16,), history=6, encoder="attention", attention_heads=1, attention_blocks=2),
    ModelConfig(
        dim=8, tower=(16,), history=50, encoder="attention", attention_heads=4, attention_blocks=2, decays=()
    ),
]


SEARCHES = Histories.of([[1, 2, 3], [4] * 70 + [2, 1], [], [7]], [[1, 1, 90], [*range(72)], [], [0]])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.encoder}-{c.similarity}-{c.activation}")
@pytest.mark.parametrize("everything", [True, False])
def test_numpy_equals_tensorflow_for_every_example(config: ModelConfig, everything: bool) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, 30, n).tolist() for n in (3, 200, 7, 1)]
    histories = Histories.of(
        rows, [np.cumsum(rng.integers(0, 2 ** rng.integers(0, 20), len(r))).tolist() for r in rows]
    )
    config = config.model_copy(update={"example_age": everything})
    features = FeatureSpec.fit(USERS, 7, histories.times) if everything else FeatureSpec()
    inputs = user_inputs(features, histories, USERS, SEARCHES if everything else None)
    network = Network(config, features, 29, seed=4)
    for variable in network.variables().values():
        variable.assign(tf.random.normal(variable.shape, stddev=0.5, seed=5))
    tower = network.tower()
    training = TrainingConfig(batch_examples=256)
    builder = BatchBuilder.of(histories, histories.lengths, config, training)
    preparer = Preparer(NegativeSampler.of(np.ones(30, np.int64), training), config, features, inputs)
    compared = 0
    for batch in builder.epoch(0).batches():
        got = every_example(network, preparer, batch)
        for place in np.flatnonzero(batch.weight):
            user = np.array([batch.user[place]], np.int32)
            end = batch.place[place] - histories.offsets[user]
            alone = tower.user_vectors(*inputs.at(user, end))
            assert got[place] == pytest.approx(alone[0, : config.dim], abs=1e-5)
            compared += 1
    assert compared == 2 + 199 + 6


def every_example(network: Network, preparer: Preparer, batch: Batch) -> Float32:
    """What training computes for all examples of a batch."""
    x = tf.gather(network.tables[network.watched], batch.watched)
    context: dict[str, Any] = dict(preparer.context(batch))
    if "search" in network.tables:
        bags = preparer.searches(batch)
        context["search"] = bags.weights @ tf.gather(network.tables["search"], bags.tokens)
    gaps = preparer.gaps(batch) if network.config.time_gaps else None
    state = tf.gather(network.states(network.dense, x, batch.depth, gaps=gaps), batch.position)
    vectors: Float32 = network.user_vectors(network.dense, state, context).numpy()
    return vectors


def test_every_feature_is_a_switch() -> None:
    features = FeatureSpec.fit(USERS, 7, np.array([5, 9]))
    off = ModelConfig(dim=4, context=False, searches=False, example_age=False)
    on = off.model_copy(update={"context": True, "searches": True, "example_age": True})
    few, many = (Network(config, features, 5, seed=0) for config in (off, on))
    assert set(many.variables()) - set(few.variables()) == {"table/search", "dense/country", "dense/device"}
    widths = [network.dense["kernel_0"].shape[0] for network in (few, many)]
    assert widths[1] - widths[0] == 4 + 2 * CONTEXT_DIM + REALS + POWERS


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        ("relu", [0, 0, 0, 3, 200]),
        ("linear", [-200, -1, 0, 3, 200]),
        ("sigmoid", [0, 1 / (1 + np.e), 0.5, 1 / (1 + np.e**-3), 1]),
    ],
)
def test_activations_by_hand(activation: Literal["relu", "linear", "sigmoid"], wanted: list[float]) -> None:
    config = ModelConfig(
        dim=1, encoder="mean", history=1, tower=(1,), activation=activation, residual=False, similarity="dot"
    )
    one, none = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    weights: dict[str, Float32] = {"kernel_0": one, "bias_0": none, "kernel_out": one, "bias_out": none}
    tower = UserTower(config, FeatureSpec(), np.array([[0], [-200], [-1], [0], [3], [200]], np.float32), weights)
    got = tower.user_vectors([np.array([number], np.int32) for number in range(1, 6)])[:, 0]
    assert got == pytest.approx(wanted)


@pytest.mark.parametrize(("activation", "kept"), [("relu", 1), ("linear", 1), ("sigmoid", 1 / 16)])
def test_hidden_layers_start_with_the_size_of_what_they_are_given(
    activation: Literal["relu", "linear", "sigmoid"], kept: float
) -> None:
    """Mean squares stay, about the middle of a sigmoid times the square of its slope there, 1/4."""
    config = ModelConfig(dim=1000, encoder="mean", history=1, tower=(1000,), activation=activation, residual=False)
    kernel = Network(config, FeatureSpec(), 1, seed=0).dense["kernel_0"].numpy()
    given = np.random.default_rng(0).normal(size=(50, 1000)).astype(np.float32) * 0.1
    h = ACTIVATIONS[activation](given @ kernel) - (0.5 if activation == "sigmoid" else 0)
    assert (h**2).mean() / (given**2).mean() == pytest.approx(kept, rel=0.05)


def test_search_tokens_are_averaged_and_example_age_is_zero_unless_given_by_hand() -> None:
    config = ModelConfig(
        dim=1, encoder="mean", tower=(), residual=False, similarity="dot", search_tokens=2, example_age=True
    )
    features = FeatureSpec(search_tokens=3, example_age_quantiles=(0.0, 10.0), window_end=10)
    weights = {
        "kernel_out": np.array([[0], [1], [100], [1000], [10000]], np.float32),
        "bias_out": np.zeros(1, np.float32),
    }
    searched = np.array([[9], [1], [2], [4]], np.float32)
    tower = UserTower(config, features, np.zeros((2, 1), np.float32), weights, searched)
    nothing = [np.zeros(0, np.int32)] * 3
    tokens = [np.array(t, np.int32) for t in ([3, 1, 2], [3], [])]
    assert tower.user_vectors(nothing, tokens=tokens)[:, 0].tolist() == [1.5, 4, 0]
    aged = tower.user_vectors(nothing, example_age=np.array([0, 5, 99]))[:, 0]
    assert aged == pytest.approx([0, 50 + 250 + 10000 * 0.5**0.5, 11100])


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
    assert lag_weights(ModelConfig(encoder="mean", history=3), {}).tolist() == [[1, 1, 1]]


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
    arrays = spec.encode(
        [UserContext("PT", "tv", 30, "F", True), UserContext("XX", None, None, None), UserContext(age=99)]
    )
    assert arrays.country.tolist() == [2, 0, 0]
    assert arrays.device.tolist() == [1, 0, 0]
    # 30 is half-way from the youngest (20) to the median (40): quantile 1/4
    assert arrays.reals[0] == pytest.approx([1, 0.25, 0.0625, 0.5, 0, 1])
    assert arrays.reals[1] == pytest.approx([0, 0, 0, 0, 0.5, 0.5])
    assert arrays.reals[2] == pytest.approx([1, 1, 1, 1, 0.5, 0.5])
    assert not FeatureSpec.fit(USERS.slice(0, 1)).has_context
