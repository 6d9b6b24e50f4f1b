"""`/similar` and `/analogy` over HTTP."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import numpy as np
import pytest
from httpx import Client, Response

from serving.app import create_app
from serving.problems import MEDIA_TYPE
from tests.servers import running, settings, wait_ready
from tests.worlds import ITEMS, two_groups, write_release
from watchnext.api.answers import AnalogyAnswer, SimilarAnswer
from watchnext.api.problems import Problem
from watchnext.export import Export


def world() -> Export:
    """The two groups; the watched vector of item n is (n, 1, 0, 0), but item 7 has none."""
    watched = np.zeros((ITEMS + 1, 4), np.float32)
    watched[1:, 0], watched[1:, 1] = np.arange(1, ITEMS + 1), 1
    watched[7] = 0
    return replace(two_groups(), watched_vectors=watched)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("world")
    write_release(world(), folder, "r1")
    how = settings(folder / "releases", default_k=10, max_k=300)
    with running(create_app(how)) as client:
        wait_ready(client)
        yield client


def problem(response: Response, status: int) -> Problem:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    return Problem.model_validate_json(response.content)


def test_similar(client: Client) -> None:
    response = client.get("/similar", params={"item_id": "i3", "k": 2, "measure": "dot"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "item_id": "i3",
        "release": "r1",
        "measure": "dot",
        "vectors": "item",
        "candidates": [
            {"item_id": "i1", "title": "Video 1", "score": pytest.approx(0.997 * 0.999)},
            {"item_id": "i5", "title": "Video 5", "score": pytest.approx(0.997 * 0.995)},
        ],
    }
    SimilarAnswer.model_validate_json(response.content)


def test_cosine_of_ten_is_the_default(client: Client) -> None:
    answer = SimilarAnswer.model_validate_json(client.get("/similar?item_id=i2").content)
    assert (answer.measure, answer.vectors) == ("cosine", "item")
    assert [c.item_id for c in answer.candidates] == [f"i{n}" for n in range(4, 24, 2)]
    assert {c.score for c in answer.candidates} == {1.0}


def test_euclidean_distances_of_watched_vectors(client: Client) -> None:
    answer = client.get("/similar?item_id=i10&k=5&measure=euclidean&vectors=watched").json()
    found = [(c["item_id"], c["score"]) for c in answer["candidates"]]
    assert found == [("i9", 1), ("i11", 1), ("i8", 2), ("i12", 2), ("i13", 3)]
    assert (answer["measure"], answer["vectors"]) == ("euclidean", "watched")


def test_all_that_are_left(client: Client) -> None:
    assert len(client.get("/similar?item_id=i1&k=300").json()["candidates"]) == 198  # i200 has no vector


def test_analogy(client: Client) -> None:
    query = "positive=i10&positive=i30&negative=i20&measure=euclidean&vectors=watched&k=3"
    response = client.get(f"/analogy?{query}")
    assert response.json() == {
        "positive": ["i10", "i30"],
        "negative": ["i20"],
        "release": "r1",
        "measure": "euclidean",
        "vectors": "watched",
        "candidates": [
            {"item_id": "i19", "title": "Video 19", "score": 1.0},
            {"item_id": "i21", "title": "Video 21", "score": 1.0},
            {"item_id": "i18", "title": None, "score": 2.0},
        ],
    }
    AnalogyAnswer.model_validate_json(response.content)


def test_one_term_is_enough(client: Client) -> None:
    answer = client.get("/analogy?positive=i2&k=4").json()
    assert answer["negative"] == []
    assert answer["candidates"] == client.get("/similar?item_id=i2&k=4").json()["candidates"]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/similar?item_id=nothing", [("item_id", "nothing")]),
        ("/similar?item_id=" + quote("ü&x"), [("item_id", "ü&x")]),
        ("/similar?item_id=i200", [("item_id", "i200")]),
        ("/similar?item_id=i7&vectors=watched", [("item_id", "i7")]),
        ("/analogy?positive=i1&negative=gone", [("negative", "gone")]),
        ("/analogy?positive=i1&positive=i200&negative=gone", [("positive", "i200"), ("negative", "gone")]),
    ],
)
def test_items_that_are_not_there_are_named(client: Client, path: str, named: list[tuple[str, str]]) -> None:
    refused = problem(client.get(path), 404)
    assert [(error.parameter, error.got) for error in refused.errors] == named
    assert all(id_ in refused.detail for _, id_ in named)


def test_an_item_without_a_vector_is_told_from_an_unknown_one(client: Client) -> None:
    assert "no vector" in problem(client.get("/similar?item_id=i200"), 404).detail
    assert "No item has the id" in problem(client.get("/similar?item_id=i201"), 404).detail


@pytest.mark.parametrize(
    ("path", "parameter", "got"),
    [
        ("/similar", "item_id", None),
        ("/similar?item_id=", "item_id", ""),
        ("/similar?item_id=" + quote("ü" * 129), "item_id", "ü" * 129),
        ("/similar?item_id=i1&item_id=i2", "item_id", "i2"),
        ("/similar?item_id=i1&k=0", "k", "0"),
        ("/similar?item_id=i1&k=301", "k", "301"),
        ("/similar?item_id=i1&measure=jaccard", "measure", "jaccard"),
        ("/similar?item_id=i1&vectors=user", "vectors", "user"),
        ("/similar?item_id=i1&user_id=u1", "user_id", "u1"),
        ("/similar?item_id=i1&measure=dot&measure=dot", "measure", "dot"),
        ("/analogy", "positive", None),
        ("/analogy?negative=i1", "positive", None),
        ("/analogy?positive=i1&positive=", "positive", ""),
        ("/analogy?positive=i1&negative=" + "x" * 257, "negative", "x" * 256),
        ("/analogy?positive=i1&k=1&k=2", "k", "2"),
        ("/analogy?positive=i1&item_id=i1", "item_id", "i1"),
        ("/analogy?positive=i1&negative=i1", "negative", "i1"),
    ],
)
def test_wrong_parameters(client: Client, path: str, parameter: str, got: str | None) -> None:
    refused = problem(client.get(path), 422)
    assert [(error.parameter, error.got) for error in refused.errors] == [(parameter, got)]
    assert parameter in refused.detail


@pytest.mark.parametrize("name", ["positive", "negative"])
def test_at_most_ten_terms_of_a_sign(client: Client, name: str) -> None:
    query = "positive=i1&" if name == "negative" else ""
    ten, eleven = ("&".join(f"{name}=i{n}" for n in range(2, end)) for end in (12, 13))
    assert client.get(f"/analogy?{query}{ten}").status_code == 200
    refused = problem(client.get(f"/analogy?{query}{eleven}"), 422)
    assert [error.parameter for error in refused.errors] == [name]
    assert "at most 10" in refused.detail


def test_no_release(tmp_path_factory: pytest.TempPathFactory) -> None:
    how = settings(tmp_path_factory.mktemp("empty"))
    with running(create_app(how)) as client:
        for path in ("/similar?item_id=i1", "/analogy?positive=i1"):
            assert problem(client.get(path), 503).title == "Service Unavailable"


def test_described_in_openapi(client: Client) -> None:
    schema = client.get("/openapi.json").json()
    for path, model in (("/similar", SimilarAnswer), ("/analogy", AnalogyAnswer)):
        route = schema["paths"][path]["get"]
        assert set(route["responses"]) == {"200", "400", "401", "403", "404", "408", "422", "429", "431", "503"}
        assert list(route["responses"]["404"]["content"]) == [MEDIA_TYPE]
        model.model_validate(schema["components"]["schemas"][model.__name__]["example"])
        parameters = {parameter["name"]: parameter for parameter in route["parameters"]}
        assert all(parameter["schema"]["examples"] for parameter in parameters.values())
        assert parameters["measure"]["schema"]["enum"] == ["cosine", "dot", "euclidean"]
        assert parameters["k"]["schema"]["maximum"] == 300
    assert (parameters["positive"]["required"], parameters["negative"]["required"]) == (True, False)
    assert parameters["positive"]["schema"]["maxItems"] == 10
