"""A running server heeds the deny list at once, and lifts no denial because the list is broken."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import Client

from serving.app import create_app
from tests.commands import run
from tests.servers import running, settings, wait_ready
from tests.worlds import two_groups, write_release
from watchnext.denied import DENIED, deny

PATHS = {
    "/recommend?user_id=u4&k=3": ["i6", "i8", "i10"],
    "/recommend?user_id=nobody&k=3": ["i1", "i2", "i3"],
    "/similar?item_id=i4&k=3": ["i2", "i6", "i8"],
    "/analogy?positive=i2&positive=i4&k=3": ["i6", "i8", "i10"],
}


def answers(client: Client) -> dict[str, list[str]]:
    found = {}
    for path in PATHS:
        response = client.get(path)
        assert response.status_code == 200
        found[path] = [candidate["item_id"] for candidate in response.json()["candidates"]]
    return found


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    return write_release(two_groups(), tmp_path, "r1")[0].root


@pytest.fixture
def client(releases: Path) -> Iterator[Client]:
    with running(create_app(settings(releases))) as client:
        wait_ready(client)
        yield client


def test_denied_at_once_and_back_at_once(client: Client, releases: Path) -> None:
    assert answers(client) == PATHS
    run("deny", "i6", "i1", "--releases", releases)
    assert list(answers(client).values()) == [
        ["i8", "i10", "i12"],
        ["i2", "i3", "i4"],
        ["i2", "i8", "i10"],
        ["i8", "i10", "i12"],
    ]
    run("deny", "--lift", "i6", "i1", "--releases", releases)
    assert answers(client) == PATHS


def test_a_denied_item_may_be_asked_for(client: Client, releases: Path) -> None:
    deny(releases, ["i4"])
    assert answers(client)["/similar?item_id=i4&k=3"] == ["i2", "i6", "i8"]


def test_all_that_is_denied_leaves_an_empty_answer(client: Client, releases: Path) -> None:
    deny(releases, [f"i{n}" for n in range(1, 201)])
    assert all(found == [] for found in answers(client).values())


@pytest.mark.parametrize("content", [b'["i8"', b"i6\n", None])
def test_a_broken_list_lifts_nothing(client: Client, releases: Path, content: bytes | None) -> None:
    deny(releases, ["i6", "i1"])
    before, path = answers(client), releases / DENIED
    assert before != PATHS
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert answers(client) == before
    path.write_text("[]")
    assert answers(client) == PATHS


def test_no_answer_from_a_list_that_was_broken_from_the_beginning(releases: Path) -> None:
    path = releases / DENIED
    path.write_bytes(b'["i6"')
    with running(create_app(settings(releases))) as client:
        for _ in range(5):
            assert client.get("/recommend?user_id=u4").status_code == 503
        path.write_bytes(b'["i6"]')
        wait_ready(client)
        assert answers(client)["/recommend?user_id=u4&k=3"] == ["i8", "i10", "i12"]
