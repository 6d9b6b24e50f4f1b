"""One-hot inputs three ways: the same function, the same steps where the optimizer allows, and a world they learn."""

from typing import get_args

import numpy as np
import pytest

from evaluation.protocol import Validator
from model.assembly import TrainingData
from model.batches import BatchBuilder
from model.one_hot import Arm, OneHotBatch, OneHotNetwork, OneHotPreparer, OneHotTrainer, multi_hot
from model.one_hot_run import learn
from model.prepare import Preparer
from model.sampler import NegativeSampler
from tests.fitting import ITEMS, circle
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.errors import TrainingError
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs
from watchnext.split import split

ARMS: tuple[Arm, ...] = get_args(Arm)
MODEL = ModelConfig(
    dim=6, tower=(8, 5), encoder="mean", history=3, residual=False, tied=False, context=False, searches=False
)
TRAINING = TrainingConfig(negatives=10, batch_examples=256, learning_rate=0.02, dropout=0)


def trainer(arm: Arm, training: TrainingConfig = TRAINING) -> OneHotTrainer:
    return OneHotTrainer(OneHotNetwork(MODEL, ITEMS, 3, arm), training)


def parted(arm: Arm) -> tuple[OneHotBatch, OneHotBatch]:
    """Batches of items 1 to 6 and of items 11 to 16, of which all but the last are read."""
    both = [Histories.of([list(range(first, first + 6))] * 8) for first in (1, 11)]
    one, two = (batches(arm, 1, histories=histories)[0] for histories in both)
    return one, two


def batches(
    arm: Arm, count: int, training: TrainingConfig = TRAINING, histories: Histories | None = None
) -> list[OneHotBatch]:
    histories = histories or circle()
    inputs = UserInputs(histories)
    counts = np.bincount(histories.items, minlength=ITEMS + 1)
    preparer = Preparer(NegativeSampler.of(counts, training), MODEL, FeatureSpec(), inputs)
    prepare = OneHotPreparer(preparer, ITEMS, arm)
    epoch = BatchBuilder.of(histories, histories.lengths, MODEL, training).epoch(0)
    return [prepare(batch, 0, n) for n, batch in zip(range(count), epoch.batches(), strict=False)]


def test_a_row_of_multi_hot_is_the_mean_of_the_last_watches() -> None:
    histories = Histories.of([[3, 1, 2], [1, 1, 3, 2]])
    found = multi_hot(histories, np.array([2, 6, 4]), np.array([2, 3, 1]), 3)
    assert found == pytest.approx(np.array([[0, 0.5, 0, 0.5], [0, 2 / 3, 0, 1 / 3], [0, 1, 0, 0]]))


@pytest.mark.parametrize("arm", ARMS)
def test_the_numpy_tower_is_the_network_by_hand(arm: Arm) -> None:
    network = OneHotNetwork(MODEL, ITEMS, 3, arm)
    dense = {name: variable.numpy() for name, variable in network.dense.items()}
    table = dense["first"] if arm == "one-hot" else network.tables["watched"].numpy()
    first = table[[5, 6, 7]].mean(0)  # history 3: the 4 is not seen
    if arm == "embeddings":
        first = first @ dense["kernel_0"]
    h = np.maximum(first + dense["bias_0"], 0)
    h = np.maximum(h @ dense["kernel_1"] + dense["bias_1"], 0)
    u = h @ dense["kernel_out"] + dense["bias_out"]
    found = network.tower().user_vectors([np.array([4, 5, 6, 7], np.int32)])[0]
    assert found == pytest.approx(u / np.linalg.norm(u) / MODEL.temperature, abs=1e-5)
    assert np.linalg.norm(network.item_vectors(), axis=1) == pytest.approx(1)


def test_dense_and_by_rows_take_the_same_steps_where_moments_do_not_matter() -> None:
    training = TRAINING.model_copy(update={"optimizer": "adagrad"})
    dense, rows = trainer("one-hot", training), trainer("rows", training)
    pairs = zip(batches("one-hot", 4, training), batches("rows", 4, training), strict=True)
    for one, other in pairs:
        assert float(dense.step(one)) == pytest.approx(float(rows.step(other)), rel=1e-5)
    found, beside = dense.arrays(), rows.arrays()
    assert found["dense/first"] == pytest.approx(beside["table/watched"], abs=1e-5)
    assert found["table/item"] == pytest.approx(beside["table/item"], abs=1e-5)
    assert not np.allclose(found["dense/first"], OneHotNetwork(MODEL, ITEMS, 3, "one-hot").dense["first"].numpy())


@pytest.mark.parametrize("arm", ARMS)
def test_by_rows_only_what_was_watched_changes_and_dense_all_that_ever_was(arm: Arm) -> None:
    made = trainer(arm)
    first, second = parted(arm)
    made.step(first)
    before = made.arrays()
    made.step(second)
    name = "dense/first" if arm == "one-hot" else "table/watched"
    changed = np.flatnonzero((made.arrays()[name] != before[name]).any(1))
    allowed = [*range(11, 16), *(range(1, 6) if arm == "one-hot" else [])]  # Adam's moments go on
    assert set(changed) <= set(allowed)
    assert set(changed) & set(range(11, 16))
    assert bool(set(changed) & set(range(1, 6))) == (arm == "one-hot")


def test_items_that_training_does_not_see_are_forgotten() -> None:
    for arm in ARMS:
        network = OneHotNetwork(MODEL, ITEMS, 3, arm)
        network.forget(np.array([2, 4]))
        for table in (network.tower().watched, network.item_vectors()):
            assert np.flatnonzero(~table.any(1)).tolist() == [2, 4]


@pytest.mark.parametrize("arm", ARMS)
def test_all_three_learn_what_comes_next_on_a_circle(arm: Arm) -> None:
    histories = circle()
    cut = split(histories, "last")
    validate = Validator(UserInputs(histories), cut, 5000, seed=0)
    data = TrainingData(UserInputs(histories), cut.train, ITEMS, FeatureSpec())
    steps: list[int] = []
    run = learn(data, MODEL, TRAINING, arm, 150, 70, validate, steps.append)
    assert [point.steps for point in run.points] == [70, 140, 150]
    assert sum(steps) == 150
    assert run.points[-1].ndcg > 0.9
    assert validate(run.item_vectors, run.tower)["ndcg@10"] == max(point.ndcg for point in run.points)
    assert 0 < run.points[0].cpu_seconds < run.points[1].cpu_seconds < run.points[2].cpu_seconds
    assert run.touched <= ITEMS
    assert run.examples == 256


def test_nothing_to_learn_from_is_told() -> None:
    histories = Histories.of([[1], [2]])
    data = TrainingData(UserInputs(histories), histories.lengths, 2, FeatureSpec())
    with pytest.raises(TrainingError, match="longer histories"):
        learn(data, MODEL, TRAINING, "rows", 1, 1, lambda vectors, tower: {})
