"""Files that FAISS wrote and would read, but that are not the index that was asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from index.faiss_index import FaissIndex
from index.hardened import read_index, read_numbers
from index.kinds import Kind
from index.trial import Effort
from tests.worlds import vectors
from watchnext.errors import CorruptError
from watchnext.features import Float32
from watchnext.histories import Int32

ITEMS, DIM = 300, 8
DOT, L2 = faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2
IDS = np.arange(ITEMS, dtype=np.int32)
LISTS, GRAPH, FAST = "IVF8,Flat", "HNSW8", "PQ4x4fs"
_faiss: Any = faiss


def rows(seed: int = 0) -> Float32:
    return vectors(ITEMS, DIM, seed)[1:]


def build(kind: str, metric: int = DOT, ids: Int32 | None = None) -> Any:
    index = _faiss.index_factory(DIM, kind, metric)
    index.train(rows())
    if ids is None:
        index.add(rows())
    else:
        index.add_with_ids(rows(), ids.astype(np.int64))
    return index


def write(index: Any, folder: Path) -> Path:
    _faiss.write_index(index, str(folder / "index.faiss"))
    return folder / "index.faiss"


def refused(path: Path, kind: str, reason: str, dim: int = DIM, metric: int = DOT, ids: Int32 = IDS) -> None:
    with pytest.raises(CorruptError, match=f"(?i)({reason}).*watchnext index"):
        read_index(path, kind, dim, metric, ids)


@pytest.mark.parametrize("metric", [DOT, L2])
@pytest.mark.parametrize("kind", ["Flat", "SQ8", FAST, GRAPH, "HNSW8,SQfp16", LISTS, "IVF8,PQ4x4fs", "IVF8,RaBitQ"])
def test_answers_as_the_index_that_was_written(kind: str, metric: int, tmp_path: Path) -> None:
    index = build(kind, metric)
    opened = read_index(write(index, tmp_path), kind, DIM, metric, IDS)
    for found, want in zip(opened.search(rows(1), 10), index.search(rows(1), 10), strict=True):
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    ("kind", "items", "dim"),
    [
        ("PQ1000x4fs", 60, 1000),
        ("IVF4,PQ1000x4fs", 60, 1000),
        ("IVF16,PQ32x4fs", 640, 64),
        ("IVF16,PQ64x4fs", 640, 64),
    ],
)
def test_many_codes_and_few_items_in_a_list(kind: str, items: int, dim: int, tmp_path: Path) -> None:
    item_vectors = vectors(items, dim, 0)
    FaissIndex.build(item_vectors, Kind(kind)).save(tmp_path)
    opened = FaissIndex.open(tmp_path, item_vectors, Kind(kind), Effort(search={"k_factor": 4}))
    assert opened.search(item_vectors[7:8], 1)[1].tolist() == [[7]]


def test_the_file_is_mapped_as_long_as_the_index_lives(tmp_path: Path) -> None:
    index = read_index(write(build("Flat"), tmp_path), "Flat", DIM, DOT, IDS)
    (tmp_path / "index.faiss").unlink()
    assert index.search(rows(), 1)[1][:, 0].max() < ITEMS
    assert isinstance(index.referenced_objects[0], np.memmap)


@pytest.mark.parametrize("kind", ["Flat", LISTS, GRAPH, "SQ8"])
def test_refuses_another_kind_of_index(kind: str, tmp_path: Path) -> None:
    others = {"Flat": "SQ8", LISTS: "IVF8,SQ8", GRAPH: "HNSW8,SQ8", "SQ8": "SQfp16"}
    refused(write(build(others[kind]), tmp_path), kind, f"no {kind} index|code_size")


def test_refuses_another_size_metric_or_number_of_rows(tmp_path: Path) -> None:
    path = write(build("Flat"), tmp_path)
    refused(path, "Flat", "code_size|index.d", dim=16)
    refused(path, "Flat", "no Flat index", metric=L2)
    refused(path, "Flat", "300 vectors where there are 299", ids=IDS[1:])
    refused(path, "Flat", "300 vectors where there are 301", ids=np.arange(301, dtype=np.int32))
    refused(write(build("SQ8"), tmp_path), "SQ8", "metric", metric=L2)


def test_refuses_other_settings_of_the_same_kind(tmp_path: Path) -> None:
    refused(write(build("IVF4,Flat"), tmp_path), LISTS, "nlist")
    refused(write(build("HNSW16"), tmp_path), GRAPH, "cum_nneighbor_per_level")
    refused(write(build("PQ2x4fs"), tmp_path), FAST, r"\.M|M2|code_size|centroids")
    refused(write(build("IVF8,RaBitQ4"), tmp_path), "IVF8,RaBitQ", "no IVF8,RaBitQ index")


@pytest.mark.parametrize(
    "kind", ["", "Flat,", "LSH", "IVF0,Flat", "IVF9999999,Flat", "IVF301,Flat", "PQ3x4fs", "HNSW"]
)
def test_refuses_kinds_that_are_not_built(kind: str, tmp_path: Path) -> None:
    refused(write(build("Flat"), tmp_path), kind, "kind|IVF|M|HNSW")


def test_refuses_lists_in_another_file(tmp_path: Path) -> None:
    index = build(LISTS)
    lists = _faiss.OnDiskInvertedLists(8, index.code_size, str(tmp_path / "lists"))
    lists.merge_from_1(index.invlists)
    index.replace_invlists(lists, False)
    refused(write(index, tmp_path), LISTS, "OnDiskInvertedLists")


def test_refuses_another_quantizer(tmp_path: Path) -> None:
    refused(write(build("IVF8_HNSW8,Flat"), tmp_path), LISTS, "quantizer of type IndexHNSWFlat")


def test_lists_name_what_they_should(tmp_path: Path) -> None:
    numbers = (3 * IDS + 7).astype(np.int32)
    path = write(build(LISTS, ids=numbers), tmp_path)
    opened = read_index(path, LISTS, DIM, DOT, numbers)
    assert set(opened.search(rows(), 1, params=_faiss.SearchParametersIVF(nprobe=8))[1].ravel()) <= set(numbers)
    refused(path, LISTS, "items that do not exist")
    refused(path, LISTS, "twice", ids=np.append(numbers[1:], 5000).astype(np.int32))


@pytest.mark.parametrize("kind", [LISTS, "IVF8,SQ8", "IVF8,PQ4x4fs", "IVF8,RaBitQ"])
@pytest.mark.parametrize(("wrong", "reason"), [(-1, "do not exist"), (ITEMS, "do not exist"), (0, "twice")])
def test_refuses_lists_with_wrong_ids(kind: str, wrong: int, reason: str, tmp_path: Path) -> None:
    ids = IDS.copy()
    ids[9] = wrong
    refused(write(build(kind, ids=ids), tmp_path), kind, reason)


def graph(change: Callable[[Any], object], folder: Path) -> Path:
    index = build(GRAPH)
    change(index.hnsw)
    return write(index, folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda hnsw: setattr(hnsw, "entry_point", ITEMS),
        lambda hnsw: setattr(hnsw, "entry_point", -1),
        lambda hnsw: setattr(hnsw, "max_level", hnsw.max_level + 1),
        lambda hnsw: setattr(hnsw, "max_level", 100),
        lambda hnsw: hnsw.levels.resize(ITEMS - 1),
        lambda hnsw: hnsw.offsets.resize(ITEMS),
        lambda hnsw: _faiss.copy_array_to_vector(np.full(ITEMS, 9, np.int32), hnsw.levels),
        lambda hnsw: _faiss.copy_array_to_vector(np.full(ITEMS + 1, 10**9, np.uint64), hnsw.offsets),
    ],
)
def test_refuses_graphs_that_lead_out_of_themselves(change: Callable[[Any], object], tmp_path: Path) -> None:
    refused(graph(change, tmp_path), GRAPH, "")


def test_refuses_neighbours_that_do_not_exist(tmp_path: Path) -> None:
    index = build(GRAPH)
    path = write(index, tmp_path)
    content, links = path.read_bytes(), _faiss.rev_swig_ptr(index.hnsw.neighbors.data(), 16).tobytes()
    for wrong in (ITEMS, -2, 2**31 - 1):
        changed = np.int32(wrong).tobytes() + links[4:]
        assert content.count(links) == 1
        path.write_bytes(content.replace(links, changed))
        refused(path, GRAPH, "")


def test_refuses_empty_files_and_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("empty", "nowhere", "."):
        refused(tmp_path / name, "Flat", "")


@pytest.mark.parametrize(
    "wrong",
    [
        np.arange(1, 4, dtype=np.int64),
        np.array([[1, 2, 3]], np.int32),
        np.array([0, 1, 2], np.int32),
        np.array([1, 2, 10], np.int32),
        np.array([1, 3, 2], np.int32),
        np.array([1, 2, 2], np.int32),
        np.array([None, 1, 2]),
    ],
)
def test_refuses_other_numbers(wrong: Int32, tmp_path: Path) -> None:
    np.save(tmp_path / "numbers.npy", np.array([1, 2, 9], np.int32))
    assert read_numbers(tmp_path / "numbers.npy", 9).tolist() == [1, 2, 9]
    np.save(tmp_path / "numbers.npy", wrong)
    with pytest.raises(CorruptError, match=r"numbers\.npy"):
        read_numbers(tmp_path / "numbers.npy", 9)
