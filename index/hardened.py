"""Reads FAISS's files without trusting them: whoever wrote one, it is opened as what it should be, or refused.

A checksum says that a file is as it was written, and nothing of who wrote it. FAISS's own reader checks much, but not
whether a file holds the kind of index that was asked for, nor which items the inverted lists name; and with its flag
for memory-mapping it reads past the end of files that are too short. So a file is read here by a reader that knows
where the file ends, and what FAISS made of it is compared, number by number, with an empty index of the same kind.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from watchnext.errors import CorruptError
from watchnext.histories import Int32

KINDS = re.compile(
    r"""
    Flat | SQ(fp16|8) | PQ\d{1,5}x4fs
    | HNSW\d{1,3}(,(Flat|SQ(fp16|8)))?
    | IVF\d{1,6}(_HNSW\d{1,3})?,(Flat|SQ(fp16|8)|PQ\d{1,5}x4fs|RaBitQ(fs)?[1-9]?)
    """,
    re.VERBOSE,
)
"""FAISS's names of the kinds that are opened; tests/test_index_fuzz.py damages each of them."""
_CURE = "Build the index again: watchnext index."
_MOST_DIMENSIONS = 1 << 14
_TUNING = {"thisown", "verbose", "cp", "rng", "efConstruction", "assign_probas", "prune_headroom"}
"""Attributes that only training and adding read."""
_OPAQUE = {"hashtable", "use_visited_hashset", "turboq_refine"}
"""Attributes that Python cannot look into; all are as FAISS's constructors leave them, files don't hold them."""
_FILLED = {"ntotal", "ntotal2", "is_trained", "codes", "ids", "trained", "levels", "offsets", "neighbors"}
_FILLED |= {"entry_point", "max_level"}
"""Attributes that differ between an empty index and a filled one; `_check_filled` and FAISS look after them."""
_faiss: Any = faiss  # its own annotations leave out half of it


def read_index(path: Path, kind: str, dim: int, metric: int, ids: Int32) -> Any:
    """Open a FAISS index so that neither opening nor any search of it can touch memory that is not its own.

    Vectors, codes and graphs stay in the file, which is memory-mapped, so that all processes that open it share
    them; only fast-scan lists and the levels of a graph are copied.

    Args:
        path: a file of `faiss.write_index`. It must not change as long as the index lives.
        kind: FAISS's name of the index, one of `KINDS`.
        dim: dimensions of its vectors.
        metric: FAISS's number of the metric.
        ids: [vectors] rising: what the inverted lists must name, each once. Kinds without lists number their vectors
            from 0, so that only how many there are is compared.

    Raises CorruptError where the file holds anything else.
    """
    try:
        empty = _empty(kind, dim, metric, len(ids))
        content = np.memmap(path, np.uint8, "r")
        _check(content[:4].tobytes() == empty[:4].tobytes(), f"no {kind} index")
        index = _parse(content, _tables(kind))
        _compare(index, _faiss.deserialize_index(empty))
        _check_filled(index, len(ids))
        if hasattr(index, "invlists"):
            _check_lists(index.invlists, ids)
    except (RuntimeError, MemoryError, OSError, ValueError, OverflowError, AssertionError) as error:
        raise CorruptError(str(path), " ".join(str(error).split()) or type(error).__name__, _CURE) from error
    return index


def read_numbers(path: Path, items: int) -> Int32:
    """Memory-map item numbers.

    Args:
        path: an npy file.
        items: the highest number that there may be.

    Returns [any] int32, rising, each from 1 to `items`. Raises CorruptError where the file holds anything else.
    """
    try:
        numbers = np.load(path, mmap_mode="r")
        _check(numbers.dtype == np.int32 and numbers.ndim == 1, f"{numbers.dtype} {numbers.shape}")
        _check(not len(numbers) or 1 <= numbers[0] <= numbers[-1] <= items, "numbers that no item has")
        _check(bool((numbers[:-1] < numbers[1:]).all()), "numbers that do not rise")
    except Exception as error:  # numpy's reader evaluates the header and lets any error through
        raise CorruptError(str(path), error, _CURE) from error
    return np.asarray(numbers)


def _check(right: bool, got: str) -> None:
    if not right:
        raise ValueError(got)


def _empty(kind: str, dim: int, metric: int, rows: int) -> Any:
    """[bytes] a file of such an index with nothing in it."""
    _check(KINDS.fullmatch(kind) is not None, f"the unknown kind {kind!r}")
    _check(0 < dim <= _MOST_DIMENSIONS and rows > 0, f"{rows} rows of {dim} dimensions")
    lists = re.match(r"IVF(\d+)", kind)
    _check(lists is None or 0 < int(lists[1]) <= rows, f"{kind} for {rows} rows")
    return _faiss.serialize_index(_faiss.index_factory(dim, kind, metric))


def _tables(kind: str) -> int:
    """Bytes of the tables that FAISS asks room for beside lists of product codes, though inner products need none."""
    product = re.fullmatch(r"IVF(\d+).*,PQ(\d+)x4fs", kind)
    return 0 if product is None else int(product[1]) * int(product[2]) * 16 * 4


def _parse(content: Any, more: int) -> Any:
    """What FAISS makes of a file [bytes]; it may allocate `more` than the file has, and must read all of it."""
    _faiss.set_deserialization_vector_byte_limit(len(content) + 16 + more)
    _faiss.set_deserialization_loop_limit(len(content))
    reader = _faiss.ZeroCopyIOReader(_faiss.swig_ptr(content), len(content))
    index = _faiss.read_index(reader)
    index.referenced_objects = [content]  # the index has pointers into it
    _check(reader.rp_ == len(content), f"{len(content)} bytes where an index of {reader.rp_} begins")
    return index


def _compare(part: Any, empty: Any, name: str = "index") -> None:
    """Compare an index, or a part of one, with the same part of an empty index."""
    _check(type(part) is type(empty), f"{name} of type {type(part).__name__}")
    for key, want in _attributes(empty):
        got, where = getattr(part, key), f"{name}.{key}"
        if want is None or isinstance(want, int | float | str):
            _check(got == want, f"{where} {got} where {want} belongs")
        elif callable(getattr(want, "size", None)):
            _check(got.size() == want.size(), f"{got.size()} of {want.size()} values of {where}")
            if key == "cum_nneighbor_per_level":
                _check(np.array_equal(*map(_faiss.vector_to_array, (got, want))), f"other {where}")
        elif not type(want).__name__.startswith("Swig"):
            _check(got is not None, f"no {where}")
            _compare(_downcast(got), _downcast(want), where)


def _attributes(part: Any) -> Iterator[tuple[str, Any]]:
    """What FAISS shows of a part, but for what training and filling change."""
    for key, _ in inspect.getmembers(type(part), lambda member: isinstance(member, property)):
        if key not in _TUNING | _OPAQUE | _FILLED:
            yield key, getattr(part, key)


def _downcast(part: Any) -> Any:
    if isinstance(part, _faiss.Index):
        return _faiss.downcast_index(part)
    return _faiss.downcast_InvertedLists(part) if isinstance(part, _faiss.InvertedLists) else part


def _check_filled(index: Any, rows: int) -> None:
    """Check what `_compare` left out, here and in the index that holds the vectors or the lists' centres."""
    _check(index.ntotal == rows and index.is_trained, f"{index.ntotal} vectors where there are {rows}")
    if hasattr(index, "ntotal2"):  # fast-scan codes without lists
        blocks = -(-rows // index.bbs)
        _check(index.ntotal2 == blocks * index.bbs, f"room for {index.ntotal2} vectors")
        _check(index.codes.size() == blocks * index.bbs * index.M2 // 2, f"{index.codes.size()} bytes of codes")
    elif hasattr(index, "codes"):
        _check(index.codes.size() == rows * index.code_size, f"{index.codes.size()} bytes of codes")
    if hasattr(index, "sq"):
        learned = 0 if index.sq.qtype == _faiss.ScalarQuantizer.QT_fp16 else 2 * index.d
        _check(index.sq.trained.size() == learned, f"{index.sq.trained.size()} values of the quantizer")
    if hasattr(index, "hnsw"):
        graph = index.hnsw
        _check(0 <= graph.entry_point < rows, f"entry point {graph.entry_point}")
        _check(graph.levels.size() == rows == graph.offsets.size() - 1, f"{graph.levels.size()} levels")
        _check(graph.levels.at(graph.entry_point) == graph.max_level + 1, f"highest level {graph.max_level}")
        _check_filled(_downcast(index.storage), rows)
    if hasattr(index, "quantizer"):
        _check_filled(_downcast(index.quantizer), index.nlist)


def _check_lists(lists: Any, ids: Int32) -> None:
    """Check that inverted lists name each of the ids once, and nothing else."""
    sizes = [lists.list_size(number) for number in range(lists.nlist)]
    _check(sum(sizes) == len(ids), f"{sum(sizes)} vectors in lists where there are {len(ids)}")
    named = np.zeros(ids[-1] + 1, bool)
    for number, size in enumerate(sizes):
        if size:
            found = _faiss.rev_swig_ptr(lists.get_ids(number), size)
            _check(found.min() >= 0 and found.max() < len(named), f"list {number} with items that do not exist")
            named[found] = True
    _check(bool(named[ids].all()), "lists that name an item twice")
