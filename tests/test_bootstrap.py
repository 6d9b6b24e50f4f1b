"""Standard errors and paired comparisons against what theory says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import bootstrap
from evaluation.bootstrap import estimates, paired, resampled_means


def test_the_standard_error_is_that_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    value, error = estimates({"x": values})["x"]
    assert value == pytest.approx(values.mean())
    assert error == pytest.approx(values.std() / 20, rel=0.1)


def test_users_to_whom_a_metric_does_not_apply_do_not_count() -> None:
    values = np.random.default_rng(0).normal(0, 1, 900)
    some = np.where(np.arange(900) % 3 == 0, values, np.nan)
    value, error = estimates({"some": some})["some"]
    assert value == pytest.approx(values[::3].mean())
    assert error == pytest.approx(values[::3].std() / 300**0.5, rel=0.1)
    nothing = estimates({"nothing": np.full(5, np.nan)})["nothing"]
    assert np.isnan(nothing.value)
    assert np.isnan(nothing.error)
    assert estimates({}) == {}


def test_one_user_has_no_spread() -> None:
    assert estimates({"x": np.array([0.5])})["x"] == (0.5, 0.0)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20), st.integers(0, 9))
def test_resampled_means_lie_within_the_values_and_repeat_with_the_seed(values: list[float], seed: int) -> None:
    column = np.array(values)[:, None]
    means = resampled_means(column, 20, seed)
    assert means.shape == (20, 1)
    assert (means >= min(values) - 1e-9).all()
    assert (means <= max(values) + 1e-9).all()
    assert np.array_equal(means, resampled_means(column, 20, seed))


def test_every_block_draws_each_user_once_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "BLOCK_WEIGHTS", 30)
    means = resampled_means(np.eye(10), 3000)  # the share that each user makes of a resample
    assert means.sum(1) == pytest.approx(np.ones(3000))
    assert means.mean(0) == pytest.approx(np.full(10, 0.1), abs=5 * (0.1 * 0.9 / 10 / 3000) ** 0.5)
    assert means.std(0) == pytest.approx(np.full(10, (0.1 * 0.9 / 10) ** 0.5), rel=0.1)


def test_a_pair_is_compared_user_by_user() -> None:
    rng = np.random.default_rng(1)
    one = rng.normal(0, 10, 500)  # users differ much, the models by a little for each of them
    found = paired({"x": one + 0.1 + rng.normal(0, 0.2, 500)}, {"x": one})["x"]
    assert found.error == pytest.approx(0.2 / 500**0.5, rel=0.15)
    assert 0 < found.low < found.value < found.high < 0.2
    assert found.p < 0.01


def test_equal_models_do_not_differ() -> None:
    values = np.random.default_rng(0).random(50)
    assert paired({"x": values}, {"x": values.copy()})["x"] == (0, 0, 0, 0, 1)
    assert paired({"x": values}, {"y": values}) == {}


def test_the_interval_covers_the_truth_and_p_is_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(2)
    trials, users = 400, 100
    names = [str(t) for t in range(trials)]
    one, other = ({n: rng.exponential(1, users) for n in names} for _ in range(2))
    found = paired(one, other, 400)
    covered = np.mean([d.low <= 0 <= d.high for d in found.values()])
    assert 0.91 < covered < 0.98
    p = np.array([d.p for d in found.values()])
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * (level * (1 - level) / trials) ** 0.5)
