"""What a training run tells of itself: the same numbers as TensorBoard event files and as lines of JSON.

Two kinds of lines in `metrics.jsonl`: `step`, every hundred steps, and `epoch`, with what validation measured.
TensorBoard shows each number under `kind/name`. A resumed run repeats the steps after its last checkpoint; what was
told of them before is not told again.
"""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from model.assembly import AnyPrepared, AnyTrainer

T = TypeVar("T")

EVERY = 100
"""Steps between two lines."""
SAMPLE = 10_000
"""The norms of so many rows of the item table are taken, equally spaced, so of frequent and of rare items."""
FILE, EVENTS = "metrics.jsonl", "events.out.tfevents.*"

SCALAR = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"}, data_class="DATA_CLASS_SCALAR")
"""How TensorBoard knows a number; `tf.summary.scalar` would need TensorBoard itself."""


class Telemetry:
    """Gathers what happens in steps and writes it.

    Lines of the kind `step` are about the steps since the last such line, of which there are `steps` in this process:

    - `loss`, nats, and `gradient_norm`: means over the steps;
    - `examples_per_second`; `waiting`, the share of the time that the step waited for data;
    - `touched`: the share of the item table's rows that the steps read and wrote;
    - `item_norm_mean`, `item_norm_max`: lengths of rows of the item table, now.

    Args:
        folder: of the log; None tells nothing.
    """

    def __init__(self, folder: Path | None, trainer: AnyTrainer) -> None:
        self.folder, self.trainer = folder, trainer
        self.told = {"step": 0, "epoch": 0}
        self.writer: Any = None
        items = trainer.network.items
        self.sample = np.unique(np.linspace(1, items, min(items, SAMPLE)).astype(np.int32))
        self.touched = np.zeros(items + 1, bool) if folder else None
        self._forget()

    def start(self, step: int) -> None:
        """Begin a log, or go on with one after step number `step`."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / FILE
        if step == 0:
            for old in (*self.folder.glob(EVENTS), *self.folder.glob(FILE)):
                old.unlink()
        elif file.exists():
            whole = file.read_bytes()
            whole = whole[: whole.rfind(b"\n") + 1]  # a crash may have left half a line
            file.write_bytes(whole)
            for line in map(json.loads, whole.splitlines()):
                self.told[line["kind"]] = line["step"]
        self.writer = tf.summary.create_file_writer(str(self.folder))

    def waits(self, source: Iterator[T]) -> Iterator[T]:
        """What `source` yields; the time that it takes counts as waiting, the rest as work."""
        begin = time.perf_counter()
        for element in source:
            self.mark = time.perf_counter()
            self.waited += self.mark - begin
            yield element
            self._work()
            begin = self.mark

    def step(self, step: int, epoch: int, loss: float, gradient_norm: float, batch: AnyPrepared) -> None:
        """Take note of a step, numbered from 1 on as the epoch is; every `EVERY`th is told."""
        if self.touched is None:
            return
        self.steps += 1
        self.sums += (loss, gradient_norm, batch.weight.sum())
        self.touched[batch.rows] = True
        if step % EVERY == 0:
            self._write("step", step, {"epoch": epoch, **self._measured(self.touched)})
            self._forget()

    def epoch(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Tell what an epoch's validation measured."""
        if self.folder is not None:
            self._write("epoch", step, {"epoch": epoch, **metrics})

    def close(self) -> None:
        """Finish the files."""
        if self.writer is not None:
            self.writer.close()

    def _work(self) -> None:
        now = time.perf_counter()
        self.worked += now - self.mark
        self.mark = now

    def _forget(self) -> None:
        self.steps, self.sums = 0, np.zeros(3)
        self.waited, self.worked, self.mark = 0.0, 0.0, time.perf_counter()
        if self.touched is not None:
            self.touched[:] = False

    def _measured(self, touched: np.ndarray) -> dict[str, float]:
        self._work()
        seconds = self.waited + self.worked
        loss, norm, examples = self.sums.tolist()
        network = self.trainer.network
        name = (
            "item" if "item" in network.tables else network.watched
        )  # hierarchical softmax predicts no rows of items
        rows = np.linalg.norm(tf.gather(network.tables[name], self.sample).numpy(), axis=1)
        return {
            "steps": self.steps,
            "loss": loss / self.steps,
            "gradient_norm": norm / self.steps,
            "examples_per_second": examples / seconds,
            "waiting": self.waited / seconds,
            "touched": float(touched[1:].mean()),
            "item_norm_mean": float(rows.mean()),
            "item_norm_max": float(rows.max()),
        }

    def _write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        if self.folder is None or step <= self.told[kind]:
            return
        self.told[kind] = step
        with (self.folder / FILE).open("a") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        with self.writer.as_default():
            for name, value in values.items():
                tf.summary.write(f"{kind}/{name}", np.float32(value), step, SCALAR)
        self.writer.flush()
