"""How fast a world is made and written: watches a second at a million videos.

    python -m benchmarks.simulation [--quick] [--watches N] [--workers N]

The time is that of `watchnext simulate` from nothing to the finished folder: making the world, starting processes,
drawing, writing Parquet, checksums. Beside it stands the processor time of all processes, which a busy machine does
not stretch. The last line is JSON.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simulation.config import WorldConfig
from simulation.write import simulate

TARGET = 1_000_000
"""Watches a second on two cores."""


def cpu_seconds() -> float:
    """Processor time of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main() -> None:
    """Measure, print a table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5,000,000 watches, under a minute")
    parser.add_argument("--watches", type=int, help="expected watches (default: 20,000,000)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: 2)")
    arguments = parser.parse_args()
    watches = arguments.watches or (5_000_000 if arguments.quick else 20_000_000)
    config = WorldConfig(items=1_000_000, users=1_000_000, watches=watches, days=30, topics=200)
    with tempfile.TemporaryDirectory() as folder:
        begun, used = time.perf_counter(), cpu_seconds()
        made = simulate(config, Path(folder) / "world", arguments.workers)
        seconds, used = time.perf_counter() - begun, cpu_seconds() - used
        size = sum(entry.bytes for entry in made.files.values())
    facts = {
        "items": config.items,
        "users": config.users,
        "watches": made.watches,
        "searches": made.searches,
        "workers": arguments.workers,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used, 2),
        "watches_per_second": round(made.watches / seconds),
        "watches_per_cpu_second": round(made.watches / used),
        "megabytes": round(size / 1e6),
        "peak_memory_mb_of_a_process": max(
            resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ),
        "target_watches_per_second": TARGET,
    }
    table = Table("", "", title="Simulation", show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    Console().print(table)
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
