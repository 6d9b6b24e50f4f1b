"""Words by this project: trained as `watchnext train --holdout none` does. The steady part begins with epoch 2."""

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.progress import Progress

from benchmarks._rivals.program import Figures, Timer
from benchmarks._rivals.words import Text, Vectors, WordTask, answer
from model.assembly import TrainingData
from model.fit import Hooks, fit
from watchnext.config import RunOptions, Word2vecConfig
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs


def run(task: WordTask) -> tuple[Vectors, Figures]:
    """Train; sentences are the histories of users."""
    text, config = Text.open(Path(task.text)), Word2vecConfig(**task.settings)
    offsets = np.concatenate([[0, 0], np.cumsum(text.lengths)])
    histories = Histories(text.numbers, np.arange(len(text.numbers)), offsets)
    inputs = UserInputs(histories, None, None, 0)
    data = TrainingData(inputs, histories.lengths, len(text.words) - 1, FeatureSpec())
    timers: list[Timer] = []
    hooks = Hooks(epoch=lambda number, metrics: timers.append(Timer()) if number == 1 else None)
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(checkpoints=Path(folder) / "checkpoints")
        fitted = fit(data, config.model, config, options, Progress(disable=True), hooks=hooks)
    steady = {f"steady_{name}": value for name, value in timers[0].figures().items()}
    return fitted.item_vectors, {"steady_words": len(text.numbers) * (config.epochs - 1), **steady}


def limited(task: WordTask) -> tuple[Vectors, Figures]:
    """`run` with a limit to TensorFlow's threads."""
    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    tf.config.threading.set_inter_op_parallelism_threads(task.threads)
    return run(task)


if __name__ == "__main__":
    answer(limited)
