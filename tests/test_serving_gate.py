"""Who may ask, how often, how many at a time; and what is written down of it."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from serving.app import create_app
from serving.guard.gate import scope_of
from serving.guard.key_file import Scope, create_key
from serving.run import serve
from serving.settings import ServingSettings
from serving.telemetry.logs import Logs
from tests.servers import running, settings, wait_ready, wait_until
from tests.worlds import two_groups, write_release
from watchnext.errors import UsageError


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(two_groups(), tmp_path_factory.mktemp("world"), "r1")[0].root


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """A key for each scope."""
    return {scope.value: create_key(tmp_path / "keys.json", scope.value, (scope,))[1] for scope in Scope}


def with_keys(releases: Path, tmp_path: Path, **more: Any) -> ServingSettings:
    fresh = str(tmp_path / "fresh.sqlite")
    return settings(releases, without_keys=False, keys=tmp_path / "keys.json", fresh=fresh, docs=False, **more)


WATCH = {"watches": [{"event_id": "e", "user_id": "u1", "item_id": "i1"}]}
ASKED: list[tuple[str, str, str]] = [
    ("GET", "/recommend?user_id=u1", "read"),
    ("POST", "/recommend", "read"),
    ("GET", "/similar?item_id=i1", "read"),
    ("GET", "/users/u1/history", "read"),
    ("GET", "/releases", "read"),
    ("POST", "/watches", "write"),
    ("DELETE", "/users/u1", "write"),
    ("GET", "/metrics", "admin"),
]


def test_scopes(releases: Path, tmp_path: Path, keys: dict[str, str]) -> None:
    with running(create_app(with_keys(releases, tmp_path))) as client:
        wait_ready(client)
        for method, path, scope in ASKED:
            body = WATCH if path == "/watches" else {} if method == "POST" else None

            def status(key: str | None, method: str = method, path: str = path, body: Any = body) -> int:
                headers = {} if key is None else {"authorization": f"Bearer {key}"}
                return client.request(method, path, json=body, headers=headers).status_code

            assert (status(None), status("wn_nonsense"), status(keys["admin"])) == (401, 401, 200)
            for name in ("read", "write"):
                assert status(keys[name]) == (200 if name == scope else 403), (path, name)
        refused = client.get("/recommend?user_id=u1")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["content-type"] == "application/problem+json"
        assert client.get("/openapi.json", headers={"authorization": f"Bearer {keys['admin']}"}).status_code == 404


def test_whatever_is_no_known_reading_needs_the_right_to_write() -> None:
    assert [scope_of(method, "/anything") for method in ("GET", "PUT", "PATCH", "DELETE")] == ["read"] + ["write"] * 3


def test_rate(releases: Path, tmp_path: Path) -> None:
    _, key = create_key(tmp_path / "keys.json", "slow", (Scope.READ,), 1.0)
    with running(create_app(with_keys(releases, tmp_path))) as client:
        wait_ready(client)
        headers = {"authorization": f"Bearer {key}"}
        found = [client.get("/recommend?user_id=u1", headers=headers) for _ in range(3)]
    assert [response.status_code for response in found] == [200, 200, 429]
    assert found[-1].headers["retry-after"] == "1"


@pytest.mark.usefixtures("logging_as_before")
def test_lines_name_the_key_that_was_refused_and_the_route(releases: Path, tmp_path: Path) -> None:
    id_, key = create_key(tmp_path / "keys.json", "reader", (Scope.READ,), 1.0)
    headers = {"authorization": f"Bearer {key}"}
    with (tmp_path / "log").open("wb") as file:
        logs = Logs("json", file=file.fileno())
        with running(create_app(with_keys(releases, tmp_path), logs)) as client:
            wait_ready(client)
            statuses = [client.get("/recommend?user_id=u1", headers=headers).status_code for _ in range(3)]
            statuses.append(client.delete("/users/u1", headers=headers).status_code)
            paths = ("/releases", "/users/a%2Fb/history", "/users/a/b/history")
            statuses += [client.get(path).status_code for path in paths]
    lines = [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    told = [(line["status"], line.get("key"), line["route"]) for line in lines if line["event"] == "request"]
    assert statuses == [200, 200, 429, 403, 401, 401, 401]
    assert told == [
        (200, id_, "GET /recommend"),
        (200, id_, "GET /recommend"),
        (429, id_, "GET /recommend"),
        (403, id_, "DELETE /users/{user_id}"),
        (401, None, "GET /releases"),
        (401, None, "GET /users/{user_id}/history"),
        (401, None, "other"),
    ]


def slow_app(releases: Path, go: threading.Event, begun: threading.Semaphore, **more: Any) -> Any:
    """An API with a route that takes until `go` is set."""
    app = create_app(settings(releases, **more))

    @app.get("/slow")
    async def slow() -> str:
        begun.release()
        while not go.is_set():
            await asyncio.sleep(0.005)
        return "done"

    return app


def test_too_many_at_a_time(releases: Path) -> None:
    begun, go = threading.Semaphore(0), threading.Event()
    with running(slow_app(releases, go, begun, waiting=2)) as client, ThreadPoolExecutor(2) as pool:
        wait_ready(client)
        waiting = [pool.submit(client.get, "/slow") for _ in range(2)]
        assert [begun.acquire(timeout=5) for _ in range(2)] == [True, True]
        refused = client.get("/recommend?user_id=u1")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.get("/healthz/ready").status_code == 200
        go.set()
        assert [future.result().json() for future in waiting] == ["done", "done"]
        assert client.get("/recommend?user_id=u1").status_code == 200
        told = client.get("/metrics").text
    assert 'watchnext_refused_total{reason="overload"} 1.0' in told
    assert 'watchnext_requests_total{route="other",status="2xx"} 2.0' in told


def test_what_takes_too_long(releases: Path) -> None:
    begun, go = threading.Semaphore(0), threading.Event()
    with running(slow_app(releases, go, begun, deadline_seconds=0.05)) as client:
        wait_ready(client)
        late = client.get("/slow")
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert late.headers["content-type"] == "application/problem+json"
        assert 'watchnext_refused_total{reason="deadline"} 1.0' in client.get("/metrics").text


@pytest.mark.usefixtures("logging_as_before")
def test_request_ids_and_lines(releases: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        logs = Logs("json", file=file.fileno())
        with running(create_app(settings(releases), logs)) as client:
            wait_ready(client)
            answer = client.get("/recommend?user_id=u4", headers={"x-request-id": "mine"})
            client.get("/recommend?user_id=%0a%1b[31m", headers={"x-request-id": "wrong one"})
            client.get("/nothing/u4")
    assert answer.headers["x-request-id"] == "mine"
    lines = [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    known, hostile, nothing = [line for line in lines if line["event"] == "request"]
    assert {name: known[name] for name in ("request_id", "method", "route", "status", "bytes")} == {
        "request_id": "mine",
        "method": "GET",
        "route": "GET /recommend",
        "status": 200,
        "bytes": len(answer.content),
    }
    assert (known["release"], known["variant"], known["source"]) == ("r1", "current", "stored")
    assert known["user"] not in {"u4", hostile["user"]}
    assert (hostile["source"], hostile["request_id"] != "wrong one") == ("popular", True)
    assert (nothing["route"], nothing["status"]) == ("other", 404)
    assert "u4" not in str(known)


def test_a_route_through_fastapi_and_the_short_way_answer_alike(releases: Path) -> None:
    queries = ["user_id=u4", "user_id=u4&k=3&offset=2", "user_id=", "user_id=u1&k=0", "user_id=u1&n=1&n=2", "k=2"]
    queries += ["user_id=u1&k=3&k=4", "user_id=u1&exclude=i3&exclude=i5", "user_id=%C3%BC&country=DE", "user_id=u+1"]
    app = create_app(settings(releases))
    with running(app) as client:
        wait_ready(client)
        short = [client.get(f"/recommend?{query}") for query in queries]
        front, app.front = app.front, app.behind
        long = [client.get(f"/recommend?{query}") for query in queries]
        app.front = front
    for query, one, other in zip(queries, short, long, strict=True):
        assert (one.status_code, one.json()) == (other.status_code, other.json()), query


def test_who_sends_slowly_takes_nobodys_place_and_is_answered(releases: Path) -> None:
    head = b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n"
    with running(create_app(settings(releases, waiting=1, deadline_seconds=0.3))) as client:
        wait_ready(client)
        slow, gone = (socket.create_connection(("127.0.0.1", client.base_url.port or 0)) for _ in range(2))
        with slow, gone:
            slow.sendall(head)
            gone.sendall(head)
            time.sleep(0.4)
            assert client.get("/recommend?user_id=u0").status_code == 200
            gone.close()
            slow.sendall(b'{"k": 1}')
            assert slow.recv(1000).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: 'status="4xx"} 1.0' in client.get("/metrics").text)  # who has gone is counted


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"without_keys": False}, "--keys: got none"),
        ({"requests_per_second": 5.0}, "--rate: got 5.0. .* --keys"),
        ({"traces": "foo"}, "--traces: got foo"),
        ({"keys": Path("k.json")}, "--keys: got both"),
        ({"host": "0.0.0.0"}, "--without-keys: got --host 0.0.0.0"),  # noqa: S104
        ({"host": "example.org"}, "--without-keys: got --host example.org"),
    ],
)
def test_what_does_not_go_together_is_refused(releases: Path, more: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        settings(releases, **more)


@pytest.mark.usefixtures("keys")
def test_it_is_logged_that_no_keys_are_asked_for(
    releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serving.run.Logs", lambda _: None)
    monkeypatch.setattr("serving.run._serve_here", lambda *_: None)
    serve(with_keys(releases, tmp_path, port=0))
    assert caplog.messages == []
    serve(settings(releases, host="localhost", port=0))
    assert caplog.messages == ["No keys are asked for: whoever reaches localhost may ask and write."]


def test_without_keys_where_it_was_said(releases: Path) -> None:
    for more in ({"host": "::1"}, {"host": "localhost"}, {"host": "0.0.0.0", "open_to_all": True}):  # noqa: S104
        assert settings(releases, **more).without_keys
