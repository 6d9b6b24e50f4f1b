"""The HTTP API: its parts put together. Knows nothing of TensorFlow, DuckDB or how a model is trained."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.fresh.choose import open_store
from serving.fresh.store import FreshStore
from serving.front import Front
from serving.guard.browsers import add_docs, with_cors
from serving.guard.gate import Gate
from serving.guard.keys import KeyRing
from serving.guard.limits import RateLimiter
from serving.problems import install
from serving.recommending import Recommending
from serving.releases import LiveReleases
from serving.routes.neighbours import add_neighbours
from serving.routes.parameters import only_known_parameters
from serving.routes.recommend import add_recommend, limited
from serving.routes.state import add_metrics, add_state
from serving.routes.watches import add_watches
from serving.settings import ServingSettings
from serving.telemetry.logs import Logs
from serving.telemetry.observer import Observer
from watchnext import __version__
from watchnext.api.requests import RecommendQuery
from watchnext.release import ReleaseStore


class Api(FastAPI):
    """FastAPI with something in front of all its middleware; made by `create_app`."""

    front: ASGIApp
    observer: Observer
    releases: LiveReleases

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await self.front(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What FastAPI answers."""
        await super().__call__(scope, receive, send)


def create_app(settings: ServingSettings, logs: Logs | None = None) -> Api:
    """The API as an ASGI application; its lifespan watches `settings.releases` and keeps their fresh watches.

    Threads and connections begin with the lifespan, so that processes may be forked before.

    Args:
        logs: where lines about requests go; None writes none.

    Raises what opening the file of keys and the store of fresh watches raises.
    """
    store: FreshStore | None = None if settings.fresh is None else open_store(settings.fresh)
    releases = LiveReleases(ReleaseStore(settings.releases), settings.poll_seconds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        observer.start()
        releases.start(observer.swapped, observer.worker.slots)
        yield
        recommending.close()
        releases.stop()
        if store is not None:
            await store.close()
        observer.stop()

    app = Api(
        title="watchnext",
        summary="Videos that a user is likely to watch next.",
        version=__version__,
        lifespan=lifespan,
        dependencies=[Depends(only_known_parameters)],
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,
        redoc_url=None,
    )
    install(app, settings.keys is not None)
    observer = app.observer = Observer(settings, logs)
    recommending = Recommending(releases, store, settings, observer)
    add_recommend(app, recommending, settings)
    add_watches(app, releases, store)
    add_neighbours(app, releases, settings)
    add_state(app, releases)
    if settings.docs:
        add_docs(app)
    add_metrics(app, releases, store, observer)
    app.releases = releases
    ring = None if settings.keys is None else KeyRing(settings.keys)
    gate = Gate(ring, RateLimiter(settings.requests_per_second, settings.workers), settings.docs)
    front = Front(app.behind, recommending, limited(RecommendQuery, settings), gate, observer, settings)
    app.front = with_cors(front, settings.cors_origins)
    return app
