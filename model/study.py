"""Where a search over settings keeps its trials: an SQLite file of the Optuna library, for one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DatabaseError

from watchnext.errors import CorruptError, UsageError

DATABASE = "trials.db"
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
    path = folder / DATABASE
    if folder.exists() and not path.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        got = "something there that `watchnext tune` did not write"
        raise UsageError(f"target {folder}", got, "Name a new folder, or delete this one.")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        try:
            storage = RDBStorage(f"sqlite:///{path.resolve()}")
        except (DatabaseError, StorageInternalError, RuntimeError, AssertionError) as error:
            raise CorruptError(str(path), type(error).__name__, "Restore the file, or name a new folder.") from error
        try:
            study = optuna.create_study(
                storage=storage,
                study_name="watchnext",
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.SuccessiveHalvingPruner(FEWEST_EPOCHS, REDUCTION),
            )
            _check(study, about, folder)
            drawn = len(study.get_trials(deepcopy=False))
            study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed + drawn)
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()


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
