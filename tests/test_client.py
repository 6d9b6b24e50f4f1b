"""The client against the real application, and against its description: every route, parameter and field."""

import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.app import create_app
from tests.servers import running, settings
from tests.worlds import mean_world, write_release
from watchnext.api.answers import HistoryItem, WatchesAnswer
from watchnext.api.requests import Context, NewWatch, PastWatch
from watchnext.client import AsyncClient, Client, InvalidError, NotFoundError, UnavailableError
from watchnext.client.calls import CALLS, Call
from watchnext.errors import UsageError

ODD = ["a/b", ".", "..", "a b+c&d=e", "100%", "é", "线\n", "a/history", "/", "%2E", "?#;"]
"""User ids that mean something in URLs."""
OTHERS = {"GET /docs", "GET /docs/{name}", "GET /openapi.json", "GET /metrics", "GET /healthz/live"}
"""Routes without a method."""
AnyClient = Any
"""Either client; what their methods give is awaited where it must be."""


class Asker:
    """Makes one client of either kind for each question."""

    def __init__(self, url: str, kind: str) -> None:
        self.url, self.kind = url, kind

    def __call__(self, ask: Callable[[AnyClient], Any]) -> Any:
        if self.kind == "sync":
            with Client(self.url, timeout=10) as client:
                return ask(client)
        return asyncio.run(self._asked(ask))

    async def _asked(self, ask: Callable[[AnyClient], Any]) -> Any:
        async with AsyncClient(self.url, timeout=10) as client:
            return await ask(client)


@contextmanager
def served(folder: Path, **more: Any) -> Iterator[httpx.Client]:
    """Items 1 to 6 lie on one axis and 7 to 12 on the other, the first of each the longest."""
    vectors = np.zeros((13, 2), np.float32)
    vectors[1:7, 0] = vectors[7:, 1] = np.linspace(1, 0.5, 6)
    write_release(mean_world(vectors, {"ann": [(1, 100), (2, 200)], "bob": [(7, 100)]}, history=3), folder, "r1")
    with running(create_app(settings(folder / "releases", **more))) as client:
        yield client


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("client")
    with served(folder, fresh=str(folder / "fresh.sqlite"), default_k=3) as client:
        yield client


@pytest.fixture(params=["sync", "async"])
def asker(request: pytest.FixtureRequest, http: httpx.Client) -> Asker:
    asker = Asker(str(http.base_url), request.param)
    assert asker(lambda client: client.ready()).release == "r1"
    return asker


def test_recommend(asker: Asker) -> None:
    answer = asker(lambda client: client.recommend("ann"))
    assert (answer.user_id, answer.source, answer.release, answer.variant) == ("ann", "stored", "r1", "current")
    assert [c.item_id for c in answer.candidates] == ["i3", "i4", "i5"]
    page = asker(lambda client: client.recommend("ann", k=2, offset=1, exclude=["i3"], explain=True))
    assert [c.item_id for c in page.candidates] == ["i5", "i6"]
    assert [b.item_id for b in page.candidates[0].because] == ["i1", "i2"]
    assert asker(lambda client: client.recommend("ann", release="r1")).variant == "override"


def test_recommend_to(asker: Asker) -> None:
    history = [PastWatch(item_id="i7", time=datetime(2026, 1, 31, tzinfo=UTC)), PastWatch(item_id="i8")]
    answer = asker(lambda client: client.recommend_to(history=history, context=Context(country="DE"), k=2))
    assert (answer.user_id, answer.source) == (None, "fresh")
    assert [c.item_id for c in answer.candidates] == ["i9", "i10"]


@pytest.mark.parametrize("user_id", ODD)
def test_watches_of_any_user_come_and_go(asker: Asker, user_id: str) -> None:
    when = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)  # after the erasure of the other kind's
    watch = NewWatch(event_id=f"{asker.kind}-{user_id}", user_id=user_id, item_id="i7", time=when)
    assert asker(lambda client: client.add_watches([watch])) == WatchesAnswer(added=1, ignored=0)
    assert asker(lambda client: client.add_watches([watch])) == WatchesAnswer(added=0, ignored=1)
    known = asker(lambda client: client.history(user_id, limit=1))
    assert (known.user_id, known.total) == (user_id, 1)
    assert known.watches == [HistoryItem(item_id="i7", title=None, time=when, source="fresh")]
    assert asker(lambda client: client.recommend(user_id)).source == "fresh"
    assert asker(lambda client: client.erase(user_id)).fresh_watches == 1
    assert asker(lambda client: client.history(user_id)).total == 0


def test_a_watch_without_an_event_id_gets_one(asker: Asker) -> None:
    user_id = f"new-{asker.kind}"
    for _ in range(2):
        assert asker(lambda client: client.watched(user_id, "i7", fraction=0.5)).added == 1
    assert asker(lambda client: client.watched(user_id, "i7", event_id=f"e-{user_id}")).added == 1
    assert asker(lambda client: client.watched(user_id, "i7", event_id=f"e-{user_id}")).added == 0


def test_neighbours(asker: Asker) -> None:
    near = asker(lambda client: client.similar("i1", k=1, measure="dot"))
    assert (near.item_id, near.measure, near.candidates[0].item_id) == ("i1", "dot", "i2")
    assert near.candidates[0].score == pytest.approx(0.9)
    sum_ = asker(lambda client: client.analogy(["i1", "i7"], ["i2"], k=1, vectors="watched"))
    assert (sum_.positive, sum_.negative, sum_.vectors) == (["i1", "i7"], ["i2"], "watched")


def test_releases(asker: Asker) -> None:
    assert [(v.variant, v.release, v.share) for v in asker(lambda client: client.releases()).variants] == [
        ("current", "r1", 1.0)
    ]
    assert asker(lambda client: client.current_release()).items == 12


def test_errors_name_what_is_wrong(asker: Asker) -> None:
    with pytest.raises(
        InvalidError, match=r"^GET /recommend: got 422 Unprocessable Content\. k: .* or equal to 1"
    ) as invalid:
        asker(lambda client: client.recommend("ann", k=0, uploaded_after=datetime(2026, 1, 31)))
    assert [one.parameter for one in invalid.value.problem.errors] == ["k", "uploaded_after"]
    with pytest.raises(NotFoundError) as missing:
        asker(lambda client: client.similar("no item"))
    assert (missing.value.status, missing.value.problem.errors[0].got) == (404, "no item")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_will_take_an_hour_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    with served(tmp_path) as http:
        asker = Asker(str(http.base_url), kind)
        asker(lambda client: client.ready())
        with pytest.raises(UnavailableError, match="keeps no fresh watches") as error:
            asker(lambda client: client.erase("ann"))
    assert error.value.retry_after == 3600


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda c: c.recommend("ann", exclude="i1"), "exclude"),
        (lambda c: c.recommend("\ud800"), "GET /recommend"),
        (lambda c: c.erase("\ud800"), "DELETE /users/{user_id}"),
        (lambda c: c.recommend_to(searches=["\ud800"]), "POST /recommend"),
        (lambda c: c.recommend("ann", exclude=["x" * 70_000]), "GET /recommend"),
    ],
)
def test_what_cannot_be_sent_is_refused_before(call: Callable[[Client], object], argument: str) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(UsageError) as error:
        call(client)
    assert error.value.argument == argument


@pytest.mark.parametrize(
    ("url", "more", "argument"),
    [
        ("127.0.0.1:8000", {}, "url"),
        ("http://127.0.0.1:port", {}, "url"),
        ("http://127.0.0.1", {"key": "two\nlines"}, "key"),
        ("http://127.0.0.1", {"timeout": 0}, "timeout"),
    ],
)
def test_impossible_clients(url: str, more: dict[str, Any], argument: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(UsageError) as error:
            kind(url, **more)
        assert error.value.argument == argument
        assert "two" not in str(error.value)


def test_every_route_and_parameter_is_a_method_and_argument(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    described = {
        f"{method.upper()} {path}": _names(document, route)
        for path, routes in document["paths"].items()
        for method, route in routes.items()
    }
    calls: dict[str, set[str]] = {}
    for call in CALLS:
        route = _made(call).route
        calls.setdefault(route, set()).update(inspect.signature(call).parameters)
    assert calls == {route: names for route, names in described.items() if route not in OTHERS}


def _made(call: Callable[..., Call[Any]]) -> Call[Any]:
    needed = [
        p for p in inspect.signature(call).parameters.values() if p.default is p.empty and p.kind != p.KEYWORD_ONLY
    ]
    return call(*(["x"] if p.name in {"positive", "watches"} else "x" for p in needed))


def _names(document: dict[str, Any], route: dict[str, Any]) -> set[str]:
    """Of parameters, and of the fields of the body and of what it has a list of watches of."""
    names = {parameter["name"] for parameter in route.get("parameters", ())}
    if "requestBody" in route:
        schemas = document["components"]["schemas"]
        reference = route["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        fields = schemas[reference.rpartition("/")[2]]["properties"]
        names |= set(fields)
        if "watches" in fields:
            names |= set(schemas[fields["watches"]["items"]["$ref"].rpartition("/")[2]]["properties"])
    return names


@pytest.mark.parametrize("page", ["README.md", "docs/serving.md"])
def test_examples_in_the_docs_run(http: httpx.Client, page: str) -> None:
    found = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / page).read_text(), re.DOTALL)
    assert found
    for code in found:
        assert "http://127.0.0.1:8000" in code
        exec(code.replace("http://127.0.0.1:8000", str(http.base_url)), {})  # noqa: S102


def test_both_clients_have_every_call_and_show_how_it_is_made() -> None:
    for call in CALLS:
        for kind in (Client, AsyncClient):
            method = getattr(kind, call.__name__)
            shown = inspect.signature(method)
            assert method.__doc__ == call.__doc__
            assert list(shown.parameters) == ["self", *inspect.signature(call).parameters]
    assert inspect.signature(Client.recommend).return_annotation.__name__ == "RecommendAnswer"
    assert inspect.iscoroutinefunction(AsyncClient.recommend)


def test_without_httpx_the_extra_is_named() -> None:
    code = "import sys; sys.modules['httpx'] = None\nimport watchnext.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Install it: pip install 'watchnext[client]'." in done.stderr.splitlines()[-1]


def test_the_client_needs_nothing_of_the_server() -> None:
    heavy = {"fastapi", "starlette", "uvicorn", "faiss", "tensorflow", "duckdb", "pyarrow", "serving"}
    code = f"import sys, watchnext.client; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
