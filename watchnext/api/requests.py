"""What may be asked: query parameters and bodies. Whatever is unknown, too long or of another kind is refused."""

import re
from datetime import UTC, datetime
from time import time as now
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from watchnext.config import Closed

ID_BYTES = 256
MOST_ITEMS = 1000
"""Ids of items that one request may name, and watches that one may bring."""
MOST_SEARCHES = 100
EARLIEST, LATEST = -62_135_596_800, 95_617_584_000
"""Times are of the years 1 to 4999: what `watchnext ingest` would not take for milliseconds."""
_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
AHEAD = 86_400
"""Seconds that a clock may be ahead of ours, as in `watchnext ingest`."""


def _id(text: str) -> str:
    if not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise ValueError("Should be Unicode text, without lone surrogates") from None
        if size > ID_BYTES:
            raise ValueError(f"Should have at most {ID_BYTES} bytes in UTF-8, not {size}")
    if not text.strip(" "):
        raise ValueError("Should be more than spaces")
    return text


def _moment(value: object) -> object:
    """Seconds since 1970 as a time; all else as it is, but for digits as text, of which pydantic guesses the unit."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        raise ValueError("Should be a date and time with its zone, or a number")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not EARLIEST <= value < LATEST:
        raise ValueError("Should be seconds since 1970, of the years 1 to 4999")
    return datetime.fromtimestamp(value, UTC)


def _in_range(time: datetime) -> datetime:
    if not EARLIEST <= time.timestamp() < LATEST:
        raise ValueError("Should be of the years 1 to 4999")
    return time


class _MoreThanSpaces:
    """Says so in the description."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), "pattern": "[^ ]"}


Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=ID_BYTES),
    AfterValidator(_id),
    _MoreThanSpaces(),
]
Name = Id
"""Of a category, a country, a device or a release."""
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_moment),
    AfterValidator(_in_range),
    WithJsonSchema(
        {
            "description": "A date and time with its zone, 2026-01-31T12:00:00Z, or seconds since 1970.",
            "anyOf": [
                {"type": "string", "format": "date-time", "pattern": "^[0-4]"},
                {"type": "number", "minimum": EARLIEST, "exclusiveMaximum": LATEST},
            ],
        }
    ),
]


def seconds(time: datetime) -> int:
    """Seconds since 1970, without their fraction."""
    return int(time.timestamp())


def _number(value: object) -> object:
    """Of a body: unlike in a query, text is no number."""
    if isinstance(value, bool | str):
        raise ValueError("Should be a number")
    return value


Age = Annotated[float, Field(ge=0, le=200, allow_inf_nan=False), BeforeValidator(_number)]
Fraction = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_number)]


class Wanted(Closed):
    """What is asked of a recommendation, whoever it is for."""

    k: int = Field(50, ge=1, le=1000, examples=[20])
    """How many candidates."""
    offset: int = Field(0, ge=0, le=1_000_000, examples=[0])
    """How many of the best to leave out before the first: where the last page ended."""
    categories: tuple[Name, ...] = Field((), max_length=100, examples=[["drama"]])
    """Items of any of these only; in a query, a parameter for each. None asks for nothing."""
    exclude: tuple[Id, ...] = Field((), max_length=MOST_ITEMS, examples=[["heat"]])
    """Ids of items that are not wanted. Those that no item has are ignored. In a query, a parameter for each: no more
    than fit into the 16 KiB of the request line and all headers."""
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

    @field_validator("uploaded_after", "uploaded_before", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


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
    age: Age | None = None
    """Years."""
    gender: Literal["f", "female", "m", "male"] | None = None
    """As in the users table."""
    logged_in: StrictBool | None = None
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
    explain: StrictBool = False
    """Whether to say which watched items a candidate is near."""

    _numbers = field_validator("k", "offset", mode="before")(_number)


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
    fraction: Fraction | None = None
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
    """One or many, in a body of 1 MiB at most."""
