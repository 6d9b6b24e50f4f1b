"""What the benchmarks compute apart from time: world, rows, ratios, judged lists, and the turns they take."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import batch, exclusion, index, index_memory
from benchmarks._rivals import contest, environment, graphs, words, words_gensim, words_ours
from benchmarks._rivals.contest import Entry, System, compete, cpu_speed, groups, ratio, speed
from benchmarks._rivals.judged import ListScorer
from benchmarks._rivals.products import products
from benchmarks._rivals.program import Task, steps_within
from benchmarks._rivals.search import Judge as SearchJudge
from benchmarks._rivals.search import SearchTask, all_efforts
from benchmarks._rivals.vectors import least_of_best, synthetic
from benchmarks._rivals.world import World, examples, make
from benchmarks._serving.world import synthetic_export
from benchmarks.batch import BareProduct
from benchmarks.sasrec import best, equal_accuracy, until
from benchmarks.training import picture
from benchmarks.word2vec import ARCHITECTURES, LOSSES, TOPICS, Judge, Method, comparison, made_up, steady, topic_pairs
from benchmarks.word2vec import settings as word_settings
from evaluation.metrics import by_user
from evaluation.ranking import rank
from evaluation.word_files import read_pairs
from tests.worlds import random_export, write_both
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Histories, Int32
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
    for lock in ("benchmark-tfrs", "benchmark-sasrec", "benchmark-index"):
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


def word_task(folder: Path, text: words.Text, **changed: object) -> words.WordTask:
    text.save(folder / "text.npz")
    further = [f"{name}={value}" for name, value in changed.items()]
    config = word_settings(["dim=10", "epochs=2", *further], Method("skipgram", "negative"), 3)
    return words.WordTask(str(folder), str(folder / "text.npz"), config.model_dump(), 1)


def test_what_is_worse_is_below_the_mean_of_gensim_by_more_than_its_spread() -> None:
    found = comparison([0.1, 0.3, 0.2], [0.5, 0.3, 0.4])
    assert found["mean"] == pytest.approx({"ours": 0.2, "gensim": 0.4})
    assert found["spread"] == pytest.approx({"ours": 0.1, "gensim": 0.1})
    assert found["difference"] == pytest.approx(-0.2)
    assert found["worse"] is True
    assert comparison([0.31], [0.5, 0.3, 0.4])["worse"] is False
    assert comparison([0.3], [0.4])["spread"] == {"ours": 0, "gensim": 0}


def test_the_ratio_of_two_systems_is_the_median_over_seeds() -> None:
    method = Method("cbow", "negative")
    for ours, other in ((1, 2), (4, 4), (2, 8)):
        for name, seconds in (("ours", ours), ("gensim", other)):
            method.figures[name].append({"steady_words": 8.0, "steady_cpu_seconds": seconds})
    assert method.values("ours", steady) == [8, 2, 4]
    assert method.ratio(steady) == 2


def test_a_text_keeps_its_sentences_in_a_file_and_repeated(tmp_path: Path) -> None:
    text = words.Text(np.array(["", "ä", "b"]), np.array([1, 2, 2], np.int32), np.array([1, 2]))
    text.save(tmp_path / "text.npz")
    assert words.Text.open(tmp_path / "text.npz").repeated(2).sentences() == [["ä"], ["b", "b"]] * 2


def test_words_of_a_made_up_sentence_are_of_its_topic(tmp_path: Path) -> None:
    text = made_up(5000)
    assert text.lengths.sum() == len(text.numbers) == 5000
    topics = ((text.numbers - 1) % TOPICS).reshape(len(text.lengths), -1)
    most = np.array([np.bincount(row).max() for row in topics]) / topics.shape[1]
    assert most.mean() == pytest.approx(0.6 + 0.4 / 8, abs=0.03)
    assert np.bincount(topics.ravel(), minlength=TOPICS).min() > 0
    pairs, scores = read_pairs(topic_pairs(tmp_path / "topics.txt"))
    assert [score == 1 for score in scores] == [(int(a[1:]) - int(b[1:])) % TOPICS == 0 for a, b in pairs]


@pytest.mark.parametrize("program", [words_ours, words_gensim])
def test_either_word2vec_finds_the_topics(program: ModuleType, tmp_path: Path) -> None:
    text = made_up(40_000)
    vectors, figures = program.run(word_task(tmp_path, text, epochs=4, batch_examples=128))
    assert vectors.shape == (len(text.words), 10)
    assert not vectors[0].any()
    judge = Judge.of(text.words.tolist(), [topic_pairs(tmp_path / "topics.txt")], [])
    assert judge(vectors)["topics"] > 0.3
    assert figures["steady_words"] == 40_000 * (3 if program is words_ours else 4)
    assert figures["steady_cpu_seconds"] > 0


def test_a_training_in_a_process_of_its_own_leaves_vectors_or_says_why_not(tmp_path: Path) -> None:
    task = word_task(tmp_path, made_up(1000))
    figures = words.train("words_gensim", task)
    assert np.load(tmp_path / words.VECTORS).shape == (401, 10)
    assert figures["cpu_seconds"] >= figures["steady_cpu_seconds"] > 0
    assert figures["seconds"] > figures["steady_seconds"]
    with pytest.raises(RuntimeError, match=r"words_gensim ended with exit code 1: .*nowhere"):
        words.train("words_gensim", replace(task, text="nowhere"))


def test_settings_of_words_are_the_same_for_both_and_what_gensim_lacks_is_refused() -> None:
    for architecture, loss in product(ARCHITECTURES, LOSSES):
        config = word_settings(["negatives=3"], Method(architecture, loss), 7)
        assert (config.architecture, config.loss, config.seed) == (architecture, loss, 7)
        assert (config.dim, config.window, config.negatives, config.epochs) == (100, 5, 3, 5)
    for setting in ("window=none", "epochs=1"):
        with pytest.raises(UsageError, match=f"--set {setting[:6]}"):
            word_settings([setting], Method("cbow", "negative"), 0)


def test_processes_that_share_an_index_have_it_once(tmp_path: Path) -> None:
    size = index_memory.build("Flat", 20_000, tmp_path)
    memory = index_memory.measure(tmp_path, 2)
    assert size > 20_000 * index_memory.DIM * 4
    assert memory.processes == 2
    assert memory.private < size / index_memory.MIB / 2
    assert (
        memory.all < 3.5 * size / index_memory.MIB
    )  # with vectors and index of its own, each would have twice the size


def test_what_is_left_out_costs_and_finds(tmp_path: Path) -> None:
    export, built = write_both(random_export(3_000, 40), tmp_path)
    found = exclusion.measure(export, built, 30)
    assert (found["items"], found["index"]) == (3_000, "Flat")
    shares = [f"among {share} %" for share in ("99", "50", "10", "1", "0.1", "0.01")]
    assert len(found) == 2 + 6 + len(shares)
    ways = {name: figures for name, figures in found.items() if isinstance(figures, dict)}
    assert {figures["recall"] for figures in ways.values()} == {1.0}
    assert ways["all items"]["ratio"] == 1
    assert ways["among 1 %"]["ratio"] < 1  # 30 items to score
    others = np.arange(1000, 1500, dtype=np.int32)
    assert exclusion.mixed(np.arange(1, 501, dtype=np.int32), others)[:51].tolist() == [*range(1, 501, 10), 1000]


def test_the_bare_product_multiplies_all_users_with_all_items() -> None:
    export = synthetic_export(5000, 700)
    product = BareProduct(export)
    product.run(range(1, 701))
    assert np.array_equal(
        np.sort(np.concatenate([tile.T for tile in product.tiles]), axis=0), np.sort(export.item_vectors[1:], axis=0)
    )
    users, tile = range(1, 301), product.tiles[-1]
    product._block(users)
    expected = export.user_vectors[1:301] @ tile
    np.testing.assert_allclose(product._own.scores[:300, : tile.shape[1]], expected, rtol=1e-3, atol=1e-3)


def test_recommending_to_all_is_measured_beside_the_product_and_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "FAISS_USERS", 512)
    found = batch.measure(1100, 400)
    assert (found["users"], found["items"]) == (1100, 400)
    assert found["whole_over_product_cpu"] > 0
    assert found["faiss_over_product_cpu"] > 0
    assert 1 < found["bytes_a_row"] < 40


class Growing:
    """Finds one more of the best items with every twenty of its effort."""

    def __init__(self, folder: Path) -> None:
        scores = np.load(folder / "judged.npy") @ np.load(folder / "vectors.npy").T
        scores[:, 0] = -np.inf
        self.best, self.asked, self.effort = np.argsort(-scores, axis=1)[:, :50], np.load(folder / "judged.npy"), 0

    def use(self, effort: int) -> None:
        self.effort = effort

    def search(self, queries: Float32) -> Int32:
        row = int(np.flatnonzero((self.asked == queries[0]).all(axis=1))[0])
        return np.where(np.arange(50) < self.effort // 20, self.best[row], 0)[None].astype(np.int32)

    def size(self, path: Path) -> int:
        return 0


def test_the_least_effort_that_reaches_a_recall_is_found(tmp_path: Path) -> None:
    vectors = synthetic(2000, tmp_path, judged=20, known=5)
    assert (vectors.items, vectors.dim, vectors.name) == (2000, 64, "synthetic 2,000")
    judge, searcher = SearchJudge(tmp_path), Growing(tmp_path)
    for target, least in ((0.9, 900), (0.5, 500)):
        effort = judge.least_effort(searcher, target, all_efforts())
        assert effort == min(effort for effort in all_efforts() if effort >= least)
        searcher.use(effort)
        assert judge.recall(searcher)[0] == pytest.approx(effort // 20 / 50)
        assert judge.recall(searcher)[1] == pytest.approx(0, abs=1e-9)
    assert judge.least_effort(searcher, 1.1, all_efforts()) == all_efforts()[-1]
    assert all_efforts()[:4] == [50, 55, 61, 67]


def test_made_up_vectors_have_lengths_that_differ_and_users_apart(tmp_path: Path) -> None:
    synthetic(5000, tmp_path, judged=30, known=70)
    lengths = np.linalg.norm(np.load(tmp_path / "vectors.npy"), axis=1)
    assert lengths[0] == 0
    assert np.log(lengths[1:]).std() == pytest.approx(0.5, abs=0.03)
    judged, known = (np.load(tmp_path / f"{name}.npy") for name in ("judged", "known"))
    assert (judged.shape, known.shape) == ((30, 64), (70, 64))
    assert len(np.unique(np.concatenate([judged, known]), axis=0)) == 100


def test_the_score_of_the_fiftieth_is_what_an_item_needs() -> None:
    vectors = np.arange(201, dtype=np.float32)[:, None]
    np.testing.assert_allclose(least_of_best(vectors, np.array([[1], [-1]], np.float32)), [151, -50], rtol=1e-4)


def test_exact_search_is_judged_right_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = synthetic(1000, tmp_path, judged=10, known=5)
    task = SearchTask(1000, "faiss Flat", folder=str(tmp_path), targets=index.TARGETS)
    entry = Entry(index.EXACT, task, rounds=[graphs.prepare(task)()])
    absent = Entry(index.OURS, task, skipped="needs about 99 GiB")
    rows = index.report(vectors, [absent, entry])
    assert [row["recall"] for row in rows[1::2]] == [1, 1]
    assert rows[1]["index_mib"] == pytest.approx(1000 * 64 * 4 / 2**20, rel=0.01)
    assert rows[1]["microseconds"] > 0
    assert "ours           needs about 99 GiB" in capsys.readouterr().out
