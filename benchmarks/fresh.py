"""What the store of fresh watches costs: asking for a user, and adding durably, beside the disk's own fsync.

Every add holds one watch and waits until it is on disk. With `--url` a Redis server is measured instead of a new
SQLite file; it should be empty. The last line is JSON.

    python -m benchmarks.fresh --quick
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import NamedTuple

from serving.fresh.choose import open_store
from serving.fresh.store import FreshStore, Watch

HISTORIES = {"nobody": 0, "ten": 10, "a thousand": 1000}
TOGETHER = (1, 16, 64)
_NOW = 1_790_000_000


class Rate(NamedTuple):
    """How fast some processes added.

    Args:
        each: watches a second of each process.
        cpu: CPU microseconds a watch, of all processes.
    """

    each: list[float]
    cpu: float


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 thousand watches instead of a million, 1 s a rate")
    parser.add_argument("--url", help="a Redis server instead of SQLite")
    asked = parser.parse_args()
    size, seconds = (100_000, 1.0) if asked.quick else (1_000_000, 5.0)
    with tempfile.TemporaryDirectory() as folder:
        where = asked.url or str(Path(folder) / "fresh.db")
        syncs = syncs_a_second(Path(folder) / "synced", seconds)
        reading, one_user = asyncio.run(microseconds(where, size))
        print(f"{size:,} watches in {where}; {syncs:,.0f} appends of 4 KB with fsync a second, one after the other")
        for name, value in reading.items():
            print(f"asking for {name:12} {value:8.1f} CPU µs")
        print(f"asking for the size {one_user:10.1f} CPU µs")
        rates = {}
        for processes in (1, 2):
            for together in TOGETHER:
                rate = watches_a_second(where, processes, together, seconds)
                rates[f"{processes} x {together}"] = rate._asdict()
                shares = " + ".join(f"{each:,.0f}" for each in rate.each)
                print(f"{processes} x {together:2} adds at once: {shares} watches/s, {rate.cpu:.0f} CPU µs each")
    json.dump({"watches": size, "fsyncs": syncs, "of": reading, "size": one_user, "adding": rates}, sys.stdout)
    print()


def syncs_a_second(path: Path, seconds: float) -> float:
    """Appends of a page that the disk makes durable, one after the other."""
    descriptor, page, done = os.open(path, os.O_WRONLY | os.O_CREAT), bytes(4096), 0
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        os.write(descriptor, page)
        os.fsync(descriptor)
        done += 1
    os.close(descriptor)
    return done / (time.perf_counter() - start)


async def microseconds(where: str, size: int) -> tuple[dict[str, float], float]:
    """Fill a store; the CPU time of asking it for users with few and many watches, and for its size."""
    store = open_store(where)
    for name, watches in HISTORIES.items():
        await store.add([Watch(f"{name}-{n}", name, f"item-{n}", _NOW + n, None) for n in range(watches)])
    for first in range(0, size, 1000):
        numbers = range(first, first + 1000)
        await store.add([Watch(f"fill-{n}", f"user-{n % 50_021}", f"item-{n}", _NOW + n, None) for n in numbers])
    found = {name: await _cpu(store, name, 2000 if watches < 100 else 100) for name, watches in HISTORIES.items()}
    times = []
    for _ in range(1000):
        start = time.process_time_ns()
        await store.size()
        times.append(time.process_time_ns() - start)
    await store.close()
    return found, median(times) / 1000


async def _cpu(store: FreshStore, user: str, repeats: int) -> float:
    times = []
    for _ in range(9):
        start = time.process_time_ns()
        for _ in range(repeats):
            await store.of(user)
        times.append((time.process_time_ns() - start) / repeats)
    return median(times) / 1000


def watches_a_second(where: str, processes: int, together: int, seconds: float) -> Rate:
    """How many watches some processes make durable, each with some adds at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    results: SimpleQueue[tuple[int, float]] = context.SimpleQueue()
    adding = [
        context.Process(target=_add, args=(where, together, seconds, barrier, results)) for _ in range(processes)
    ]
    for process in adding:
        process.start()
    done = [results.get() for _ in adding]
    for process in adding:
        process.join()
    return Rate([count / seconds for count, _ in done], sum(cpu for _, cpu in done) / sum(n for n, _ in done) * 1e6)


def _add(
    where: str, together: int, seconds: float, barrier: Barrier, results: "SimpleQueue[tuple[int, float]]"
) -> None:
    async def client(store: FreshStore, name: str, end: float) -> int:
        added = 0
        while time.monotonic() < end:
            user = f"user-{hash((name, added)) % 50_021}"
            await store.add([Watch(f"{name}-{added}", user, f"item-{added}", _NOW + added, None)])
            added += 1
        return added

    async def clients() -> None:
        store = open_store(where)
        await store.size()
        name = f"{os.getpid()}-{time.time_ns()}"
        barrier.wait()
        cpu, end = time.process_time(), time.monotonic() + seconds
        added = sum(await asyncio.gather(*(client(store, f"{name}-{n}", end) for n in range(together))))
        results.put((added, time.process_time() - cpu))
        await store.close()

    asyncio.run(clients())


if __name__ == "__main__":
    main()
