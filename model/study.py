"""Where a search over settings keeps its trials: a journal of the Optuna library, for one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from watchnext.errors import CorruptError, UsageError

JOURNAL = "trials.jsonl"
ABOUT = "about"
"""The study's attribute that says what its trials are about."""
FEWEST_EPOCHS, REDUCTION = 3, 3
"""After 3 epochs, 9, 27, ... a trial goes on only if it is among the best third that came so far."""
STARTUP_TRIALS = 10
"""So many trials are drawn at random before others are drawn near the best."""


@contextmanager
def opened(folder: Path, about: str, seed: int) -> Iterator[optuna.Study]:
    """Open the study in a folder, or make one.

    Trials are drawn by a tree-structured Parzen estimator (Bergstra et al. 2011) and stopped by asynchronous
    successive halving (Li et al. 2020).

    Args:
        about: what the trials are about; a study goes on only with the same.
        seed: draws follow from it and from how many trials there are.

    Raises UsageError if the folder holds something else, another study, or is in use; CorruptError for a broken file.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / JOURNAL
    if folder.exists() and not path.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        got = "something there that `watchnext tune` did not write"
        raise UsageError(f"target {folder}", got, "Name a new folder, or delete this one.")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        try:
            study = optuna.create_study(
                storage=JournalStorage(_journal(path)),
                study_name="watchnext",
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.SuccessiveHalvingPruner(FEWEST_EPOCHS, REDUCTION),
            )
        except (ValueError, LookupError, TypeError) as error:
            raise CorruptError(str(path), error, "Restore the file, or name a new folder.") from error
        _check(study, about, folder)
        drawn = len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed + drawn)
        yield study


def _journal(path: Path) -> JournalFileBackend:
    """The file as a journal, after what a process that was killed may have left: half a line, and a lock."""
    content = path.read_bytes()
    os.truncate(path, content.rfind(b"\n") + 1)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    return JournalFileBackend(str(path))


def _check(study: optuna.Study, about: str, folder: Path) -> None:
    found = study.user_attrs.get(ABOUT)
    if found is None:
        study.set_user_attr(ABOUT, about)
    elif found != about:
        cure = "Run with the options of those trials, or name a new folder."
        raise UsageError(f"target {folder}", "trials of another corpus or of other options", cure)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the file's lock, which the operating system drops when a process ends, however it ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UsageError(
            f"target {path.parent}", "another search at work there", "Wait, or name a new folder."
        ) from error
    try:
        yield
    finally:
        os.close(handle)
