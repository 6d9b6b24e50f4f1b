"""The routes of watches: posting them, reading a user's, erasing a user."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from time import time
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import numpy as np
from fastapi import FastAPI, Path, Query, Request, Response
from pydantic import BeforeValidator
from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.fresh.store import NOTHING, Fresh, FreshStore, Watch
from serving.opened import Opened
from serving.problems import BusyError, responses
from serving.releases import LiveReleases
from serving.routes.recommend import facts_of
from watchnext.api.answers import ErasedAnswer, HistoryAnswer, WatchesAnswer
from watchnext.api.requests import Id, WatchesRequest, seconds
from watchnext.errors import StoreUnavailableError

_SLASH = "\udc2f"
"""A slash within an id, while routes are matched: no text that comes in holds half a surrogate."""


class EncodedSlashes:
    """Middleware that keeps `%2F` in a path apart from `/`: ids may hold either, and any user may be erased."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with slashes within segments as `_SLASH`."""
        raw = scope.get("raw_path", b"")
        if b"%2F" not in raw and b"%2f" not in raw:
            await self._app(scope, receive, send)
            return
        segments = raw.decode("ascii").split("/")
        inner = {**scope, "path": "/".join(unquote(segment).replace("/", _SLASH) for segment in segments)}
        try:
            await self._app(inner, receive, send)
        finally:
            scope["route"] = inner.get("route")  # read by what is in front


def _with_slashes(id_: str) -> str:
    return id_.replace(_SLASH, "/")


PathUser = Annotated[
    Id, BeforeValidator(_with_slashes), Path(description="As in the watch log.", examples=["u-1042"])
]
MOST_WATCHES = 10_000
Limit = Annotated[int, Query(ge=1, le=MOST_WATCHES, description="How many of the newest.", examples=[50])]
_Row = tuple[int, Literal["stored", "fresh"], str]
"""Seconds since 1970, where it is known from, and the item's id."""


def add_watches(app: FastAPI, releases: LiveReleases, store: FreshStore | None) -> None:
    """Give an app the three routes."""
    described: dict[str, Any] = {"tags": ["watches"]}
    app.add_middleware(EncodedSlashes)

    @app.post("/watches", responses=responses(401, 403, 413, 415, 422, 429, 503), **described)
    async def post(request: Request, asked: WatchesRequest) -> WatchesAnswer:
        """Note watches. They are on disk when the answer comes, and count in the very next recommendation.

        May be sent again: a watch whose `event_id` is there already is ignored.
        """
        now = int(time())
        watches = [
            Watch(w.event_id, w.user_id, w.item_id, now if w.time is None else seconds(w.time), w.fraction)
            for w in asked.watches
        ]
        try:
            added = await _needed(store).add(watches)
        except StoreUnavailableError as error:
            raise BusyError(f"Send it again: {error}") from error
        facts = facts_of(request)
        facts.added, facts.ignored = added, len(watches) - added
        return WatchesAnswer(added=facts.added, ignored=facts.ignored)

    @app.get(
        "/users/{user_id}/history",
        responses=responses(401, 403, 422, 429, 503),
        response_model=HistoryAnswer,
        **described,
    )
    async def history(request: Request, user_id: PathUser, limit: Limit = 50) -> Response:
        """What is known of a user's watches, the newest first; nothing of a user nobody knows."""
        facts = facts_of(request)
        part = releases.live.of(user_id)
        opened = part.opened
        facts.user_id, facts.variant, facts.slot = user_id, part.variant, part.slot
        facts.release = opened.manifest.name
        fresh = NOTHING
        try:
            fresh = NOTHING if store is None else await store.history(user_id)
        except StoreUnavailableError:
            facts.degraded = True
        about = {"user_id": user_id, "release": facts.release, "degraded": facts.degraded}
        body = await asyncio.to_thread(_history, about, opened, user_id, fresh, limit)
        return Response(body, media_type="application/json")

    @app.delete("/users/{user_id}", responses=responses(401, 403, 422, 429, 503), **described)
    async def erase(request: Request, user_id: PathUser) -> ErasedAnswer:
        """Erase a user: fresh watches are deleted, stored ones are not read any more, and the next training is told.

        May be sent again. Watches of before that come late are ignored.
        """
        facts_of(request).user_id = user_id
        try:
            return ErasedAnswer(user_id=user_id, fresh_watches=await _needed(store).erase(user_id))
        except StoreUnavailableError as error:
            raise BusyError(f"Send it again: {error}") from error


def _needed(store: FreshStore | None) -> FreshStore:
    if store is None:
        raise BusyError("This server keeps no fresh watches: it was started with --fresh none.", retry_seconds=3600)
    return store


def _history(about: dict[str, Any], opened: Opened, user_id: str, fresh: Fresh, limit: int) -> bytes:
    """The JSON of a `HistoryAnswer`, written directly, as we made it ourselves."""
    total, rows = _newest(opened, user_id, fresh, limit)
    export = opened.recommender.export
    numbers = export.items.numbers([item_id for _, _, item_id in rows])
    watches = [
        {
            "item_id": item_id,
            "title": export.catalogue.title(number) if number else None,
            "time": datetime.fromtimestamp(when, UTC),
            "source": source,
        }
        for (when, source, item_id), number in zip(rows, numbers.tolist(), strict=True)
    ]
    return to_json({**about, "total": total, "watches": watches})


def _newest(opened: Opened, user_id: str, fresh: Fresh, limit: int) -> tuple[int, list[_Row]]:
    """How many watches a user has, and some of them, the newest first.

    Of the stored ones those are looked at that may be among the newest, or that the store has, too.
    """
    items, times = opened.askers.stored_watches(user_id, fresh.erased)
    since = len(times)
    if fresh.watches:
        since = int(np.searchsorted(times, fresh.watches[0][1]))
    first = max(0, min(since, len(times) - limit))
    ids = opened.recommender.export.items.ids(items[first:])
    stored = list(zip(ids, times[first:].tolist(), strict=True))
    new: Sequence[tuple[str, int]] = fresh.watches
    if since < len(times):
        seen = set(stored)
        new = [watch for watch in new if watch not in seen]
    rows: list[_Row] = [
        *((when, "stored", item_id) for item_id, when in stored),
        *((when, "fresh", item_id) for item_id, when in new[-limit:]),
    ]
    rows.sort(key=lambda row: row[0])
    return len(times) + len(new), rows[-limit:][::-1]
