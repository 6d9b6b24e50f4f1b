"""What may be asked: query parameters and bodies. Whatever is unknown, too long or of another kind is refused."""

from datetime import datetime
from time import time as now
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints, field_validator

from watchnext.config import Closed

ID_BYTES = 256
MOST_ITEMS = 1000
"""Ids of items that one request may name, and watches that one may bring."""
MOST_SEARCHES = 100
LATEST = 10**11
"""Seconds; times are nearer to 1970 than this, the year 5138."""
AHEAD = 86_400
"""Seconds that a clock may be ahead of ours, as in `watchnext ingest`."""


def _short(text: str) -> str:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > ID_BYTES:
        raise ValueError(f"Should have at most {ID_BYTES} bytes in UTF-8, not {size}")
    return text


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("Should be Unicode text, without lone surrogates") from None
    return text


def _not_blank(text: str) -> str:
    if not text.strip(" "):
        raise ValueError("Should be more than spaces")
    return text


def _in_range(time: datetime) -> datetime:
    if not -LATEST < time.timestamp() < LATEST:
        raise ValueError("Should be before the year 5138")
    return time


Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=ID_BYTES),
    AfterValidator(_unicode),
    AfterValidator(_short),
    AfterValidator(_not_blank),
]
Name = Id
"""Of a category, a country, a device or a release."""
Time = Annotated[
    AwareDatetime,
    AfterValidator(_in_range),
    Field(description="A date and time with its zone, 2026-01-31T12:00:00Z; or seconds or milliseconds since 1970."),
]


def seconds(time: datetime) -> int:
    """Seconds since 1970, without their fraction."""
    return int(time.timestamp())


class Wanted(Closed):
    """What is asked of a recommendation, whoever it is for."""

    k: int = Field(50, ge=1, le=1000, examples=[20])
    """How many candidates."""
    offset: int = Field(0, ge=0, le=1_000_000, examples=[0])
    """How many of the best to leave out before the first: where the last page ended."""
    categories: tuple[Name, ...] = Field((), max_length=100, examples=[["drama"]])
    """Items of any of these only; repeat the parameter for each. None asks for nothing."""
    exclude: tuple[Id, ...] = Field((), max_length=MOST_ITEMS, examples=[["heat"]])
    """Ids of items that are not wanted; repeat the parameter for each. Those that no item has are ignored."""
    uploaded_after: Time | None = Field(None, examples=["2026-01-01T00:00:00Z"])
    """Items uploaded then or later only."""
    uploaded_before: Time | None = Field(None, examples=["2026-02-01T00:00:00Z"])
    """Items uploaded earlier only."""
    explain: bool = False
    """Whether to say which watched items a candidate is near."""
    release: Name | None = Field(None, examples=["20260131-120000"])
    """Answer from this release, which must be loaded: one of the variants, or the shadow. For testers."""


class RecommendQuery(Wanted):
    """The query of GET /recommend."""

    user_id: Id = Field(examples=["u-1042"])
    """As in the watch log."""
    country: Name | None = Field(None, examples=["DE"])
    """Where the user is now; else what the users table says."""
    device: Name | None = Field(None, examples=["phone"])
    """What the user watches on; else what the users table says."""


class PastWatch(Closed):
    """One watch of somebody nobody knows."""

    item_id: Id
    """As in the watch log. One that no item has is ignored."""
    time: Time | None = None
    """When; needed only by models that read the time between watches."""


class Context(Closed):
    """What is known of somebody beside watches and searches; what is left out is unknown."""

    country: Name | None = None
    """As in the users table."""
    device: Name | None = None
    """As in the users table."""
    age: float | None = Field(None, ge=0, le=200, allow_inf_nan=False)
    """Years."""
    gender: Literal["f", "female", "m", "male"] | None = None
    """As in the users table."""
    logged_in: bool | None = None
    """Whether the user is logged in."""


class RecommendRequest(Wanted):
    """The body of POST /recommend: for somebody who has no id, with what the caller knows."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "k": 20,
                "history": [{"item_id": "toy-story", "time": "2026-01-31T12:00:00Z"}, {"item_id": "heat"}],
                "searches": ["space films"],
                "context": {"country": "DE", "device": "phone"},
            }
        },
    )

    history: tuple[PastWatch, ...] = Field((), max_length=MOST_ITEMS)
    """Watches, the oldest first."""
    searches: tuple[Annotated[str, StringConstraints(max_length=1000)], ...] = Field((), max_length=MOST_SEARCHES)
    """Searches, the oldest first; read by models that were trained with searches."""
    context: Context = Context()
    """What else is known."""


class NewWatch(Closed):
    """One watch that happened just now, or did a while ago."""

    event_id: Id
    """Names this watch; the same again is ignored, so that a request may be sent twice."""
    user_id: Id
    """Who watched."""
    item_id: Id
    """What was watched; an item that no release knows yet counts from the first that does."""
    time: Time | None = None
    """When; left out, it is the moment of arrival."""
    fraction: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Which share of the video was watched; above 1 where parts were watched twice."""

    @field_validator("time")
    @classmethod
    def _has_happened(cls, time: datetime | None) -> datetime | None:
        if time is not None and time.timestamp() > now() + AHEAD:
            raise ValueError("Should not be more than a day in the future")
        return time


class WatchesRequest(Closed):
    """The body of POST /watches."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {"watches": [{"event_id": "e-1", "user_id": "u-1042", "item_id": "toy-story"}]},
        },
    )

    watches: tuple[NewWatch, ...] = Field(min_length=1, max_length=MOST_ITEMS)
    """One or many."""
