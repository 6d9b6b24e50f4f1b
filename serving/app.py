"""The HTTP API. Answers from the current release; knows nothing of TensorFlow, DuckDB or how a model is trained."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Response
from pydantic_core import to_json

from index.recommender import Recommendation
from serving.loader import ReleaseLoader
from serving.neighbours import add_neighbours
from serving.parameters import UserId, count, only_known_parameters
from serving.problems import install, responses
from serving.schemas import LiveAnswer, ReadyAnswer, RecommendAnswer, ReleaseAnswer
from serving.settings import ServingSettings
from watchnext import __version__
from watchnext.release import ReleaseStore


def create_app(settings: ServingSettings) -> FastAPI:
    """The API as an ASGI application; its lifespan loads the current release of `settings.releases`."""
    loader = ReleaseLoader(ReleaseStore(settings.releases), settings.retry_seconds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loader.start()
        yield
        loader.stop()

    app = FastAPI(
        title="watchnext",
        summary="Videos that a user is likely to watch next.",
        version=__version__,
        lifespan=lifespan,
        dependencies=[Depends(only_known_parameters)],
    )
    install(app)
    _add_recommend(app, loader, settings)
    add_neighbours(app, loader, settings)
    _add_state(app, loader)
    return app


def _add_recommend(app: FastAPI, loader: ReleaseLoader, settings: ServingSettings) -> None:
    @app.get("/recommend", response_model=RecommendAnswer, responses=responses(422, 503), tags=["recommend"])
    def recommend(user_id: UserId, k: Annotated[int, count(settings)] = settings.default_k) -> Response:
        """Candidates for a user, best first. A user nobody knows gets the most watched items."""
        answer = loader.loaded.recommender.recommend(user_id, k)
        return Response(_body(user_id, answer), media_type="application/json")


def _body(user_id: str, answer: Recommendation) -> bytes:
    """A `RecommendAnswer`, written directly: validating what we made ourselves costs more than the search."""
    candidates = [c.plain() for c in answer.candidates]
    return to_json({"user_id": user_id, "release": answer.release, "source": answer.source, "candidates": candidates})


def _add_state(app: FastAPI, loader: ReleaseLoader) -> None:
    @app.get("/healthz/live", responses=responses(422), tags=["state"])
    async def live() -> LiveAnswer:
        """The process answers."""
        return LiveAnswer(status="live")

    @app.get("/healthz/ready", responses=responses(422, 503), tags=["state"])
    async def ready() -> ReadyAnswer:
        """A release is loaded, so that all other routes answer."""
        return ReadyAnswer(status="ready", release=loader.loaded.manifest.name)

    @app.get("/releases/current", responses=responses(422, 503), tags=["state"])
    async def current() -> ReleaseAnswer:
        """The release that answers now."""
        return ReleaseAnswer.model_validate(
            loader.loaded.manifest.model_dump(include=set(ReleaseAnswer.model_fields))
        )
