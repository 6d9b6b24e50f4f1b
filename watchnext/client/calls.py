"""What each route is asked and what it answers: a function for each, of which both clients make a method. No I/O.

Values are sent as they are given, and the server says what is wrong with them: its limits are its own, and may be
wider than those of this version.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from watchnext.api.answers import (
    AnalogyAnswer,
    ErasedAnswer,
    HistoryAnswer,
    ReadyAnswer,
    RecommendAnswer,
    ReleaseAnswer,
    ReleasesAnswer,
    SimilarAnswer,
    WatchesAnswer,
)
from watchnext.api.requests import Context, NewWatch, PastWatch
from watchnext.client.errors import BadAnswerError
from watchnext.errors import UsageError

Answer = TypeVar("Answer", bound=BaseModel)
Measure = Literal["cosine", "dot", "euclidean"]
Vectors = Literal["item", "watched"]


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One question to the server, which may be sent again.

    Args:
        route: method and path as the API describes them, `GET /users/{user_id}/history`.
        kind: the model of the answer.
        path: what stands for the names in the path.
        query: parameters; None is left out, a list is repeated.
        json: fields of the body, where there is one; None is left out.

    Raises UsageError for text that is not Unicode.
    """

    route: str
    kind: type[Answer]
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    json: dict[str, Any] | None = None
    target: str = field(init=False)
    """Path and query as they are sent."""
    body: bytes | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        try:
            path = self.route.partition(" ")[2].format_map({name: _segment(id_) for name, id_ in self.path.items()})
            query = urlencode([(name, _text(one)) for name, one in _pairs(self.query)], quote_via=quote)
            object.__setattr__(self, "target", f"{path}?{query}" if query else path)
            if self.json is not None:
                given = {name: value for name, value in self.json.items() if value is not None}
                object.__setattr__(self, "body", to_json(given))
        except (UnicodeEncodeError, PydanticSerializationError) as error:
            raise UsageError(self.route, error, "Give Unicode text, without lone surrogates.") from error

    @property
    def method(self) -> str:
        """Of HTTP."""
        return self.route.partition(" ")[0]

    def read(self, body: bytes) -> Answer:
        """The answer out of a body; fields that a newer server adds are ignored. Raises BadAnswerError."""
        try:
            return self.kind.model_validate_json(body, extra="ignore")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            got = f"{'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}"
            cure = "Check the address, and that server and client are of one version."
            raise BadAnswerError(self.route, got, cure) from error


def recommend(
    user_id: str,
    *,
    k: int | None = None,
    offset: int | None = None,
    categories: Sequence[str] = (),
    exclude: Sequence[str] = (),
    uploaded_after: datetime | None = None,
    uploaded_before: datetime | None = None,
    country: str | None = None,
    device: str | None = None,
    explain: bool | None = None,
    release: str | None = None,
) -> Call[RecommendAnswer]:
    """Candidates for a user, best first, without what the user has watched.

    Args:
        user_id: as in the watch log.
        k: how many candidates; None is what the server gives.
        offset: how many of the best to leave out before the first: where the last page ended.
        categories: items of any of these only; none asks for nothing.
        exclude: ids of items that are not wanted.
        uploaded_after: items uploaded then or later only; with its time zone.
        uploaded_before: items uploaded earlier only; with its time zone.
        country: where the user is now; None is what the users table says.
        device: what the user watches on; None is what the users table says.
        explain: whether to say which watched items a candidate is near.
        release: answer from this release, which must be loaded.
    """
    query = {
        "user_id": user_id,
        "k": k,
        "offset": offset,
        "categories": _many("categories", categories),
        "exclude": _many("exclude", exclude),
        "uploaded_after": uploaded_after,
        "uploaded_before": uploaded_before,
        "country": country,
        "device": device,
        "explain": explain,
        "release": release,
    }
    return Call("GET /recommend", RecommendAnswer, query=query)


def recommend_to(
    *,
    history: Sequence[PastWatch] = (),
    searches: Sequence[str] = (),
    context: Context | None = None,
    k: int | None = None,
    offset: int | None = None,
    categories: Sequence[str] = (),
    exclude: Sequence[str] = (),
    uploaded_after: datetime | None = None,
    uploaded_before: datetime | None = None,
    explain: bool | None = None,
    release: str | None = None,
) -> Call[RecommendAnswer]:
    """Candidates for somebody without an id, from what the caller knows.

    Args:
        history: watches, the oldest first.
        searches: the oldest first; read by models that were trained with searches.
        context: country, device and the like.
        k, offset, categories, exclude, uploaded_after, uploaded_before, explain, release: as for `recommend`.
    """
    json = {
        "history": list(history),
        "searches": _many("searches", searches),
        "context": context,
        "k": k,
        "offset": offset,
        "categories": _many("categories", categories),
        "exclude": _many("exclude", exclude),
        "uploaded_after": uploaded_after,
        "uploaded_before": uploaded_before,
        "explain": explain,
        "release": release,
    }
    return Call("POST /recommend", RecommendAnswer, json=json)


def add_watches(watches: Iterable[NewWatch]) -> Call[WatchesAnswer]:
    """Note watches, at most 1,000. They are on disk when the answer comes, and count in the very next recommendation.

    Args:
        watches: one whose `event_id` is there already is ignored.
    """
    return Call("POST /watches", WatchesAnswer, json={"watches": list(watches)})


def watched(
    user_id: str,
    item_id: str,
    *,
    time: datetime | None = None,
    fraction: float | None = None,
    event_id: str | None = None,
) -> Call[WatchesAnswer]:
    """Note one watch.

    Args:
        user_id: who watched.
        item_id: what was watched.
        time: when, with its time zone; None is the moment of arrival.
        fraction: which share of the video was watched.
        event_id: names this watch, so that it counts once however often it is sent; None makes one for this call,
            whose own attempts then count once. Give one where a call may be made again.
    """
    watch = {"user_id": user_id, "item_id": item_id, "time": time, "fraction": fraction}
    named = {"event_id": str(uuid4()) if event_id is None else event_id, **watch}
    known = {name: value for name, value in named.items() if value is not None}
    return Call("POST /watches", WatchesAnswer, json={"watches": [known]})


def history(user_id: str, *, limit: int | None = None) -> Call[HistoryAnswer]:
    """What is known of a user's watches, the newest first; nothing of a user nobody knows.

    The answer's `total` counts them all, but of those that were posted since training the last 10,000 at most.

    Args:
        user_id: as in the watch log.
        limit: how many of the newest; None is what the server gives.
    """
    return Call("GET /users/{user_id}/history", HistoryAnswer, {"user_id": user_id}, {"limit": limit})


def erase(user_id: str) -> Call[ErasedAnswer]:
    """Erase a user: fresh watches are deleted, stored ones are not read any more, and the next training is told."""
    return Call("DELETE /users/{user_id}", ErasedAnswer, {"user_id": user_id})


def similar(
    item_id: str, *, k: int | None = None, measure: Measure | None = None, vectors: Vectors | None = None
) -> Call[SimilarAnswer]:
    """The items nearest to one, nearest first, without itself.

    Args:
        item_id: as in the watch log.
        k: how many; None is what the server gives.
        measure: what near means; None is `cosine`.
        vectors: `item`, the vectors that are scored, or `watched`, the network's input embeddings; None is `item`.
    """
    query = {"item_id": item_id, "k": k, "measure": measure, "vectors": vectors}
    return Call("GET /similar", SimilarAnswer, query=query)


def analogy(
    positive: Sequence[str],
    negative: Sequence[str] = (),
    *,
    k: int | None = None,
    measure: Measure | None = None,
    vectors: Vectors | None = None,
) -> Call[AnalogyAnswer]:
    """The items nearest to the sum of some items minus others, without all of these: Madrid - Spain + France.

    Args:
        positive: ids of items that are added, at most 10.
        negative: ids of items that are taken off, at most 10.
        k, measure, vectors: as for `similar`.
    """
    terms = {"positive": _many("positive", positive), "negative": _many("negative", negative)}
    return Call("GET /analogy", AnalogyAnswer, query={**terms, "k": k, "measure": measure, "vectors": vectors})


def releases() -> Call[ReleasesAnswer]:
    """The releases that answer, and for which share of the users."""
    return Call("GET /releases", ReleasesAnswer)


def current_release() -> Call[ReleaseAnswer]:
    """The release that answers now; of several, the first."""
    return Call("GET /releases/current", ReleaseAnswer)


def ready() -> Call[ReadyAnswer]:
    """Wait until a release is loaded, so that all other methods are answered; UnavailableError if none is in time."""
    return Call("GET /healthz/ready", ReadyAnswer)


CALLS = (
    recommend,
    recommend_to,
    add_watches,
    watched,
    history,
    erase,
    similar,
    analogy,
    releases,
    current_release,
    ready,
)
"""All of them."""


def _many(name: str, values: Sequence[str]) -> list[str]:
    if isinstance(values, str):
        raise UsageError(name, repr(values), f"Give a list: [{values!r}].")
    return list(values)


def _segment(id_: str) -> str:
    """An id as one segment of a path; `.` and `..`, which clients and proxies resolve, are hidden from them."""
    return quote(id_, safe="").replace(".", "%2E") if id_ in {".", ".."} else quote(id_, safe="")


def _pairs(query: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in query.items():
        values = value if isinstance(value, list) else [value]
        yield from ((name, one) for one in values if one is not None)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)
