"""A search over settings within a time: trials one after the other, bad ones stopped early, the rest of them trained.

Knows nothing of corpora or of how a trial is trained: it is given a function for that. A search that was interrupted,
even by kill -9, goes on where it was: the trial that was at work goes on from its checkpoint as a new trial.
"""

import gc
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from model.fit import METRIC, Stopped
from model.space import Space, drawn, position
from watchnext.config import Preset, changed
from watchnext.errors import TrainingError, UsageError, WatchnextError

MOST_RETRIES = 2
"""A trial that was interrupted so often without an epoch more is given up: it may be what ends the process."""
MOST_FAILURES = 5
"""So many failed trials in a row, none before them having trained an epoch, end the search with their error."""

STATES = {
    TrialState.COMPLETE: "trained",
    TrialState.PRUNED: "stopped early",
    TrialState.RUNNING: "out of time",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class Tried:
    """What became of one trial.

    Args:
        settings: what it changed in the preset, as `name=value`; nothing for the preset itself.
        state: one of `STATES`.
        metrics: of its best epoch; nothing before the end of the first.
        epochs: passes it trained.
        seconds: wall time it took.
        error: why it failed.
    """

    number: int
    settings: tuple[str, ...]
    state: str
    metrics: dict[str, float]
    epochs: int
    seconds: float
    error: str = ""

    @property
    def metric(self) -> float:
        """What trials are compared by; minus infinity before the first epoch has ended."""
        return self.metrics.get(METRIC, -float("inf"))


class Attempt:
    """A trial at work: what a training function must call, after every step and after every epoch.

    Args:
        checkpoints: where the trial's checkpoints are; training resumes from them where there are any.
        deadline: by `clock`, when the search's time is over.
    """

    def __init__(self, trial: Trial, checkpoints: Path, deadline: float, clock: Callable[[], float]) -> None:
        self.trial, self.checkpoints, self._deadline, self._clock = trial, checkpoints, deadline, clock
        self._begun = clock()

    def step(self) -> None:
        """Raise Stopped when the time is over."""
        if self._clock() >= self._deadline:
            raise Stopped

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        """Note the best metrics so far. Raises TrialPruned if the trial is worse than others at this epoch."""
        self.note(metrics=metrics, epochs=number)
        self.trial.report(metrics[METRIC], number)
        if self.trial.should_prune():
            raise optuna.TrialPruned

    def note(self, **facts: Any) -> None:
        """Keep facts of the trial, and the time it took so far."""
        for name, fact in {**facts, "seconds": self._clock() - self._begun}.items():
            self.trial.set_user_attr(name, fact)


Train = Callable[[Preset, Attempt], dict[str, float]]
"""Trains a configuration, calling the attempt as it goes; returns the metrics of the best epoch."""


@dataclass
class Search:
    """The search over a space around a preset, which is the first trial itself.

    Args:
        study: as `study.opened` yields it.
        folder: for the checkpoints of the trial at work.
        advance: called with the seconds spent, after every trial.
        clock: in seconds.
    """

    study: optuna.Study
    space: Space
    base: Preset
    folder: Path
    advance: Callable[[float], None] = lambda _: None
    clock: Callable[[], float] = field(default=time.monotonic)

    def run(self, train: Train, seconds: float) -> None:
        """Try settings until all trials together, those of earlier calls included, took so many seconds.

        Raises TrainingError when nothing but failures comes.
        """
        self._take_up()
        failures: list[str] = []
        while self.spent() < seconds:
            self.advance(self.spent())
            trial = self.study.ask()
            attempt = self._attempt(trial, seconds)
            try:
                self._try(train, trial, attempt)
            except Stopped:
                attempt.note()
                break  # the trial stays as it is, to be taken up with more time
            except optuna.TrialPruned:
                self._end(trial, attempt, state=TrialState.PRUNED)
            except WatchnextError as error:
                attempt.note(error=str(error))
                self._end(trial, attempt, state=TrialState.FAIL)
                failures.append(str(error))
            if len(failures) >= MOST_FAILURES and not any(tried.metrics for tried in self.tried()):
                raise TrainingError("all trials", failures[-1], "Change --set or --space.")
        self.advance(self.spent())

    def _try(self, train: Train, trial: Trial, attempt: Attempt) -> None:
        own = trial.user_attrs.get("preset", False)
        settings = drawn(self.space, trial) if not own or position(self.space, self.base) else []
        attempt.note(settings=[] if own else settings)
        metrics = train(self.base if own else changed(self.base, settings), attempt)
        attempt.note(metrics=metrics)
        self._end(trial, attempt, value=metrics[METRIC])

    def _end(
        self, trial: Trial, attempt: Attempt, value: float | None = None, state: TrialState | None = None
    ) -> None:
        attempt.note()
        self.study.tell(trial, value, state)
        shutil.rmtree(attempt.checkpoints, ignore_errors=True)
        gc.collect()  # tensors and compiled steps of the trial

    def _attempt(self, trial: Trial, seconds: float) -> Attempt:
        """The trial at work, with all that an earlier one of the same settings reported before it was interrupted."""
        facts, deadline = trial.user_attrs, self.clock() + seconds - self.spent()
        folder = self.folder / f"trial-{facts.get('origin', trial.number):04d}"
        if "again" in facts:
            earlier = self.study.get_trials(deepcopy=False)[facts["again"]]
            for epoch, value in earlier.intermediate_values.items():
                trial.report(value, epoch)
            for name in ("metrics", "epochs"):
                if name in earlier.user_attrs:
                    trial.set_user_attr(name, earlier.user_attrs[name])
        return Attempt(trial, folder, deadline, self.clock)

    def _take_up(self) -> None:
        """Queue the preset itself in a new study, and whatever was interrupted in an old one."""
        trials = self.study.get_trials(deepcopy=False)
        if not trials:
            self.study.enqueue_trial(position(self.space, self.base) or {}, {"preset": True})
        again = {trial.user_attrs.get("again") for trial in trials}
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                if trial.number not in again and _retries(trial) <= MOST_RETRIES:
                    self.study.enqueue_trial(trial.params, _inherited(trial))
                self.study.tell(trial.number, state=TrialState.FAIL)

    def spent(self) -> float:
        """Seconds that all trials took so far."""
        return sum(float(t.user_attrs.get("seconds", 0.0)) for t in self.study.get_trials(deepcopy=False))

    def tried(self) -> list[Tried]:
        """All trials in their order; of one that was interrupted and taken up again, only the last."""
        trials = self.study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get("again") for trial in trials}
        return [_tried(t) for t in trials if t.state in STATES and t.number not in again]

    def best(self) -> Tried:
        """The trial with the best metric, whether it was trained to its end or not. Raises UsageError for none."""
        found = max((t for t in self.tried() if t.metrics), key=lambda t: t.metric, default=None)
        if found is None:
            raise UsageError("--minutes", "no epoch trained in this time", "Give more minutes.")
        return found


def _retries(trial: FrozenTrial) -> int:
    """How often the trial would have been taken up without an epoch more, once it is again."""
    facts = trial.user_attrs
    stuck = facts.get("epochs", 0) <= facts.get("inherited", 0)
    return int(facts.get("retries", 0)) + 1 if stuck else 0


def _inherited(trial: FrozenTrial) -> dict[str, Any]:
    facts = trial.user_attrs
    return {
        "preset": facts.get("preset", False),
        "origin": facts.get("origin", trial.number),
        "again": trial.number,
        "retries": _retries(trial),
        "inherited": facts.get("epochs", 0),
    }


def _tried(trial: FrozenTrial) -> Tried:
    facts = trial.user_attrs
    return Tried(
        trial.number,
        tuple(facts.get("settings", ())),
        STATES[trial.state],
        facts.get("metrics", {}),
        facts.get("epochs", 0),
        facts.get("seconds", 0.0),
        facts.get("error", ""),
    )
