"""Training finds the known answer, repeats itself with a seed, and after kill -9 goes on as if nothing had been."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.progress import Progress

from evaluation.protocol import evaluate
from evaluation.scorers import Popularity, VectorScorer
from evaluation.training import TrainingCounts
from model.assembly import TrainingData
from model.batches import BatchBuilder
from model.fit import averaged, fit
from model.network import Network
from model.prepare import Preparer
from model.sampler import NegativeSampler
from model.step import Trainer
from tests.fitting import ITEMS, MODEL, TRAINING, circle, train_on_circle
from watchnext.catalogue import USER_SCHEMA
from watchnext.config import RunOptions
from watchnext.errors import TrainingError, UsageError
from watchnext.features import FeatureSpec, UserContext
from watchnext.histories import Histories
from watchnext.inputs import UserInputs, user_inputs
from watchnext.split import Split, split

NEWEST = "step-*"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    fitted = train_on_circle(tmp_path_factory.mktemp("whole"))
    return {"items": fitted.item_vectors, **fitted.tower.weights}


def test_the_next_item_on_the_circle_is_found_and_popularity_does_not_find_it(tmp_path: Path) -> None:
    fitted = train_on_circle(tmp_path, averaged=0)
    for last in range(1, ITEMS + 1):
        history = [(last - 4 + i) % ITEMS + 1 for i in range(4)]
        scores = fitted.tower.user_vectors([np.array(history, np.int32)]) @ fitted.item_vectors.T
        scores[0, [0, *history]] = -np.inf
        assert scores[0].argmax() == last % ITEMS + 1
    histories = circle()
    held = split(histories, "last")
    cut = Split(held.train, held.valid, held.valid)
    counts = TrainingCounts.of(histories, held.train, ITEMS)
    scorer = VectorScorer(fitted.item_vectors, fitted.tower, UserInputs(histories))
    model = evaluate(scorer, histories, cut, counts, (1,))
    popular = evaluate(Popularity(fitted.counts), histories, cut, counts, (1,))
    assert model.metrics["hr@1"].mean() > 0.95
    assert popular.metrics["hr@1"].mean() < 0.3
    assert fitted.metrics["ndcg@10"] > 0.95


def test_a_seed_repeats_a_run_and_another_seed_does_not(tmp_path: Path, whole: dict[str, np.ndarray]) -> None:
    again = train_on_circle(tmp_path / "again")
    assert np.allclose(again.item_vectors, whole["items"], atol=1e-5)
    other = train_on_circle(tmp_path / "other", seed=8)
    assert not np.allclose(other.item_vectors, whole["items"], atol=1e-2)


def test_killed_runs_end_like_one_that_never_stopped(tmp_path: Path, whole: dict[str, np.ndarray]) -> None:
    worker = subprocess.Popen([sys.executable, "-m", "tests.fitting", str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("step-*"))) < 2:
        assert worker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.kill()
    worker.wait()
    assert not list(tmp_path.glob("*-done"))
    resumed = train_on_circle(tmp_path, resume=True)
    assert np.allclose(resumed.item_vectors, whole["items"], atol=1e-5)
    for name, value in resumed.tower.weights.items():
        assert np.allclose(value, whole[name], atol=1e-5)


@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, whole: dict[str, np.ndarray], name: str
) -> None:
    train_on_circle(tmp_path, steps=3)
    newest = max(tmp_path.glob(NEWEST)) / name
    newest.write_bytes(newest.read_bytes()[:-100])
    resumed = train_on_circle(tmp_path, resume=True)
    assert np.allclose(resumed.item_vectors, whole["items"], atol=1e-5)


def test_an_unfinished_run_is_neither_overwritten_nor_mixed_with_another(tmp_path: Path) -> None:
    train_on_circle(tmp_path, epochs=1)
    with pytest.raises(UsageError, match="Add --resume"):
        train_on_circle(tmp_path, epochs=1)
    with pytest.raises(UsageError, match="another configuration"):
        train_on_circle(tmp_path, resume=True, epochs=1, dropout=0.2)


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    fitted = train_on_circle(tmp_path, epochs=60, patience=1)
    assert fitted.epochs < 60
    assert fitted.metrics["ndcg@10"] > 0.5


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_are_averaged_over_epochs() -> None:
    first, second, third = ({"w": np.full(2, value, np.float32)} for value in (8, 0, 4))
    average = averaged({}, first, 0.75, 0)
    assert average["w"].tolist() == [8, 8]
    assert averaged(average, second, 0.25, 2)["w"].tolist() == [2, 2]
    average = averaged(average, second, 0.75, 2)
    assert average["w"].tolist() == [4, 4]  # 2 / (2 + 2) of the past
    assert averaged(average, third, 0.75, 100)["w"].tolist() == [4, 4]
    assert averaged({"w": first["w"]}, second, 0.75, 100)["w"].tolist() == [6, 6]


def test_an_exploding_loss_stops_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Lower --set learning_rate"):
        train_on_circle(tmp_path, learning_rate=1e38)


def test_what_only_the_country_decides_is_learned_from_the_country(tmp_path: Path) -> None:
    # All watch item 1 first; then Norwegians watch 2, Portuguese watch 3.
    norwegian = np.arange(200) % 2 == 0
    histories = Histories.of([[1, 2 if n else 3] for n in norwegian])
    table = pa.Table.from_pylist(
        [{}, *({"country": "NO" if n else "PT"} for n in norwegian.tolist())], schema=USER_SCHEMA
    )
    features = FeatureSpec.fit(table)
    data = TrainingData(user_inputs(features, histories, table), histories.lengths, 3, features)
    with Progress(disable=True) as bar:
        training = TRAINING.model_copy(update={"epochs": 40})
        fitted = fit(data, MODEL, training, RunOptions(checkpoints=tmp_path), bar)
    context = features.encode([UserContext(country="NO"), UserContext(country="PT")])
    first = [np.array([1], np.int32)] * 2
    scores = fitted.tower.user_vectors(first, context) @ fitted.item_vectors.T
    assert scores[0, 2] > scores[0, 3] + 1
    assert scores[1, 3] > scores[1, 2] + 1


def test_only_touched_rows_of_a_table_change() -> None:
    histories = circle()
    network = Network(MODEL, FeatureSpec(), 1000, seed=0)
    counts = np.bincount(histories.items, minlength=1001)
    trainer = Trainer(network, TRAINING)
    batch = BatchBuilder.of(histories, histories.lengths, MODEL, TRAINING).epoch(0).batch(0)
    prepared = Preparer(NegativeSampler.of(counts, TRAINING), MODEL, FeatureSpec(), UserInputs(histories))(
        batch, 0, 0
    )
    before = {name: slot.numpy() for name, slot in trainer.variables().items()}
    trainer.step(prepared)
    untouched = np.setdiff1d(np.arange(1001), prepared.rows)
    assert len(untouched) >= 970
    for name in ("table/item", "slot/table/item/0", "slot/table/item/1"):
        after = trainer.variables()[name].numpy()
        assert np.array_equal(after[untouched], before[name][untouched])
        assert not np.array_equal(after, before[name])
        assert np.array_equal(after[0], before[name][0])


@pytest.mark.parametrize("bias", [False, True])
def test_tables_of_many_blocks_are_drawn_read_and_written_as_a_whole(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODEL.model_copy(update={"bias": bias})
    whole = Network(model, FeatureSpec(), 100, seed=3)
    before = {name: variable.numpy() for name, variable in whole.variables().items()}
    vectors = whole.item_vectors()
    monkeypatch.setattr("model.parameters.BLOCK", 7)
    blocks = Network(model, FeatureSpec(), 100, seed=3)
    assert all(np.array_equal(variable.numpy(), before[name]) for name, variable in blocks.variables().items())
    assert np.allclose(blocks.item_vectors(), vectors, atol=1e-6)
    assert np.array_equal(np.linalg.norm(vectors[:, :16], axis=1).round(4), np.ones(101))
    for network in (blocks, Network(model, FeatureSpec(), 100, seed=4)):
        network.set_arrays(before)
        for name, value in network.arrays().items():
            assert np.array_equal(value, before[name])
