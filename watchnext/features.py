"""What is known about a user at the moment of asking, as arrays. The only feature code: training and serving call it.

Paper (Covington et al. 2016): region and device are embedded; gender, logged-in state and age enter as reals in
[0, 1] (3.3); so does the age of a training example, which is 0 at serving (3.3); a continuous feature x is
quantile-normalised and enters with its square and its square root (4.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from watchnext.catalogue import USER_SCHEMA
from watchnext.histories import Int32, Int64

Float32 = NDArray[np.float32]

QUANTILES = 101
GENDERS = {"f": 0.0, "female": 0.0, "m": 1.0, "male": 1.0}
REALS = 6
"""Columns of `ContextArrays.reals`: age known, age, age squared, root of age, gender, logged in."""
GAP_BUCKETS = 33
"""Buckets of `gap_buckets`: unknown, and powers of two up to 68 years."""
POWERS = 3
"""Columns of a continuous feature: itself, its square, its root."""


@dataclass(frozen=True)
class UserContext:
    """What a request or the users table tells of a user; None is unknown.

    Args:
        country: any code, as in the users table.
        device: any name, as in the users table.
        age: years.
        gender: f, female, m or male, any case; other values count as unknown.
        logged_in: whether the user is logged in.
    """

    country: str | None = None
    device: str | None = None
    age: float | None = None
    gender: str | None = None
    logged_in: bool | None = None


class ContextArrays(NamedTuple):
    """Context features of a batch: `country` and `device` [batch] int32 (0 unknown), `reals` [batch, REALS]."""

    country: Int32
    device: Int32
    reals: Float32

    def rows(self, users: Int32) -> "ContextArrays":
        """The same features for chosen rows: [users]."""
        return ContextArrays(self.country[users], self.device[users], self.reals[users])


class FeatureSpec(BaseModel):
    """What fitting learned about context features: stored in the export, so that serving encodes as training did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    countries: tuple[str, ...] = ()
    """Known countries, by falling frequency; the number is the position + 1."""
    devices: tuple[str, ...] = ()
    """Known devices, likewise."""
    age_quantiles: tuple[float, ...] = ()
    """Ages in years at 0 %, 1 %, ... 100 % of the users; empty when no age is known."""
    genders: bool = False
    """Whether any gender is known."""
    logged_in: bool = False
    """Whether of any user it is known if they are logged in."""
    search_tokens: int = 0
    """Tokens in the search vocabulary; 0 without searches."""
    window_end: int = 0
    """Time of the last watch that was trained on, seconds since 1970: where the age of an example is 0."""
    example_age_quantiles: tuple[float, ...] = ()
    """Ages of training examples in seconds at 0 %, 1 %, ... 100 %; empty when all watches have one time."""

    @classmethod
    def fit(cls, users: pa.Table, search_tokens: int = 0, times: Int64 | None = None) -> Self:
        """Learn vocabularies and quantiles.

        Args:
            users: a users table (`catalogue.USER_SCHEMA`).
            search_tokens: tokens in the search vocabulary.
            times: [watches] times of the watches that are trained on; None leaves the training window out.
        """
        known = pc.is_in(pc.utf8_lower(users.column("gender")), pa.array(GENDERS, pa.large_string()))
        spec = cls(
            countries=_by_frequency(users.column("country")),
            devices=_by_frequency(users.column("device")),
            age_quantiles=_quantiles(pc.drop_null(users.column("age")).to_numpy()),
            genders=bool(pc.any(known).as_py()),
            logged_in=users.column("logged_in").null_count < users.num_rows,
            search_tokens=search_tokens,
        )
        return spec if times is None else spec.with_window(times)

    def with_window(self, times: Int64) -> Self:
        """The same with the training window and the example ages of these watches: [watches] seconds since 1970."""
        if not len(times):
            return self.model_copy(update={"window_end": 0, "example_age_quantiles": ()})
        end = int(times.max())
        ages = _quantiles(end - times) if times.min() < end else ()
        return self.model_copy(update={"window_end": end, "example_age_quantiles": ages})

    @property
    def has_context(self) -> bool:
        """Whether anything is known about users that a model could read."""
        return bool(self.countries or self.devices or self.age_quantiles or self.genders or self.logged_in)

    def encode(self, contexts: Sequence[UserContext]) -> ContextArrays:
        """The features of some users: [contexts] rows."""
        columns = [[getattr(c, name) for c in contexts] for name in USER_SCHEMA.names]
        arrays = [pa.array(c, field.type) for c, field in zip(columns, USER_SCHEMA, strict=True)]
        return self.encode_table(pa.table(arrays, schema=USER_SCHEMA))

    def encode_unknown(self, rows: int) -> ContextArrays:
        """The features of users of whom nothing is known: [rows] rows."""
        return self.encode([UserContext()] * rows)

    def encode_table(self, users: pa.Table) -> ContextArrays:
        """The features of a users table: [rows] rows."""
        return ContextArrays(
            _numbers(users.column("country"), self.countries),
            _numbers(users.column("device"), self.devices),
            np.column_stack(
                [self._age(users.column("age")), _gender(users.column("gender")), _binary(users.column("logged_in"))]
            ),
        )

    def encode_example_age(self, seconds: Int64) -> Float32:
        """[examples, POWERS] how long before the end of the training window each example is; negative counts as 0."""
        return continuous(np.maximum(seconds, 0).astype(np.float64), self.example_age_quantiles)

    def _age(self, column: pa.ChunkedArray) -> Float32:
        years = column.to_numpy().astype(np.float64)
        known = ~np.isnan(years) & bool(self.age_quantiles)
        powers = continuous(np.where(known, years, 0), self.age_quantiles or (0.0, 1.0))
        return np.column_stack([known, powers * known[:, None]]).astype(np.float32)


def continuous(values: NDArray[np.float64], quantiles: tuple[float, ...]) -> Float32:
    """[values, POWERS] x, its square and its root, where x in [0, 1] is the share of smaller values (paper, 4.1).

    Args:
        values: [values] in the unit of the quantiles.
        quantiles: values at equally spaced shares from 0 to 1, between which x is interpolated.

    >>> continuous(np.array([15.0]), (10.0, 20.0, 40.0)).round(4).tolist()
    [[0.25, 0.0625, 0.5]]
    """
    x = np.interp(values, quantiles, np.linspace(0, 1, len(quantiles)))
    return np.column_stack([x, x**2, np.sqrt(x)]).astype(np.float32)


def gap_buckets(seconds: Int64) -> Int32:
    """The number of binary digits of 1 + the seconds from a watch to what came next; negative ones count as 0.

    Bucket 0 is left for unknown gaps.

    >>> gap_buckets(np.array([-5, 0, 1, 2, 3, 3600, 10**12])).tolist()
    [1, 1, 2, 2, 3, 12, 32]
    """
    digits = np.frexp(1.0 + np.maximum(seconds, 0))[1]
    return np.minimum(digits, GAP_BUCKETS - 1).astype(np.int32)


def _quantiles(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(np.quantile(values, np.linspace(0, 1, QUANTILES)).tolist()) if len(values) else ()


def _by_frequency(column: pa.ChunkedArray) -> tuple[str, ...]:
    counts = pc.value_counts(pc.drop_null(column)).to_pylist()
    return tuple(c["values"] for c in sorted(counts, key=lambda c: (-c["counts"], c["values"])))


def _numbers(column: pa.ChunkedArray, known: tuple[str, ...]) -> Int32:
    found = pc.index_in(column, pa.array(known, pa.large_string()))
    numbers: Int32 = (pc.fill_null(found, -1).to_numpy() + 1).astype(np.int32)
    return numbers


def _gender(column: pa.ChunkedArray) -> Float32:
    values = [GENDERS.get((g or "").lower(), 0.5) for g in column.to_pylist()]
    return np.array(values, np.float32)


def _binary(column: pa.ChunkedArray) -> Float32:
    return np.array([0.5 if value is None else float(value) for value in column.to_pylist()], np.float32)
