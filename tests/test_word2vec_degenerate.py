"""Logs that are hardly ones, and training that goes wrong: word2vec ends in a usable export, or says why not."""

from pathlib import Path

import numpy as np
import pytest
from rich.progress import Progress

from model.assembly import TrainingData
from model.failure import arrays, load_batch
from model.fit import Fitted, fit
from model.word2vec.prepare import PreparedWindows, WindowPreparer
from model.word2vec.windows import Windows
from watchnext.config import RunOptions, Word2vecConfig
from watchnext.errors import TrainingError
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs

KINDS = [("skipgram", "negative"), ("skipgram", "hierarchical"), ("cbow", "negative"), ("cbow", "hierarchical")]


def trained(folder: Path, rows: list[list[int]], **changes: object) -> Fitted:
    small = {"dim": 4, "epochs": 1, "batch_examples": 64, "learning_rate": 0.01}
    config = Word2vecConfig.checked({**small, **changes})
    histories = Histories.of(rows)
    items = max(map(max, filter(None, rows)))
    data = TrainingData(UserInputs(histories), histories.lengths, items, FeatureSpec())
    with Progress(disable=True) as bar:
        fitted = fit(data, config.model, config, RunOptions(checkpoints=folder / "run"), bar)
    assert np.isfinite(fitted.item_vectors).all()
    assert np.isfinite(fitted.tower.watched).all()
    return fitted


@pytest.mark.parametrize(("architecture", "loss"), KINDS)
def test_one_item(tmp_path: Path, architecture: str, loss: str) -> None:
    fitted = trained(tmp_path, [[1] * 9, [1] * 3], architecture=architecture, loss=loss, vectors="input")
    assert fitted.item_vectors.shape == (2, 4)
    assert fitted.item_vectors[1].any()
    assert fitted.counts.tolist() == [0, 12]


@pytest.mark.parametrize("window", [1, 60, None])
def test_one_user_with_a_window_longer_than_the_history(tmp_path: Path, window: int | None) -> None:
    fitted = trained(tmp_path, [[1, 2, 3, 1, 2, 3, 1]], window=window, dynamic_window=False, batch_examples=1)
    assert fitted.item_vectors[1:].any(1).all()


@pytest.mark.parametrize("window", [5, None])
def test_histories_of_one_watch_teach_nothing(tmp_path: Path, window: int | None) -> None:
    with pytest.raises(TrainingError, match="no user with two watches"):
        trained(tmp_path, [[1], [2], [], [3]], window=window)


@pytest.mark.parametrize("window", [5, None])
def test_subsampling_may_leave_nothing(tmp_path: Path, window: int | None) -> None:
    fitted = trained(tmp_path, [[1, 2, 3, 1, 2, 3]], subsampling=1e-30, window=window, epochs=2)
    assert fitted.metrics["loss"] == 0


@pytest.mark.parametrize("window", [5, None])
def test_a_history_of_many_thousands(tmp_path: Path, window: int | None) -> None:
    rng = np.random.default_rng(0)
    fitted = trained(tmp_path, [rng.integers(1, 30, 20_000).tolist(), [1, 2]], window=window, batch_examples=4096)
    assert fitted.counts.sum() == 20_002


def test_many_negatives_are_no_explosion(tmp_path: Path) -> None:
    """Each counts log 2 at the start, 2,000 of them more than 100 times log(items)."""
    fitted = trained(tmp_path, [[1, 2, 3, 4, 1, 3]] * 9, negatives=2000)
    assert fitted.metrics["loss"] > 700


@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
def test_an_exploding_loss_stops_with_the_batch_and_the_cure(tmp_path: Path, loss: str) -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 30, (200, 9)).tolist()
    with pytest.raises(TrainingError, match=r"Lower --set learning_rate, now 1e\+06") as caught:
        trained(tmp_path, rows, learning_rate=1e6, loss=loss, epochs=9)
    (file,) = (tmp_path / "run").glob("failed-step-*.npz")
    assert str(file) in caught.value.cure
    assert load_batch(file).loss > 100


@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
def test_a_bad_batch_comes_back_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    good, made = WindowPreparer.__call__, list[PreparedWindows]()

    def kept(self: WindowPreparer, batch: Windows, epoch: int, number: int) -> PreparedWindows:
        made.append(good(self, batch, epoch, number))
        return made[-1]

    monkeypatch.setattr(WindowPreparer, "__call__", kept)
    monkeypatch.setattr("model.fit.failed", lambda *given: True)
    with pytest.raises(TrainingError):
        trained(tmp_path, [[1, 2, 3, 2, 1]], loss=loss)
    (file,) = (tmp_path / "run").glob("failed-step-*.npz")
    found, before = load_batch(file).batch, made[0]
    assert isinstance(found, PreparedWindows)
    assert [type(part) for part in found] == [type(part) for part in before]
    again, wanted = arrays(found), arrays(before)
    assert list(again) == list(wanted)
    assert all(np.array_equal(again[name], wanted[name]) for name in wanted)
