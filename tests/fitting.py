"""A tiny world for training: items form a circle, and everybody's next watch is the item after the last one.

Run as a program it trains there with a checkpoint after every step, to be killed: `python -m tests.fitting FOLDER`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.progress import Progress

from evaluation.protocol import Validator
from model.assembly import TrainingData
from model.fit import Fitted, Run, Stopped, fit
from watchnext.config import ModelConfig, RunOptions, TrainingConfig
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs
from watchnext.split import split

ITEMS, USERS, LENGTH = 30, 240, 9
MODEL = ModelConfig(dim=16, tower=(32,), history=8)
TRAINING = TrainingConfig(
    negatives=20, batch_examples=256, learning_rate=0.01, dropout=0.1, averaged=0.5, epochs=12, patience=12, seed=7
)


def circle() -> Histories:
    """Each user starts somewhere on the circle and goes on item by item."""
    starts = np.random.default_rng(0).integers(0, ITEMS, USERS)
    return Histories.of([[(start + i) % ITEMS + 1 for i in range(LENGTH)] for start in starts.tolist()])


def train_on_circle(
    folder: Path,
    resume: bool = False,
    steps: int | None = None,
    logs: Path | None = None,
    model: ModelConfig = MODEL,
    **changes: float | str,
) -> Fitted:
    """Train with the last watch of each user held out for validation."""
    histories = circle()
    cut = split(histories, "last")
    data = TrainingData(UserInputs(histories), cut.train, ITEMS, FeatureSpec())
    options = RunOptions(checkpoints=folder, checkpoint_steps=steps, logs=logs, resume=resume, progress=False)
    training = TRAINING.model_copy(update=changes)
    validate = Validator(UserInputs(histories), cut, 5000, seed=0)
    with Progress(disable=True) as bar:
        return fit(data, model, training, options, bar, validate, "circle")


def stopped_in_the_second(end: Callable[[Run], None]) -> Callable[[Run], None]:
    """An end of an epoch that interrupts training before that of the second."""

    def ended(run: Run) -> None:
        if run.progress.epoch == 1:
            raise Stopped
        end(run)

    return ended


if __name__ == "__main__":
    train_on_circle(Path(sys.argv[1]), steps=1)
