"""This project's index, tuned for each recall with queries other than those that judge it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks._rivals.program import Figures, compete
from benchmarks._rivals.search import Array, K, Searcher, SearchTask, contender
from index.build import IndexOptions, build_index
from index.faiss_index import FaissIndex


class Ours:
    """A `FaissIndex` with the effort that it was tuned to."""

    def __init__(self, index: FaissIndex) -> None:
        self.index = index

    def use(self, effort: int) -> None:
        """Keeps its own."""

    def search(self, queries: Array) -> Array:
        """See `Searcher`."""
        return self.index.search(queries, K)[1]

    def size(self, path: Path) -> int:
        """Without the vectors, which it needs, too."""
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            self.index.save(Path(folder))
            return sum(file.stat().st_size for file in Path(folder).iterdir())


def tuned(item_vectors: Array, queries: Array, target: float, megabytes: float | None = None) -> FaissIndex:
    """The index that `watchnext index` builds for item vectors [items + 1, dim] and user vectors [users, dim]."""
    options = IndexOptions(target_recall=target, memory_megabytes=megabytes)
    return build_index(item_vectors, queries, options).index


def prepare(task: SearchTask) -> Callable[[], Figures]:
    """Tune an index for each target, and write down what it is."""
    folder = Path(task.folder)
    known = np.load(folder / "known.npy")

    def build(target: float, vectors: Array) -> Searcher:
        index = tuned(np.asarray(vectors), known, target, task.megabytes)
        (folder / f"ours@{target}.txt").write_text(index.describe())
        return Ours(index)

    return contender(task, build, [0])


if __name__ == "__main__":
    compete(prepare, SearchTask)
