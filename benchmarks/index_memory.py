"""How soon an index is ready, and the memory of 1, 2 and 4 processes that share it, by kind of index. Linux only.

Every process opens the same folder, checksums included, maps the item vectors, and searches. Memory is what the
processes have more than before: what is private to each, and all of it together, in which a page that several share
counts once. The last line is JSON.

    python -m benchmarks.index_memory --quick
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from index.countries import Countries
from index.faiss_index import FaissIndex
from index.filters import Filters
from index.folder import open_index, save_index
from index.kinds import Kind
from watchnext.catalogue import Catalogue
from watchnext.features import Float32
from watchnext.vocabulary import Vocabulary

DIM, K, QUERIES = 64, 50, 200
PROCESSES = (1, 2, 4)
MIB = 2**20
ITEM_VECTORS = "item_vectors.npy"


@dataclass(frozen=True)
class Memory:
    """Of some processes, in MiB, without what they had before: `private` of each (mean), `all` together."""

    processes: int
    private: float
    all: float
    ready_seconds: float
    """From before opening until the first answer, mean; the processes do it one after another."""


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--kind", action="append", help="FAISS's name; several may be given")
    parser.add_argument("--quick", action="store_true", help="50,000 items: under a minute")
    given = parser.parse_args()
    items = 50_000 if given.quick else given.items
    lists = 1 << int(np.log2(np.sqrt(items)))
    usual = ["Flat", "SQ8", "HNSW16", *(f"IVF{lists},{code}" for code in ("Flat", "SQ8", "PQ32x4fs", "RaBitQ"))]
    print(f"{items:,} items of {DIM} dimensions, in MiB")
    print(f"{'':18}{'on disk':>9}{'ready s':>9}{'processes':>11}{'private each':>14}{'all together':>14}")
    figures = []
    for kind in given.kind or usual:
        with tempfile.TemporaryDirectory() as folder:
            size = build(kind, items, Path(folder)) / MIB
            measured = [measure(Path(folder), processes) for processes in PROCESSES]
        for memory in measured:
            line = f"{memory.ready_seconds:9.2f}{memory.processes:11}{memory.private:14.0f}{memory.all:14.0f}"
            print(f"{kind:18}{size:9.0f}{line}", flush=True)
        figures.append({"kind": kind, "disk": round(size, 1), "memory": [asdict(memory) for memory in measured]})
    print(json.dumps({"items": items, "dim": DIM, "mib": figures}))


def build(kind: str, items: int, folder: Path) -> int:
    """Write an index of made-up vectors, and the vectors; returns the bytes of the index."""
    search = {"nprobe": 16} if kind.startswith("IVF") else {"efSearch": 64} if kind.startswith("HNSW") else {}
    item_vectors = made_up(items, 0)
    np.save(folder / ITEM_VECTORS, item_vectors)
    index = FaissIndex.build(item_vectors, Kind(kind), search)
    measured = {"recall_at_50": 1, "target_recall": 0.9, "fell_back": False, "queries": 0, "trials": ()}
    about = {"items": items, "skew": 1, "warnings": (), "item_vectors_sha256": ""}
    filters = Filters.of(Catalogue.empty(items), Vocabulary(map(str, range(1, items + 1))))
    manifest = save_index(index, filters, Countries({}), folder / "index", **measured, **about)
    return sum(entry.bytes for entry in manifest.files.values())


def made_up(rows: int, seed: int) -> Float32:
    """[rows + 1, DIM] vectors around the same centres, of uneven length; row 0 is zero."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(300, DIM)).astype(np.float32)
    made = centres[rng.integers(300, size=rows + 1)]
    made += rng.standard_normal(made.shape, np.float32)
    made *= rng.lognormal(0, 0.3, (rows + 1, 1)).astype(np.float32)
    made[0] = 0
    return made


def measure(folder: Path, processes: int) -> Memory:
    """Open an index in so many processes, which all live until all are measured."""
    context = multiprocessing.get_context("spawn")
    pipes, children = [], []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        child = context.Process(target=search, args=(folder, theirs))
        child.start()
        pipes.append(ours)
        children.append(child)
    pids = [pipe.recv() for pipe in pipes]
    before = memory(pids)
    ready = []
    for pipe in pipes:
        pipe.send("open")
        ready.append(pipe.recv())
    private, together = (now - then for now, then in zip(memory(pids), before, strict=True))
    for pipe, child in zip(pipes, children, strict=True):
        pipe.send("end")
        child.join()
    return Memory(processes, round(private / processes, 1), round(together, 1), round(float(np.mean(ready)), 3))


def search(folder: Path, pipe: Connection) -> None:
    """Tell the process's number; when asked to, open the index, search, tell the seconds to the first answer."""
    queries = made_up(QUERIES, 1)[1:]
    pipe.send(multiprocessing.current_process().pid)
    pipe.recv()
    start = time.perf_counter()
    item_vectors = np.load(folder / ITEM_VECTORS, mmap_mode="r")
    index = open_index(folder / "index", item_vectors)
    index.search(queries[:1], K)
    ready = time.perf_counter() - start
    for query in queries:
        index.search(query[None], K)
    pipe.send(ready)
    pipe.recv()


def memory(pids: Sequence[int]) -> tuple[float, float]:
    """MiB of several processes: private, and all of it, shared pages by their share."""
    private = together = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, kib = line.split()[:2]
            private += int(kib) if name in {"Private_Clean:", "Private_Dirty:"} else 0
            together += int(kib) if name == "Pss:" else 0
    return private / 1024, together / 1024


if __name__ == "__main__":
    main()
