"""What an update costs beside building the index again: time, disk, and each search's time afterwards.

The release is synthetic, as in `benchmarks.serving`. An update adds 0.1 % of the items, gives 0.1 % another vector
and withdraws 0.1 %. CPU time and bytes are what to compare between machines; the last line is JSON.

    python -m benchmarks.updates --quick
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._serving.world import DIM, K, synthetic_export
from index.build import IndexOptions, build_from_export
from index.folder import open_index
from index.publish import publish
from index.update import update
from watchnext.export import Export, write_export
from watchnext.features import Float32
from watchnext.release import EXPORT, INDEX, ReleaseStore

SHARE = 1000
"""One in so many items is new, one has another vector, one is withdrawn."""
FRESH = (0, 1000, 10_000, 100_000)
SEARCHES = 300


class Cost(NamedTuple):
    """Seconds of wall and CPU time, and megabytes of disk that nothing else has."""

    seconds: float
    cpu: float
    megabytes: float


def main() -> None:
    """Publish, update, search, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50 thousand items instead of a million")
    quick = parser.parse_args().quick
    items, users = (50_000, 2_000) if quick else (1_000_000, 100_000)
    with tempfile.TemporaryDirectory() as folder:
        world, work = synthetic_export(items, users), Path(folder)
        store, costs = built(world, work, IndexOptions(build_seconds=5 if quick else 900))
        costs |= updated(store, items, work)
        searches = {n: searched(store, n, world, work) for n in FRESH if n < items / 4}
    print(f"{items:,} items, {users:,} users, {DIM} dimensions")
    print(f"{'':34}{'s':>10}{'CPU s':>10}{'MB':>10}")
    for name, cost in costs.items():
        print(f"{name:34}{cost.seconds:10.2f}{cost.cpu:10.2f}{cost.megabytes:10.1f}")
    for fresh, microseconds in searches.items():
        print(f"a search with {fresh:7,} fresh items {microseconds:8.0f} CPU µs")
    costs_in_full = {name: cost._asdict() for name, cost in costs.items()}
    print(json.dumps({"items": items, "costs": costs_in_full, "search_microseconds": searches}))


def built(world: Export, work: Path, options: IndexOptions) -> tuple[ReleaseStore, dict[str, Cost]]:
    """A store with the release `first`, and what index and publication took."""
    export, index, store = work / "export", work / "index", ReleaseStore(work / "releases")
    write_export(world, export)
    costs = {"building the index": measure(lambda: build_from_export(export, index, options), index)}
    costs["publishing"] = measure(lambda: publish(export, index, store, "first"), store.root / "first")
    return store, costs


def updated(store: ReleaseStore, items: int, work: Path) -> dict[str, Cost]:
    """What updates of the release `first` cost, and copying it, the least that anything without links takes."""
    chosen = np.random.default_rng(1).permutation(items)[: 2 * items // SHARE] + 1
    other, gone = ([f"video-{n}" for n in numbers] for numbers in np.split(chosen, 2))
    new = [f"new-{n}" for n in range(items // SHARE)]
    vectors = np.random.default_rng(2).normal(size=(len(new) + len(other), DIM)).astype(np.float32)
    file, first = table(new + other, vectors, work), store.root / "first"
    return {
        "an update": measure(lambda: update(store, file, gone, "first", "all"), store.root / "all"),
        "one that only withdraws": measure(lambda: update(store, None, gone, "first", "less"), store.root / "less"),
        "copying a release": measure(lambda: shutil.copytree(first, work / "copy"), work / "copy"),
    }


def table(ids: Sequence[str], vectors: Float32, work: Path) -> Path:
    """A file of items with vectors [items, dim]."""
    column = pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM)
    pq.write_table(pa.table({"item_id": ids, "vector": column}), work / "items.parquet")
    return work / "items.parquet"


def searched(store: ReleaseStore, fresh: int, world: Export, work: Path) -> float:
    """Median CPU microseconds of a search for one user after the vectors of `fresh` items were replaced."""
    name = "first"
    if fresh:
        numbers = np.random.default_rng(3).permutation(world.manifest.items)[:fresh] + 1
        file = table([f"video-{n}" for n in numbers], world.item_vectors[numbers] * np.float32(1.01), work)
        name = update(store, file, (), "first", f"fresh-{fresh}").manifest.name
    index = open_index(store.root / name / INDEX, Export.open(store.root / name / EXPORT).item_vectors)
    spent = []
    for user in range(1, SEARCHES + 1):
        watched = [np.array(world.histories[user])]
        start = time.thread_time_ns()
        index.search(world.user_vectors[user][None], K, watched)
        spent.append(time.thread_time_ns() - start)
    return round(float(np.median(spent)) / 1e3, 1)


def measure(job: Callable[[], object], folder: Path) -> Cost:
    """What a job cost that wrote a folder."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    seconds, spent = time.perf_counter() - wall, time.process_time() - cpu
    files = (path.stat() for path in folder.rglob("*") if path.is_file())
    own = sum(file.st_size for file in files if file.st_nlink == 1)
    return Cost(round(seconds, 2), round(spent, 2), round(own / 1e6, 1))


if __name__ == "__main__":
    main()
