"""A world: its items, its users, their interests at any moment. All follows from the configuration."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from simulation.clock import DAY, SLOTS, START
from simulation.config import WorldConfig
from simulation.hashing import Float64, uniform
from simulation.items import Items, make_items, power_law
from simulation.manifest import WorldManifest
from simulation.users import Users, country_shares, group_effects, make_users
from watchnext.histories import Int64


@dataclass(frozen=True)
class World:
    """Everything that is true of a world. Rows count from 0, as in `items.parquet` and `users.parquet`.

    Args:
        topic_shares: [groups, topics] how a group of users shares its interests among topics.
    """

    config: WorldConfig
    items: Items
    users: Users
    topic_shares: Float64

    @classmethod
    def of(cls, config: WorldConfig) -> Self:
        """Make the world that a configuration describes."""
        base = power_law(config.topics, config.topic_exponent if config.long_tail else 0.0)
        effects = group_effects(config, np.random.default_rng([config.seed, 3]))
        odds = base * (np.exp(effects) if config.demographics else np.ones_like(effects))
        return cls(
            config,
            make_items(config, base, country_shares(config)),
            make_users(config),
            odds / odds.sum(1, keepdims=True),
        )

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Make the world of a folder that `watchnext simulate` wrote, anew from the configuration in its manifest."""
        return cls.of(WorldManifest.read(folder).config)

    def freshness(self, age_days: Float64) -> Float64:
        """How the chance of an item depends on the days since its upload; shape as given.

        (1 - exp(-(age / rise)^2)) * (1 + age / decay)^-power, 0 before the upload. Without the effect: 1 after it.
        """
        config, age = self.config, np.maximum(age_days, 0.0)
        if not config.freshness:
            return (age_days > 0).astype(np.float64)
        rise = -np.expm1(-((age / config.freshness_rise) ** 2))
        return rise * (1 + age / config.freshness_decay) ** -config.freshness_power

    def item_weights(self, day: int) -> Float64:
        """[items] popularity times freshness at the middle of a day; 0 for items not uploaded before it began."""
        begin = START + day * DAY
        weights = self.items.popularity * self.freshness((begin + DAY / 2 - self.items.uploaded) / DAY)
        weights[self.items.uploaded >= begin] = 0
        return weights

    def interest_topics(self, users: Int64, interests: Int64, slots: Int64) -> Int64:
        """The topics of users' interests in slots; the three arguments broadcast against each other.

        Interest j of user u has a period and a phase of its own; in each period it has a topic, drawn from the shares
        of the user's group by a hash of (seed, u, j, number of the period). Without drift there is one period.
        """
        period = np.zeros(1, np.int64)
        if self.config.drift:
            seed = self.config.seed
            length = self.config.drift_days * (0.5 + uniform(seed, users, interests, np.array([1])))
            phase = uniform(seed, users, interests, np.array([2]))
            period = np.floor(slots / SLOTS / length + phase).astype(np.int64)
        chance = uniform(self.config.seed, users, interests, np.array([3]), period)
        return self.topics_at(users, chance)

    def topics_at(self, users: Int64, chance: Float64) -> Int64:
        """The topic at which the cumulative share of a user's group passes `chance`, a number in [0, 1)."""
        topics, group = self.config.topics, self.users.group[users].astype(np.int64)
        found = np.searchsorted(self._ladder, group + chance, side="right") - group * topics
        clipped: Int64 = np.clip(found, 0, topics - 1)
        return clipped

    @cached_property
    def _ladder(self) -> Float64:
        """[groups * topics] cumulative shares of group g, plus g: one rising array to search in for all groups."""
        return (np.cumsum(self.topic_shares, 1) + np.arange(len(self.topic_shares))[:, None]).ravel()
