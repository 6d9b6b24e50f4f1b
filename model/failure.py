"""When training goes wrong: what counts as that, and the batch it happened in as a file that can be loaded again."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.assembly import AnyPrepared
from model.huffman import Paths
from model.item_features import TouchedFeatures
from model.prepare import Prepared
from model.searches import Bags
from model.word2vec.prepare import PreparedWindows, RowTurns
from watchnext.errors import TrainingError
from watchnext.files import write_atomic

EXPLODED = 100
"""A loss this many times that of guessing has exploded."""
FILE = "failed-step-{:09d}.npz"
"""Beside the checkpoints."""


class FailedBatch(NamedTuple):
    """The batch in which training failed, as the step got it."""

    step: int
    """Its number in the run, 1 for the first."""
    epoch: int
    number: int
    """Its number in the epoch, from 0 on."""
    loss: float
    gradient_norm: float
    batch: AnyPrepared


def failed(loss: float, gradient_norm: float, guessing: float) -> bool:
    """Whether training must stop: the loss or the gradient is not finite, or the loss has exploded.

    Args:
        guessing: the loss of guessing, in nats.

    >>> failed(12.0, 1.0, 6.9), failed(math.nan, 1.0, 6.9), failed(1000.0, 1.0, 6.9)
    (False, True, True)
    """
    return not (math.isfinite(gradient_norm) and loss <= EXPLODED * max(guessing, 1.0))


def failure(file: Path, failed_batch: FailedBatch, learning_rate: float) -> TrainingError:
    """Write the batch to a file and say what happened and what helps."""
    save_batch(file, failed_batch)
    got = f"{failed_batch.loss:g} (norm of the gradient {failed_batch.gradient_norm:g}) in step {failed_batch.step}"
    broken = [name for name, value in arrays(failed_batch.batch).items() if not np.isfinite(value).all()]
    if broken:
        cure = f"The batch itself has values that are not finite, in {', '.join(broken)}; it is in {file}."
    else:
        cure = (
            f"Lower --set learning_rate, now {learning_rate:g}, and train anew"
            f" after deleting the folder of the batch, which is in {file}."
        )
    return TrainingError("loss", got, cure)


def save_batch(file: Path, failed_batch: FailedBatch) -> None:
    """Write `step`, `epoch`, `number`, `loss`, `gradient_norm` and the arrays of the batch as one npz file."""
    content = io.BytesIO()
    about = {name: np.array(value) for name, value in failed_batch._asdict().items() if name != "batch"}
    np.savez_compressed(content, **about, **arrays(failed_batch.batch))  # type: ignore[arg-type]
    write_atomic(file, content.getvalue())


def load_batch(file: Path) -> FailedBatch:
    """Read what `save_batch` wrote; `Trainer.step` takes the batch again."""
    with np.load(file) as stored:
        values = dict(stored)
    about = {name: values.pop(name).item() for name in FailedBatch._fields if name != "batch"}
    kind = PreparedWindows if "reach" in values else Prepared
    fields: dict[str, Any] = dict.fromkeys(kind._fields) | ({"context": {}} if kind is Prepared else {})
    for name, value in values.items():
        field, _, inner = name.partition("/")
        if inner:
            fields[field] = {**(fields[field] or {}), inner: value}
        else:
            fields[field] = value
    if kind is Prepared:
        fields["log_q"] = tuple(fields["log_q"].values())
    for name, part in (("features", TouchedFeatures), ("searches", Bags), ("paths", Paths), ("turns", RowTurns)):
        if fields.get(name):
            fields[name] = part(**fields[name])
    return FailedBatch(**about, batch=kind(**fields))


def arrays(value: object, name: str = "") -> dict[str, NDArray[Any]]:
    """The arrays in a batch, by path.

    >>> sorted(arrays({"a": np.zeros(1), "b": (np.zeros(1), None)}))
    ['a', 'b/0']
    """
    if isinstance(value, np.ndarray):
        return {name: value}
    inside: Mapping[Any, object] = {}
    if hasattr(value, "_asdict"):
        inside = value._asdict()
    elif isinstance(value, dict):
        inside = value
    elif isinstance(value, tuple):
        inside = dict(enumerate(value))
    found: dict[str, NDArray[Any]] = {}
    for key, inner in inside.items():
        found |= arrays(inner, f"{name}/{key}" if name else str(key))
    return found
