"""The counts of all workers as Prometheus reads them, in its own text format or in OpenMetrics.

No object of prometheus_client is touched by a request: they are made when somebody asks for /metrics.
"""

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString

from serving.telemetry.cells import Family, Float64, SharedCells
from serving.telemetry.drift import BINS
from serving.telemetry.metrics import OTHER, VARIANTS, WorkerMetrics, families
from serving.telemetry.slots import SlotNames

PREFIX = "watchnext_"
_SLOTTED = ("variant", "shadow")
"""Labels whose values have slots."""
Read = Callable[[], Iterable[tuple[Sequence[str], float]]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gauge:
    """What is looked up when somebody asks: the age of a release, the size of a store.

    Args:
        name: without the prefix.
        documentation: one sentence.
        labels: names of its labels.
        read: gives (values of the labels, value) for each series. Where it fails, the gauge is left out.
    """

    name: str
    documentation: str
    labels: tuple[str, ...]
    read: Read


class Metrics:
    """What all workers of a server count. Make it before the fork, then take a `worker` in each process.

    It is a collector of prometheus_client. Any process may tell the counts of all. Telling takes milliseconds, so it
    is for a thread, not for the event loop.
    """

    def __init__(self, cells: SharedCells, routes: tuple[str, ...], window_seconds: float) -> None:
        self._cells, self.routes, self._window_seconds = cells, routes, window_seconds
        self._names = SlotNames(len(cells), VARIANTS)
        self._gauges: list[Gauge] = []

    @classmethod
    def create(cls, workers: int, routes: Sequence[str], window_seconds: float = 600) -> Self:
        """Make the shared memory.

        Args:
            workers: most processes that count at the same time; while workers are being replaced, those are both
                generations.
            routes: such as `GET /recommend`. Their places are the numbers of `WorkerMetrics.request`.
            window_seconds: drift is that of the scores since one to two times this.
        """
        every = (*routes, OTHER)
        return cls(SharedCells(families(every), workers), every, window_seconds)

    def worker(self, row: int) -> WorkerMetrics:
        """What the process that has this row counts with; no other process may have it at the same time.

        A row keeps its counts when the next process takes it, so that counters never fall.
        """
        return WorkerMetrics(self._cells, self._names, row, self._window_seconds)

    def gauge(self, name: str, documentation: str, read: Read, labels: Sequence[str] = ()) -> None:
        """Tell a value that is read whenever somebody asks; see `Gauge`."""
        self._gauges.append(Gauge(name, documentation, tuple(labels), read))

    def window_counts(self, variant: str, now: float | None = None) -> list[float]:
        """[BINS] scores by decile, of all workers, in this window and the one before; see `ScoreReference.drift`."""
        now = time.monotonic() if now is None else now
        counts = self._of_each("scores")[variant][:, :, 0]  # [workers, BINS]
        marks = self._of_each("score_marks")[variant].reshape(len(counts), 2, BINS)  # old and new
        behind = now // self._window_seconds - self._cells.each("score_window")[:, 0, 0]  # [workers] windows
        old, new = counts - marks[:, 0], counts - marks[:, 1]
        recent = np.where(behind[:, None] < 1, old, np.where(behind[:, None] < 2, new, 0))
        return [float(count) for count in recent.sum(axis=0)]

    def collect(self) -> Iterator[Metric]:
        """All families with their samples, for prometheus_client."""
        for family in self._cells.families.values():
            if family.kind != "hidden":
                yield self._metric(family)
        for gauge in self._gauges:
            metric = Metric(PREFIX + gauge.name, gauge.documentation, "gauge")
            try:
                for values, value in gauge.read():
                    metric.add_sample(metric.name, dict(zip(gauge.labels, values, strict=True)), value)
            except Exception:
                log.exception("The gauge %s cannot be read", gauge.name)
                continue
            yield metric

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics where the `Accept` header names it, else Prometheus' own."""
        if "application/openmetrics-text" in accept:
            text: bytes = openmetrics.generate_latest(self)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self), CONTENT_TYPE_PLAIN_0_0_4

    def _metric(self, family: Family) -> Metric:
        metric = Metric(PREFIX + family.name, family.documentation, family.kind)
        others = {label: values for label, values in family.labels.items() if label not in _SLOTTED}
        slotted = next((label for label in family.labels if label in _SLOTTED), None)
        for name, each in self._of_each(family.name).items():
            for values, cells in zip(itertools.product(*others.values()), each.sum(axis=0), strict=True):
                if family.sparse and not cells.any():
                    continue
                labels = dict(zip(others, values, strict=True)) | ({slotted: name} if slotted and name else {})
                for suffix, more, value in _samples(family, cells):
                    metric.add_sample(metric.name + suffix, labels | more, value)
        return metric

    def _of_each(self, family: str) -> dict[str, Float64]:
        """[workers, series of the other labels, width] cells of a family by the names of its slots.

        All under the empty name where it has no slots; what no variant answered has it, too.
        """
        about, each = self._cells.families[family], self._cells.each(family)
        slotted = [place for place, label in enumerate(about.labels) if label in _SLOTTED]
        if not slotted:
            return {"": each}
        sizes = [len(each), *map(len, about.labels.values()), about.width]
        by_slot = np.moveaxis(each.reshape(sizes), slotted[0] + 1, 1)  # [workers, slots, others..., width]
        by_slot = by_slot.reshape(len(each), by_slot.shape[1], -1, about.width)
        found: dict[str, Float64] = {}
        for row in range(len(each)):
            for slot, name in enumerate(self._names.of(row) + [""] * (by_slot.shape[1] - VARIANTS)):
                if name or slot == VARIANTS:
                    of_name = found.setdefault(name, np.zeros((len(each), *by_slot.shape[2:])))
                    of_name[row] = by_slot[row, slot]
        return found


def _samples(family: Family, cells: Float64) -> Iterator[tuple[str, dict[str, str], float]]:
    """The samples of one series as (suffix of the name, labels, value)."""
    if family.kind == "counter":
        yield "_total", {}, float(cells[0])
    elif family.kind == "gauge":
        yield "", {}, float(cells[0])
    elif family.kind == "summary":
        yield "_sum", {}, float(cells[0])
        yield "_count", {}, float(cells[1])
    else:
        below = np.cumsum(cells[1:]).tolist()
        for bound, count in zip((*family.bounds, math.inf), below, strict=True):
            yield "_bucket", {"le": floatToGoString(bound)}, count  # type: ignore[no-untyped-call]
        yield "_count", {}, below[-1]
        yield "_sum", {}, float(cells[0])
