"""What answers look like: the models behind the OpenAPI description, each with an example."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict

from watchnext.config import Closed

Source = Literal["stored", "fresh", "context", "popular_in_country", "popular"]
"""Where candidates come from, in the order in which it is tried.

`stored`: the nearest to the user's vector as training left it. `fresh`: the nearest to a vector computed now, from
watches (or searches, or a context) that training did not see beside those it did. `context`: the nearest to a vector
computed from country, device and the like alone. `popular_in_country`, `popular`: the most watched.
"""


class Because(Closed):
    """A watched item that a candidate is near."""

    item_id: str
    """The watched item."""
    title: str | None
    """Its title, null where the catalogue has none."""
    share: float | None
    """Its part of the candidate's score, where user vectors are weighted means of watched vectors; else null."""
    similarity: float | None
    """The cosine of the two items' vectors, from -1 to 1; null where one has none."""


class RecommendedItem(Closed):
    """One candidate."""

    item_id: str
    """The item's id, as in the watch log."""
    title: str | None
    """Its title, null where the catalogue has none."""
    score: float
    """Dot product of the user's and the item's vectors; of popular items, their share of all watches (there)."""
    source: Source
    """Where this candidate comes from. Popular items fill up what the user's vector cannot."""
    because: tuple[Because, ...] | None = None
    """With `explain`: the watched items that it is nearest to, the strongest first."""


class RecommendAnswer(Closed):
    """Candidates for one user, best first, without videos that the user has watched."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "user_id": "u-1042",
                "release": "20260131-120000",
                "variant": "current",
                "source": "stored",
                "degraded": False,
                "candidates": [
                    {"item_id": "toy-story", "title": "Toy Story", "score": 0.83, "source": "stored"},
                    {"item_id": "heat", "title": "Heat", "score": 0.79, "source": "stored"},
                ],
            }
        },
    )

    user_id: str | None
    """As it was asked; null for somebody without an id."""
    release: str
    """The release that answered."""
    variant: str
    """The name under which that release is part of the split; `current` where there is none, `override` where the
    request named the release."""
    source: Source
    """What was known of the user: the first that applied."""
    degraded: bool
    """True where the store of fresh watches did not answer, so that the newest watches may be missing."""
    candidates: list[RecommendedItem]
    """As many as were asked for, or all that are left."""


class WatchesAnswer(Closed):
    """What became of posted watches; they are on disk."""

    model_config = ConfigDict(
        use_attribute_docstrings=True, json_schema_extra={"example": {"added": 1, "ignored": 0}}
    )

    added: int
    """How many are new."""
    ignored: int
    """How many were there already, by their event id, or belong to the time before their user was erased."""


class HistoryItem(Closed):
    """One watch of a user."""

    item_id: str
    """The item's id, as in the watch log."""
    title: str | None
    """Its title, null where the catalogue has none."""
    time: datetime
    """When, UTC."""
    source: Literal["stored", "fresh"]
    """`stored`: training saw it. `fresh`: it was posted since."""


class HistoryAnswer(Closed):
    """What is known of a user's watches, the newest first."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "user_id": "u-1042",
                "release": "20260131-120000",
                "degraded": False,
                "total": 1,
                "watches": [{"item_id": "heat", "title": "Heat", "time": "2026-01-31T12:00:00Z", "source": "fresh"}],
            }
        },
    )

    user_id: str
    """As it was asked."""
    release: str
    """The release whose stored history this is."""
    degraded: bool
    """True where the store of fresh watches did not answer."""
    total: int
    """How many there are in all. Of those that were posted since training, the last 10,000 are counted."""
    watches: list[HistoryItem]
    """The newest, as many as were asked for."""


class ErasedAnswer(Closed):
    """A user was erased: answers know nothing of the user from now on, nor will the next training."""

    model_config = ConfigDict(
        use_attribute_docstrings=True, json_schema_extra={"example": {"user_id": "u-1042", "fresh_watches": 3}}
    )

    user_id: str
    """As it was asked."""
    fresh_watches: int
    """How many fresh watches were deleted. Stored ones are not read any more, and go with the next training."""


class NearItem(Closed):
    """One item that was found near."""

    item_id: str
    """The item's id, as in the watch log."""
    title: str | None
    """Its title, null where the catalogue has none."""
    score: float
    """The measure's value. `cosine`: from -1 to 1, the largest first. `dot`: the largest first. `euclidean`: the
    distance, the smallest first."""


class _NearAnswer(Closed):
    release: str
    """The release that answered."""
    measure: Literal["cosine", "dot", "euclidean"]
    """What near means, and what the scores are."""
    vectors: Literal["item", "watched"]
    """`item`: the vectors that are scored. `watched`: the network's input embeddings."""
    candidates: list[NearItem]
    """As many as were asked for, or all that are left; equal scores in the order of popularity."""


class SimilarAnswer(_NearAnswer):
    """The items nearest to one, nearest first, without itself."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "item_id": "toy-story",
                "release": "20260131-120000",
                "measure": "cosine",
                "vectors": "item",
                "candidates": [
                    {"item_id": "toy-story-2", "title": "Toy Story 2", "score": 0.91},
                    {"item_id": "bugs-life", "title": "A Bug's Life", "score": 0.84},
                ],
            }
        },
    )

    item_id: str
    """As it was asked."""


class AnalogyAnswer(_NearAnswer):
    """The items nearest to a sum of items, nearest first, without these."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "positive": ["madrid", "france"],
                "negative": ["spain"],
                "release": "20260131-120000",
                "measure": "cosine",
                "vectors": "item",
                "candidates": [
                    {"item_id": "paris", "title": "Paris", "score": 0.78},
                    {"item_id": "lyon", "title": "Lyon", "score": 0.69},
                ],
            }
        },
    )

    positive: list[str]
    """What was added, as it was asked."""
    negative: list[str]
    """What was taken off, as it was asked."""


class ReleaseAnswer(Closed):
    """The release that answers now."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "name": "20260131-120000",
                "created": "2026-01-31T12:00:00Z",
                "items": 9724,
                "users": 610,
                "dim": 64,
                "index": "Flat",
                "recall_at_50": 1.0,
                "metrics": {"recall@50": 0.31},
            }
        },
    )

    name: str
    """Its name."""
    created: datetime
    """When it was published."""
    items: int
    """Items in its vocabulary."""
    users: int
    """Users in its vocabulary."""
    dim: int
    """Dimensions of its vectors."""
    index: str
    """What kind of index answers, with its search parameters."""
    recall_at_50: float
    """Share of the exact 50 best that the index finds."""
    metrics: dict[str, float]
    """What validation measured when the model was trained."""


class VariantAnswer(Closed):
    """One part of the split."""

    variant: str
    """Its name: `current`, or the release's."""
    release: str
    """The release that answers."""
    share: float
    """Of the users, from 0 to 1."""


class ReleasesAnswer(Closed):
    """The releases that answer now."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "variants": [{"variant": "current", "release": "20260131-120000", "share": 1.0}],
                "shadow": None,
            }
        },
    )

    variants: list[VariantAnswer]
    """The split, in its order."""
    shadow: str | None
    """A release that is asked, too, and not shown."""


class LiveAnswer(Closed):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "live"}})

    status: Literal["live"]


class ReadyAnswer(Closed):
    """A release is loaded."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready", "release": "20260131-120000"}})

    status: Literal["ready"]
    release: str
