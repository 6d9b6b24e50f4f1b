"""The HTTP API: answers, problems and its own description."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.openapi.models import OpenAPI
from httpx import Client, Response
from pydantic import BaseModel

from serving.app import create_app
from serving.guard.heads import Limits
from serving.guard.protocol import limited
from serving.problems import MEDIA_TYPE
from serving.releases import LiveReleases
from tests.servers import running, settings, wait_ready
from tests.test_askers import with_countries
from tests.worlds import two_groups, write_release
from watchnext.api.answers import LiveAnswer, ReadyAnswer, RecommendAnswer, ReleaseAnswer
from watchnext.api.problems import Problem
from watchnext.api.requests import ID_BYTES, MOST_ITEMS, RecommendQuery
from watchnext.errors import UsageError
from watchnext.release import ReleaseStore


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("world")
    write_release(two_groups(), folder, "r1")
    how = settings(folder / "releases", default_k=10, max_k=100)
    with running(create_app(how)) as client:
        wait_ready(client)
        yield client


def is_problem(response: Response, status: int) -> Problem:
    assert response.status_code == status
    assert response.headers["content-type"] == MEDIA_TYPE
    problem = Problem.model_validate_json(response.content)
    assert problem.status == status
    assert problem.title
    assert "Traceback" not in response.text
    return problem


def sources(answer: Response) -> tuple[str, list[tuple[str, str]]]:
    """Where an answer comes from, and its items, each with where it comes from."""
    told = RecommendAnswer.model_validate_json(answer.content)
    return told.source, [(candidate.item_id, candidate.source) for candidate in told.candidates]


def test_a_context_alone(tmp_path: Path) -> None:
    write_release(with_countries(), tmp_path, "r1")
    with running(create_app(settings(tmp_path / "releases"))) as client:
        wait_ready(client)
        german = sources(client.get("/recommend?user_id=nobody&country=DE&k=2"))
        french = sources(client.post("/recommend", json={"k": 4, "context": {"country": "FR"}}))
        elsewhere = sources(client.get("/recommend?user_id=nobody&country=XX&k=2"))
    assert german == ("context", [("i3", "context"), ("i1", "context")])
    assert french == ("context", [(f"i{n}", "context") for n in (3, 2, 1)] + [("i4", "popular")])
    assert elsewhere == ("popular", [("i1", "popular"), ("i2", "popular")])


def test_popular_in_a_country(tmp_path: Path) -> None:
    write_release(with_countries([[1, 2, 2], [1, 2, 2], [3, 4, 4]], ["FR", "FR", "AT"]), tmp_path, "r1")
    with running(create_app(settings(tmp_path / "releases"))) as client:
        wait_ready(client)
        by_query = sources(client.get("/recommend?user_id=nobody&country=AT&k=3"))
        by_body = sources(client.post("/recommend", json={"k": 3, "context": {"country": "AT"}}))
        seen = sources(client.get("/recommend?user_id=u3&k=2"))
        excluded = sources(client.get("/recommend?user_id=nobody&country=AT&k=2&exclude=i4&exclude=i3"))
    there = [("i4", "popular_in_country"), ("i3", "popular_in_country"), ("i2", "popular")]
    assert by_query == by_body == ("popular_in_country", there)
    assert seen == excluded == ("popular", [("i2", "popular"), ("i1", "popular")])


@pytest.mark.parametrize(("letters", "status"), [(5, 200), (10, 431)])
def test_how_many_ids_fit_into_a_query(tmp_path: Path, letters: int, status: int) -> None:
    store = write_release(two_groups(), tmp_path, "r1")[0]
    query = "user_id=u1" + "".join(f"&exclude={n:0{letters}}" for n in range(MOST_ITEMS))
    with running(create_app(settings(store.root)), http=limited(Limits())) as client:
        wait_ready(client)
        assert client.get(f"/recommend?{query}").status_code == status


@pytest.mark.parametrize(("letter", "status"), [("x", 200), ("\x01", 413)])
def test_how_many_watches_fit_into_a_body(tmp_path: Path, letter: str, status: int) -> None:
    store = write_release(two_groups(), tmp_path, "r1")[0]
    names = [f"{n:03}".ljust(ID_BYTES, letter) for n in range(MOST_ITEMS)]
    watches = [{"event_id": name, "user_id": name, "item_id": name, "fraction": 0.5} for name in names]
    how = settings(store.root, fresh=str(tmp_path / "fresh.sqlite"))
    with running(create_app(how), http=limited(Limits())) as client:
        wait_ready(client)
        assert client.post("/watches", json={"watches": watches}).status_code == status


def test_known_user(client: Client) -> None:
    response = client.get("/recommend", params={"user_id": "u4", "k": 2})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "user_id": "u4",
        "release": "r1",
        "variant": "current",
        "source": "stored",
        "degraded": False,
        "candidates": [
            {"item_id": "i6", "title": None, "score": pytest.approx(0.994), "source": "stored"},
            {"item_id": "i8", "title": None, "score": pytest.approx(0.992), "source": "stored"},
        ],
    }
    RecommendAnswer.model_validate_json(response.content)


@pytest.mark.parametrize("user", ["nobody", "ü" * 128, "u 1&k=2", "\U0001f600", "%"])
def test_unknown_user(client: Client, user: str) -> None:
    answer = RecommendAnswer.model_validate_json(client.get(f"/recommend?user_id={quote(user)}").content)
    assert (answer.user_id, answer.source, len(answer.candidates)) == (user, "popular", 10)
    assert (answer.candidates[0].item_id, answer.candidates[0].title) == ("i1", "Video 1")


def test_bytes_that_are_no_text(client: Client) -> None:
    assert client.get("/recommend?user_id=%ff%fe").json()["source"] == "popular"


@pytest.mark.parametrize(
    ("query", "parameter", "got"),
    [
        ("", "user_id", None),
        ("user_id=", "user_id", ""),
        ("user_id=" + "x" * 257, "user_id", "x" * 256),
        ("user_id=" + quote("ü" * 129), "user_id", "ü" * 129),
        ("user_id=u1&k=0", "k", "0"),
        ("user_id=u1&k=101", "k", "101"),
        ("user_id=u1&k=many", "k", "many"),
        ("user_id=u1&n=3", "n", "3"),
        ("user_id=u1&user_id=u2", "user_id", "u2"),
    ],
)
def test_wrong_parameters(client: Client, query: str, parameter: str, got: str | None) -> None:
    problem = is_problem(client.get(f"/recommend?{query}"), 422)
    assert [(error.parameter, error.got) for error in problem.errors] == [(parameter, got)]
    assert parameter in problem.detail


@pytest.mark.parametrize("user", ["", "x" * 257])
def test_lengths_of_ids_are_told_in_characters(client: Client, user: str) -> None:
    problem = is_problem(client.get("/recommend", params={"user_id": user}), 422)
    assert "character" in problem.detail
    assert "item" not in problem.detail


def test_each_unknown_parameter_is_named(client: Client) -> None:
    for path in ("/recommend?user_id=u1", "/similar?item_id=i1"):
        problem = is_problem(client.get(f"{path}&foo=1&bar=2"), 422)
        assert [error.parameter for error in problem.errors] == ["foo", "bar"]
    assert problem.errors[1].problem == "Unknown parameter; this route has item_id, k, measure, vectors"


def test_other_problems(client: Client) -> None:
    assert "/recomend" in is_problem(client.get("/recomend"), 404).detail
    refused = client.delete("/healthz/live")
    is_problem(refused, 405)
    assert refused.headers["allow"] == "GET"
    assert is_problem(client.get("/healthz/live?deep=1"), 422).errors[0].parameter == "deep"


def test_failure_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_release(two_groups(), tmp_path)

    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    app = create_app(settings(tmp_path / "releases"))
    with running(app) as client:
        wait_ready(client)
        monkeypatch.setattr("index.recommender.Recommender.answers", broken)
        response = client.get("/recommend?user_id=u1")
    is_problem(response, 500)
    assert "secret" not in response.text


def test_state(client: Client) -> None:
    assert client.get("/healthz/live").json() == {"status": "live"}
    assert client.get("/healthz/ready").json() == {"status": "ready", "release": "r1"}
    release = ReleaseAnswer.model_validate_json(client.get("/releases/current").content)
    assert (release.name, release.items, release.users, release.index) == ("r1", 200, 40, "Flat")


def test_waits_for_the_first_release(tmp_path: Path) -> None:
    how = settings(tmp_path / "releases")
    with running(create_app(how)) as client:
        assert client.get("/healthz/live").status_code == 200
        for path in ("/healthz/ready", "/releases/current", "/recommend?user_id=u1"):
            response = client.get(path)
            is_problem(response, 503)
            assert response.headers["retry-after"] == "1"
        write_release(two_groups(), tmp_path)
        wait_ready(client)
        assert client.get("/recommend?user_id=u1&k=1").json()["candidates"][0]["item_id"] == "i3"


def test_why_no_release_answers_is_logged_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loader = LiveReleases(ReleaseStore(tmp_path / "releases"), 0.001)
    with caplog.at_level("WARNING", "serving.releases"):
        loader.start()
        time.sleep(0.2)  # that is many looks
        (tmp_path / "releases").mkdir()
        (tmp_path / "releases" / "CURRENT").write_text("gone\n")
        time.sleep(0.2)
        loader.stop()
    assert ["no current release" in record.message for record in caplog.records] == [True, False]
    assert "'gone'" in caplog.records[-1].message


def test_damaged_release_is_not_served(tmp_path: Path) -> None:
    store, manifest = write_release(two_groups(), tmp_path, "r1")
    (store.path(manifest.name) / "index" / "index.faiss").write_bytes(b"")
    how = settings(store.root)
    with running(create_app(how)) as client:
        time.sleep(0.2)
        assert "log" in is_problem(client.get("/recommend?user_id=u1"), 503).detail
        write_release(two_groups(), tmp_path, "r2")
        wait_ready(client)
        assert ReleaseStore(tmp_path / "releases").current() == client.get("/releases/current").json()["name"] == "r2"


def refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from refs(child)


def test_openapi_is_valid_and_its_examples_too(client: Client) -> None:
    schema = client.get("/openapi.json").json()
    OpenAPI.model_validate(schema)
    schemas = schema["components"]["schemas"]
    assert {ref.removeprefix("#/components/schemas/") for ref in refs(schema)} <= set(schemas)
    assert "HTTPValidationError" not in schemas
    models: list[type[BaseModel]] = [RecommendAnswer, ReleaseAnswer, LiveAnswer, ReadyAnswer, Problem]
    for model in models:
        model.model_validate_json(model.model_validate(schemas[model.__name__]["example"]).model_dump_json())
    recommend = schema["paths"]["/recommend"]["get"]
    assert set(recommend["responses"]) == {"200", "400", "401", "403", "404", "408", "422", "429", "431", "503"}
    assert list(recommend["responses"]["422"]["content"]) == [MEDIA_TYPE]
    parameters = {parameter["name"]: parameter for parameter in recommend["parameters"]}
    assert set(parameters) == set(RecommendQuery.model_fields)
    user_id, k = parameters["user_id"], parameters["k"]
    assert (user_id["required"], k["schema"]["maximum"], k["schema"]["default"]) == (True, 100, 10)
    for parameter in (user_id, k):
        assert parameter["schema"]["examples"]


def test_settings_fit_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--default-k: got 20\. Give at most --max-k, 10"):
        settings(tmp_path, default_k=20, max_k=10)
