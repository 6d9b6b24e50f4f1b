"""What is known about a user at the moment of asking, as arrays. The only feature code: training and serving call it.

Paper (Covington et al. 2016), sections 3.3 and 4.1: region and device are embedded; age and gender enter as reals
in [0, 1]; a continuous feature x is quantile-normalised and enters with its square and its square root.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from watchnext.catalogue import USER_SCHEMA
from watchnext.histories import Int32

Float32 = NDArray[np.float32]

QUANTILES = 101
GENDERS = {"f": 0.0, "female": 0.0, "m": 1.0, "male": 1.0}
REALS = 5
"""Columns of `ContextArrays.reals`: age known, age, age squared, root of age, gender."""


@dataclass(frozen=True)
class UserContext:
    """What a request or the users table tells of a user; None is unknown.

    Args:
        country: any code, as in the users table.
        device: any name, as in the users table.
        age: years.
        gender: f, female, m or male, any case; other values count as unknown.
    """

    country: str | None = None
    device: str | None = None
    age: float | None = None
    gender: str | None = None


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

    @classmethod
    def fit(cls, users: pa.Table) -> Self:
        """Learn vocabularies and quantiles from a users table (`catalogue.USER_SCHEMA`)."""
        ages = pc.drop_null(users.column("age")).to_numpy()
        quantiles = np.quantile(ages, np.linspace(0, 1, QUANTILES)).tolist() if len(ages) else []
        known = pc.is_in(pc.utf8_lower(users.column("gender")), pa.array(GENDERS, pa.large_string()))
        return cls(
            countries=_by_frequency(users.column("country")),
            devices=_by_frequency(users.column("device")),
            age_quantiles=tuple(quantiles),
            genders=bool(pc.any(known).as_py()),
        )

    @property
    def empty(self) -> bool:
        """True when nothing at all is known about users, so that a model needs no context input."""
        return not (self.countries or self.devices or self.age_quantiles or self.genders)

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
            np.column_stack([*self._age(users.column("age")), _gender(users.column("gender"))]),
        )

    def _age(self, column: pa.ChunkedArray) -> tuple[Float32, ...]:
        years = column.to_numpy().astype(np.float32)
        known = ~np.isnan(years)
        if not self.age_quantiles:
            known[:] = False
        grid = np.asarray(self.age_quantiles or (0.0, 1.0), np.float32)
        share = np.linspace(0, 1, len(grid))
        x = np.where(known, np.interp(np.where(known, years, 0), grid, share), 0).astype(np.float32)
        return known.astype(np.float32), x, x**2, np.sqrt(x)


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
