"""Training finds what only an encoder's switch can show it."""

from pathlib import Path

import numpy as np
from rich.progress import Progress

from model.assembly import TrainingData
from model.fit import Fitted, fit
from tests.fitting import ITEMS, MODEL, TRAINING, circle
from watchnext.config import ModelConfig, RunOptions
from watchnext.encoders import DECAY_LOGITS, decays
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs

DAY = 86_400


def fitted_to(histories: Histories, items: int, model: ModelConfig, epochs: int, folder: Path) -> Fitted:
    data = TrainingData(UserInputs(histories), histories.lengths, items, FeatureSpec())
    training = TRAINING.model_copy(update={"epochs": epochs})
    with Progress(disable=True) as bar:
        return fit(data, model, training, RunOptions(checkpoints=folder), bar)


def test_two_blocks_of_attention_without_other_means_find_the_next_item_on_the_circle(tmp_path: Path) -> None:
    settings = {"encoder": "attention", "decays": (), "attention_blocks": 2}
    fitted = fitted_to(circle(), ITEMS, MODEL.model_copy(update=settings), 8, tmp_path)
    histories = [np.array([(last - 4 + i) % ITEMS + 1 for i in range(4)], np.int32) for last in range(1, ITEMS + 1)]
    scores = fitted.tower.user_vectors(histories) @ fitted.item_vectors.T
    for own, history in zip(scores, histories, strict=True):
        own[[0, *history]] = -np.inf
    assert scores.argmax(1).tolist() == [last % ITEMS + 1 for last in range(1, ITEMS + 1)]


def test_what_only_the_time_since_the_last_watch_decides_is_learned_from_it(tmp_path: Path) -> None:
    # All watch item 1 first; then item 2 who come within a minute, item 3 who come after days.
    rng = np.random.default_rng(0)
    soon = np.arange(200) % 2 == 0
    waited = np.where(soon, rng.integers(1, 60, 200), rng.integers(2 * DAY, 9 * DAY, 200))
    histories = Histories.of([[1, 2 if s else 3] for s in soon], [[0, seconds] for seconds in waited.tolist()])
    model = MODEL.model_copy(update={"time_gaps": True})
    fitted = fitted_to(histories, 3, model, 40, tmp_path)
    times = [np.array([1000], np.int64)] * 2
    asked = np.array([1030, 1000 + 5 * DAY])
    scores = (
        fitted.tower.user_vectors([np.array([1], np.int32)] * 2, times=times, asked=asked) @ fitted.item_vectors.T
    )
    assert scores[0, 2] > scores[0, 3] + 1
    assert scores[1, 3] > scores[1, 2] + 1


def test_learned_decays_are_trained_and_fixed_ones_are_not_weights(tmp_path: Path) -> None:
    settings = {"decays": (0.9, 0.5), "learned_decays": True, "tower": ()}
    fitted = fitted_to(circle(), ITEMS, MODEL.model_copy(update=settings), 3, tmp_path / "learned")
    learned = decays(fitted.tower.config, fitted.tower.weights)
    assert np.all(np.abs(learned - [0.9, 0.5]) > 1e-3)
    assert np.all((learned > 0) & (learned < 1))
    fixed = fitted_to(circle(), ITEMS, MODEL, 1, tmp_path / "fixed")
    assert DECAY_LOGITS not in fixed.tower.weights
