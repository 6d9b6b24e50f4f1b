"""Numbers that all worker processes share: one row of float64 cells for each, in memory made before the fork.

A process adds to its own row only, so that there are no locks, and anybody sums the rows. What the cells mean is said
by families; knows nothing of Prometheus or of what is measured.
"""

import math
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["counter", "gauge", "summary", "histogram", "hidden"]
Float64 = NDArray[np.float64]

_PAGE_CELLS = mmap.PAGESIZE // 8
"""A row begins on a page of its own: two processes then never write into the same line of a processor's cache."""


@dataclass(frozen=True)
class Family:
    """Cells of one name, a series of them for each combination of its labels' values.

    Args:
        name: without the prefix and suffixes that the text format adds.
        documentation: one sentence.
        kind: a series of a counter or gauge is one cell; of a summary the sum and the count; of a histogram the sum
            and a cell for each bucket, the last for what is above all bounds. `hidden` ones are not told.
        labels: the values of each label, in the order of the cells, the last label's next to one another.
        bounds: of a histogram, rising; a bucket holds what is at most its bound.
        sparse: whether series of zeros are left out when it is told, as there would be many.
    """

    name: str
    documentation: str
    kind: Kind
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    sparse: bool = False

    @property
    def width(self) -> int:
        """Cells of a series."""
        return {"summary": 2, "histogram": len(self.bounds) + 2}.get(self.kind, 1)

    @property
    def size(self) -> int:
        """Cells of all series."""
        return self.width * math.prod(map(len, self.labels.values()))


class SharedCells:
    """The rows of all processes; make it before the fork.

    Args:
        families: what the cells are, in this order.
        rows: how many processes may write at once.
    """

    def __init__(self, families: Sequence[Family], rows: int) -> None:
        sizes = [family.size for family in families]
        starts = np.cumsum([0, *sizes]).tolist()
        self.families = {family.name: family for family in families}
        self.starts: dict[str, int] = {family.name: start for family, start in zip(families, starts, strict=False)}
        """Where each family begins in a row."""
        self._size: int = starts[-1]
        stride = -(-self._size // _PAGE_CELLS) * _PAGE_CELLS
        self._memory = mmap.mmap(-1, rows * stride * 8)  # anonymous and shared with processes forked from this one
        self._rows = np.frombuffer(self._memory).reshape(rows, stride)[:, : self._size]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._rows)

    def forget(self, row: int, label: str, value: int) -> None:
        """Make all cells of a row 0 that are of a value, by its place, of a label."""
        for family in self.families.values():
            if label in family.labels:
                start, places = self.starts[family.name], list(family.labels)
                sizes = [*map(len, family.labels.values()), family.width]
                cells = self._rows[row, start : start + family.size].reshape(sizes)
                cells.swapaxes(0, places.index(label))[value] = 0

    def row(self, number: int) -> "memoryview[float]":
        """[cells] a process's own row, writable. Changing a cell takes a third of what it takes in numpy."""
        start = number * self._rows.strides[0]
        return memoryview(self._memory)[start : start + 8 * self._size].cast("d")

    def each(self, name: str) -> Float64:
        """[rows, series, width] a copy of a family's cells as they are now."""
        family, start = self.families[name], self.starts[name]
        return self._rows[:, start : start + family.size].reshape(len(self._rows), -1, family.width).copy()
