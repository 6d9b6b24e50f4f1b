"""Encoders see the past and only their window of it; their gradients are those of sums written out in numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model import encoders
from model.batches import BatchBuilder
from model.prepare import Preparer
from model.sampler import NegativeSampler
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.encoders import DECAY_LOGITS, GAPS, encode, last_gaps, parts
from watchnext.features import GAP_BUCKETS, FeatureSpec, Float32
from watchnext.histories import Histories, Int32
from watchnext.inputs import UserInputs

DIM, LENGTH = 4, 30
CONFIGS = {
    "mean": ModelConfig(dim=DIM, history=7, encoder="mean"),
    "decay": ModelConfig(dim=DIM, history=7),
    "learned": ModelConfig(dim=DIM, history=7, learned_decays=True),
    "attention": ModelConfig(dim=DIM, history=7, encoder="attention"),
    "two blocks": ModelConfig(dim=DIM, history=7, encoder="attention", attention_blocks=2, attention_heads=1),
}


def random_weights(config: ModelConfig, seed: int = 0) -> dict[str, Float32]:
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=v.shape).astype(np.float32) for n, v in encoders.initial(config, rng).items()}


def states(config: ModelConfig, weights: dict[str, Float32], x: Float32, depth: Int32) -> Float32:
    """[length, rows, parts * dim] at the positions of x, [length, rows, dim], and depth, [length, rows]."""
    tensors = {name: tf.constant(value) for name, value in weights.items()}
    found: Float32 = encoders.encode(config, tensors, tf.constant(x), tf.constant(depth)).numpy()
    return found


def pieces(sizes: list[int]) -> Int32:
    """[length] depths of pieces one after the other, then padding."""
    depth = np.concatenate([*(np.arange(1, size + 1) for size in sizes), np.zeros(LENGTH, int)])
    return depth[:LENGTH].astype(np.int32)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_watch_changes_exactly_the_states_of_its_piece_that_have_it_in_their_window(name: str) -> None:
    config, used = CONFIGS[name], 27
    x = np.random.default_rng(1).normal(size=(LENGTH, 1, DIM)).astype(np.float32).repeat(1 + used, 1)
    for changed in range(used):  # another watch in every row but the first
        x[changed, 1 + changed] = -3 * x[changed, 0, ::-1]
    depth = pieces([11, 1, 15])[:, None].repeat(1 + used, 1)
    found = states(config, random_weights(config), x, depth)[:used]
    moved = np.abs(found[:, 1:] - found[:, :1]).max(2) > 1e-6  # [positions, changed]
    piece = np.repeat([0, 1, 2], [11, 1, 15])
    lag = np.subtract.outer(np.arange(used), np.arange(used))
    assert np.array_equal(moved, (piece[:, None] == piece) & (lag >= 0) & (lag < config.history))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(list(CONFIGS)), st.lists(st.integers(1, 10), min_size=3, max_size=3), st.integers(0, 99))
def test_states_do_not_depend_on_where_pieces_lie(name: str, sizes: list[int], seed: int) -> None:
    config = CONFIGS[name]
    x = np.random.default_rng(seed).normal(size=(LENGTH, DIM)).astype(np.float32)
    starts = np.cumsum([0, *sizes[:-1]])
    rows = np.stack([x, *(np.roll(x, -start, 0) for start in starts)], 1)
    depth = np.stack([pieces(sizes), *(pieces([size]) for size in sizes)], 1)
    found = states(config, random_weights(config, seed), rows, depth)
    for row, (start, size) in enumerate(zip(starts, sizes, strict=True), 1):
        assert found[start : start + size, 0] == pytest.approx(found[:size, row], abs=1e-5)


def test_learned_decays_start_as_the_given_ones_and_one_just_below() -> None:
    config = ModelConfig(decays=(0.5, 0.9, 1.0), learned_decays=True)
    logits = encoders.initial(config, np.random.default_rng(0))[DECAY_LOGITS]
    assert 1 / (1 + np.exp(-logits)) == pytest.approx([0.5, 0.9, 0.999], abs=1e-6)
    assert encoders.initial(ModelConfig(), np.random.default_rng(0)) == {}


def test_attention_starts_as_the_last_watch_and_means_of_normalized_ones_with_falling_weights() -> None:
    # Head 1 of two decays by 1/2, head 2 by 1/4; before it in the state are the two means and the last watch.
    config = ModelConfig(dim=4, encoder="attention", decays=(0.5, 0.25), history=3)
    weights = encoders.initial(config, np.random.default_rng(0))
    watched = np.array([[0, 0, 0, 0], [1, -1, 1, -1], [3, 3, -3, -3]], np.float32)
    state = encode(config, weights, watched, [np.array([1, 2], np.int32), np.array([2], np.int32)])
    assert state[0, :3, 0] == pytest.approx([(3 + 1 / 2) / (3 / 2), (3 + 1 / 4) / (5 / 4), 3])
    got = state[:, 3]
    slow, fast = (1 / 2) / (3 / 2), (1 / 4) / (5 / 4)  # weights of the first watch
    mixed = [1 - slow + slow, 1 - slow - slow, -(1 - fast) + fast, -(1 - fast) - fast]
    assert got[0] == pytest.approx(np.array([3, 3, -3, -3]) + np.array(mixed) / 2, abs=1e-5)
    assert got[1] == pytest.approx(np.array([3.5, 3.5, -3.5, -3.5]), abs=1e-5)


def test_attention_by_hand() -> None:
    # Two dimensions, where norms are (1, -1) or (-1, 1): products of like watches are 2, of unlike ones -2.
    config = ModelConfig(dim=2, encoder="attention", attention_heads=1, history=3, decays=())
    eye, one, zero = np.eye(2, dtype=np.float32), np.ones(2, np.float32), np.zeros(2, np.float32)
    own = {"norm_1": one, "shift_1": zero, "query": eye, "key": eye, "value": eye, "out": 3 * eye}
    own |= {"lag": np.log([[1, 5, 1]]).astype(np.float32), "norm_2": one, "shift_2": zero}
    own |= {"kernel_1": eye, "bias_1": zero, "kernel_2": np.array([[0, 0], [7, 0]], np.float32), "bias_2": one}
    weights = {f"block_0_{name}": value for name, value in own.items()}
    watched = np.array([[0, 0], [2, 0], [0, 2]], np.float32)
    got = encode(config, weights, watched, [np.array([1, 1, 2], np.int32)])[0, 1]
    like, unlike, five = np.exp(2 / 2**0.5), np.exp(-2 / 2**0.5), 5
    share = like / (like + five * unlike + unlike)  # of the last watch, (-1, 1) when normed
    after = np.array([0, 2]) + 3 * (share * np.array([-1, 1]) + (1 - share) * np.array([1, -1]))
    assert after[0] < after[1]  # so that its norm is (-1, 1) again
    assert got == pytest.approx(after + np.array([7 + 1, 1]), abs=1e-4)


def weighted_means(config: ModelConfig, weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The parts of encoder `decay` after the last watch, in double precision: [parts, dim]."""
    lags = np.arange(min(config.history, len(x)))
    recent = x[::-1][: len(lags)]
    rates = 1 / (1 + np.exp(-weights[DECAY_LOGITS])) if config.learned_decays else np.array(config.decays)
    powers = rates[:, None] ** lags
    return np.concatenate([powers / powers.sum(1, keepdims=True) @ recent, x[-1:]])


def attention(config: ModelConfig, weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The numpy twin, fed with double precision; test_attention_by_hand holds it."""
    table = np.concatenate([np.zeros((1, DIM)), x])
    found: Any = encode(config, weights, table, [np.arange(1, len(x) + 1, dtype=np.int32)])
    return np.asarray(found[0])


def test_time_gaps_by_hand() -> None:
    # One dimension: item n counts n, the gap of bucket b counts 10^b.
    config = ModelConfig(dim=1, encoder="mean", history=3, time_gaps=True)
    weights = {GAPS: (10.0 ** np.arange(GAP_BUCKETS))[:, None].astype(np.float32)}
    watched = np.arange(6, dtype=np.float32)[:, None]
    histories = [np.array(h, np.int32) for h in ([5, 1, 2, 3], [4], [])]
    times = [np.array(t, np.int64) for t in ([0, 50, 50, 51], [0], [])]
    gaps = last_gaps(times, np.array([54, 0, 9]), 3)
    got = encode(config, weights, watched, histories, gaps)[:, 0, 0]
    # seconds 0, 1, 3 are in buckets 1, 2, 3
    assert got == pytest.approx([((1 + 10) + (2 + 100) + (3 + 1000)) / 3, 4 + 10, 0])
    assert encode(config, weights, watched, histories)[:, 0, 0] == pytest.approx([2, 4, 0])


def test_the_gap_of_a_position_is_the_time_to_its_label_and_no_later_one() -> None:
    rows = [[1, 2, 3, 4], [5, 6], [7] * 200]
    times = [[0, 3, 3, 100], [7, 1000], list(range(0, 2000, 10))]
    histories = Histories.of(rows, times)
    ends = np.array([0, 3, 2, 200])  # the last watch of the first user is beyond the cut
    config = ModelConfig(dim=2, history=5, time_gaps=True)
    inputs = UserInputs(histories)
    sampler = NegativeSampler.of(np.ones(9, np.int64), TrainingConfig())
    preparer = Preparer(sampler, config, FeatureSpec(), inputs)
    builder = BatchBuilder.of(histories, ends, config, TrainingConfig(batch_examples=512))
    found: dict[int, list[int]] = {1: [], 2: [], 3: []}
    for batch in builder.epoch(0).batches():
        gaps = preparer.gaps(batch)
        assert not gaps[batch.depth == 0].any()
        for example in np.flatnonzero(batch.weight):
            found[int(batch.user[example])].append(int(gaps.ravel()[batch.position[example]]))
    assert sorted(found[1]) == [1, 3]  # 0 and 3 seconds
    assert found[2] == [10]  # 993 seconds
    assert found[3] == [4] * 199  # 10 seconds


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("decay", weighted_means),
        ("learned", weighted_means),
        ("attention", attention),
        ("two blocks", attention),
    ],
)
def test_gradients_are_the_slopes_of_states_written_out(name: str, twin: Callable[..., np.ndarray]) -> None:
    config, size = CONFIGS[name], 12
    weights = random_weights(config)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(size, DIM)).astype(np.float32)
    looked_at = rng.normal(size=(size, parts(config) * DIM))  # the loss is the states' dot product with it

    def loss(values: dict[str, np.ndarray], x: np.ndarray) -> float:
        return float(sum(looked_at[t] @ twin(config, values, x[: t + 1]).ravel() for t in range(size)))

    with tf.GradientTape() as tape:
        tensors = {name: tf.constant(value) for name, value in {**weights, "x": x}.items()}
        tape.watch(tensors)
        depth = tf.range(1, size + 1)[:, None]
        found = encoders.encode(config, tensors, tensors["x"][:, None], depth)[:, 0]
        total = tf.reduce_sum(found * looked_at.astype(np.float32))
    gradients = tape.gradient(total, tensors)
    assert float(total) == pytest.approx(loss(weights, x), rel=1e-4)

    for of, value in tensors.items():
        direction = rng.normal(size=value.shape)
        ends = []
        for step in (-1e-6, 1e-6):
            moved = {n: v.numpy().astype(float) for n, v in tensors.items()}
            moved[of] += step * direction
            ends.append(loss({n: v for n, v in moved.items() if n != "x"}, moved["x"]))
        slope = (ends[1] - ends[0]) / 2e-6
        assert float(tf.reduce_sum(gradients[of] * direction)) == pytest.approx(slope, rel=1e-3, abs=1e-3), of
