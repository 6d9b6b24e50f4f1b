"""Sampled softmax, negatives and optimizers against values computed by hand or by numpy."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.batches import BatchBuilder
from model.loss import sampled_softmax
from model.optimizer import slots, update
from model.prepare import Preparer
from model.sampler import NegativeSampler
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.errors import TrainingError
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs


def test_sampled_softmax_by_hand() -> None:
    # scores: positive 1·2 = 2, negatives 1·1 = 1 and 1·3 = 3; Q = 1/2, 1/4, 1/8
    users, positives = tf.constant([[1.0, 0.0]]), tf.constant([[2.0, 5.0]])
    negatives = tf.constant([[1.0, 9.0], [3.0, 9.0]])
    log_q = (tf.math.log([0.5]), tf.math.log([0.25, 0.125]))
    loss = sampled_softmax(users, positives, negatives, log_q, tf.zeros(1))
    p, a, b = math.exp(2) / 0.5, math.exp(1) / 0.25, math.exp(3) / 0.125
    assert loss.numpy()[0] == pytest.approx(-math.log(p / (p + a + b)), rel=1e-6)


def test_a_negative_that_is_the_true_item_is_left_out() -> None:
    users, positives = tf.constant([[1.0]]), tf.constant([[2.0]])
    negatives, log_q = tf.constant([[2.0], [1.0]]), (tf.zeros(1), tf.zeros(2))
    loss = sampled_softmax(users, positives, negatives, log_q, tf.ones(1))
    assert loss.numpy()[0] == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)


def masked(
    users: tf.Tensor, positives: tf.Tensor, negatives: tf.Tensor, log_q: tuple[tf.Tensor, tf.Tensor], hit: np.ndarray
) -> tf.Tensor:
    """The loss from its definition, with TensorFlow's own cross-entropy and a mask for the hits."""
    drawn = tf.where(hit, -1e30, users @ tf.transpose(negatives) - log_q[1])
    true = tf.reduce_sum(users * positives, 1, keepdims=True) - log_q[0][:, None]
    logits = tf.concat([true, drawn], 1)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.zeros(len(users), tf.int32), logits)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 5.0]))
@example(5389, 5.0)  # a negative 84 nats above the positive
def test_loss_and_gradient_are_those_of_the_definition_with_hits(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    table = tf.constant(rng.normal(0, scale, (6, 4)), tf.float32)
    users = tf.constant(rng.normal(0, scale, (5, 4)), tf.float32)
    label, drawn = rng.integers(0, 6, 5), rng.integers(0, 6, 8)
    q = rng.dirichlet(np.ones(6)).astype(np.float32) + 0.01
    log_q = (tf.math.log(q[label]), tf.math.log(q[drawn]))
    hit, weight = label[:, None] == drawn, tf.constant(rng.random(5), tf.float32)
    found = []
    for loss, hits in ((sampled_softmax, hit.sum(1).astype(np.float32)), (masked, hit)):
        with tf.GradientTape() as tape:
            tape.watch([users, table])
            losses = loss(users, tf.gather(table, label), tf.gather(table, drawn), log_q, hits)
            total = tf.reduce_sum(losses * weight)
        gradients = tape.gradient(total, [users, table])
        found.append([losses.numpy(), *(tf.convert_to_tensor(g).numpy() for g in gradients)])
    for got, wanted in zip(*found, strict=True):
        assert got == pytest.approx(wanted, rel=1e-4, abs=1e-4 * scale)


def test_large_scores_do_not_overflow() -> None:
    loss = sampled_softmax(
        tf.constant([[1.0]]),
        tf.constant([[500.0]]),
        tf.constant([[600.0]]),
        (tf.zeros(1), tf.zeros(1)),
        tf.zeros(1),
    )
    assert loss.numpy()[0] == pytest.approx(100.0)


def test_negatives_follow_the_counts_and_never_are_unwatched_items() -> None:
    config = TrainingConfig(noise_exponent=0.5, negatives=60_000, seed=3)
    sampler, labels = NegativeSampler.of(np.array([9, 100, 0, 25, 0]), config), np.array([3, 0], np.int32)
    drawn, log_q, label_log_q = sampler.draw(labels, 0, 0)
    share = np.bincount(drawn, minlength=5) / len(drawn)
    assert share == pytest.approx([0, 2 / 3, 0, 1 / 3, 0], abs=0.01)
    assert np.exp(sampler.log_q) == pytest.approx([0, 2 / 3, 0, 1 / 3, 0])
    assert np.exp(log_q[drawn == 1]) == pytest.approx(2 / 3)
    assert label_log_q == pytest.approx([np.log(1 / 3), 0])
    assert np.array_equal(drawn, sampler.draw(labels, 0, 0).items)
    assert not np.array_equal(drawn, sampler.draw(labels, 0, 1).items)


def prepared_loss(config: TrainingConfig, counts: list[int], label: int, scores: list[float], draw: int) -> float:
    """The loss of one example as training computes it, for items whose scores are given."""
    histories = Histories.of([[1, label]])
    made = BatchBuilder.of(histories, histories.lengths, ModelConfig(), config).epoch(0).batch(0)
    prepare = Preparer(
        NegativeSampler.of(np.array([0, *counts]), config), ModelConfig(), FeatureSpec(), UserInputs(histories)
    )
    batch = prepare(made, 0, draw)
    table = tf.gather(tf.constant([[0.0], *([s] for s in scores)]), batch.rows)
    users = tf.ones([len(batch.label), 1])
    losses = sampled_softmax(
        users, tf.gather(table, batch.label), tf.gather(table, batch.negative), batch.log_q, tf.constant(batch.hits)
    )
    return float(losses.numpy()[0])


SCORES, COUNTS = [0.5, -1.0, 2.0, 0.0, 1.5], [9, 5, 3, 2, 1]


def full(label: int) -> float:
    return math.log(sum(math.exp(s) for s in SCORES)) - SCORES[label - 1]


def test_full_softmax_is_the_cross_entropy_over_all_items() -> None:
    for label in (1, 3, 5):
        loss = prepared_loss(TrainingConfig(loss="full"), COUNTS, label, SCORES, 0)
        assert loss == pytest.approx(full(label), rel=1e-5)


@pytest.mark.parametrize("exponent", [0.0, 0.75])
def test_the_sampled_loss_comes_to_the_full_one_as_negatives_grow(exponent: float) -> None:
    errors = []
    for negatives in (20, 2_000, 200_000):
        config = TrainingConfig(negatives=negatives, noise_exponent=exponent, corrected_positive=False)
        losses = np.array([prepared_loss(config, COUNTS, 3, SCORES, draw) for draw in range(5)])
        errors.append(np.abs(losses - full(3)).max())
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.01


def test_a_share_of_the_negatives_comes_from_the_batch() -> None:
    config = TrainingConfig(negatives=100, in_batch=0.3, noise_exponent=0)
    sampler = NegativeSampler.of(np.array([0, 10, 30, 0, 60]), config)
    assert np.exp(sampler.log_q) == pytest.approx([0, 0.7 / 3 + 0.03, 0.7 / 3 + 0.09, 0, 0.7 / 3 + 0.18])
    drawn = sampler.draw(np.array([4, 4, 0], np.int32), 0, 0)
    assert (drawn.items[:30] == 4).all()
    assert set(drawn.items[30:].tolist()) == {1, 2, 4}


def test_no_watch_at_all_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no watch to train on"):
        NegativeSampler.of(np.zeros(4, np.int64), TrainingConfig())


def test_adam_and_adagrad_by_hand() -> None:
    value, gradient, step = tf.constant([1.0]), tf.constant([0.5]), tf.constant(1.0)
    adam = TrainingConfig(optimizer="adam", learning_rate=0.1)
    zero = [tf.constant([0.0]), tf.constant([0.0])]
    new, *state = update(adam, adam.learning_rate, step, value, zero, gradient)
    assert new.numpy() == pytest.approx([0.9], rel=1e-5)  # the first step of Adam has the size of the rate
    assert state[0].numpy() == pytest.approx([0.05])
    assert state[1].numpy() == pytest.approx([0.00025])
    adagrad = TrainingConfig(optimizer="adagrad", learning_rate=0.1)
    (start,) = slots(adagrad, tf.Variable([1.0]))
    new, *state = update(adagrad, adagrad.learning_rate, step, value, [start], gradient)
    assert state[0].numpy() == pytest.approx([0.35])
    assert new.numpy() == pytest.approx([1 - 0.1 * 0.5 / math.sqrt(0.35)])


def test_rowwise_adagrad_by_hand() -> None:
    # the means of the squares of the rows' gradients are (9 + 1) / 2 = 5 and 0
    config = TrainingConfig(optimizer="rowwise_adagrad", learning_rate=0.1)
    value, gradient = tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([[3.0, -1.0], [0.0, 0.0]])
    (start,) = slots(config, tf.Variable(value), table=True)
    assert start.shape == (2, 1)
    new, total = update(config, config.learning_rate, tf.constant(1.0), value, [start], gradient)
    assert total.numpy() == pytest.approx(np.array([[5.0], [0.0]]))
    root = math.sqrt(5)
    assert new.numpy() == pytest.approx(np.array([[1 - 0.3 / root, 2 + 0.1 / root], [3, 4]]))
    again, total = update(config, config.learning_rate, tf.constant(2.0), new, [total], gradient)
    assert total.numpy() == pytest.approx(np.array([[10.0], [0.0]]))
    assert again.numpy()[0, 0] == pytest.approx(1 - 0.3 / root - 0.3 / math.sqrt(10))


def test_rowwise_adam_by_hand() -> None:
    config = TrainingConfig(optimizer="rowwise_adam", learning_rate=0.1)
    value, gradient = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, -1.0]])
    states = slots(config, tf.Variable(value), table=True)
    assert [tuple(state.shape) for state in states] == [(1, 2), (1, 1)]
    new, mean, square = update(config, config.learning_rate, tf.constant(1.0), value, states, gradient)
    assert mean.numpy() == pytest.approx(np.array([[0.3, -0.1]]))
    assert square.numpy() == pytest.approx(np.array([[0.001 * 5]]))
    # corrected for the start from zero the moments are the gradient and 5
    assert new.numpy() == pytest.approx(np.array([[1 - 0.3 / math.sqrt(5), 2 + 0.1 / math.sqrt(5)]]), rel=1e-5)


@pytest.mark.parametrize(("rowwise", "full"), [("rowwise_adam", "adam"), ("rowwise_adagrad", "adagrad")])
def test_rowwise_state_is_one_float_a_row_of_tables_and_full_for_dense_weights(rowwise: str, full: str) -> None:
    # Where all gradients of a row have one size, the mean of their squares is each of them.
    row, dense = (TrainingConfig.checked({"optimizer": name}) for name in (rowwise, full))
    variable = tf.Variable(tf.ones([3, 4]))
    assert [s.shape for s in slots(row, variable)] == [s.shape for s in slots(dense, variable)]
    gradient = tf.constant([[2.0, -2.0, 2.0, 2.0]] * 3)
    states = [tf.zeros(s.shape) + 0.1 for s in slots(row, variable, table=True)]
    wide = [state + tf.zeros([3, 4]) for state in states]
    rate, step = row.learning_rate, tf.constant(5.0)
    narrow, broad = (update(c, rate, step, variable, s, gradient) for c, s in ((row, states), (dense, wide)))
    assert narrow[0].numpy() == pytest.approx(broad[0].numpy(), rel=1e-6)
    assert (narrow[-1] + tf.zeros([3, 4])).numpy() == pytest.approx(broad[-1].numpy(), rel=1e-6)
