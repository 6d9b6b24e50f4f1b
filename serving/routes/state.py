"""The routes of the server's state: whether it lives and is ready, which releases answer, and what is counted."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from time import time
from typing import Annotated

from fastapi import FastAPI, Header, Response
from fastapi.routing import APIRoute

from serving.fresh.store import FreshStore
from serving.problems import responses
from serving.releases import LiveReleases
from serving.telemetry.observer import Observer
from watchnext.api.answers import LiveAnswer, ReadyAnswer, ReleaseAnswer, ReleasesAnswer, VariantAnswer
from watchnext.errors import StoreUnavailableError

_OFTEN = responses(401, 403, 422, 429, 503)


def add_state(app: FastAPI, releases: LiveReleases) -> None:
    """Give an app these routes, but for the metrics'."""

    @app.get("/healthz/live", responses=responses(422), tags=["state"])
    async def live() -> LiveAnswer:
        """The process answers."""
        return LiveAnswer(status="live")

    @app.get("/healthz/ready", responses=responses(422, 503), tags=["state"])
    async def ready() -> ReadyAnswer:
        """A release is loaded, so that all other routes answer."""
        return ReadyAnswer(status="ready", release=releases.live.main.manifest.name)

    @app.get("/releases", responses=_OFTEN, tags=["state"])
    async def all_() -> ReleasesAnswer:
        """The releases that answer, and for which share of the users."""
        now = releases.live
        total = sum(now.variants.split.values())
        return ReleasesAnswer(
            variants=[
                VariantAnswer(variant=name, release=now.parts[name].opened.manifest.name, share=weight / total)
                for name, weight in now.variants.split.items()
            ],
            shadow=now.variants.shadow,
        )

    @app.get("/releases/current", responses=_OFTEN, tags=["state"])
    async def current() -> ReleaseAnswer:
        """The release that answers now; of several, the first."""
        manifest = releases.live.main.manifest
        return ReleaseAnswer.model_validate(manifest.model_dump(include=set(ReleaseAnswer.model_fields)))


def add_metrics(app: FastAPI, releases: LiveReleases, store: FreshStore | None, observer: Observer) -> None:
    """Give an app the route of metrics, which are those of its routes so far and of this one."""
    observer.prepare([*routes_of(app), "GET /metrics"])
    sizes: list[float] = []
    """Of the store, when it was asked last; none where it did not answer."""

    @app.get("/metrics", response_class=Response, responses=_OFTEN, tags=["state"])
    async def metrics(accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
        """What all processes counted, for Prometheus."""
        found = []
        if store is not None:
            with suppress(StoreUnavailableError):
                found = [await store.size()]
        sizes[:] = found
        text, kind = await asyncio.to_thread(observer.metrics.render, accept)
        return Response(text, headers={"content-type": kind})

    def ages() -> Iterator[tuple[tuple[str, str], float]]:
        for part in releases.parts:
            manifest = part.opened.manifest
            yield (part.variant, manifest.name), time() - manifest.created.timestamp()

    def drifts() -> Iterator[tuple[tuple[str], float]]:
        for part in releases.parts:
            if part.opened.reference is not None:
                counts = observer.metrics.window_counts(part.variant)
                yield (part.variant,), part.opened.reference.drift(counts)

    about = observer.metrics
    about.gauge("release_age_seconds", "Since a release was published.", ages, ("variant", "release"))
    about.gauge("score_drift", "Population stability index of best scores.", drifts, ("variant",))
    about.gauge("fresh_watches", "Watches in the store.", lambda: (((), size) for size in sizes))


def routes_of(app: FastAPI) -> list[str]:
    """The routes of an API as metrics name them."""
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    return [f"{method} {route.path}" for route in routes for method in sorted(route.methods or ())]
