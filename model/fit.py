"""The training loop: epochs of steps, validation after each, early stopping, checkpoints, resumption."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.progress import Progress as ProgressBar

from model.assembly import AnyPrepared, AnyTrainer, Batches, Builder, Config, Start, TrainingData, assembled
from model.checkpoint import Arrays, Checkpoint, CheckpointStore, Progress
from model.failure import FILE, FailedBatch, failed, failure
from model.interrupt import Interrupt, Interrupted, deferred
from model.prefetch import prefetch
from model.telemetry import Telemetry
from model.warm import beside_export
from watchnext.config import FitConfig, ModelConfig, RunOptions
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Int64
from watchnext.tower import UserTower

METRIC = "ndcg@10"
"""The validation metric that early stopping watches."""


class Stopped(Exception):  # noqa: N818  (nothing is wrong)
    """Raised by one of the `Hooks` to interrupt training: a checkpoint is written first, so that it can go on."""


@dataclass(frozen=True)
class Hooks:
    """What training calls as it goes. Each may raise `Stopped`, or anything else, to end it.

    Args:
        step: called after every step.
        epoch: called after every epoch, once it is in a checkpoint, with how many epochs there were and the metrics
            of the best of them.
    """

    step: Callable[[], None] = lambda: None
    epoch: Callable[[int, dict[str, float]], None] = lambda number, metrics: None


Validate = Callable[[Float32, UserTower], dict[str, float]]
"""From item vectors and a tower to metrics, among them `METRIC`."""


@dataclass(frozen=True)
class Fitted:
    """The best epoch's weights, what validation said of them, and what a warm start from them needs beside them."""

    item_vectors: Float32
    tower: UserTower
    epochs: int
    metrics: dict[str, float]
    counts: Int64
    optimizer: Arrays


@dataclass
class Run:
    """One run of the loop. `fit` is the way in."""

    config: FitConfig
    store: CheckpointStore
    validate: Validate | None
    trainer: AnyTrainer
    builder: Builder
    prepare: Callable[[Any, int, int], AnyPrepared]
    telemetry: Telemetry
    interrupt: Interrupt
    optimizer_state: bool = False
    hooks: Hooks = field(default_factory=Hooks)
    progress: Progress = field(default_factory=Progress)
    best: Arrays = field(default_factory=dict)
    average: Arrays = field(default_factory=dict)

    def epochs(self, options: RunOptions, bar: ProgressBar) -> None:
        """Train until the last epoch or until patience ends; `best` then holds the weights to keep."""
        while not self.progress.done:
            self._epoch(self.builder.epoch(self.progress.epoch), options, bar)
            self._end_of_epoch()
            self.save()
            self.interrupt.check()
            self.hooks.epoch(self.progress.epoch, dict(self.progress.best_metrics))

    def _epoch(self, epoch: Batches, options: RunOptions, bar: ProgressBar) -> None:
        start = self.progress.batch
        task = bar.add_task(self._title(), total=self.builder.expected, completed=start)
        saved = time.monotonic()
        for prepared in self.telemetry.waits(prefetch(self._prepared(epoch, start))):
            loss, norm = float(self.trainer.step(prepared)), float(self.trainer.gradient_norm)
            self._check(loss, norm, prepared)
            p = self.progress
            self.progress = p.model_copy(
                update={"step": p.step + 1, "batch": p.batch + 1, "loss_sum": p.loss_sum + loss}
            )
            self.telemetry.step(p.step + 1, p.epoch + 1, loss, norm, prepared)
            bar.advance(task)
            late = time.monotonic() - saved > 60 * options.checkpoint_minutes
            if late or (options.checkpoint_steps and self.progress.step % options.checkpoint_steps == 0):
                self.save()
                saved = time.monotonic()
            self.interrupt.check()
            self.hooks.step()
        bar.remove_task(task)

    def _prepared(self, epoch: Batches, start: int) -> Iterator[AnyPrepared]:
        number = self.progress.epoch
        return (self.prepare(batch, number, start + i) for i, batch in enumerate(epoch.batches(start)))

    def _check(self, loss: float, norm: float, batch: AnyPrepared) -> None:
        if failed(loss, norm, self.trainer.guessing):
            p = self.progress
            file = self.store.folder / FILE.format(p.step + 1)
            about = FailedBatch(p.step + 1, p.epoch, p.batch, loss, norm, batch)
            raise failure(file, about, self.config.learning_rate)

    def _end_of_epoch(self) -> None:
        p = self.progress
        metrics = {"loss": p.loss_sum / max(p.batch, 1)}
        weights = trained = self.trainer.network.arrays()
        if self.config.averaged:
            weights = self.average = averaged(self.average, trained, self.config.averaged, p.epoch)
        if self.validate:
            metrics |= self._validated(self.validate, trained, weights)
        self.telemetry.epoch(p.step, p.epoch + 1, metrics)
        better = self.validate is None or p.best_epoch < 0 or metrics[METRIC] > p.best_metrics[METRIC]
        if better:
            self.best = {**weights, **(self.trainer.optimizer_arrays() if self.optimizer_state else {})}
            p = p.model_copy(update={"best_epoch": p.epoch, "best_metrics": metrics})
        last = p.epoch + 1 >= self.config.epochs or p.epoch - p.best_epoch >= self.config.patience
        self.progress = p.model_copy(update={"epoch": p.epoch + 1, "batch": 0, "loss_sum": 0.0, "done": last})

    def _validated(self, validate: Validate, trained: Arrays, weights: Arrays) -> dict[str, float]:
        """The metrics of some weights; the network keeps those that are trained."""
        network = self.trainer.network
        if weights is not trained:
            network.set_arrays(weights)
        metrics = validate(network.item_vectors(), network.tower())
        if weights is not trained:
            network.set_arrays(trained)
        return metrics

    def _title(self) -> str:
        p = self.progress
        best = f", best {METRIC} {p.best_metrics[METRIC]:.4f}" if METRIC in p.best_metrics else ""
        return f"epoch {p.epoch + 1}{best}"

    def save(self) -> None:
        """Write a checkpoint of the run as it is now."""
        self.store.save(Checkpoint(self.progress, self.trainer.arrays(), self.best, self.average))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.trainer.set_arrays(checkpoint.state)
        self.progress, self.best, self.average = checkpoint.progress, checkpoint.best, checkpoint.average


def averaged(average: Arrays, new: Arrays, most: float, epoch: int) -> Arrays:
    """A running average of weights in which the past weighs epoch / (epoch + 2), and at most so much.

    Args:
        epoch: 0 for the first, whose weights are taken as they are: the past counts little while it is young.
    """
    past = min(most, epoch / (epoch + 2))
    if not average or not past:
        return new
    return {name: (past * average[name] + (1 - past) * value).astype(np.float32) for name, value in new.items()}


def fit(
    data: TrainingData,
    model: ModelConfig,
    config: Config,
    options: RunOptions,
    bar: ProgressBar,
    validate: Validate | None = None,
    fingerprint: str = "",
    hooks: Hooks | None = None,
    start: Start | None = None,
) -> Fitted:
    """Fit a network.

    Args:
        validate: called after each epoch; early stopping keeps the weights with its best `METRIC`. Without it the
            last epoch's weights are kept.
        fingerprint: of the corpus, so that a run is not resumed on another one.
        hooks: called as training goes.
        start: gives the values and the optimizer's state that a trainer starts with; None for the usual ones.

    Raises TrainingError where there is nothing to learn from or the loss is not finite any more, UsageError where
    an unfinished run is in the way and `options.resume` is not set.
    """
    parts = assembled(data, model, config, start)
    network = parts.trainer.network
    identity = f"{model.model_dump_json()} {config.model_dump_json()} {fingerprint}"
    with deferred() as interrupt:
        run = Run(
            config,
            CheckpointStore(options.checkpoints, identity),
            validate,
            parts.trainer,
            parts.builder,
            parts.prepare,
            Telemetry(options.logs, parts.trainer),
            interrupt,
            options.optimizer_state,
            hooks or Hooks(),
        )
        _resume(run, options)
        run.telemetry.start(run.progress.step)
        try:
            run.epochs(options, bar)
        except (Interrupted, Stopped):
            run.save()
            raise
        finally:
            run.telemetry.close()
    network.set_arrays(run.best)
    return Fitted(
        network.item_vectors(),
        network.tower(),
        run.progress.best_epoch + 1,
        dict(run.progress.best_metrics),
        parts.counts,
        beside_export(run.best, model),
    )


def _resume(run: Run, options: RunOptions) -> None:
    if not options.resume:
        if any(options.checkpoints.glob("step-*")):
            raise UsageError(
                str(options.checkpoints),
                "checkpoints of an unfinished run",
                "Add --resume to go on with it, or delete the folder to start anew.",
            )
        return
    checkpoint = run.store.load()
    if checkpoint is not None:
        run.restore(checkpoint)
