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
