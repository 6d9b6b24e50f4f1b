"""The routes /recommend: for users with an id, and for those without."""

from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field, create_model

from serving.problems import responses
from serving.recommending import Recommending
from serving.settings import ServingSettings
from serving.telemetry.facts import Facts
from watchnext.api.answers import RecommendAnswer
from watchnext.api.requests import RecommendQuery, RecommendRequest, Wanted

Asked = TypeVar("Asked", bound=Wanted)
FACTS = "watchnext.facts"
"""Where the scope of a request has its `Facts`."""


def limited(model: type[Asked], settings: ServingSettings) -> type[Asked]:
    """A kind of request with this server's limits of `k` and `offset`."""
    bounds: dict[str, dict[str, Any]] = {
        "k": {"default": settings.default_k, "ge": 1, "le": settings.max_k},
        "offset": {"default": 0, "ge": 0, "lt": settings.max_k},
    }
    fields: dict[str, Any] = {}
    for name, bound in bounds.items():
        about = model.model_fields[name]
        fields[name] = (int, Field(**bound, description=about.description, examples=about.examples))
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, **fields)


def add_recommend(app: FastAPI, recommending: Recommending, settings: ServingSettings) -> None:
    """Give an app the two routes."""
    query_model, request_model = limited(RecommendQuery, settings), limited(RecommendRequest, settings)
    described: dict[str, Any] = {"response_model": RecommendAnswer, "tags": ["recommend"]}

    @app.get("/recommend", responses=responses(401, 403, 404, 422, 429, 503), **described)
    async def recommend(request: Request, asked: Annotated[query_model, Query()]) -> Response:  # type: ignore[valid-type]
        """Candidates for a user, best first, without what the user has watched.

        The first of these that applies answers, and `source` says which: the vector that training left of the user;
        one computed now from the watches posted since; one computed from country and device alone; what is popular
        in the country; what is popular.
        """
        facts = facts_of(request)
        return _answer(await recommending.known(asked, facts), facts)

    @app.post("/recommend", responses=responses(401, 403, 404, 413, 415, 422, 429, 503), **described)
    async def recommend_to(request: Request, asked: request_model) -> Response:  # type: ignore[valid-type]
        """Candidates for somebody without an id, from the watches, searches and context that the request brings."""
        facts = facts_of(request)
        return _answer(await recommending.unknown(asked, facts), facts)


def facts_of(request: Request) -> Facts:
    """The facts of a request; new ones where nobody in front keeps any."""
    facts: Facts = request.scope.setdefault(FACTS, Facts())
    return facts


def _answer(body: bytes, facts: Facts) -> Response:
    return Response(body, media_type="application/json", headers={"server-timing": facts.server_timing().decode()})
