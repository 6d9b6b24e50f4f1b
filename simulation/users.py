"""The people of a world: where they live, what they watch on, how old they are, how often they come."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from simulation.clock import SLOTS
from simulation.config import WorldConfig
from simulation.hashing import Float64
from simulation.ids import USER, IdTable
from simulation.items import power_law
from watchnext.catalogue import row_numbers
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Int32

_FIRST = ("IN", "US", "BR", "ID", "MX", "JP", "DE", "PH", "TR", "GB")
COUNTRIES = (*_FIRST, "FR", "EG", "KR", "IT", "ES", "PL", "NG", "CA", "AR", "NO")
DEVICES = ("phone", "tv", "desktop", "tablet")
DEVICE_SHARES = (0.5, 0.25, 0.15, 0.1)
AGE_BANDS = (13, 18, 25, 35, 50, 80)
"""Borders of the age bands, in years: ages within one band have the same taste."""
AGE_SHARES = (0.12, 0.2, 0.26, 0.24, 0.18)
GENDERS = ("f", "m")
LOGGED_IN_SHARE = 0.85
LONGEST_SESSION = 30
"""Watches."""


@dataclass(frozen=True)
class Users:
    """All users.

    Args:
        country, device, gender: [users] positions in `COUNTRIES`, `DEVICES`, `GENDERS`.
        age: [users] years.
        logged_in: [users] the age and gender of others are unknown to the log.
        group: [users] number of the combination of country, device, age band and gender.
        session_chance: [users] that a slot has a session.
    """

    country: Int32
    device: Int32
    gender: Int32
    age: Float32
    logged_in: NDArray[np.bool_]
    group: Int32
    session_chance: Float32

    def __len__(self) -> int:
        """The number of users."""
        return len(self.country)


def country_shares(config: WorldConfig) -> Float64:
    """[countries] share of the users who live in each: falling with the square root of the rank."""
    return power_law(config.countries, 0.5)


def make_users(config: WorldConfig) -> Users:
    """Make the users of a world. Raises UsageError if so few cannot watch so much."""
    rng = np.random.default_rng([config.seed, 2])
    n = config.users
    country = rng.choice(config.countries, n, p=country_shares(config))
    device = rng.choice(len(DEVICES), n, p=DEVICE_SHARES)
    band = rng.choice(len(AGE_SHARES), n, p=AGE_SHARES)
    gender = rng.integers(0, len(GENDERS), n)
    youngest, oldest = np.array(AGE_BANDS[:-1])[band], np.array(AGE_BANDS[1:])[band]
    group = ((country * len(DEVICES) + device) * len(AGE_SHARES) + band) * len(GENDERS) + gender
    return Users(
        country=country.astype(np.int32),
        device=device.astype(np.int32),
        gender=gender.astype(np.int32),
        age=np.floor(youngest + (oldest - youngest) * rng.random(n)).astype(np.float32),
        logged_in=rng.random(n) < LOGGED_IN_SHARE,
        group=group.astype(np.int32),
        session_chance=_session_chance(config, rng),
    )


def group_effects(config: WorldConfig, rng: np.random.Generator) -> Float64:
    """[groups, topics] what belonging to a group adds to the log odds of topics: one normal term for each trait."""
    shape = (config.countries, len(DEVICES), len(AGE_SHARES), len(GENDERS))
    total = np.zeros((*shape, config.topics))
    for axis, size in enumerate(shape):
        wide = [1, 1, 1, 1, config.topics]
        wide[axis] = size
        total += rng.normal(0, config.demographic_strength, (size, config.topics)).reshape(wide)
    return total.reshape(-1, config.topics)


def mean_session(config: WorldConfig) -> float:
    """Expected watches of a session: geometric with mean m, ended at n, is m * (1 - (1 - 1/m)^n)."""
    mean = config.session_watches
    return mean * (1 - (1 - 1 / mean) ** LONGEST_SESSION)


def _session_chance(config: WorldConfig, rng: np.random.Generator) -> Float32:
    """1 - exp(-scale * activity), with log-normal activity and the scale that gives the expected watches."""
    sessions = config.watches / (mean_session(config) * config.days * SLOTS)  # in one slot
    if sessions > 0.9 * config.users:
        most = int(0.9 * config.users * mean_session(config) * config.days * SLOTS)
        raise UsageError("--watches", config.watches, f"Give up to {most:,}, or more users or days.")
    activity = rng.lognormal(0, config.activity_spread, config.users)
    low, high = -30.0, 30.0  # of the logarithm of the scale, halved until they meet
    for _ in range(30):
        middle = (low + high) / 2
        enough = -np.expm1(-np.exp(middle) * activity).sum() >= sessions
        low, high = (low, middle) if enough else (middle, high)
    chance: Float32 = -np.expm1(-np.exp(high) * activity).astype(np.float32)
    return chance


def user_table(users: Users) -> pa.Table:
    """User, country, device, age, gender and whether logged in; age and gender are null for those who are not."""
    known = pa.array(users.logged_in)
    columns = {
        name: pa.array(values, pa.string()).take(row_numbers(rows.astype(np.int64)))
        for name, values, rows in (
            ("country", COUNTRIES, users.country),
            ("device", DEVICES, users.device),
            ("gender", GENDERS, users.gender),
        )
    }
    return pa.table(
        {
            "user": IdTable(USER, len(users)).take(np.arange(len(users))),
            "country": columns["country"],
            "device": columns["device"],
            "age": pa.array(users.age, mask=~users.logged_in),
            "gender": pc.if_else(known, columns["gender"], pa.scalar(None, pa.string())),
            "logged_in": known,
        }
    )
