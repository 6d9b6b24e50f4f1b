"""States updated watch by watch equal the weighted means of the last watches, written out as sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchnext.config import ModelConfig
from watchnext.encoders import DECAY_LOGITS, encode
from watchnext.errors import UsageError
from watchnext.features import FeatureSpec, Float32
from watchnext.running import RunningEncoder
from watchnext.tower import UserTower

ITEMS, DIM = 20, 3
WATCHED = np.random.default_rng(0).normal(size=(ITEMS + 1, DIM)).astype(np.float32)


def written_out(history: list[int], decay: float, window: int) -> np.ndarray:
    """The mean with weights decay^j of the last `window` watches; 0 of none."""
    recent = history[::-1][:window]
    total = sum(decay**j for j in range(len(recent)))
    return np.array(sum((decay**j * WATCHED[i].astype(float) for j, i in enumerate(recent)), np.zeros(DIM))) / (
        total or 1
    )


@given(
    st.lists(st.lists(st.integers(1, ITEMS), min_size=40, max_size=40), min_size=1, max_size=3),
    st.integers(0, 40),
    st.integers(1, 12),
    st.sampled_from(["mean", "decay", "learned"]),
)
def test_watch_by_watch_equals_all_at_once(rows: list[list[int]], length: int, window: int, encoder: str) -> None:
    config = ModelConfig(
        dim=DIM,
        encoder="mean" if encoder == "mean" else "decay",
        decays=(0.25, 0.9),
        learned_decays=encoder == "learned",
        history=window,
    )
    weights = {DECAY_LOGITS: np.log(np.array([0.5, 0.75], np.float32) / np.array([0.5, 0.25], np.float32))}
    wanted = {"mean": [1.0], "decay": [0.25, 0.9], "learned": [0.5, 0.75]}[encoder]
    running = RunningEncoder(config, weights, WATCHED)
    sums = running.empty(len(rows))
    watches = np.array(rows, np.int32)
    for t in range(length):
        oldest = watches[:, t - window] if t >= window else np.zeros(len(rows), np.int32)
        sums = running.add(sums, watches[:, t], oldest)
    states = running.states(sums)
    for row, state in zip(rows, states, strict=True):
        parts = [written_out(row[:length], decay, window) for decay in wanted]
        if encoder != "mean":
            parts.append(written_out(row[:length], 1.0, 1))
        assert state == pytest.approx(np.array(parts), abs=1e-5)
    anew = encode(config, weights, WATCHED, list(watches[:, :length]))
    assert states == pytest.approx(anew, abs=1e-5)


def test_ten_thousand_watches_do_not_drift() -> None:
    config = ModelConfig(dim=DIM, encoder="mean", history=7)
    running = RunningEncoder(config, {}, WATCHED)
    watches = np.random.default_rng(1).integers(1, ITEMS + 1, 10_000).astype(np.int32)
    sums = running.empty(1)
    for t, item in enumerate(watches):
        sums = running.add(sums, np.array([item]), np.array([watches[t - 7] if t >= 7 else 0]))
    assert running.states(sums)[0, 0] == pytest.approx(WATCHED[watches[-7:]].mean(0), abs=1e-6)


def test_an_unknown_item_changes_nothing() -> None:
    running = RunningEncoder(ModelConfig(dim=DIM), {}, WATCHED)
    one = running.add(running.empty(1), np.array([4], np.int32), np.array([0], np.int32))
    same = running.add(one, np.array([0], np.int32), np.array([0], np.int32))
    assert np.array_equal(running.states(same), running.states(one))


def test_a_tower_takes_running_states() -> None:
    config = ModelConfig(dim=DIM, tower=(), residual=True)
    rng = np.random.default_rng(2)
    weights: dict[str, Float32] = {
        "kernel_out": rng.normal(size=(4 * DIM, DIM)).astype(np.float32),
        "bias_out": np.zeros(DIM, np.float32),
        "residual": np.full(4, 0.25, np.float32),
    }
    tower = UserTower(config, FeatureSpec(), WATCHED, weights)
    running = RunningEncoder(config, weights, WATCHED)
    none = np.zeros(1, np.int32)
    sums = running.empty(1)
    for item in (3, 8, 1):
        sums = running.add(sums, np.array([item], np.int32), none)
    wanted = tower.user_vectors([np.array([3, 8, 1], np.int32)])
    assert tower.from_states(running.states(sums)) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("config", [ModelConfig(dim=4, encoder="attention"), ModelConfig(dim=4, time_gaps=True)])
def test_attention_and_time_gaps_have_no_running_state(config: ModelConfig) -> None:
    with pytest.raises(UsageError, match=r"watchnext\.encoders\.encode"):
        RunningEncoder(config, {}, WATCHED)
