"""What a world is made of. Together with a version of this package it decides every row of the log."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from watchnext.config import Closed, Fraction, Share
from watchnext.errors import UsageError

EFFECTS = ("drift", "freshness", "order", "searches", "demographics", "fractions", "long_tail")
"""The switches of `WorldConfig`. With all of them off, the watches of a user are independent draws: a topic from a
fixed personal mixture, then any item of the topic with equal chance."""

Days = Annotated[float, Field(gt=0)]


class WorldConfig(Closed):
    """Sizes, switches and strengths of a simulated world. docs/simulation.md has the formulas."""

    seed: int = Field(0, ge=0)
    """Everything random follows from it."""
    items: int = Field(5_000, ge=1, lt=10_000_000)
    """Videos in the catalogue."""
    users: int = Field(5_000, ge=1, lt=10_000_000)
    """Users; those who never watch anything have no row in the log."""
    watches: int = Field(250_000, ge=1)
    """Expected watches in the log; the real number differs by chance."""
    days: int = Field(60, ge=1)
    """Days that are logged."""
    topics: int = Field(50, ge=1, le=5_000)
    """Topics of videos and interests."""
    countries: int = Field(8, ge=1, le=20)
    """Countries where users live and videos are made."""

    drift: bool = True
    """Switch: the topics of a user change with time."""
    freshness: bool = True
    """Switch: an item's chance rises and falls with the days since its upload, and items are uploaded while the log
    runs. Off: all are there from the first day, and age means nothing."""
    order: bool = True
    """Switch: the last watch of a session says much about the next one (same topic, next episode)."""
    searches: bool = True
    """Switch: searches are logged."""
    demographics: bool = True
    """Switch: what is watched depends on country, device, age and gender."""
    fractions: bool = True
    """Switch: the watched fraction tells watches of interests from those of excursions."""
    long_tail: bool = True
    """Switch: popularity of items and topics follows a power law. Off: all are alike."""

    interests: tuple[Share, ...] = Field((0.4, 0.3, 0.2, 0.1), min_length=1)
    """How much of a user's watching belongs to each of the own interests; sums to 1. An interest has one topic."""
    excursions: Fraction = 0.2
    """Share of runs (stretches of watches on one topic) that are about a topic outside of the interests."""
    drift_days: Days = 40
    """Days for which an interest keeps its topic on average; each has a period of 0.5 to 1.5 times this."""
    catalogue_days: int = Field(120, ge=1)
    """Days before the first logged one in which items have been uploaded."""
    freshness_rise: Days = 2.0
    """Days in which a new item reaches 63 % of its height."""
    freshness_decay: Days = 12.0
    """Days on which the fall of an old item is scaled."""
    freshness_power: float = Field(1.2, ge=0)
    """Exponent of the fall."""
    session_watches: float = Field(4.0, ge=1, le=20)
    """Watches of a session, on average before sessions are ended at 30."""
    stickiness: Share = 0.9
    """Chance that the next watch of a session stays with the topic."""
    next_episode: Share = 0.3
    """Chance that a watch that stays with the topic is the next item of the same series, where there is one."""
    series_items: int = Field(5, ge=1)
    """Items of a series on average; they are uploaded in order."""
    search_interest: Share = 0.25
    """Chance that a run about an interest begins with a search."""
    search_excursion: Share = 0.8
    """Chance that a run about anything else begins with a search."""
    search_series: Share = 0.3
    """Share of the searches that name the series of the item watched next, not its topic only."""
    home_share: Share = 0.4
    """Share of watches that are of items made in the user's country, where the topic has any."""
    demographic_strength: float = Field(1.0, ge=0)
    """Standard deviation of what each of country, device, age and gender adds to the log odds of a topic."""
    popularity_exponent: float = Field(0.8, ge=0)
    """The item of popularity rank r has weight r^-this."""
    topic_exponent: float = Field(0.5, ge=0)
    """The topic of popularity rank r has weight r^-this."""
    activity_spread: float = Field(1.2, ge=0)
    """Standard deviation of the logarithm of how often users come; 0 makes them alike."""

    part_watches: int = Field(2_000_000, ge=1)
    """Expected watches of a file of the log; a file holds a whole number of slots of six hours."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if abs(sum(self.interests) - 1) > 1e-9:
            raise UsageError("--set interests", self.interests, "Give shares that sum to 1.")
        needed = self.topics * (2 * self.series_items - 1)
        if self.items < needed:
            cure = f"Give at least {needed:,} items for {self.topics} topics, or fewer topics."
            raise UsageError("--items", self.items, cure)
        return self

    def without(self, *effects: str) -> Self:
        """The same world with some effects switched off. Raises UsageError for an unknown one.

        >>> WorldConfig().without("drift", "order").drift
        False
        """
        for effect in effects:
            if effect not in EFFECTS:
                raise UsageError("--without", repr(effect), f"Choose from: {', '.join(EFFECTS)}.")
        return self.model_copy(update=dict.fromkeys(effects, False))
