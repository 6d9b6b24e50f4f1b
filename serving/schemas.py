"""What answers look like: the models behind the OpenAPI description, each with an example."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict

from watchnext.config import Closed


class RecommendedItem(Closed):
    """One candidate."""

    item_id: str
    """The item's id, as in the watch log."""
    title: str | None
    """Its title, null where the catalogue has none."""
    score: float
    """Source `model`: dot product of the user's and the item's vectors. Source `popular`: share of all watches."""


class RecommendAnswer(Closed):
    """Candidates for one user, best first, without videos that the user has watched."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "user_id": "u-1042",
                "release": "20260131-120000",
                "source": "model",
                "candidates": [
                    {"item_id": "toy-story", "title": "Toy Story", "score": 0.83},
                    {"item_id": "heat", "title": "Heat", "score": 0.79},
                ],
            }
        },
    )

    user_id: str
    """As it was asked."""
    release: str
    """The release that answered."""
    source: Literal["model", "popular"]
    """`model`: nearest to the user's vector. `popular`: most watched items, where nothing is known of the user."""
    candidates: list[RecommendedItem]
    """As many as were asked for, or all that are left."""


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


class LiveAnswer(Closed):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "live"}})

    status: Literal["live"]


class ReadyAnswer(Closed):
    """A release is loaded."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready", "release": "20260131-120000"}})

    status: Literal["ready"]
    release: str
