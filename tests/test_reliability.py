"""The scripts that break a server, in small: each finds a server that holds, and says so where it does not."""

import json
from pathlib import Path

import pytest

from reliability import disk_full, kills, overload, soak, store_gone
from reliability._load import FAILED, Answer, Answers
from reliability._report import Report
from reliability._world import World, make


def quiet(_: str) -> None:
    """Says nothing of the steps."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make(tmp_path_factory.mktemp("reliability"), 2_000, 500)


@pytest.fixture
def report() -> Report:
    return Report("small")


def test_swaps_under_load_fail_no_request(world: World) -> None:
    found = soak.soak(world, 6.0, 2.5, 60.0)
    assert found.figures["swaps"] >= 1
    assert found.figures["requests"] > 200
    assert [broken for broken in found.broken if "p99" not in broken] == []


def test_a_killed_worker_costs_what_it_was_answering(world: World, report: Report) -> None:
    kills.kill_workers(world, 2, report, quiet)
    assert report.broken == []
    assert report.figures["requests meanwhile"] > 100


def test_a_worker_killed_during_a_swap_comes_back_with_the_new_release(world: World, report: Report) -> None:
    kills.kill_while_swapping(world, 2, report, quiet)
    assert report.broken == []


def test_a_killed_publication_leaves_a_whole_store(world: World, report: Report) -> None:
    kills.kill_while_publishing(world, 2, report, quiet)
    assert report.broken == []


def test_no_acknowledged_watch_is_lost_when_the_server_is_killed(world: World, report: Report) -> None:
    kills.kill_while_watching(world, 3, report, quiet)
    assert report.broken == []
    assert report.figures["watches acknowledged"] > 3


def test_a_lost_a_doubled_and_a_strange_watch_would_be_found(report: Report) -> None:
    there, strange = ("user-1", "video-1", 1_700_000_000), ("user-1", "video-1", 1_700_000_002)
    kills.judge_watches([there, there, strange], {"kill-0", "kill-1"}, {there}, report)
    assert report.broken == [
        "every acknowledged watch is there: 1 are not",
        "no watch is there twice: 1 are",
        "no watch is there that nobody sent: 1 are",
    ]


@pytest.mark.parametrize("way", [disk_full.TMPFS, disk_full.LIMIT])
def test_a_full_disk(world: World, report: Report, way: str, tmp_path: Path) -> None:
    if way == disk_full.TMPFS and not disk_full.can_mount(tmp_path):
        pytest.skip("may not mount a tmpfs")
    disk_full.publish_to_full_disk(world, way, report)
    disk_full.watch_on_full_disk(world, way, report, 1)
    assert report.broken == []
    assert report.figures["refused, and taken later"] == 100


def test_sqlite_locked_and_replaced(world: World, report: Report) -> None:
    store_gone.sqlite_gone(world, report)
    assert report.broken == []


def test_redis_stopped_and_killed(world: World, report: Report) -> None:
    store_gone.redis_gone(world, report)
    assert report.broken == []
    for what, why in report.skipped.items():
        pytest.skip(f"{what}: {why}")


def test_too_much_is_refused_and_the_rest_answered(world: World, report: Report) -> None:
    overload.overload(world, 1.1, report)
    for what, why in report.skipped.items():
        pytest.skip(f"{what}: {why}")
    others = ("p99", "no free connection")  # these say that something else uses the processors
    assert [broken for broken in report.broken if not any(other in broken for other in others)] == []


def test_sigterm_under_load_loses_nothing(world: World, report: Report) -> None:
    overload.drain(world, 2, report)
    assert report.broken == []
    assert report.figures["requests sent before"] > 20


def test_answers_are_counted_by_status_and_time() -> None:
    answers = Answers()
    answers.add(0.0, FAILED)
    answers.add(1.0, 503, Answer(503, b"HTTP/1.1 503 ...\r\nRetry-After: 1\r\n\r\n", b""))
    answers.add(2.0, 503, Answer(503, b"HTTP/1.1 503 ...\r\n\r\n", b""))
    answers.add(3.0, 200)
    assert (answers.count(FAILED), answers.count(200, 503)) == (1, 3)
    assert answers.without_retry_after == 1
    assert answers.within(1.0, 3.0).tolist() == [False, True, True, False]
    assert answers.milliseconds(0.5) == answers.seconds[3] * 1000


def test_the_exit_code_says_whether_all_held(capsys: pytest.CaptureFixture[str], report: Report) -> None:
    report.figures["kills"] = 3
    report.must("the sky is up", True)
    assert report.end() == 0
    report.must("the sky is up", False, "down")
    assert report.end() == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"kills": 3, "skipped": {}, "broken": ["the sky is up: down"]}
