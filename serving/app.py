"""The HTTP API: its parts put together. Knows nothing of TensorFlow, DuckDB or how a model is trained."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.types import Receive, Scope, Send

from serving.fresh.choose import open_store
from serving.fresh.store import FreshStore
from serving.front import Front
from serving.neighbours import add_neighbours
from serving.parameters import only_known_parameters
from serving.problems import install
from serving.recommend import add_recommend, limited
from serving.recommending import Recommending
from serving.releases import LiveReleases
from serving.settings import ServingSettings
from serving.state import add_state
from serving.watches import add_watches
from watchnext import __version__
from watchnext.api.requests import RecommendQuery
from watchnext.release import ReleaseStore


def create_app(settings: ServingSettings, releases: LiveReleases | None = None) -> FastAPI:
    """The API as an ASGI application; its lifespan watches `settings.releases` and keeps their fresh watches.

    Args:
        releases: what was opened already, for processes that are forked and share it; None opens it in the lifespan.
    """
    live = releases or LiveReleases(ReleaseStore(settings.releases), settings.poll_seconds)
    store: FreshStore | None = None if settings.fresh is None else open_store(settings.fresh)
    recommending = Recommending(live, store, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        live.start()
        yield
        recommending.close()
        live.stop()
        if store is not None:
            await store.close()

    app = _Api(
        title="watchnext",
        summary="Videos that a user is likely to watch next.",
        version=__version__,
        lifespan=lifespan,
        dependencies=[Depends(only_known_parameters)],
    )
    install(app)
    add_recommend(app, recommending, settings)
    add_watches(app, live, store)
    add_neighbours(app, live, settings)
    add_state(app, live)
    app.front = Front(app.behind, recommending, limited(RecommendQuery, settings), settings)
    return app


class _Api(FastAPI):
    """FastAPI with something in front of all its middleware."""

    front: Front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.front(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What FastAPI answers."""
        await super().__call__(scope, receive, send)
