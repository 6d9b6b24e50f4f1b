"""What it costs a search to leave items out or to choose among a share of them, and how much it then finds.

Asks a tuned index with the vectors of users, one after another in one thread, in turns; recall is that of the best 50
of what is left, by exact search. The last line is JSON.

    python -m benchmarks.exclusion EXPORT INDEX
    python -m benchmarks.exclusion --quick
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks._serving.world import synthetic_export
from index.build import IndexOptions, build_from_export
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.folder import open_index
from index.interface import Bool
from index.recall import DEPTH, recall
from watchnext.export import Export, write_export
from watchnext.features import Float32
from watchnext.histories import Int32

LEFT_OUT = 500
SHARES = (0.99, 0.5, 0.1, 0.01, 0.001, 0.0001)
_TURN, _WARM = 20, 10


class Way(NamedTuple):
    """What a search is told: for each query what to leave out, and what is allowed."""

    exclude: list[Int32] | None = None
    allowed: Bool | None = None


class Figures(NamedTuple):
    """Median CPU time of a query, what that is of a search without restrictions, and recall@50."""

    microseconds: float
    ratio: float
    recall: float


def main() -> None:
    """Open the index or make one, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, nargs="?", help="a folder of `watchnext train`")
    parser.add_argument("index", type=Path, nargs="?", help="a folder of `watchnext index`")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="20,000 made-up items: under a minute")
    given = parser.parse_args()
    if given.quick:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(*made(Path(folder)), 100)
    elif given.export and given.index:
        found = measure(given.export, given.index, given.queries)
    else:
        parser.error("give EXPORT and INDEX, or --quick")
    print(json.dumps(found))


def made(folder: Path) -> tuple[Path, Path]:
    """An export of made-up vectors and an index of it."""
    write_export(synthetic_export(20_000, 1_000), folder / "export")
    build_from_export(folder / "export", folder / "index", IndexOptions(build_seconds=5))
    return folder / "export", folder / "index"


def measure(export_folder: Path, index_folder: Path, queries: int) -> dict[str, object]:
    """Print a table; returns its figures."""
    export = Export.open(export_folder)
    vectors = np.asarray(export.item_vectors)
    index = open_index(index_folder, vectors)
    users = np.flatnonzero(np.asarray(export.user_vectors).any(axis=1))[1:].astype(np.int32)
    users = np.random.default_rng(1).permutation(users)[:queries]
    asked = np.ascontiguousarray(np.asarray(export.user_vectors)[users])
    ways = dict(all_ways(export, vectors, asked, users))
    spent = cpu(index, asked, ways)
    print(f"{len(index):,} items of {index.dim} dimensions, {index.describe()}")
    print(f"{'':44}{'CPU µs':>9}{'ratio':>8}{'recall@50':>11}")
    figures = {}
    for name, way in ways.items():
        found = index.search(asked, DEPTH, way.exclude, way.allowed)[1]
        exact = ExactIndex(vectors).search(asked, DEPTH, way.exclude, way.allowed)[0]
        reached = recall(found, exact, asked, vectors)
        figures[name] = Figures(spent[name], spent[name] / spent["all items"], reached)
        print("{:44}{:9.0f}{:8.2f}{:11.4f}".format(name, *figures[name]))
    return {"items": len(index), "index": index.describe(), **{name: f._asdict() for name, f in figures.items()}}


def all_ways(export: Export, vectors: Float32, asked: Float32, users: Int32) -> Iterable[tuple[str, Way]]:
    """All that is measured, by name."""
    rng, items = np.random.default_rng(2), len(vectors) - 1
    histories = [export.histories[user] for user in users]
    drawn = rng.integers(1, items + 1, (len(users), LEFT_OUT)).astype(np.int32)
    best = ExactIndex(vectors).search(asked, 10 * LEFT_OUT)[1]
    yield "all items", Way()
    yield f"without what was watched ({np.mean([len(row) for row in histories]):.0f} a user)", Way(histories)
    filled = [np.concatenate([row[:LEFT_OUT], other])[:LEFT_OUT] for row, other in zip(histories, drawn, strict=True)]
    yield f"without {LEFT_OUT}: what was watched and others", Way(filled)
    yield (
        f"without {LEFT_OUT}: a tenth of them the best",
        Way([mixed(*both) for both in zip(best[:, :LEFT_OUT], drawn, strict=True)]),
    )
    yield f"without {LEFT_OUT}: every tenth of the best {10 * LEFT_OUT}", Way([row[row > 0] for row in best[:, ::10]])
    yield f"without {LEFT_OUT}: just the best", Way([row[row > 0] for row in best[:, :LEFT_OUT]])
    for share in SHARES:
        yield f"among {100 * share:g} %", Way(None, rng.random(items + 1) < share)


def mixed(best: Int32, others: Int32) -> Int32:
    """Others, a tenth of them every tenth of the best."""
    return np.concatenate([best[best > 0][::10], others])[:LEFT_OUT]


def cpu(index: FaissIndex, asked: Float32, ways: dict[str, Way]) -> dict[str, float]:
    """Median CPU microseconds of a query for each way; all take turns of some queries.

    The first queries of a turn fill the cache and don't count: others may have gone through all vectors before.
    """
    spent: dict[str, list[int]] = {name: [] for name in ways}
    for first in range(_WARM, len(asked), _TURN):
        rows = range(first - _WARM, min(first + _TURN, len(asked)))
        for name, way in ways.items():
            spent[name] += [timed(asker(index, asked, way, row)) for row in rows][_WARM:]
    return {name: float(np.median(times)) / 1e3 for name, times in spent.items()}


def asker(index: FaissIndex, asked: Float32, way: Way, row: int) -> Callable[[], object]:
    """A search for one query."""
    exclude = None if way.exclude is None else way.exclude[row : row + 1]
    return lambda: index.search(asked[row : row + 1], DEPTH, exclude, way.allowed)


def timed(call: Callable[[], object]) -> int:
    """CPU nanoseconds of a call."""
    start = time.thread_time_ns()
    call()
    return time.thread_time_ns() - start


if __name__ == "__main__":
    main()
