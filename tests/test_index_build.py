"""The choice of an index: what is tried, what is kept, what the manifest says of it."""

from pathlib import Path

import numpy as np
import pytest

from index.build import IndexOptions, build_from_export, build_index
from index.folder import IndexManifest, open_index
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


def test_small_catalogues_are_searched_exactly() -> None:
    built = build_index(vectors(300, 8, 0), vectors(20, 8, 1), IndexOptions())
    assert built.index.describe() == "Flat"
    assert [trial.describe() for trial in built.trials] == ["Flat"]
    assert (built.recall_at_50, built.fell_back, built.queries) == (1.0, False, 20)


def test_large_catalogues_get_the_fastest_that_reaches_the_target() -> None:
    said: list[str] = []
    options = IndexOptions(flat_below=100, target_recall=0.9)
    built = build_index(clustered(20_000, 1), clustered(200, 2), options, said.append)
    enough = [trial for trial in built.trials if trial.recall_at_50 >= 0.9]
    fastest = min(enough, key=lambda trial: trial.microseconds)
    assert built.index.describe() == fastest.describe() != "Flat"
    assert built.recall_at_50 == fastest.recall_at_50
    assert not built.fell_back
    assert {"IVF256,Flat", "HNSW32"} <= set(said)


def test_unreachable_target_falls_back_to_exact(tmp_path: Path) -> None:
    write_export(make_export(vectors(1500, 64, 0), vectors(30, 64, 1), [[1]] * 30), tmp_path / "export")
    options = IndexOptions(flat_below=100, target_recall=1.0, hnsw_up_to=0)
    manifest = build_from_export(tmp_path / "export", tmp_path / "index", options)
    assert (manifest.kind, manifest.search, manifest.fell_back) == ("Flat", {}, True)
    assert manifest.recall_at_50 == 1.0
    assert len(manifest.trials) > 1
    assert open_index(tmp_path / "index").describe() == "Flat"


def test_manifest_says_what_was_built(tmp_path: Path) -> None:
    export = write_export(two_groups(), tmp_path / "export")
    manifest = build_from_export(tmp_path / "export", tmp_path / "index", IndexOptions())
    assert manifest == IndexManifest.read(tmp_path / "index")
    assert (manifest.items, manifest.indexed, manifest.dim, manifest.queries) == (200, 199, 4, 40)
    assert manifest.item_vectors_sha256 == export.files["item_vectors.npy"].sha256
    assert {name for name in manifest.files if not name.startswith("filters/")} == {"index.faiss", "numbers.npy"}


def test_the_empty_history_is_no_user_to_measure_with(tmp_path: Path) -> None:
    users = vectors(20, 8, 1)
    users[0] = 1
    write_export(make_export(vectors(300, 8, 0), users, [[1]] * 20), tmp_path / "export")
    assert build_from_export(tmp_path / "export", tmp_path / "index", IndexOptions()).queries == 20


def test_sample_follows_the_seed_and_leaves_out_zero_rows() -> None:
    users = vectors(500, 8, 1)
    users[1:401] = 0
    built = build_index(vectors(300, 8, 0), users, IndexOptions(queries=50, seed=3))
    assert built.queries == 50
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


def test_a_changed_byte_is_seen_before_faiss_reads(tmp_path: Path) -> None:
    write_export(random_export(100, 5), tmp_path / "export")
    build_from_export(tmp_path / "export", tmp_path / "index", IndexOptions())
    path = tmp_path / "index" / "index.faiss"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptError, match="checksum"):
        open_index(tmp_path / "index")


def test_no_index_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no manifest\.json.*watchnext index"):
        open_index(tmp_path)
