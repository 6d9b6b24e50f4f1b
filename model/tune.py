"""A search over settings within a time: trials one after the other, bad ones stopped early, the rest of them trained.

Knows nothing of corpora or of how a trial is trained: it is given a function for that. A search that was interrupted,
even by kill -9, goes on where it was: the trial that was at work goes on from its checkpoint as a new trial.
"""

import gc
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import Field

from model.fit import METRIC, Stopped
from model.space import Space, drawn, position
from watchnext.config import Closed
from watchnext.errors import TrainingError, UsageError, WatchnextError
from watchnext.presets import Preset, changed

MOST_RETRIES = 2
"""A trial that was interrupted so often without an epoch more is given up: it may be what ends the process."""
MOST_FAILURES = 5
"""So many failed trials in a row, none before them having trained an epoch, end the search with their error."""

FACTS = "facts"
"""The attribute of a trial that holds all that is known of it."""

STATES = {
    TrialState.COMPLETE: "trained",
    TrialState.PRUNED: "stopped early",
    TrialState.RUNNING: "out of time",
    TrialState.FAIL: "failed",
}


class Facts(Closed):
    """What is kept of a trial beside what Optuna keeps."""

    settings: tuple[str, ...] = ()
    """What it changed in the preset, as `name=value`."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Of its best epoch; nothing before the end of the first."""
    epochs: int = 0
    """Passes trained."""
    seconds: float = 0.0
    """Wall time it took; what an earlier trial of the same settings took is not in it."""
    error: str = ""
    """Why it failed."""
    preset: bool = False
    """Whether it is the preset itself."""
    again: int | None = None
    """The trial that was interrupted and that this one goes on with."""
    origin: int | None = None
    """The first of the trials that go on with one another."""
    inherited: int = 0
    """Epochs of the trial that it goes on with."""
    retries: int = 0
    """How many trials in a row were interrupted without an epoch more."""

    def following(self, number: int) -> "Facts":
        """Of the trial that goes on with this one, which has a number."""
        return self.model_copy(
            update={
                "seconds": 0.0,
                "again": number,
                "origin": number if self.origin is None else self.origin,
                "inherited": self.epochs,
                "retries": self.retries + 1 if self.epochs <= self.inherited else 0,
            }
        )


@dataclass(frozen=True)
class Tried:
    """What became of one trial; `state` is one of `STATES`."""

    number: int
    state: str
    facts: Facts

    @property
    def metric(self) -> float:
        """What trials are compared by. Raises KeyError before the first epoch has ended."""
        return self.facts.metrics[METRIC]


class Attempt:
    """A trial at work: what a training function must call, after every step and after every epoch.

    Args:
        checkpoints: where the trial's checkpoints are; training resumes from them where there are any.
        deadline: by `clock`, when the search's time is over.
    """

    def __init__(
        self, trial: Trial, facts: Facts, checkpoints: Path, deadline: float, clock: Callable[[], float]
    ) -> None:
        self.facts, self.checkpoints = facts, checkpoints
        self._trial, self._deadline, self._clock = trial, deadline, clock
        self._begun = clock()
        self._reported: set[int] = set()

    def inherit(self, reported: Mapping[int, float]) -> None:
        """Report what an earlier trial of the same settings did: metrics by epoch."""
        for epoch, value in reported.items():
            self._reported.add(epoch)
            self._trial.report(value, epoch)

    def step(self) -> None:
        """Raise Stopped when the time is over."""
        if self._clock() >= self._deadline:
            raise Stopped

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        """Note the best metrics so far. Raises TrialPruned if the trial is worse than others at this epoch."""
        self.note(metrics=metrics, epochs=number)
        if number not in self._reported:  # unless trained again, since the checkpoint of it was lost
            self._reported.add(number)
            self._trial.report(metrics[METRIC], number)
        if self._trial.should_prune():
            raise optuna.TrialPruned

    def note(self, **facts: Any) -> None:
        """Keep facts of the trial, and the time it took so far."""
        self.facts = self.facts.model_copy(update={**facts, "seconds": self._clock() - self._begun})
        self._trial.set_user_attr(FACTS, self.facts.model_dump())


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

    def run(self, train: Train, seconds: float, most: int | None = None) -> None:
        """Try settings until all trials together, those of earlier calls included, took so many seconds.

        Args:
            most: also end after so many trials, when given.

        Raises TrainingError when nothing but failures comes.
        """
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of a compiled step in each trial
        self._take_up()
        failures: list[str] = []
        while self.spent() < seconds and (most is None or len(self.tried()) < most):
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
            if len(failures) >= MOST_FAILURES and not any(tried.facts.metrics for tried in self.tried()):
                raise TrainingError("all trials", failures[-1], "Change --set or --space.")
        self.advance(self.spent())

    def _try(self, train: Train, trial: Trial, attempt: Attempt) -> None:
        own = attempt.facts.preset
        settings = drawn(self.space, trial) if not own or position(self.space, self.base) else []
        attempt.note(settings=() if own else tuple(settings))
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
        facts, deadline = _facts(trial), self.clock() + seconds - self.spent()
        attempt = Attempt(trial, facts, self._checkpoints(trial), deadline, self.clock)
        if facts.again is not None:
            attempt.inherit(self._trials()[facts.again].intermediate_values)
        return attempt

    def _checkpoints(self, trial: Trial) -> Path:
        origin = _facts(trial).origin
        return self.folder / f"trial-{trial.number if origin is None else origin:04d}"

    def _take_up(self) -> None:
        """Queue the preset itself in a new study, and whatever was interrupted in an old one."""
        trials = self._trials()
        if not trials:
            self._queue(position(self.space, self.base) or {}, Facts(preset=True))
        again = {_facts(trial).again for trial in trials}
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                following = _facts(trial).following(trial.number)
                if trial.number not in again and following.retries <= MOST_RETRIES:
                    self._queue(trial.params, following)
                self.study.tell(trial.number, state=TrialState.FAIL)

    def _queue(self, params: dict[str, Any], facts: Facts) -> None:
        self.study.enqueue_trial(params, {FACTS: facts.model_dump()})

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def spent(self) -> float:
        """Seconds that all trials took so far."""
        return sum(_facts(trial).seconds for trial in self._trials())

    def tried(self) -> list[Tried]:
        """All trials in their order; of one that was interrupted and taken up again, only the last."""
        again = {_facts(trial).again for trial in self._trials()}
        shown = [t for t in self._trials() if t.state in STATES and t.number not in again]
        return [Tried(trial.number, STATES[trial.state], _facts(trial)) for trial in shown]

    def best(self) -> Tried:
        """The trial with the best metric, whether it was trained to its end or not. Raises UsageError for none."""
        found = max((t for t in self.tried() if t.facts.metrics), key=lambda t: t.metric, default=None)
        if found is None:
            raise UsageError("--minutes", "no epoch trained in this time", "Give more minutes.")
        return found


def _facts(trial: FrozenTrial | Trial) -> Facts:
    return Facts.model_validate(trial.user_attrs.get(FACTS, {}))
