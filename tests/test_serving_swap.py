"""Releases that come and go while a server answers: swapped, split, shadowed, refused, rolled back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from serving.app import create_app
from serving.releases import Live, LiveReleases
from tests.commands import run
from tests.servers import running, settings, wait_ready, wait_until
from tests.worlds import mean_world, write_release
from watchnext.denied import DENIED
from watchnext.errors import UsageError
from watchnext.export import Export
from watchnext.release import CURRENT, ReleaseStore
from watchnext.variants import MOST_VARIANTS, Variants, write_variants

USERS = [f"u{n}" for n in range(40)]


def world(best: int) -> Export:
    """All users have watched item 1 and get item `best` of 2 to 5 first, then the others by number."""
    vectors = np.ones((6, 1), np.float32)
    vectors[:, 0] = [0, 1, 0.5, 0.4, 0.3, 0.2]
    vectors[best] = 2
    return mean_world(vectors, {user: [(1, 100)] for user in USERS})


def publish(folder: Path, best: int, name: str) -> ReleaseStore:
    return write_release(world(best), folder, name)[0]


@contextmanager
def serving(folder: Path, **more: Any) -> Iterator[httpx.Client]:
    with running(create_app(settings(folder / "releases", **more))) as client:
        wait_ready(client)
        yield client


def asked(client: httpx.Client, user: str = "u0", **more: Any) -> tuple[str, str, str]:
    response = client.get("/recommend", params={"user_id": user, "k": 1, **more})
    assert response.status_code == 200, response.text
    answer = response.json()
    return answer["variant"], answer["release"], answer["candidates"][0]["item_id"]


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


def test_swap_and_roll_back_while_asked(tmp_path: Path) -> None:
    store = publish(tmp_path, 3, "a")
    seen: list[tuple[str, str, str]] = []
    stop = threading.Event()
    with serving(tmp_path) as client:

        def ask() -> None:
            while not stop.is_set():
                seen.append(asked(client))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            publish(tmp_path, 4, "b")
            wait_until(lambda: asked(client)[1] == "b")
            run("releases", "rollback", store.root)
            wait_until(lambda: asked(client)[1] == "a")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert metric(client, "watchnext_swaps_total", result="ok") == 3
    assert {answer[1:] for answer in seen} == {("a", "i3"), ("b", "i4")}


def test_a_bad_release_is_refused_and_the_old_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish(tmp_path, 3, "a")
    with serving(tmp_path) as client:
        store = ReleaseStore(tmp_path / "releases")
        publish(tmp_path / "elsewhere", 4, "b")
        (tmp_path / "elsewhere" / "releases" / "b").rename(store.path("a").parent / "b")
        broken = store.path("b") / "export" / "item_vectors.npy"
        broken.write_bytes(broken.read_bytes()[:-4] + b"\0\0\0\0")
        store.make_current("b")
        wait_until(lambda: metric(client, "watchnext_swaps_total", result="refused") == 1)
        assert asked(client) == ("current", "a", "i3")
        assert client.get("/healthz/ready").json()["release"] == "a"
        assert any("item_vectors.npy" in record.message for record in caplog.records)
        publish(tmp_path, 5, "c")
        wait_until(lambda: asked(client)[1] == "c")


def test_a_process_forked_late_begins_with_what_answers_now(tmp_path: Path) -> None:
    releases = LiveReleases(publish(tmp_path, 3, "a"), poll_seconds=60)
    releases.look()  # as the parent does, once
    publish(tmp_path, 4, "b")
    swaps: list[tuple[Live | None, Live | None]] = []
    releases.start(lambda before, now: swaps.append((before, now)))
    try:
        assert releases.live.main.manifest.name == "b"
        assert [None if now is None else now.main.manifest.name for _, now in swaps] == ["a", "b"]
    finally:
        releases.stop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("serving.releases.monotonic", lambda: now[0])
    return now


def test_what_was_refused_is_tried_again_after_a_while(tmp_path: Path, clock: list[float]) -> None:
    releases = LiveReleases(publish(tmp_path, 3, "a"), poll_seconds=60)
    releases.look()
    vectors = publish(tmp_path, 4, "b").path("b") / "export" / "item_vectors.npy"
    vectors.rename(tmp_path / "away")
    for _ in range(2):
        releases.look()
        assert releases.live.main.manifest.name == "a"
    (tmp_path / "away").rename(vectors)
    clock[0] += 9
    releases.look()
    assert releases.live.main.manifest.name == "a"
    clock[0] += 2
    releases.look()
    assert releases.live.main.manifest.name == "b"


def test_a_mended_deny_list_lets_a_refused_release_in(tmp_path: Path, clock: list[float]) -> None:
    store = publish(tmp_path, 3, "a")
    releases = LiveReleases(store, poll_seconds=60)
    releases.look()
    (store.root / DENIED).write_text("[")
    publish(tmp_path, 4, "b")
    releases.look()
    assert releases.live.main.manifest.name == "a"
    (store.root / DENIED).write_text("[]")
    releases.look()
    assert releases.live.main.manifest.name == "b"


def test_nothing_ends_the_watching(tmp_path: Path, clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    store = publish(tmp_path, 3, "a")
    releases = LiveReleases(store, poll_seconds=60)
    releases.look()
    (store.root / CURRENT).write_bytes(b"\xff")
    for _ in range(1100):  # some days
        releases.look()
        clock[0] += 1000
    assert releases.live.main.manifest.name == "a"
    assert len(caplog.records) == 1
    store.make_current("a")
    publish(tmp_path, 4, "b")
    releases.look()
    assert releases.live.main.manifest.name == "b"


def test_as_many_variants_as_may_be(tmp_path: Path) -> None:
    names = [f"r{n}" for n in range(MOST_VARIANTS + 1)]
    for name in names:
        store = publish(tmp_path, 3, name)
    write_variants(store.root, Variants(split=dict.fromkeys(names[:-1], 1.0), shadow=names[-1]))
    with serving(tmp_path) as client:
        for user in USERS:
            asked(client, user)
        answered = [metric(client, "watchnext_answers_total", source="stored", variant=name) for name in names]
        assert sum(answered) == len(USERS)
        assert (
            metric(client, "watchnext_requests_total", route="GET /recommend", status="2xx", variant=names[7])
            == (answered[7])
        )
    with pytest.raises(ValidationError):
        Variants(split=dict.fromkeys(names, 1.0))


def test_split_is_sticky_and_the_current_one_follows(tmp_path: Path) -> None:
    store = publish(tmp_path, 3, "a")
    publish(tmp_path, 4, "b")
    wanted = Variants(split={"current": 3, "a": 1})
    with serving(tmp_path) as client:
        run("releases", "split", store.root, "current=3", "a=1")
        wait_until(lambda: len(client.get("/releases").json()["variants"]) == 2)
        first = {user: asked(client, user) for user in USERS}
        assert {user: variant for user, (variant, _, _) in first.items()} == {u: wanted.of(u) for u in USERS}
        assert set(first.values()) == {("current", "b", "i4"), ("a", "a", "i3")}
        publish(tmp_path, 5, "c")
        wait_until(lambda: asked(client, next(u for u in USERS if wanted.of(u) == "current"))[1] == "c")
        second = {user: asked(client, user) for user in USERS}
        assert {u: v[0] for u, v in second.items()} == {u: v[0] for u, v in first.items()}
        assert client.get("/releases").json() == {
            "variants": [
                {"variant": "current", "release": "c", "share": 0.75},
                {"variant": "a", "release": "a", "share": 0.25},
            ],
            "shadow": None,
        }
        assert metric(client, "watchnext_answers_total", source="stored", variant="a") > 0
        run("releases", "split", store.root, "--reset")
        wait_until(lambda: {asked(client, user)[1] for user in USERS} == {"c"})


def test_testers_name_a_release(tmp_path: Path) -> None:
    store = publish(tmp_path, 3, "a")
    publish(tmp_path, 4, "b")
    write_variants(store.root, Variants(shadow="a"))
    with serving(tmp_path) as client:
        assert asked(client) == ("current", "b", "i4")
        assert asked(client, release="a") == ("override", "a", "i3")
        refused = client.get("/recommend?user_id=u0&release=z")
        assert (refused.status_code, "use one of b, a" in refused.json()["detail"]) == (404, True)


def test_shadow_is_compared_and_not_shown(tmp_path: Path) -> None:
    store = publish(tmp_path, 3, "a")
    publish(tmp_path, 4, "b")
    write_variants(store.root, Variants(shadow="a"))
    with serving(tmp_path, shadow_every=1) as client:
        for user in USERS:
            answer = client.get("/recommend", params={"user_id": user, "k": 2}).json()
            assert [c["item_id"] for c in answer["candidates"]] == ["i4", "i2"]  # of a: i3, i2
        wait_until(lambda: metric(client, "watchnext_shadow_overlap_count", shadow="a") > 0)
        count = metric(client, "watchnext_shadow_overlap_count", shadow="a")
        assert metric(client, "watchnext_shadow_overlap_sum", shadow="a") == count / 2


def test_a_variant_that_cannot_be_opened_changes_nothing(tmp_path: Path) -> None:
    store = publish(tmp_path, 3, "a")
    with serving(tmp_path) as client:
        write_variants(store.root, Variants(split={"current": 1, "gone": 1}))
        wait_until(lambda: metric(client, "watchnext_swaps_total", result="refused") == 1)
        assert {asked(client, user) for user in USERS} == {("current", "a", "i3")}
        (store.root / "VARIANTS").write_text("{")
        wait_until(lambda: metric(client, "watchnext_swaps_total", result="refused") == 2)
        assert asked(client) == ("current", "a", "i3")


def test_what_cannot_be_opened_holds_up_nothing_else(tmp_path: Path, clock: list[float]) -> None:
    store = publish(tmp_path, 3, "a")
    releases = LiveReleases(store, poll_seconds=60)
    releases.look()
    write_variants(store.root, Variants(split={"current": 1, "gone": 1}, shadow="lost"))
    publish(tmp_path, 4, "b")
    swaps: list[Live | None] = []
    for one in (releases, LiveReleases(store, poll_seconds=60)):  # one that runs, and one that starts
        one._swapped = lambda _, now: swaps.append(now)
        one.look()
        live = one.live
        assert {(live.of(user).variant, live.of(user).opened.manifest.name) for user in USERS} == {("current", "b")}
        assert live.shadow is None
        assert [part.variant for part in live.each] == ["current"]
    told = len(swaps)
    clock[0] += 11
    releases.look()  # again, in vain: nothing is swapped for that
    assert releases.live is swaps[0]
    assert len(swaps) == told
    publish(tmp_path, 5, "gone")
    store.make_current("b")
    clock[0] += 25
    releases.look()
    assert {releases.live.of(user).opened.manifest.name for user in USERS} == {"b", "gone"}


def test_a_split_of_which_nothing_can_be_opened_changes_nothing(tmp_path: Path, clock: list[float]) -> None:
    store = publish(tmp_path, 3, "a")
    releases = LiveReleases(store, poll_seconds=60)
    releases.look()
    write_variants(store.root, Variants(split={"gone": 1, "lost": 1}))
    releases.look()
    assert releases.live.main.manifest.name == "a"
    publish(tmp_path, 4, "lost")
    clock[0] += 11
    releases.look()
    assert [releases.live.of(user).opened.manifest.name for user in USERS] == ["lost"] * len(USERS)
    assert {releases.live.of(user).variant for user in USERS} == {"lost"}


def scores(client: httpx.Client) -> float:
    """How many best scores were counted, in any decile."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    named = [s for family in families for s in family.samples if s.name == "watchnext_scores_total"]
    return sum(s.value for s in named if s.labels["variant"] == "current")


def test_a_scrape_while_no_release_is_loaded_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(settings(tmp_path / "releases", fresh=str(tmp_path / "fresh.sqlite")))
    with running(app) as client:
        assert client.get("/healthz/ready").status_code == 503
        told = client.get("/metrics")
        assert told.status_code == 200
        assert "watchnext_fresh_watches 0.0" in told.text
        assert "watchnext_release_age_seconds{" not in told.text
    assert [record.message for record in caplog.records if "gauge" in record.message] == []


def test_exact_checks_and_gauges(tmp_path: Path) -> None:
    publish(tmp_path, 3, "a")
    with serving(tmp_path, check_every=1, fresh=str(tmp_path / "fresh.sqlite")) as client:
        asked(client)
        wait_until(lambda: metric(client, "watchnext_checked_recall_count", variant="current") == 1)
        assert metric(client, "watchnext_checked_recall_sum", variant="current") == 1
        assert 0 <= metric(client, "watchnext_release_age_seconds", variant="current", release="a") < 600
        wait_until(lambda: scores(client) == 1)
        client.post("/watches", json={"watches": [{"event_id": "e", "user_id": "u", "item_id": "i2"}]})
        assert metric(client, "watchnext_fresh_watches") == 1
        assert metric(client, "watchnext_watches_total", result="added") == 1


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        (["current"], "NAME=WEIGHT"),
        (["current=x"], "NAME=WEIGHT"),
        (["current=1", "current=2"], "once"),
        (["current=1", "nosuch=1"], "nosuch"),
        (["current=0"], "current=0.*above 0"),
        (["current=1", "a=-1"], "a=-1.*above 0"),
        (["current=1", "--reset"], "--reset"),
        (["a=1", "--shadow", "a"], "shadow"),
    ],
)
def test_wrong_splits(tmp_path: Path, shares: list[str], told: str) -> None:
    store = publish(tmp_path, 3, "a")
    with pytest.raises(UsageError, match=told):
        run("releases", "split", store.root, *shares)
    assert not (store.root / "VARIANTS").exists()
