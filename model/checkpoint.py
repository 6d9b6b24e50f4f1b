"""Checkpoints of a training run: whole or not there, checked when read, the newest whole one is taken.

A checkpoint is a folder `step-000000123` with all arrays (tables, dense weights, optimizer state, the best epoch's
weights, their running average) as safetensors and the run's place in its manifest.
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from watchnext.config import Closed
from watchnext.errors import CorruptError, UsageError
from watchnext.features import Float32
from watchnext.files import Manifest, atomic_folder

Arrays = dict[str, Float32]

KEPT = 2
"""Checkpoints that stay on disk: the newest and, should it be damaged, the one before."""


class Progress(Closed):
    """Where a run is."""

    step: int = 0
    """Batches trained in all."""
    epoch: int = 0
    """The epoch that the next batch belongs to."""
    batch: int = 0
    """The number of the next batch in its epoch."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's batches so far, nats."""
    best_epoch: int = -1
    """The epoch with the best validation metric, -1 before the first validation."""
    best_metrics: dict[str, float] = Field(default_factory=dict)
    """What validation measured for it."""
    done: bool = False
    """Whether the run has ended by itself."""


class CheckpointManifest(Manifest):
    """What a checkpoint says about itself."""

    made_by: ClassVar[str] = "watchnext train"
    format: Literal["watchnext-checkpoint-1"] = "watchnext-checkpoint-1"
    identity: str
    """Of the configuration and the corpus: a run goes on only with the same."""
    progress: Progress


class Checkpoint(NamedTuple):
    """A run that can go on."""

    progress: Progress
    state: Arrays
    best: Arrays
    average: Arrays
    """The running average of the weights; empty without it."""


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run, in a folder of their own."""

    folder: Path
    identity: str

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then delete all but the newest `KEPT`."""
        name = f"step-{checkpoint.progress.step:09d}{'-done' if checkpoint.progress.done else ''}"
        shutil.rmtree(self.folder / name, ignore_errors=True)  # the same step, damaged, of the run that goes on
        with atomic_folder(self.folder / name, CheckpointManifest) as temporary:
            save_file(checkpoint.state, temporary / "state.safetensors")
            save_file(checkpoint.best, temporary / "best.safetensors")
            save_file(checkpoint.average, temporary / "average.safetensors")
            CheckpointManifest.seal(temporary, identity=self.identity, progress=checkpoint.progress)
        for old in self._folders()[:-KEPT]:
            shutil.rmtree(old)

    def load(self) -> Checkpoint | None:
        """The newest whole checkpoint, None where there is none. Raises UsageError if it is of another run."""
        for folder in reversed(self._folders()):
            try:
                manifest = CheckpointManifest.read(folder)
                manifest.verify(folder)
                arrays = [load_file(folder / f"{name}.safetensors") for name in ("state", "best", "average")]
            except (CorruptError, UsageError, SafetensorError, OSError):
                continue
            if manifest.identity != self.identity:
                raise UsageError(
                    "--resume",
                    f"checkpoints of another configuration or corpus in {self.folder}",
                    "Run with the options of that run, or delete the folder to start anew.",
                )
            return Checkpoint(manifest.progress, *arrays)
        return None

    def clear(self) -> None:
        """Delete all checkpoints, half-written ones and failed batches, and the folder if nothing else is in it."""
        for old in (*self._folders(), *self.folder.glob(".step-*")):
            shutil.rmtree(old)
        for batch in self.folder.glob("failed-step-*.npz"):
            batch.unlink()
        with suppress(OSError):
            self.folder.rmdir()

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("step-*")) if self.folder.is_dir() else []
