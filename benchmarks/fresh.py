"""What fresh watches cost: asking for a user, finding the vector, and adding durably, beside the disk's own fsync.

Every add holds one watch and waits until it is on disk. With `--url` a Redis server is measured instead of a new
SQLite file; it should be empty. The last line is JSON.

    python -m benchmarks.fresh --quick
"""

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from index.exact import ExactIndex
from index.recommender import Recommender
from serving.fresh.choose import open_store
from serving.fresh.store import FreshStore, Watch
from serving.users import FreshAskers
from watchnext.config import ModelConfig
from watchnext.linear import NoLog, linear_export
from watchnext.vocabulary import Vocabulary

HISTORIES = {"nobody": 0, "ten": 10, "twenty": 20, "a thousand": 1000, "ten thousand": 10_000}
TOGETHER = (1, 16, 64)
ITEMS = 100_000
"""Of the release for which vectors are found."""
_CLOCKS = time.process_time_ns, time.thread_time_ns
_NOW = 1_790_000_000


class Rate(NamedTuple):
    """How fast some processes added.

    Args:
        each: watches a second of each process.
        cpu: CPU microseconds a watch, of all processes.
    """

    each: list[float]
    cpu: float


class User(NamedTuple):
    """What a user costs who has some fresh watches.

    Args:
        asking: CPU microseconds of reading them for a recommendation.
        anew, again: CPU microseconds of the vector when one of them is new, and when none is.
        kept: bytes that are remembered for that.
        history, in_loop: CPU microseconds of reading the history, in all threads and in the event loop's.
    """

    asking: float
    anew: float
    again: float
    kept: int
    history: float
    in_loop: float


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
        users, one_size = asyncio.run(microseconds(where, size))
        print(f"{size:,} watches in {where}; {syncs:,.0f} appends of 4 KB with fsync a second, one after the other")
        print("CPU µs              asking   vector: anew   again   bytes kept   history   in the loop")
        for name, one in users.items():
            print(
                f"{name:12} {one.asking:13.1f} {one.anew:14.1f} {one.again:7.1f} {one.kept:12,}"
                f" {one.history:9.1f} {one.in_loop:13.1f}"
            )
        print(f"the size {one_size:17.1f}")
        rates = {}
        for processes in (1, 2):
            for together in TOGETHER:
                rate = watches_a_second(where, processes, together, seconds)
                rates[f"{processes} x {together}"] = rate._asdict()
                shares = " + ".join(f"{each:,.0f}" for each in rate.each)
                print(f"{processes} x {together:2} adds at once: {shares} watches/s, {rate.cpu:.0f} CPU µs each")
    asking = {name: one._asdict() for name, one in users.items()}
    json.dump({"watches": size, "fsyncs": syncs, "asking": asking, "size": one_size, "adding": rates}, sys.stdout)
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


async def microseconds(where: str, size: int) -> tuple[dict[str, User], float]:
    """Fill a store; what asking it for users with few and many watches costs, and the CPU time of its size."""
    store = open_store(where)
    for name, watches in HISTORIES.items():
        for first in range(0, watches, 1000):
            numbers = range(first, min(watches, first + 1000))
            await store.add([Watch(f"{name}-{n}", name, f"item-{1 + n % ITEMS}", _NOW + n, None) for n in numbers])
    for first in range(0, size, 1000):
        numbers = range(first, first + 1000)
        await store.add([Watch(f"fill-{n}", f"user-{n % 50_021}", f"item-{n}", _NOW + n, None) for n in numbers])
    recommender = make_recommender()
    found = {name: await _user(store, recommender, name) for name in HISTORIES}
    one_size = await _cpu(store.size, 1000)
    await store.close()
    return found, one_size


def make_recommender() -> Recommender:
    """Of random vectors of `ITEMS` items, a user's vector being the mean of the last 50 watched ones."""
    vectors = np.random.default_rng(0).normal(size=(ITEMS + 1, 64)).astype(np.float32)
    vectors[0] = 0
    log = NoLog(Vocabulary([f"item-{n}" for n in range(1, ITEMS + 1)]))
    export = linear_export(log, ModelConfig.linear(64, 50), vectors, vectors)
    return Recommender(export, ExactIndex(vectors), "random")


async def _user(store: FreshStore, recommender: Recommender, name: str) -> User:
    repeats = 2000 if HISTORIES[name] < 100 else 100
    fresh, same = await store.of(name), await store.of(name)
    FreshAskers(recommender).ask(name, fresh, None, _NOW)  # the vocabulary remembers some ids
    askers = FreshAskers(recommender)
    tracemalloc.start()
    askers.ask(name, await store.of(name), None, _NOW)
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    async def anew() -> None:
        FreshAskers(recommender).ask(name, fresh, None, _NOW)

    async def again() -> None:
        askers.ask(name, same, None, _NOW)

    asking = await _cpu(lambda: store.of(name), repeats)
    vector = await _cpu(anew, max(10, repeats // 10)), await _cpu(again, repeats)
    history = [await _cpu(lambda: store.history(name), repeats // 10, clock) for clock in _CLOCKS]
    return User(asking, *vector, kept, *history)


async def _cpu(
    work: Callable[[], Awaitable[object]], repeats: int, clock: Callable[[], int] = time.process_time_ns
) -> float:
    times = []
    for _ in range(9):
        start = clock()
        for _ in range(repeats):
            await work()
        times.append((clock() - start) / repeats)
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
