"""The routes `/similar` and `/analogy`: what lies near an item, or near a sum of items. Items are named by ids."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json

from index.candidates import Candidate
from index.neighbours import Measure, Neighbours, VectorsName
from serving.opened import Opened
from serving.problems import NotFoundError, responses
from serving.releases import LiveReleases
from serving.routes.parameters import ItemId, count, wrong
from serving.settings import ServingSettings
from watchnext.api.answers import AnalogyAnswer, SimilarAnswer
from watchnext.api.problems import ParameterError
from watchnext.api.requests import Id
from watchnext.errors import UsageError

MOST_TERMS = 10
"""Of `/analogy`, with each sign."""

MeasureQuery = Annotated[
    Measure,
    Query(
        description="What near means. `euclidean` is a distance: the smallest comes first.",
        examples=["cosine"],
    ),
]
VectorsQuery = Annotated[
    VectorsName,
    Query(
        description="`item`: the vectors that are scored. `watched`: the network's input embeddings.",
        examples=["item"],
    ),
]
_terms = "Ids of items that are {}, at most 10; repeat the parameter for each."
Positive = Annotated[
    list[Id],
    Query(min_length=1, max_length=MOST_TERMS, description=_terms.format("added"), examples=[["madrid", "france"]]),
]
Negative = Annotated[
    list[Id], Query(max_length=MOST_TERMS, description=_terms.format("taken off"), examples=[["spain"]])
]


def add_neighbours(app: FastAPI, releases: LiveReleases, settings: ServingSettings) -> None:
    """Give an app the two routes."""
    described: dict[str, Any] = {"responses": responses(401, 403, 404, 422, 429, 503), "tags": ["neighbours"]}

    @app.get("/similar", response_model=SimilarAnswer, **described)
    def similar(
        item_id: ItemId,
        k: Annotated[int, count(settings)] = settings.default_k,
        measure: MeasureQuery = "cosine",
        vectors: VectorsQuery = "item",
    ) -> Response:
        """The items nearest to one, nearest first, without itself."""
        loaded = releases.live.main
        (number,) = _numbers(loaded.neighbours, [("item_id", item_id)], vectors)
        found = loaded.neighbours.similar(number, k, measure, vectors)
        return _answer({"item_id": item_id}, loaded, measure, vectors, found)

    @app.get("/analogy", response_model=AnalogyAnswer, **described)
    def analogy(
        positive: Positive,
        negative: Negative = [],  # noqa: B006  (FastAPI copies it)
        k: Annotated[int, count(settings)] = settings.default_k,
        measure: MeasureQuery = "cosine",
        vectors: VectorsQuery = "item",
    ) -> Response:
        """The items nearest to the sum of some items minus others, without all of these: Madrid - Spain + France.

        `cosine` scales each item's vector to length 1 before it adds (3CosAdd), `dot` and `euclidean` do not.
        """
        loaded = releases.live.main
        terms = [*(("positive", id_) for id_ in positive), *(("negative", id_) for id_ in negative)]
        numbers = _numbers(loaded.neighbours, terms, vectors)
        added, taken = numbers[: len(positive)], numbers[len(positive) :]
        try:
            found = loaded.neighbours.analogy(added, taken, k, measure, vectors)
        except UsageError as error:  # they cancel each other out
            raise RequestValidationError([wrong("negative", ", ".join(negative), f"{error.got}")]) from error
        return _answer({"positive": positive, "negative": negative}, loaded, measure, vectors, found)


def _numbers(neighbours: Neighbours, terms: Sequence[tuple[str, str]], vectors: VectorsName) -> list[int]:
    """The numbers of items given as (parameter, id). Raises NotFoundError naming all that are not there."""
    numbers = [neighbours.export.items.number(id_) for _, id_ in terms]
    errors = []
    for (parameter, id_), number in zip(terms, numbers, strict=True):
        if not number:
            errors.append(ParameterError(parameter=parameter, got=id_, problem=f"No item has the id {id_!r}"))
        elif not neighbours.has_vector(number, vectors):
            unseen = f"Item {id_!r} has no vector: training has not seen it, or it is withdrawn"
            errors.append(ParameterError(parameter=parameter, got=id_, problem=unseen))
    if errors:
        raise NotFoundError(errors)
    return numbers


def _answer(
    asked: dict[str, Any], loaded: Opened, measure: Measure, vectors: VectorsName, found: Sequence[Candidate]
) -> Response:
    """A `SimilarAnswer` or `AnalogyAnswer`, written directly, as we made it ourselves."""
    candidates = [c.plain() for c in found]
    about = {"release": loaded.manifest.name, "measure": measure, "vectors": vectors}
    return Response(to_json({**asked, **about, "candidates": candidates}), media_type="application/json")
