"""Our tuned index beside hnswlib, usearch and plain FAISS: CPU time a query at equal recall, building, memory.

Each contestant is a process of its own: it builds on all cores, finds the least effort with which it reaches a
recall@50 for the queries that judge it, and then answers single queries with one thread, in turns with the others.
Ours is tuned with other queries, and for each recall anew. hnswlib is compiled, which takes a C++ compiler. The last
line is JSON.

    python -m benchmarks.index --quick
    python -m benchmarks.index --export work/export --synthetic 1000000
    python -m benchmarks.index --grid --export work/export
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._rivals import grid
from benchmarks._rivals.contest import GIB, Entry, System, compete, ratio
from benchmarks._rivals.environment import environment
from benchmarks._rivals.search import SearchTask
from benchmarks._rivals.vectors import Vectors, from_export, synthetic

TARGETS = (0.95, 0.99)
MOST_FOR_GRAPHS = 2e6, "its graph would take hours"
OURS = System("ours", "tuned", "ours", tables=3)
EXACT = System("FAISS, exact", "graphs", "faiss Flat", tables=2)
MIB = 2**20
HEAD = (
    ("", "recall", "error", "CPU µs", "ours", "wall s", "CPU s", "index", "peak"),
    ("", "", "", "a query", "takes", "to build", "to build", "MiB", "MiB"),
)


def main() -> None:
    """Make vectors, let the contestants take turns, print."""
    given = arguments()
    tables = []
    for source in sources(given):
        with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
            vectors = source(folder=Path(folder))
            found = (
                grid.compare(vectors, targets(given), tuple(given.only or ())) if given.grid else race(vectors, given)
            )
            tables.append({"vectors": vectors.name, "items": vectors.items, "dim": vectors.dim, "results": found})
    print(json.dumps(tables))


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, action="append", default=[], help="a folder of `watchnext train`")
    parser.add_argument("--synthetic", type=int, action="append", default=[], help="so many made-up items")
    parser.add_argument("--grid", action="store_true", help="our choice beside all of our kinds, instead of others'")
    parser.add_argument(
        "--only", action="append", help="contestants, or kinds of the grid, whose name begins like this"
    )
    parser.add_argument("--target", type=float, action="append", help="recall@50 to reach; else .95 and .99")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--judged", type=int, default=1000, help="so many queries judge")
    parser.add_argument("--megabytes", type=float, help="the most that our index may take, vectors not counted")
    parser.add_argument("--memory", type=float, default=16, help="GiB that all may take together")
    parser.add_argument("--scratch", type=Path, help="a folder for vectors and indexes")
    parser.add_argument("--quick", action="store_true", help="10,000 made-up items, one recall: under a minute")
    return parser.parse_args()


def targets(given: argparse.Namespace) -> tuple[float, ...]:
    """The recalls that are asked for."""
    return tuple(given.target or ()) or (TARGETS[-1:] if given.quick else TARGETS)


def sources(given: argparse.Namespace) -> list["partial[Vectors]"]:
    """What makes each of the vectors that were asked for, in a folder."""
    judged, known = (300, 600) if given.quick else (given.judged, 8000)
    exports = [partial(from_export, path, judged=judged) for path in given.export]
    sizes = given.synthetic or ([] if exports else [10_000 if given.quick else 100_000])
    return [*exports, *(partial(synthetic, items, judged=judged, known=known) for items in sizes)]


def systems() -> list[System]:
    """Ours, exact search, and others, of which those of another environment are left out where it cannot be made."""
    found = [OURS, EXACT, System("FAISS HNSW32", "graphs", "faiss HNSW32", 5, MOST_FOR_GRAPHS)]
    try:
        python = environment("benchmark-index")
    except RuntimeError as error:
        sys.stderr.write(f"hnswlib and usearch are left out: {error}\n")
        return found
    for library in ("hnswlib", "usearch"):
        for degree in (16, 32):
            name = f"{library} {degree}"
            found.append(System(name, "graphs", name, 5, MOST_FOR_GRAPHS, python))
    return found


def race(vectors: Vectors, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Let all contestants build and search, and print what they took."""
    entries = []
    for system in systems():
        if given.only and not system.name.startswith(tuple(given.only)):
            continue
        task = SearchTask(
            vectors.items,
            system.variant,
            dim=vectors.dim,
            folder=str(vectors.folder),
            targets=targets(given),
            megabytes=given.megabytes,
        )
        entries.append(Entry(system, task))
        entries[-1].skipped = entries[-1].system.refusal(task, given.memory)
    compete(entries, 3 if given.quick else given.rounds, 2 * given.memory, one_by_one=True)
    return report(vectors, entries, targets(given))


def report(vectors: Vectors, entries: Sequence[Entry], asked: Sequence[float] = TARGETS) -> list[dict[str, Any]]:
    """Print a table for each recall that was asked for; returns its rows."""
    rows = []
    ours = next((entry for entry in entries if entry.system == OURS), None)
    for target in asked:
        print(f"\n{vectors.name}: {vectors.items:,} items of {vectors.dim} dimensions, recall@50 of {target}")
        for cells in HEAD:
            print("{:13}{:>8}{:>8}{:>9}{:>7}{:>9}{:>9}{:>8}{:>8}".format(*cells))
        for entry in entries:
            if entry.rounds:
                rows.append(row(vectors, entry, ours, target))
                print(line(rows[-1]))
            else:
                rows.append({"system": entry.system.name, "target": target, "skipped": entry.skipped})
                print(f"{entry.system.name:13}  {entry.skipped}")
    print("index: as a file; ours needs the vectors, too, which the others have inside")
    return rows


def row(vectors: Vectors, entry: Entry, ours: Entry | None, target: float) -> dict[str, Any]:
    """What one contestant took for a target."""
    figures = {name.partition("@")[0]: v for name, v in entry.rounds[-1].items() if name.endswith(f"@{target}")}

    def spent(figures: dict[str, float]) -> float:
        return figures[f"microseconds@{target}"]

    kind = vectors.folder / f"ours@{target}.txt"
    setting = "" if entry.system == EXACT else f"ef {figures['effort']:.0f}"
    return {
        "system": entry.system.name,
        "target": target,
        "recall": figures["recall"],
        "recall_error": figures["recall_error"],
        "setting": kind.read_text() if entry.system == OURS else setting,
        "microseconds": entry.median(spent),
        "ours_over_it": ratio(ours, entry, spent) if ours else None,
        "build_seconds": figures["build_seconds"],
        "build_cpu_seconds": figures["build_cpu_seconds"],
        "index_mib": figures["build_bytes"] / MIB,
        "peak_mib": figures["build_peak_gib"] * GIB / MIB,
    }


def line(found: dict[str, Any]) -> str:
    """A row as people read it."""
    cells = [f"{found['system']:13}{found['recall']:8.4f}{found['recall_error']:8.4f}{found['microseconds']:9.0f}"]
    cells.append(f"{found['ours_over_it']:7.2f}" if found["ours_over_it"] else f"{'':7}")
    cells.append(f"{found['build_seconds']:9.1f}{found['build_cpu_seconds']:9.1f}")
    cells.append(f"{found['index_mib']:8.0f}{found['peak_mib']:8.0f}  {found['setting']}")
    cells.append("" if found["recall"] >= found["target"] else ", below")
    return "".join(cells)


if __name__ == "__main__":
    main()
