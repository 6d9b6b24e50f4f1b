"""The side of a contestant that searches: build, find the least effort for each recall, then measure when asked.

Only the standard library and numpy. The folder of a task has

vectors.npy  [items + 1, dim]  row 0 is zero
judged.npy   [queries, dim]    with which nothing but an effort may be chosen
least.npy    [queries]         the scores that the 50 best items of each reach
known.npy    [queries, dim]    which may be used as one likes
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks._rivals.program import Figures, Task, Timer, peak_gib

K = 50
GROWTH = 1.1
"""From one effort to the next."""
MOST_EFFORT = 6000
_PROBED = 300
"""Queries of a round, and of the search for the least effort as long as it is far from it."""
Array = NDArray[Any]


@dataclass(frozen=True)
class SearchTask(Task):
    """What a contestant searches.

    Args:
        folder: where the vectors lie.
        targets: recalls@50 that it must reach.
        megabytes: the most that our index may take, or None.
    """

    folder: str = ""
    targets: tuple[float, ...] = (0.95, 0.99)
    megabytes: float | None = None


class Searcher(Protocol):
    """An index that was built."""

    def use(self, effort: int) -> None:
        """Search with such an effort from now on; some have none."""
        ...

    def search(self, queries: Array) -> Array:
        """[queries, K] rows of the vectors, from 1 on; 0 where none was found."""
        ...

    def size(self, path: Path) -> int:
        """Bytes of the index; `path` may be written to."""
        ...


class Judge:
    """Compares answers with exact ones."""

    def __init__(self, folder: Path) -> None:
        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        self.queries, self.least = np.load(folder / "judged.npy"), np.load(folder / "least.npy")

    def recall(self, searcher: Searcher, queries: int | None = None) -> tuple[float, float]:
        """The share of the best items that are found for the first so many queries, and its standard error."""
        right = []
        for query, score in zip(self.queries[:queries], self.least[:queries], strict=True):
            rows = searcher.search(query[None])[0]
            right.append(np.count_nonzero((self.vectors[rows] @ query >= score) & (rows > 0)) / K)
        return float(np.mean(right)), float(np.std(right) / np.sqrt(len(right)))

    def least_effort(self, searcher: Searcher, target: float, efforts: list[int]) -> int:
        """The least effort that reaches a recall, the largest where none does."""
        low, high = 0, len(efforts) - 1
        while low < high:
            middle = (low + high) // 2
            searcher.use(efforts[middle])
            near = self.recall(searcher, _PROBED)[0]
            if abs(near - target) < 0.01:
                near = self.recall(searcher)[0]
            low, high = (low, middle) if near >= target else (middle + 1, high)
        return efforts[low]

    def microseconds(self, searcher: Searcher) -> float:
        """Median CPU time of one query alone, of this process with all its threads."""
        spent = []
        for query in self.queries[:_PROBED]:
            start = time.process_time_ns()
            searcher.search(query[None])
            spent.append(time.process_time_ns() - start)
        return float(np.median(spent)) / 1e3


def all_efforts() -> list[int]:
    """Efforts from `K` on, rising.

    >>> all_efforts()[:4]
    [50, 55, 61, 67]
    """
    steps = int(np.log(MOST_EFFORT / K) / np.log(GROWTH))
    return [round(K * GROWTH**step) for step in range(steps + 1)]


def contender(
    task: SearchTask, build: Callable[[float, Array], Searcher], efforts: list[int]
) -> Callable[[], Figures]:
    """Build, find the least efforts, and give what measures one round.

    Args:
        task: what is searched.
        build: makes a searcher of vectors [items + 1, dim] for a target; the same one for several, if it likes.
        efforts: those to choose from; one, where there is nothing to choose.
    """
    folder = Path(task.folder)
    judge, figures = Judge(folder), dict[str, float]()
    chosen: dict[float, tuple[Searcher, int]] = {}
    for target in task.targets:
        timer = Timer()
        searcher = build(target, judge.vectors)
        if searcher not in [known for known, _ in chosen.values()]:
            built = {**timer.figures(), "peak_gib": peak_gib(), "bytes": searcher.size(folder / task.variant)}
        effort = judge.least_effort(searcher, target, efforts)
        chosen[target] = searcher, effort
        searcher.use(effort)
        recall, error = judge.recall(searcher)
        named = {f"build_{name}": value for name, value in built.items()}
        named |= {"effort": effort, "recall": recall, "recall_error": error}
        figures |= {f"{name}@{target}": float(value) for name, value in named.items()}

    def measure() -> Figures:
        spent = dict[str, float]()
        for target, (searcher, effort) in chosen.items():
            searcher.use(effort)
            spent[f"microseconds@{target}"] = judge.microseconds(searcher)
        return {**figures, **spent}

    measure()
    return measure
