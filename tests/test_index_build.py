"""The choice of an index: what is tried, what is kept, what the manifest says of it."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.build import BuiltIndex, IndexOptions, _Contest, _trial, build_from_export, build_index
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.folder import IndexManifest, open_index
from index.kinds import Kind, TooSlowError, build
from index.recall import Sample, recall
from index.trial import Effort
from index.tune import measured
from tests.worlds import make_export, random_export, two_groups, vectors
from watchnext.errors import CorruptError, UsageError
from watchnext.export import write_export


def clustered(rows: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """[rows + 1, 32] vectors around 20 far centres, so that few inverted lists hold all neighbours."""
    centres = vectors(20, 32, seed=0)[1:] * 4
    rng = np.random.default_rng(seed)
    made = (centres[rng.integers(20, size=rows + 1)] + rng.normal(size=(rows + 1, 32))).astype(np.float32)
    made[0] = 0
    return made


@pytest.fixture(scope="module")
def built() -> BuiltIndex:
    """The index of 8,000 items around 20 centres, for recall .95."""
    return build_index(clustered(8_000, 1), clustered(600, 2), IndexOptions(flat_below=100, target_recall=0.95))


def test_small_catalogues_are_searched_exactly() -> None:
    built = build_index(vectors(300, 8, 0), vectors(20, 8, 1), IndexOptions())
    assert built.index.describe() == "Flat"
    assert [trial.describe() for trial in built.trials] == ["Flat"]
    assert (built.recall_at_50, built.fell_back, built.queries, built.warnings) == (1.0, False, 20, ())


def test_large_catalogues_get_one_that_reaches_the_target_for_users_it_never_saw(built: BuiltIndex) -> None:
    item_vectors = clustered(8_000, 1)
    assert built.index.kind.lists  # neighbours share a cluster, so that few lists have all
    assert not built.fell_back
    assert {"Flat", "SQ8", "IVF64,SQfp16", "HNSW16,SQfp16"} <= {trial.kind for trial in built.trials}
    chosen = next(t for t in built.trials if t.describe() == built.index.describe())
    assert chosen.unseen_recall_at_50 == built.recall_at_50 >= 0.95
    others = clustered(500, 3)[1:]
    found = built.index.search(others, 50)[1]
    scores = others @ item_vectors[1:].T
    best = np.argsort(-scores, axis=1)[:, :50] + 1
    assert np.mean([len(set(f) & set(b)) / 50 for f, b in zip(found, best, strict=True)]) >= 0.95


def test_what_was_chosen_is_faster_than_exact_search_and_no_larger(built: BuiltIndex) -> None:
    chosen = next(t for t in built.trials if t.describe() == built.index.describe())
    flat = built.trials[0]
    assert flat.describe() == "Flat"
    assert chosen.microseconds < flat.microseconds
    assert chosen.megabytes <= flat.megabytes + 0.1


def test_unreachable_target_falls_back_to_exact() -> None:
    rng = np.random.default_rng(0)
    item_vectors = (1 + 3e-4 * rng.normal(size=(1501, 64))).astype(np.float32)  # compressed, they are all alike
    item_vectors[1:9] *= 3
    item_vectors[0] = 0
    users = vectors(400, 64, 1)
    users -= users.mean(axis=1, keepdims=True)
    built = build_index(item_vectors, users, IndexOptions(flat_below=100, target_recall=0.9))
    tried = {trial.kind for trial in built.trials}
    assert {"SQ8", "SQfp16", "HNSW16,SQfp16", "IVF32,Flat"} <= tried
    assert max(trial.recall_at_50 for trial in built.trials if trial.kind != "Flat") < 0.9
    assert (built.index.describe(), built.fell_back) == ("Flat", True)
    assert built.recall_at_50 >= 0.9


def test_without_time_for_others_exact_search_is_chosen(tmp_path: Path) -> None:
    world = make_export(vectors(1500, 64, 0), vectors(30, 64, 1), [[1]] * 30)
    write_export(world, tmp_path / "export")
    options = IndexOptions(flat_below=100, target_recall=1.0, build_seconds=1e-9)  # Flat alone has the time
    manifest = build_from_export(tmp_path / "export", tmp_path / "index", options)
    assert (manifest.kind, manifest.fell_back) == ("Flat", False)
    assert manifest.recall_at_50 == 1.0
    assert open_index(tmp_path / "index", world.item_vectors).describe() == "Flat"


def test_memory_limit_leaves_out_what_is_larger() -> None:
    item_vectors = clustered(8_000, 1)  # 1 MB as they are, a quarter of it in bytes
    options = IndexOptions(flat_below=100, target_recall=0.9, memory_megabytes=0.4)
    built = build_index(item_vectors, clustered(600, 2), options)
    assert {trial.megabytes <= 0.4 for trial in built.trials} == {True}
    assert built.index.kind.factory.endswith(("SQ8", "x4fs", "RaBitQ"))
    assert built.recall_at_50 >= 0.9


@pytest.mark.parametrize(("items", "share"), [(1000, 0.6), (40, 0.6), (15, 0.99)])
def test_small_catalogues_are_compressed_where_memory_is_short(items: int, share: float) -> None:
    most = share * Kind("Flat").bytes(items, 32) / 1e6
    options = IndexOptions(target_recall=0.8, memory_megabytes=most)
    built = build_index(vectors(items, 32, 0), vectors(100, 32, 1), options)
    assert built.index.kind != Kind("Flat")
    assert built.recall_at_50 >= 0.8
    assert max(trial.megabytes for trial in built.trials) <= most


def test_a_search_is_noted_once_and_with_what_was_found_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    item_vectors, users = clustered(2_000, 1), clustered(200, 2)[1:]
    tuning, unseen = Sample.of(users[:100], item_vectors), Sample.of(users[100:], item_vectors)
    contest = _Contest(item_vectors, tuning, unseen, IndexOptions(target_recall=0.1), lambda _: None)
    index = FaissIndex.build(item_vectors, Kind("IVF8,Flat"))
    points = [measured(index.tuned(Effort(search={"nprobe": nprobe})), tuning, 0.1) for nprobe in (1, 2)]
    places = [contest._note(_trial(point, 1, 1)) for point in points]
    first = replace(points[0], recall=0.0)  # the other users find nothing with nprobe 1
    checked = iter([first, replace(points[1], recall=0.75)])
    monkeypatch.setattr(contest, "_checked", lambda point: next(checked))
    contest._challenge(points[0], places[0])
    assert [trial.search for trial in contest.trials] == [{"nprobe": 1}, {"nprobe": 2}]
    assert [trial.unseen_recall_at_50 for trial in contest.trials] == [None, 0.75]


def test_memory_too_small_for_anything() -> None:
    options = IndexOptions(flat_below=100, memory_megabytes=0.01)
    with pytest.raises(UsageError, match=r"memory_megabytes.*0\.01.*Exact search takes"):
        build_index(clustered(2_000, 1), clustered(60, 2), options)


def test_the_build_notices_that_graphs_lose_recall_where_lengths_differ() -> None:
    rng = np.random.default_rng(4)
    item_vectors, users = vectors(4000, 16, 0), vectors(400, 16, 1)
    item_vectors *= rng.lognormal(0, 1, (4001, 1)).astype(np.float32)
    built = build_index(item_vectors, users, IndexOptions(flat_below=100))
    assert built.skew > 5
    (warning,) = built.warnings
    assert "lengths of the item vectors differ" in warning
    graph = max(t.recall_at_50 for t in built.trials if t.kind == "HNSW16,SQfp16" and t.space == "dot")
    assert f"{graph:.3f}" in warning
    assert {t.space for t in built.trials} == {"dot", "l2", "cosine"}
    assert built.recall_at_50 >= 0.99


def test_few_allowed_items_are_searched_as_well_as_all(built: BuiltIndex) -> None:
    item_vectors = clustered(8_000, 1)
    shares = [step.share for step in built.index.effort.filtered]
    assert shares == [0.5**n for n in range(1, len(shares) + 1)]
    assert 50 <= built.index.effort.scan_below <= 8_000
    rng, others = np.random.default_rng(9), clustered(200, 3)[1:]
    for share in (0.95, 0.7, 0.3, 0.1, 0.02, 0.003):
        allowed = rng.random(8_001) < share
        found = built.index.search(others, 50, allowed=allowed)[1]
        exact = ExactIndex(item_vectors).search(others, 50, allowed=allowed)[0]
        assert allowed[found[found > 0]].all()
        assert recall(found, exact, others, item_vectors) >= 0.93


def test_manifest_says_what_was_built(tmp_path: Path) -> None:
    export = write_export(two_groups(), tmp_path / "export")
    manifest = build_from_export(tmp_path / "export", tmp_path / "index", IndexOptions())
    assert manifest == IndexManifest.read(tmp_path / "index")
    assert (manifest.items, manifest.indexed, manifest.dim, manifest.queries) == (200, 199, 4, 40)
    assert manifest.item_vectors_sha256 == export.files["item_vectors.npy"].sha256
    chosen = manifest.chosen()
    assert chosen is not None
    assert manifest.best_of_each_kind() == [chosen]
    arrays = {"index.faiss", "numbers.npy", "fresh.npy", "withdrawn.npy", "popular.arrow"}
    assert {name for name in manifest.files if "/" not in name} == arrays


@pytest.mark.parametrize(
    "kind",
    [
        *(Kind(name) for name in ("Flat", "SQfp16", "SQ8", "HNSW16", "HNSW16,SQfp16", "HNSW32,SQ8")),
        *(Kind(f"IVF64,{code}") for code in ("Flat", "SQfp16", "SQ8", "PQ32x4fs", "PQ16x4fs", "RaBitQ")),
        *(Kind(name, "l2") for name in ("SQfp16", "IVF64,SQ8", "HNSW16,SQfp16")),
    ],
    ids=Kind.describe,
)
def test_the_size_of_an_index_is_known_before_it_is_built(kind: Kind, tmp_path: Path) -> None:
    FaissIndex.build(vectors(8_000, 32, 0), kind).save(tmp_path)
    assert kind.bytes(8_000, 32) == pytest.approx((tmp_path / "index.faiss").stat().st_size, rel=0.06)


def test_a_kind_that_takes_too_long_is_given_up() -> None:
    item_vectors = vectors(30_000, 32, 0)[1:]
    numbers = np.arange(1, 30_001, dtype=np.int32)
    with pytest.raises(TooSlowError, match="HNSW32 would take more than"):
        build(Kind("HNSW32"), item_vectors, numbers, until=time.monotonic() + 0.01)


def test_the_empty_history_is_no_user_to_measure_with(tmp_path: Path) -> None:
    users = vectors(20, 8, 1)
    users[0] = 1
    write_export(make_export(vectors(300, 8, 0), users, [[1]] * 20), tmp_path / "export")
    assert build_from_export(tmp_path / "export", tmp_path / "index", IndexOptions()).queries == 20


def test_sample_follows_the_seed_and_leaves_out_zero_rows() -> None:
    users = vectors(500, 8, 1)
    users[1:401] = 0
    built = build_index(vectors(300, 8, 0), users, IndexOptions(queries=50, seed=3))
    assert built.queries == 100  # 50 to tune, 50 to check
    assert build_index(vectors(300, 8, 0), users, IndexOptions()).queries == 100


def test_without_users_there_is_nothing_to_measure() -> None:
    built = build_index(vectors(300, 8, 0), np.zeros((4, 8), np.float32), IndexOptions(flat_below=10))
    assert (built.index.describe(), built.queries, built.trials) == ("Flat", 0, ())


@pytest.mark.parametrize("which", ["item_vectors", "queries"])
def test_refuses_what_is_not_finite(which: str) -> None:
    given = {"item_vectors": vectors(30, 4, 0), "queries": vectors(30, 4, 1)}
    given[which][9, 2] = np.nan
    with pytest.raises(CorruptError, match=which):
        build_index(given["item_vectors"], given["queries"], IndexOptions())


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_refuses_lengths_that_cannot_be_squared(factor: float) -> None:
    item_vectors = vectors(30, 4, 0)
    item_vectors[9] *= np.float32(factor)
    with pytest.raises(CorruptError, match="item_vectors: got a length"):
        build_index(item_vectors, vectors(30, 4, 1), IndexOptions())


def test_a_changed_byte_is_seen_before_faiss_reads(tmp_path: Path) -> None:
    write_export(random_export(100, 5), tmp_path / "export")
    build_from_export(tmp_path / "export", tmp_path / "index", IndexOptions())
    path = tmp_path / "index" / "index.faiss"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptError, match="checksum"):
        open_index(tmp_path / "index", random_export(100, 5).item_vectors)


def test_no_index_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no manifest\.json.*watchnext index"):
        open_index(tmp_path, vectors(2, 2, 0))
