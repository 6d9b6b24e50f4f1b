"""The thread that searches exactly and asks shadows: known recall and overlap, a full queue, failures."""

import gc
import os
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.exact import ExactIndex
from index.recommender import Recommender
from serving.telemetry.checks import Checks, exact_best, overlap_at_k
from serving.telemetry.exposition import Metrics
from tests.worlds import ITEMS, two_groups, vectors
from watchnext.export import Export
from watchnext.histories import Int32

NOTHING = np.zeros(0, np.int32)


class World:
    """Checks and what they counted."""

    def __init__(self, every: int = 1, waiting: int = 8) -> None:
        self.metrics = Metrics.create(1, ["GET /recommend"])
        worker = self.metrics.worker(0)
        worker.slots(["a", "b"])
        self.checks = Checks(worker, every, waiting)

    def told(self, name: str, **labels: str) -> float:
        samples = [s for metric in self.metrics.collect() for s in metric.samples]
        (value,) = [s.value for s in samples if s.name == f"watchnext_{name}" and s.labels == labels]
        return value

    def recalls(self) -> tuple[float, float]:
        return self.told("checked_recall_sum", variant="b"), self.told("checked_recall_count", variant="b")

    def overlaps(self) -> tuple[float, float]:
        return self.told("shadow_overlap_sum", shadow="a"), self.told("shadow_overlap_count", shadow="a")


def eventually(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("It did not happen within ten seconds.")


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.checks.start()
    yield world
    world.checks.stop()


def recommender(export: Export) -> Recommender:
    return Recommender(export, ExactIndex(export.item_vectors), "r1")


def numbers(*given: int) -> Int32:
    return np.array(given, np.int32)


@pytest.mark.parametrize(
    ("found", "exclude", "recall"),
    [
        (numbers(1, 3, 5, 7), NOTHING, 1.0),
        (numbers(1, 3, 11, 13), NOTHING, 0.5),
        (numbers(1, 3, 0, 0), NOTHING, 0.5),
        (numbers(1), NOTHING, 0.25),
        (numbers(5, 7, 9, 11), numbers(1, 3), 1.0),
        (numbers(2, 4, 6, 8), NOTHING, 0.0),
    ],
)
def test_recall_of_an_odd_user(world: World, found: Int32, exclude: Int32, recall: float) -> None:
    export = two_groups()
    world.checks.recall(1, recommender(export), export.user_vectors[1], 4, exclude, None, found)
    eventually(lambda: world.recalls()[1] == 1)
    assert world.recalls()[0] == recall


def test_recall_among_allowed_items_that_are_not_withdrawn(world: World) -> None:
    export = replace(two_groups(), withdrawn=numbers(5))
    allowed = np.ones(ITEMS + 1, bool)
    allowed[1] = False
    world.checks.recall(1, recommender(export), export.user_vectors[1], 3, numbers(3), allowed, numbers(7, 9, 11))
    eventually(lambda: world.recalls() == (1, 1))


def test_overlap_with_a_shadow(world: World) -> None:
    world.checks.shadow(0, 4, ["x", "y", "z", "w"], lambda: ["w", "x", "q", "r"])
    eventually(lambda: world.overlaps() == (0.5, 1))


@pytest.mark.parametrize(
    ("one", "other", "k", "overlap"),
    [
        ("abcd", "dcba", 4, 1),
        ("abcd", "efgh", 4, 0),
        ("ab", "ba", 50, 1),
        ("ab", "", 50, 0),
        ("", "", 5, 1),
        ("abc", "a", 3, 1 / 3),
    ],
)
def test_overlap_at_k(one: str, other: str, k: int, overlap: float) -> None:
    assert overlap_at_k(one, other, k) == pytest.approx(overlap)


def test_a_check_that_fails_is_told_and_ends_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.checks.shadow(0, 1, ["x"], lambda: [str(1 / 0)])
    world.checks.shadow(0, 1, ["x"], lambda: ["x"])
    eventually(lambda: world.overlaps() == (1, 1))
    assert world.told("checks_failed_total", check="shadow") == 1
    assert "The check of shadow failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_what_does_not_fit_the_queue_is_dropped() -> None:
    world, export = World(waiting=2), two_groups()
    for _ in range(3):
        world.checks.shadow(0, 1, ["x"], lambda: ["x"])
    world.checks.recall(1, recommender(export), export.user_vectors[1], 1, NOTHING, None, numbers(1))
    assert world.told("checks_dropped_total", check="shadow") == 1
    assert world.told("checks_dropped_total", check="recall") == 1
    world.checks.start()
    eventually(lambda: world.overlaps() == (2, 2))
    world.checks.stop()


def test_stopping_does_not_wait_for_the_queue() -> None:
    world, go_on = World(waiting=2), threading.Event()
    world.checks.start()

    def ask() -> list[str]:
        go_on.wait(10)
        return ["x"]

    world.checks.shadow(0, 1, ["x"], ask)
    eventually(world.checks._jobs.empty)
    for _ in range(2):
        world.checks.shadow(0, 1, ["x"], ask)  # the queue is full
    threading.Timer(0.05, go_on.set).start()
    world.checks.stop()
    assert world.overlaps() == (1, 1)


def test_a_release_is_let_go_when_its_check_is_done(world: World) -> None:
    export = two_groups()
    asked = recommender(export)
    alive = weakref.ref(asked)
    world.checks.recall(1, asked, export.user_vectors[1], 1, NOTHING, None, numbers(1))
    eventually(lambda: world.recalls() == (1, 1))
    del asked

    def gone() -> bool:
        gc.collect()
        return alive() is None

    eventually(gone)


@pytest.mark.parametrize(("every", "due"), [(0, 0), (1, 20_000), (10, 2000)])
def test_one_answer_of_so_many(every: int, due: int) -> None:
    checks = World(every).checks
    assert sum(checks.due() for _ in range(20_000)) == pytest.approx(due, abs=0.11 * due)  # five standard deviations


@pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere threads have no priority of their own.")
def test_the_thread_has_a_lower_priority_and_no_other(world: World) -> None:
    seen = list[int]()

    def ask() -> list[str]:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return []

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    world.checks.shadow(0, 1, ["x"], ask)
    eventually(lambda: seen == [min(19, before + 5)])
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1000), st.sets(st.integers(0, 60)))
def test_exact_best_is_that_of_the_exact_index(items: int, k: int, seed: int, drawn: set[int]) -> None:
    world, query = vectors(items, 4, seed), np.random.default_rng(seed).normal(size=4).astype(np.float32)
    exclude = np.array([n for n in drawn if n <= items], np.int32)
    allowed = np.random.default_rng(seed + 1).random(items + 1) < 0.7
    allowed[0] = False
    expected = ExactIndex(world).search(query[None], k, [exclude], allowed)[0]
    np.testing.assert_allclose(exact_best(world, query, k, allowed, exclude), expected, rtol=1e-5, atol=1e-6)


def test_vectors_are_read_where_they_are(tmp_path: Path) -> None:
    rows, dim = 100_000, 64
    file = np.lib.format.open_memmap(tmp_path / "vectors.npy", "w+", np.float32, (rows, dim))
    file[:] = 1
    del file
    mapped = np.asarray(np.load(tmp_path / "vectors.npy", mmap_mode="r"))
    tracemalloc.start()
    try:
        exact_best(mapped, np.ones(dim, np.float32), 50, np.ones(rows, bool), NOTHING)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mapped.nbytes / 8  # scores, twice, and masks: a vector is 64 scores
