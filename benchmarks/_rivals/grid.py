"""Our choice of an index beside a much larger grid of kinds, spaces, lists and efforts, all of it built and measured.

The grid finds its efforts with the very queries that judge it, so it is a little better than anybody can do.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks._rivals.search import MOST_EFFORT, K
from benchmarks._rivals.tuned import tuned
from benchmarks._rivals.vectors import Vectors
from index.faiss_index import FaissIndex
from index.interface import trained_numbers
from index.kinds import Kind, build, centroids
from index.recall import Sample
from index.spaces import SPACES, Space, lengths
from index.trial import Effort
from watchnext.features import Float32

_EQUAL = 1.001
"""Lengths that differ less are equal; all spaces are then the same."""
_GROWTH = 1.08
_STRIDE = 6
"""So many efforts are passed over as long as the target is not reached."""
_SLOW = 1.5
"""Given up is what takes so many times as long as the fastest without reaching the target."""
_KEPT = 8
"""So many of the fastest are measured once more, in turns with our choice."""


def kinds(items: int, dim: int, spaces: tuple[Space, ...] = SPACES) -> Iterator[Kind]:
    """All kinds of the grid, those with the same lists and space one after another."""
    codes = ("Flat", "SQfp16", "SQ8")
    fast = tuple(f"PQ{dim // n}x4fs" for n in (1, 2, 4) if dim % n == 0)
    for space in spaces:
        yield from (Kind(code, space) for code in (*codes, *(fast if space != "l2" else ())))
        yield from (Kind(f"HNSW{degree},{code}", space) for degree in (16, 32, 48) for code in codes)
        middle = round(np.log2(np.sqrt(items)))
        for lists in (1 << power for power in range(middle - 1, middle + 4)):
            if lists * 20 < items:
                rest = ("RaBitQ", *(fast if space != "l2" else ()))
                yield from (Kind(f"IVF{lists},{code}", space) for code in (*codes, *rest))


def compare(vectors: Vectors, targets: tuple[float, ...], only: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Measure the grid, or what of it begins like `only`, and our choice, print both; returns the rows."""
    item_vectors = np.load(vectors.folder / "vectors.npy")
    sample = Sample.of(np.load(vectors.folder / "judged.npy"), item_vectors, K)
    known = np.load(vectors.folder / "known.npy")
    choices = {target: tuned(item_vectors, known, target) for target in targets}
    fastest: dict[float, list[tuple[float, FaissIndex]]] = {target: [] for target in targets}
    for built in _all(item_vectors, vectors, only):
        for target in targets:
            slow = _SLOW * (fastest[target][0][0] if fastest[target] else np.inf)
            enough = _enough(built, sample, target, choices[target], slow)
            best = sorted([*fastest[target], *enough], key=lambda each: each[0])
            fastest[target] = best[:_KEPT]
    return [_row(vectors, target, choices[target], fastest[target], sample) for target in targets]


def _all(item_vectors: Float32, vectors: Vectors, only: tuple[str, ...]) -> Iterator[FaissIndex]:
    numbers = trained_numbers(item_vectors)
    trained, shared, centres = item_vectors[numbers], (0, ""), None
    norms = lengths(trained)
    spaces = SPACES if norms.max() > _EQUAL * norms.min() else SPACES[:1]
    for kind in kinds(vectors.items, vectors.dim, spaces):
        if only and not kind.factory.startswith(only):
            continue
        start = time.monotonic()
        if kind.lists and shared != (kind.lists, kind.space):
            shared, centres = (kind.lists, kind.space), centroids(trained, kind)
        made = build(kind, trained, numbers, centres if kind.lists else None)
        sys.stderr.write(f"{kind.describe()}: built in {time.monotonic() - start:.1f} s\n")
        yield FaissIndex(made, item_vectors, numbers, kind)


def _enough(
    index: FaissIndex, sample: Sample, target: float, choice: FaissIndex, slow: float
) -> Iterator[tuple[float, FaissIndex]]:
    """For each factor the least effort that reaches the target for the judging queries, after how slow it is.

    That is the time in proportion to our choice's, measured in turns with it.
    """

    def over(tried: FaissIndex) -> float:
        spent = sample.microseconds(tried, choice)
        return spent[0] / spent[1]

    name = index.kind.effort
    for factor in _factors(index.kind):

        def at(effort: int, factor: int = factor) -> FaissIndex:
            return index.tuned(Effort(search={"k_factor": factor} | ({name: effort} if name else {})))

        efforts = _efforts(index.kind, factor)
        low, high, before = -1, 0, 0.0
        while sample.recall(at(efforts[high]))[0] < target:
            low, high, took = high, min(high + _STRIDE, len(efforts) - 1), over(at(efforts[high]))
            if low == high or (took > slow and took > before > 0):  # too few lists are searched again
                break
            before = took
        else:
            while high - low > 1:
                middle = (low + high) // 2
                enough = sample.recall(at(efforts[middle]))[0] >= target
                low, high = (low, middle) if enough else (middle, high)
            yield over(at(efforts[high])), at(efforts[high])


def _factors(kind: Kind) -> tuple[int, ...]:
    """How many times the candidates are scored again; where FAISS's order is nearly right, more is of no use."""
    if kind.space == "cosine" or "PQ" in kind.factory or "RaBitQ" in kind.factory:
        return (1, 2, 3, 4, 6, 8, 12, 16)
    return (1, 2, 3) if kind.factory.endswith("SQ8") else (1,)


def _efforts(kind: Kind, factor: int) -> list[int]:
    """Rising; one of no meaning for kinds without."""
    least, most = (K * factor, MOST_EFFORT) if kind.is_graph else (1, max(1, kind.lists))
    steps = int(np.log(most / least) / np.log(_GROWTH))
    return sorted({round(least * _GROWTH**step) for step in range(steps + 1)} | {most})


def _row(
    vectors: Vectors, target: float, ours: FaissIndex, fastest: list[tuple[float, FaissIndex]], sample: Sample
) -> dict[str, Any]:
    rivals = [index for _, index in fastest]
    spent = sample.microseconds(ours, *rivals, seconds=3)
    print(f"\n{vectors.name}: {vectors.items:,} items, recall@50 of {target} asked for, CPU microseconds a query")
    names = ["ours: " + ours.describe(), *(index.describe() for index in rivals)]
    recalls = [sample.recall(index)[0] for index in (ours, *rivals)]
    for name, recall, microseconds in zip(names, recalls, spent, strict=True):
        print(f"{name:50}{recall:8.4f}{microseconds:9.1f}")
    over = spent[0] / min(spent[1:])
    print(f"ours takes {over:.2f} of the time of the fastest of the grid")
    found = {"choice": ours.describe(), "recall": recalls[0], "microseconds": spent[0], "over_fastest": over}
    grid = [list(each) for each in zip(names[1:], recalls[1:], spent[1:], strict=True)]
    return {"target": target, **found, "fastest": grid}
