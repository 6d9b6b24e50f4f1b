"""Watches over HTTP: posted, counted in the very next recommendation, shown, erased; and what the unknown bring."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import Client, Response

from serving.app import create_app
from tests.servers import running, settings, wait_ready
from tests.worlds import mean_world, write_release
from watchnext.features import Float32

ITEMS = 12
"""Items 1 to 6 lie on one axis and 7 to 12 on the other, the first of each the longest."""


def vectors() -> Float32:
    made = np.zeros((ITEMS + 1, 2), np.float32)
    made[1:7, 0] = made[7:, 1] = np.linspace(1, 0.5, 6)
    return made


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    watches = {"ann": [(1, 100), (2, 200)], "bob": [(7, 100), (1, 200), (1, 300)]}
    write_release(mean_world(vectors(), watches, history=3), tmp_path, "r1")
    how = settings(tmp_path / "releases", fresh=str(tmp_path / "fresh.sqlite"), default_k=3)
    with running(create_app(how)) as client:
        wait_ready(client)
        yield client


def recommended(client: Client, user: str, **more: Any) -> tuple[str, list[str]]:
    answer = client.get("/recommend", params={"user_id": user, **more}).json()
    return answer["source"], [c["item_id"] for c in answer["candidates"]]


def post(client: Client, *watches: tuple[str, str, str, int | None]) -> Response:
    names = ("event_id", "user_id", "item_id", "time")
    return client.post("/watches", json={"watches": [dict(zip(names, watch, strict=True)) for watch in watches]})


def test_the_very_next_recommendation_knows(client: Client) -> None:
    assert recommended(client, "ann") == ("stored", ["i3", "i4", "i5"])
    assert recommended(client, "new")[0] == "popular"
    answer = post(client, ("e1", "ann", "i7", 300), ("e2", "new", "i8", None), ("e3", "ann", "i9", 301))
    assert answer.json() == {"added": 3, "ignored": 0}
    assert recommended(client, "ann") == ("fresh", ["i8", "i10", "i11"])  # two of her last three lie there
    assert recommended(client, "new") == ("fresh", ["i7", "i9", "i10"])
    assert post(client, ("e1", "ann", "i7", 300)).json() == {"added": 0, "ignored": 1}
    assert recommended(client, "ann") == ("fresh", ["i8", "i10", "i11"])


def test_watches_that_the_release_has_seen_change_nothing(client: Client) -> None:
    post(client, ("e1", "ann", "i2", 200))
    assert recommended(client, "ann") == ("stored", ["i3", "i4", "i5"])


def test_items_that_no_release_knows_yet(client: Client) -> None:
    post(client, ("e1", "ann", "not yet", 300))
    assert recommended(client, "ann") == ("stored", ["i3", "i4", "i5"])
    history = client.get("/users/ann/history").json()["watches"]
    assert [(w["item_id"], w["source"]) for w in history] == [
        ("not yet", "fresh"),
        ("i2", "stored"),
        ("i1", "stored"),
    ]


def test_history(client: Client) -> None:
    post(client, ("e1", "bob", "i3", 150), ("e2", "bob", "i1", 300))
    answer = client.get("/users/bob/history", params={"limit": 3}).json()
    watches = answer.pop("watches")
    assert answer == {"user_id": "bob", "release": "r1", "degraded": False, "total": 4}
    assert [(w["item_id"], w["time"], w["source"]) for w in watches] == [
        ("i1", "1970-01-01T00:05:00Z", "stored"),
        ("i1", "1970-01-01T00:03:20Z", "stored"),
        ("i3", "1970-01-01T00:02:30Z", "fresh"),
    ]
    assert client.get("/users/nobody/history").json()["watches"] == []


def test_a_history_longer_than_recommendations_read(client: Client) -> None:
    for first in (0, 1000):
        post(client, *((f"e{n}", "bob", f"new {n}", 400 + n) for n in range(first, first + 1000)))
    post(client, ("e", "bob", "i12", 399))
    answer = client.get("/users/bob/history", params={"limit": 2002}).json()
    assert answer["total"] == 2004
    assert [w["item_id"] for w in answer["watches"]] == [*(f"new {n}" for n in reversed(range(2000))), "i12", "i1"]
    last = client.get("/users/bob/history").json()
    assert (last["total"], last["watches"]) == (2004, answer["watches"][:50])
    assert recommended(client, "bob", k=12)[0] == "stored"  # i12 is older than the last thousand


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 50])
def test_of_a_history_the_newest(client: Client, limit: int) -> None:
    post(
        client, ("e1", "bob", "i3", 150), ("e2", "bob", "i1", 300), ("e3", "bob", "i4", 300), ("e4", "bob", "i5", 50)
    )
    answer = client.get("/users/bob/history", params={"limit": limit}).json()
    assert answer["total"] == 6
    found = [(w["item_id"], w["source"]) for w in answer["watches"]]
    assert (
        found
        == [
            ("i4", "fresh"),
            ("i1", "stored"),
            ("i1", "stored"),
            ("i3", "fresh"),
            ("i7", "stored"),
            ("i5", "fresh"),
        ][:limit]
    )


def test_erased(client: Client) -> None:
    post(client, ("e1", "ann", "i7", 300), ("e2", "ann", "i8", None))
    assert client.delete("/users/ann").json() == {"user_id": "ann", "fresh_watches": 2}
    assert recommended(client, "ann")[0] == "popular"
    assert client.get("/users/ann/history").json()["total"] == 0
    assert post(client, ("e1", "ann", "i7", 300)).json() == {"added": 0, "ignored": 1}  # a late retry
    assert recommended(client, "ann")[0] == "popular"
    assert client.delete("/users/ann").json() == {"user_id": "ann", "fresh_watches": 0}
    post(client, ("e9", "ann", "i8", int(time.time()) + 3600))
    assert recommended(client, "ann") == ("fresh", ["i7", "i9", "i10"])


def test_anonymous(client: Client) -> None:
    def asked(**body: Any) -> tuple[str, list[str]]:
        answer = client.post("/recommend", json=body).json()
        assert (answer["user_id"], answer["release"]) == (None, "r1")
        return answer["source"], [c["item_id"] for c in answer["candidates"]]

    assert asked(history=[{"item_id": "i7"}], k=2) == ("fresh", ["i8", "i9"])
    assert asked()[0] == "popular"
    assert asked(history=[{"item_id": "unheard of"}])[0] == "popular"
    of_old = [{"item_id": "i1", "time": 4}, {"item_id": "i7", "time": 3}, {"item_id": "i8"}, {"item_id": "i9"}]
    assert asked(history=of_old, k=1) == ("fresh", ["i10"])


def test_pages_and_exclusions(client: Client) -> None:
    whole = recommended(client, "ann", k=8)[1]
    assert [recommended(client, "ann", k=3, offset=offset)[1] for offset in (0, 3, 6)] == [
        whole[:3],
        whole[3:6],
        [*whole[6:], *recommended(client, "ann", k=9)[1][8:]],
    ]
    assert recommended(client, "ann", exclude=["i3", "i5", "unheard of"])[1] == ["i4", "i6", *whole[4:5]]


def test_popular_items_fill_up(tmp_path: Path) -> None:
    untrained = np.concatenate([vectors(), np.zeros((2, 2), np.float32)])  # i13 and i14
    write_release(mean_world(untrained, {"ann": [(1, 100), (2, 200)], "bob": [(14, 100)]}), tmp_path, "r1")
    with running(create_app(settings(tmp_path / "releases"))) as client:
        wait_ready(client)
        answer = client.get("/recommend", params={"user_id": "ann", "k": 100}).json()
    found = [(c["item_id"], c["source"]) for c in answer["candidates"]]
    assert answer["source"] == "stored"
    assert {source for _, source in found[: ITEMS - 2]} == {"stored"}
    assert found[ITEMS - 2 :] == [("i14", "popular"), ("i13", "popular")]


def test_explained(client: Client) -> None:
    answer = client.get("/recommend", params={"user_id": "bob", "k": 1, "explain": True}).json()
    # bob's vector is a mean of i7, i1, i1, and i2 lies on the axis of i1
    assert answer["candidates"][0]["item_id"] == "i2"
    assert answer["candidates"][0]["because"] == [
        {"item_id": "i1", "title": None, "share": 1.0, "similarity": 1.0},
        {"item_id": "i7", "title": None, "share": 0.0, "similarity": 0.0},
    ]
    nobody = client.get("/recommend", params={"user_id": "nobody", "explain": True}).json()
    assert [c["because"] for c in nobody["candidates"]] == [[], [], []]


def test_server_timing(client: Client) -> None:
    for response in (client.get("/recommend?user_id=ann"), client.post("/recommend", json={})):
        parts = [part.strip().split(";dur=") for part in response.headers["server-timing"].split(",")]
        assert [name for name, _ in parts] == ["vector", "filter", "search"]
        assert all(float(ms) >= 0 for _, ms in parts)


@pytest.mark.parametrize(
    ("method", "path", "body", "parameter"),
    [
        ("POST", "/watches", {"watches": []}, "watches"),
        ("POST", "/watches", {}, "watches"),
        ("POST", "/watches", {"watches": [{"event_id": "e", "user_id": "u"}]}, "watches.0.item_id"),
        ("POST", "/watches", {"watches": [], "more": 1}, "watches"),
        ("POST", "/recommend", {"hist": []}, "hist"),
        ("POST", "/recommend", {"k": 2000}, "k"),
        ("POST", "/recommend", {"context": {"age": -1}}, "context.age"),
        ("POST", "/recommend", {"k": "2"}, "k"),
        ("POST", "/recommend", {"offset": True}, "offset"),
        ("POST", "/recommend", {"explain": 1}, "explain"),
        ("POST", "/recommend", {"uploaded_after": "5"}, "uploaded_after"),
        ("POST", "/recommend?k=3", {}, "k"),
        ("POST", "/watches", {"watches": [{"event_id": " ", "user_id": "u", "item_id": "i"}]}, "watches.0.event_id"),
        ("GET", "/recommend?user_id=%20%20", None, "user_id"),
        ("GET", "/recommend?user_id=ann&uploaded_after=2026-01-01T00:00:00Z", None, "uploaded_after"),
        ("GET", "/recommend?user_id=ann&uploaded_after=2026-01-01T00:00:00", None, "uploaded_after"),
        ("GET", "/recommend?user_id=ann&k=999&offset=2", None, "offset"),
        ("GET", "/recommend?user_id=ann&explain=perhaps", None, "explain"),
        ("GET", "/users/ann/history?limit=0", None, "limit"),
        ("DELETE", "/users/" + "x" * 257, None, "user_id"),
    ],
)
def test_refused(client: Client, method: str, path: str, body: Any, parameter: str) -> None:
    response = client.request(method, path, json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize(("parameter", "value"), [("release", "r9"), ("categories", "drama")])
def test_names_of_nothing(client: Client, parameter: str, value: str) -> None:
    for response in (
        client.get("/recommend", params={"user_id": "ann", parameter: value}),
        client.post("/recommend", json={parameter: value if parameter == "release" else [value]}),
    ):
        assert (response.status_code, response.json()["errors"][0]["parameter"]) == (404, parameter)


def test_slashes_in_ids_are_sent_as_such(client: Client) -> None:
    assert client.get("/users/a%2Fb/history").json()["user_id"] == "a/b"
    assert client.get("/users/a%252Fb%2fhistory/history").json()["user_id"] == "a%2Fb/history"
    for method, path, status in [
        ("DELETE", "/users/a/b", 404),
        ("DELETE", "/users/a%2Fb/c", 404),
        ("DELETE", "/users/a/history", 405),
        ("GET", "/users/a%2Fhistory", 405),
        ("GET", "/users/a%2Fb/history/", 404),
    ]:
        response = client.request(method, path)
        assert response.status_code == status
        assert path in response.json()["detail"]


def test_methods_of_a_path_are_those_of_all_its_routes(client: Client) -> None:
    response = client.put("/recommend")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


def test_a_wrong_watch_is_one_error_and_all_wrong_parameters_are_told(client: Client) -> None:
    refused = client.post("/watches", json={"watches": [{"user_id": "u", "item_id": "i1"}]}).json()
    assert [error["parameter"] for error in refused["errors"]] == ["watches.0.event_id"]
    refused = client.get("/recommend?user_id=ann&k=abc&foo=3").json()
    assert [error["parameter"] for error in refused["errors"]] == ["foo", "k"]


def test_no_json(client: Client) -> None:
    response = client.post("/watches", content=b"{", headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["errors"][0]["parameter"]) == (422, "body")


@pytest.mark.parametrize("path", ["/watches", "/recommend"])
@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}, {"content-type": "multipart/form-data"}])
def test_a_body_that_is_not_said_to_be_json(client: Client, path: str, headers: dict[str, str]) -> None:
    response = client.post(path, content=b'{"k": 1}', headers=headers)
    assert response.status_code == 415
    assert "Content-Type: application/json" in response.json()["detail"]
    assert "b'" not in response.text


def test_times_that_no_log_can_have(client: Client) -> None:
    tomorrow = int(time.time()) + 100_000
    for when in (
        "6000-01-01T00:00:00Z",
        "2026-01-01T00:00:00",
        1e300,
        1_790_000_000_000,
        "300",
        True,
        "soon",
        tomorrow,
    ):
        watch = {"event_id": "e1", "user_id": "ann", "item_id": "i7", "time": when}
        response = client.post("/watches", json={"watches": [watch]})
        assert (response.status_code, response.json()["errors"][0]["parameter"]) == (422, "watches.0.time")


def test_without_a_store(tmp_path: Path) -> None:
    write_release(mean_world(vectors(), {"ann": [(1, 1)]}), tmp_path, "r1")
    with running(create_app(settings(tmp_path / "releases"))) as client:
        wait_ready(client)
        assert post(client, ("e1", "ann", "i1", 1)).status_code == 503
        assert client.delete("/users/ann").status_code == 503
        assert client.get("/recommend?user_id=ann").json()["degraded"] is False


def test_store_that_fails(client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from watchnext.errors import StoreUnavailableError  # noqa: PLC0415

    async def gone(*_: object) -> None:
        raise StoreUnavailableError("store", "no answer", "Look after it.")

    post(client, ("e1", "ann", "i7", 300))
    for name in ("of", "history", "add", "erase"):
        monkeypatch.setattr(f"serving.fresh.sqlite.SqliteStore.{name}", gone)
    answer = client.get("/recommend?user_id=ann").json()
    assert (answer["degraded"], answer["source"]) == (True, "stored")
    assert client.get("/users/ann/history").json()["degraded"] is True
    for refused in (post(client, ("e2", "ann", "i7", 300)), client.delete("/users/ann")):
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
