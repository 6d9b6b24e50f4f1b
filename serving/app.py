"""The HTTP API: its parts put together. Knows nothing of TensorFlow, DuckDB or how a model is trained."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from serving.fresh.store import FreshStore, open_store
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

    app = FastAPI(
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
    app.add_middleware(Front, recommending=recommending, query=limited(RecommendQuery, settings), settings=settings)
    return app
