"""What is trained: tables, of which a step touches few rows, and dense weights, as TensorFlow variables."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from watchnext.features import Float32
from watchnext.histories import Int64

Tensor = Any

TABLE, DENSE = "table/", "dense/"
"""What the names of tables and of dense weights begin with."""
BLOCK = 1 << 16
"""Rows of a table that are initialised or read at a time."""


class Parameters:
    """Tables and dense weights by name.

    Tables of items are named `watched`, of those that are given, and `item`, of those that are predicted or both;
    they have one row more than there are items, for padding.

    Attributes:
        items: in the vocabulary.
    """

    items: int
    tables: dict[str, Tensor]
    dense: dict[str, Tensor]

    def variables(self) -> dict[str, Tensor]:
        """All trained variables by name."""
        return {
            **{TABLE + n: v for n, v in self.tables.items()},
            **{DENSE + n: v for n, v in self.dense.items()},
        }

    def arrays(self) -> dict[str, Float32]:
        """Copies of all trained values, for `set_arrays`."""
        return {name: read(variable) for name, variable in self.variables().items()}

    def set_arrays(self, arrays: dict[str, Float32]) -> None:
        """Set all trained values."""
        for name, variable in self.variables().items():
            write(variable, arrays[name])

    def forget(self, items: Int64) -> None:
        """Set the embeddings of some items to zero: of those that training does not see nothing is learned."""
        for table in (self.tables[name] for name in ("watched", "item") if name in self.tables):
            for start in range(0, len(items), BLOCK):
                rows = items[start : start + BLOCK]
                table.scatter_update(tf.IndexedSlices(tf.zeros([len(rows), table.shape[1]]), rows))


def read(variable: Tensor) -> np.ndarray:
    """A copy of a variable's values, read in blocks: TensorFlow keeps the memory of whole tables that it reads."""
    if not variable.shape.rank or variable.shape[0] <= BLOCK:
        return np.asarray(variable.numpy())
    values = np.empty(variable.shape, variable.dtype.as_numpy_dtype)
    for rows in blocks(len(values)):
        values[rows] = tf.gather(variable, rows).numpy()
    return values


def write(variable: Tensor, values: np.ndarray) -> None:
    """Set a variable's values, block by block as `read`."""
    if variable.shape != values.shape:
        raise ValueError(f"values of shape {values.shape} for a variable of shape {variable.shape}")
    if not variable.shape.rank or variable.shape[0] <= BLOCK:
        variable.assign(values)
        return
    for rows in blocks(len(values)):
        variable.scatter_update(tf.IndexedSlices(values[rows], rows))


def blocks(rows: int) -> Iterator[Int64]:
    """The numbers of a table's rows, block by block."""
    return (np.arange(start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK))


def normal_table(rng: np.random.Generator, shape: tuple[int, int], std: float, name: str) -> Tensor:
    """A variable with the values of `normal`, drawn block by block, so that there is never a second copy."""
    table = tf.Variable(tf.zeros(shape), name=name)
    for rows in blocks(shape[0]):
        table.scatter_update(tf.IndexedSlices(normal(rng, (len(rows), shape[1]), std), rows))
    return table


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> Float32:
    """Normally distributed values of a standard deviation."""
    values: Float32 = rng.standard_normal(shape, np.float32)
    values *= np.float32(std)
    return values
