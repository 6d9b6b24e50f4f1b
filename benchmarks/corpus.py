"""How long ingestion takes, against the plain DuckDB query that sorts the same log and writes it as Parquet.

    python -m benchmarks.corpus [--quick] [--events N] [--pairs N]

Both run alternately in this process, so that a noisy machine slows both; medians count. Once with ids as text (11
characters, as YouTube's) and once with whole numbers. The last line is JSON.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from corpus import sql
from corpus.ingest import ingest
from corpus.options import IngestOptions

TARGET = 1.5


def write_log(path: Path, events: int, text: bool) -> None:
    """A log in random order: users drawn uniformly, 25 watches each on average, items by Zipf's law (1.2)."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, max(events // 25, 1), events)
    items = np.minimum(rng.zipf(1.2, events), max(events // 25, 1))
    times = 1_700_000_000 + rng.integers(0, 10_000_000, events)
    columns = {"user": pa.array(users), "item": pa.array(items), "time": pa.array(times)}
    if text:
        for name, numbers in (("user", users), ("item", items)):
            names = pa.array([f"{name[0]}{number * 7_919 % 10**10:010d}" for number in range(int(numbers.max()) + 1)])
            columns[name] = names.take(columns[name])
    pq.write_table(pa.table(columns), path)


def plain(log: Path, to: Path) -> None:
    """The query to compare with."""
    with duckdb.connect() as con:
        con.execute("SET enable_progress_bar = false")
        query = f'SELECT "user", item, time FROM read_parquet({sql.path(log)}) ORDER BY "user", time'
        con.execute(f"COPY ({query}) TO {sql.text(str(to))} (FORMAT parquet)").fetchall()


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(folder: Path, events: int, pairs: int, text: bool) -> dict[str, Any]:
    """Run both alternately, after one unmeasured pair; the medians and their ratio."""
    log = folder / f"log-{'text' if text else 'numbers'}.parquet"
    write_log(log, events, text)
    options = IngestOptions(logs=(str(log),), to=folder / "corpus")
    runs = [
        (seconds(lambda: plain(log, folder / "sorted.parquet")), seconds(lambda: ingest(options)))
        for _ in range(pairs + 1)
    ][1:]
    ours = statistics.median(run[1] for run in runs)
    return {
        "ids": "text" if text else "numbers",
        "plain_seconds": round(statistics.median(run[0] for run in runs), 3),
        "ingest_seconds": round(ours, 3),
        "ratio": round(statistics.median(run[1] / run[0] for run in runs), 3),
        "events_per_second": round(events / ours),
    }


def main() -> None:
    """Measure, print a table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500,000 events, under a minute")
    parser.add_argument("--events", type=int, help="events in the log (default: 5,000,000)")
    parser.add_argument("--pairs", type=int, default=3, help="measured pairs of runs (default: 3)")
    arguments = parser.parse_args()
    events = arguments.events or (500_000 if arguments.quick else 5_000_000)
    with tempfile.TemporaryDirectory() as folder:
        results = [compare(Path(folder), events, arguments.pairs, text) for text in (True, False)]
    table = Table("ids", "plain query, s", "ingest, s", "ratio", "events/s", title=f"{events:,} events")
    for r in results:
        table.add_row(*(str(value) for value in r.values()))
    Console().print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    facts = {"events": events, "pairs": arguments.pairs, "target_ratio": TARGET, "peak_memory_mb": peak}
    sys.stdout.write(json.dumps({**facts, "results": results, "ratio": results[0]["ratio"]}) + "\n")


if __name__ == "__main__":
    main()
