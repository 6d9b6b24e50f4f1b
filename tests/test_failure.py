"""Training that goes wrong stops, keeps the batch, and says what helps; half-written checkpoints are never loaded."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.batches import Batch
from model.checkpoint import Checkpoint, CheckpointStore, Progress
from model.failure import FailedBatch, arrays, load_batch, save_batch
from model.huffman import Paths
from model.item_features import TouchedFeatures
from model.network import Network
from model.prepare import Prepared, Preparer
from model.searches import Bags
from model.step import Trainer
from tests.fitting import ITEMS, MODEL, TRAINING, train_on_circle
from watchnext.errors import TrainingError
from watchnext.features import FeatureSpec

DOT = MODEL.model_copy(update={"similarity": "dot"})


def test_an_exploding_loss_that_is_still_a_number_stops_with_the_batch_and_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fitting.TRAINING", TRAINING.model_copy(update={"optimizer": "adagrad"}))
    with pytest.raises(TrainingError, match="Lower --set learning_rate, now 10000, ") as caught:
        train_on_circle(tmp_path, model=DOT, learning_rate=1e4)
    (file,) = tmp_path.glob("failed-step-*.npz")
    assert str(file) in caught.value.cure
    found = load_batch(file)
    assert file.name == f"failed-step-{found.step:09d}.npz"
    assert f"in step {found.step}" in str(caught.value)
    assert 100 * math.log(ITEMS) < found.loss < math.inf
    assert np.isfinite(float(Trainer(Network(DOT, FeatureSpec(), ITEMS, 0), TRAINING).step(found.batch)))


def test_a_bad_batch_is_kept_and_does_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Preparer.__call__

    def bad(self: Preparer, batch: Batch, epoch: int, number: int) -> Prepared:
        prepared = good(self, batch, epoch, number)
        if (epoch, number) == (1, 2):
            prepared.weight[5] = np.nan
        return prepared

    monkeypatch.setattr(Preparer, "__call__", bad)
    with pytest.raises(TrainingError, match=r"nan .* in step (\d+). The batch itself .* in weight; it is in"):
        train_on_circle(tmp_path)
    (file,) = tmp_path.glob("failed-step-*.npz")
    found = load_batch(file)
    assert (found.epoch, found.number) == (1, 2)
    assert np.isnan(found.loss)
    assert np.isnan(found.batch.weight[5])
    assert np.isnan(float(Trainer(Network(MODEL, FeatureSpec(), ITEMS, 0), TRAINING).step(found.batch)))
    CheckpointStore(tmp_path, "").clear()
    assert not tmp_path.exists()


def test_a_gradient_that_is_not_finite_counts_before_the_loss_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer.gradients

    def broken(self: Trainer, batch: Prepared, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        loss, gradients = real(self, batch, values)
        return loss, {**gradients, "dense/bias_out": gradients["dense/bias_out"] / 0.0}

    monkeypatch.setattr(Trainer, "gradients", broken)
    with pytest.raises(TrainingError, match="in step 1"):
        train_on_circle(tmp_path)
    (file,) = tmp_path.glob("failed-step-*.npz")
    assert np.isfinite(load_batch(file).loss)


def test_every_part_of_a_batch_comes_back(tmp_path: Path) -> None:
    numbers = iter(range(1, 100))

    def some() -> Any:
        return np.full((2, 3), next(numbers), np.float32)

    fields: dict[str, Any] = {name: some() for name in Prepared._fields}
    fields |= {"log_q": (some(), some()), "context": {"age": some()}, "searches": Bags(some(), some())}
    fields |= {"paths": Paths(some(), some()), "features": TouchedFeatures(some(), some(), some())}
    batch = Prepared(**fields)
    save_batch(tmp_path / "a.npz", FailedBatch(7, 1, 2, math.inf, math.nan, batch))
    found = load_batch(tmp_path / "a.npz")
    assert (found.step, found.loss) == (7, math.inf)
    assert [type(part) for part in found.batch] == [type(part) for part in batch]
    again, before = arrays(found.batch), arrays(batch)
    assert list(again) == list(before)
    assert all(np.array_equal(again[name], before[name]) for name in before)


def checkpoint(step: int) -> Checkpoint:
    state = {"a": np.full((3, 4), step, np.float32), "b": np.arange(5, dtype=np.float32)}
    return Checkpoint(Progress(step=step, batch=step), state, {"a": np.zeros((2, 2), np.float32)}, {})


@pytest.mark.parametrize("name", ["state.safetensors", "best.safetensors", "average.safetensors", "manifest.json"])
def test_a_checkpoint_with_a_file_cut_anywhere_is_passed_over(tmp_path: Path, name: str) -> None:
    store = CheckpointStore(tmp_path / "run", "x")
    store.save(checkpoint(1))
    store.save(checkpoint(2))
    whole = (tmp_path / "run/step-000000002" / name).read_bytes()
    cuts = sorted({0, 1, 7, 8, 9, len(whole) // 3, len(whole) // 2, len(whole) - 2})
    for cut in cuts:
        (tmp_path / "run/step-000000002" / name).write_bytes(whole[:cut])
        found = store.load()
        assert found is not None
        assert found.progress.step == 1
        assert (found.state["a"] == 1).all()
    (tmp_path / "run/step-000000002" / name).unlink()
    found = store.load()
    assert found is not None
    assert found.progress.step == 1
    (tmp_path / "run/step-000000002" / name).write_bytes(whole)
    found = store.load()
    assert found is not None
    assert found.progress.step == 2


def test_a_checkpoint_still_being_written_is_not_seen(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "x")
    store.save(checkpoint(1))
    shutil.copytree(tmp_path / "step-000000001", tmp_path / ".step-000000002.abc")  # as a crash before the rename
    found = store.load()
    assert found is not None
    assert found.progress.step == 1
    store.clear()
    assert not tmp_path.exists()
