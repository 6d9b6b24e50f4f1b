"""Our choice of an index beside a much larger grid of kinds, spaces, lists and efforts, all of it built and measured.

The grid finds its efforts with the very queries that judge it, so it is a little better than anybody can do.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks._rivals.search import K
from benchmarks._rivals.tuned import tuned
from benchmarks._rivals.vectors import Vectors
from index.faiss_index import FaissIndex
from index.interface import trained_numbers
from index.kinds import Kind, build, centroids
from index.recall import Sample
from index.spaces import Space
from index.trial import Effort
from watchnext.features import Float32

SPACES: tuple[Space, ...] = ("dot", "l2", "cosine")
FACTORS = (1, 2, 3, 4, 6, 8, 12, 16)
_GROWTH = 1.08
_KEPT = 5
"""So many of the fastest are measured once more, in turns with our choice."""


def kinds(items: int, dim: int) -> Iterator[Kind]:
    """All kinds of the grid, those with the same lists and space one after another."""
    codes = ("Flat", "SQfp16", "SQ8")
    fast = tuple(f"PQ{dim // n}x4fs" for n in (1, 2, 4) if dim % n == 0)
    for space in SPACES:
        yield from (Kind(code, space) for code in (*codes, *(fast if space != "l2" else ())))
        yield from (Kind(f"HNSW{degree},{code}", space) for degree in (16, 32, 48) for code in codes)
        middle = round(np.log2(np.sqrt(items)))
        for lists in (1 << power for power in range(middle - 1, middle + 4)):
            if lists * 20 < items:
                rest = ("RaBitQ", *(fast if space != "l2" else ()))
                yield from (Kind(f"IVF{lists},{code}", space) for code in (*codes, *rest))


def compare(vectors: Vectors, targets: tuple[float, ...]) -> list[dict[str, Any]]:
    """Measure the whole grid and our choice, print both; returns the rows."""
    item_vectors = np.load(vectors.folder / "vectors.npy")
    sample = Sample.of(np.load(vectors.folder / "judged.npy"), item_vectors, K)
    known = np.load(vectors.folder / "known.npy")
    choices = {target: tuned(item_vectors, known, target) for target in targets}
    fastest: dict[float, list[tuple[float, FaissIndex]]] = {target: [] for target in targets}
    for built in _all(item_vectors, vectors):
        for target in targets:
            enough = [(sample.microseconds(i)[0], i) for i in _enough(built, sample, target)]
            best = sorted([*fastest[target], *enough], key=lambda each: each[0])
            fastest[target] = best[:_KEPT]
    return [_row(vectors, target, choices[target], fastest[target], sample) for target in targets]


def _all(item_vectors: Float32, vectors: Vectors) -> Iterator[FaissIndex]:
    numbers = trained_numbers(item_vectors)
    trained, shared, centres = item_vectors[numbers], (0, ""), None
    for kind in kinds(vectors.items, vectors.dim):
        start = time.monotonic()
        if kind.lists and shared != (kind.lists, kind.space):
            shared, centres = (kind.lists, kind.space), centroids(trained, kind)
        made = build(kind, trained, numbers, centres if kind.lists else None)
        sys.stderr.write(f"{kind.describe()}: built in {time.monotonic() - start:.1f} s\n")
        yield FaissIndex(made, item_vectors, numbers, kind)


def _enough(index: FaissIndex, sample: Sample, target: float) -> Iterator[FaissIndex]:
    """For each factor the index with the least effort that reaches the target for the queries that judge it."""
    name = index.kind.effort
    for factor in FACTORS:
        least, most = (K * factor, 6000) if index.kind.is_graph else (1, max(1, index.kind.lists))
        steps = int(np.log(most / least) / np.log(_GROWTH)) + 1 if name and most > least else 0
        efforts = sorted({min(most, round(least * _GROWTH**step)) for step in range(steps + 1)})
        low, high = 0, len(efforts)
        while low < high:
            middle = (low + high) // 2
            search = {"k_factor": factor} | ({name: efforts[middle]} if name else {})
            tried = index.tuned(Effort(search=search))
            low, high = (low, middle) if sample.recall(tried)[0] >= target else (middle + 1, high)
        if low < len(efforts):
            yield index.tuned(Effort(search={"k_factor": factor} | ({name: efforts[low]} if name else {})))


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
