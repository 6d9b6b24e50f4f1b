"""What the benchmarks compute apart from time: world, rows, ratios, judged lists, and the turns they take."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._rivals import contest, environment
from benchmarks._rivals.contest import Entry, System, compete, cpu_speed, groups, ratio, speed
from benchmarks._rivals.judged import ListScorer
from benchmarks._rivals.products import products
from benchmarks._rivals.program import Task, steps_within
from benchmarks._rivals.world import World, examples, make
from benchmarks.sasrec import best, equal_accuracy, until
from benchmarks.training import picture
from evaluation.metrics import by_user
from evaluation.ranking import rank
from watchnext.histories import Histories
from watchnext.split import split

SYSTEM = System("some", "item2vec", "", tables=2)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=1, max_size=5), st.integers(1, 4))
def test_rows_hold_the_watches_before_their_label(users: list[list[int]], history: int) -> None:
    expected = [
        ([*seen, *[0] * (history - len(seen))], user[i])
        for user in users
        for i in range(1, len(user))
        for seen in [user[max(0, i - history) : i]]
    ]
    flat = np.array([item for user in users for item in user], np.int32)
    world = World(flat, np.array([len(user) for user in users]), np.zeros(10, np.int64))
    rows, labels = examples(world, history, 100)
    assert [(row, label) for row, label in zip(rows.tolist(), labels.tolist(), strict=True)] == expected
    assert len(examples(world, history, 2)[1]) == min(2, len(expected))


@pytest.mark.parametrize("items", [3, 1000, 100_000])
def test_the_world_watches_the_whole_catalogue(items: int) -> None:
    world = make(items, users=50)
    assert len(world.items) == world.lengths.sum()
    assert world.lengths.min() >= 2
    assert (world.items.min(), len(world.counts)) >= (1, items + 1)
    assert world.items.max() <= items
    assert world.counts[0] == 0
    assert (np.diff(world.counts[1:]) <= 0).all()
    assert world.counts[-1] > 0


def test_popular_items_are_watched_in_proportion_to_their_counts() -> None:
    world = make(30, users=2000)
    watched = np.bincount(world.items, minlength=31)[1:]
    share = 1 / (np.arange(30) + 21)
    np.testing.assert_allclose(watched / watched.sum(), share / share.sum(), rtol=0.05)


def test_the_limit_has_the_shapes_of_three_products_of_the_loss_and_three_of_each_layer() -> None:
    found = [tuple(matrix.shape) for matrix in products(5, 7, 2, [(6, 4), (4, 2)])()]
    loss, first, second = [(5, 2), (7, 2)], [(5, 4), (5, 6), (6, 4)], [(5, 2), (5, 4), (4, 2)]
    assert found == [*loss, *first, *second]


@pytest.mark.parametrize(("seconds", "steps"), [(0.1, 10), (1.0, 5), (60.0, 1)])
def test_slow_steps_make_short_rounds(seconds: float, steps: int) -> None:
    assert steps_within(Task(1, "", steps=10, seconds=5.0), seconds) == steps


def entry(*rounds: tuple[float, float]) -> Entry:
    figures = [{"examples": 12.0, "seconds": wall, "cpu_seconds": cpu} for wall, cpu in rounds]
    return Entry(SYSTEM, Task(10, ""), rounds=figures)


def test_a_ratio_is_the_median_over_rounds_of_ratios() -> None:
    one, other = entry((1, 2), (4, 4), (2, 6)), entry((2, 2), (4, 8), (8, 6))
    assert ratio(one, other, speed) == pytest.approx(2)
    assert ratio(one, other, cpu_speed) == pytest.approx(1)
    assert ratio(one, entry(), speed) is None


def test_what_does_not_fit_is_refused_or_runs_alone() -> None:
    task = Task(2**22, "", dim=64)  # a table is 1 GiB
    assert SYSTEM.refusal(task, 3) == ""  # two tables and what a process takes without any
    assert SYSTEM.refusal(task, 2.9) == "needs about 3 GiB"
    assert System("", "", "", 1, (2**21, "too many strings")).refusal(task, 9) == "too many strings"
    entries = [Entry(SYSTEM, task), Entry(SYSTEM, task)]
    assert [len(group) for group in groups(entries, 12)] == [2]
    assert [len(group) for group in groups(entries, 11.9)] == [1, 1]


def test_contestants_take_turns_and_one_that_fails_says_why() -> None:
    whole, broken = (Entry(SYSTEM, Task(50, "", dim=dim)) for dim in (4, -1))
    compete([whole, broken], rounds=2, limit_gib=1)
    assert [figures["examples"] for figures in whole.rounds] == [len(make(50).items)] * 2
    assert all(figures["cpu_seconds"] > 0 for figures in whole.rounds)
    assert 0 < whole.peak_gib < 4
    assert broken.rounds == []
    assert broken.skipped.startswith("ended with exit code 1: ")
    assert ratio(whole, broken, speed) is None


def test_an_environment_that_cannot_be_made_is_an_error_that_names_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "broken.txt").write_text("no-hash==1\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match=r"broken\.txt cannot be installed"):
        environment.environment("broken")
    assert not (tmp_path / "work" / "broken" / "installed").exists()


def test_locks_of_the_environments_are_there() -> None:
    for lock in ("benchmark-tfrs", "benchmark-sasrec"):
        assert (contest.ROOT / "requirements" / f"{lock}.txt").is_file()


def test_the_picture_of_costs_has_who_was_measured(tmp_path: Path) -> None:
    results = [{"system": "a", "items": items, "examples_per_cpu_second": n} for items, n in ((10, 5), (100, 2))]
    picture([*results, {"system": "b", "items": 10, "skipped": "too large"}], tmp_path / "new")
    drawn = (tmp_path / "new" / "cost-by-items.svg").read_text()
    assert ">a<" in drawn
    assert ">b<" not in drawn
    assert ">200000<" in drawn, "a fifth of a second is so many microseconds"
    assert ">500000<" in drawn


def test_lists_are_judged_by_the_places_of_their_items() -> None:
    histories = Histories.of([[1, 2, 9], [1, 2, 8], [3, 4, 7]])
    lists = np.array([[0, 0, 0], [5, 6, 9], [8, 5, 0], [5, 6, 8]], np.int32)
    cut = split(histories, "leave-one-out")
    found = by_user(rank(ListScorer(lists, 9), histories, cut.test, np.array([1, 2, 3], np.int32), 10), 10)
    assert found["hr@10"].tolist() == [1, 1, 0]
    assert found["ndcg@10"].tolist() == pytest.approx([0.5, 1, 0])


def curve(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"epoch": n, "cpu_seconds": x, "valid ndcg@10": y} for n, (x, y) in enumerate(points, 1)]


def test_seconds_are_compared_where_the_weaker_one_is_at_its_best() -> None:
    ours, other = curve((1, 0.02), (2, 0.04), (3, 0.05), (4, 0.03)), curve((10, 0.01), (20, 0.04), (30, 0.03))
    assert best(ours)["epoch"] == 3
    assert until(ours, 0.045) == 3
    assert until(ours, 0.06) is None
    assert equal_accuracy(ours, other) == {
        "accuracy": 0.04,
        "ours_seconds": 2,
        "sasrec_seconds": 20,
        "ratio": 10,
    }
