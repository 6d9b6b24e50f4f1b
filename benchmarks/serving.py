"""What it costs to serve recommendations over HTTP, beside the limits and beside what one would glue together.

All answer the same users in turns: our server; FAISS alone with the same index; the smallest ASGI application, which
sends an answer of the same size that is made already; and a naive one. Made-up releases of 200 watches a user are
kept in work/. Ratios are what to compare between machines; the last line is JSON. Linux only. `--studies` measures
what was chosen against what was not.

    python -m benchmarks.serving --quick
"""

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks._serving.load import arrivals, poisson
from benchmarks._serving.process import Memory, Server, started
from benchmarks._serving.studies import study
from benchmarks._serving.turns import Cost, at_rate, http, middle, on, over, searching, take_turns
from benchmarks._serving.world import released
from index.recommender import Recommender, open_release
from watchnext.histories import Int64
from watchnext.release import ReleaseStore

WATCHES = 200
BUILD_SECONDS = 120.0
_LIMIT = ("bare search", "bare ASGI")
_NAIVE_SHARE = {"naive": 4, "naive, exact": 40}
"""The naive ones are asked for so many times fewer users."""


class Amount(NamedTuple):
    """How much is measured."""

    sizes: tuple[int, ...]
    """Items, and as many users."""
    requests: int
    rounds: int
    seconds: float
    """At a constant rate."""


class Latency(NamedTuple):
    """Microseconds, and p99 over p50; medians of rounds."""

    p50: float
    p99: float
    ratio: float


QUICK, WHOLE = Amount((10_000,), 1000, 3, 1.0), Amount((100_000, 1_000_000), 3000, 5, 10.0)


def main() -> None:
    """Build what is missing, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 thousand items and users: a minute")
    parser.add_argument("--studies", action="store_true", help="what was chosen against what was not")
    parser.add_argument("--size", type=int, action="append", help="items, and users; may be repeated")
    parser.add_argument("--work", type=Path, default=Path("work/benchmark-serving"), help="where releases are kept")
    asked = parser.parse_args()
    amount = QUICK if asked.quick else WHOLE
    if asked.size:
        amount = amount._replace(sizes=tuple(asked.size))
    figures: dict[str, Any] = {}
    for size in amount.sizes:
        store = released(size, size, WATCHES, BUILD_SECONDS, asked.work)
        users = np.random.default_rng(3).choice(np.arange(1, size + 1), amount.requests, replace=False)
        # before this process maps the release: what it maps, too, would count half
        memory = {} if asked.studies else {count: memory_of(store, users, count) for count in (1, 2, 4)}
        recommender = open_release(store.path(store.current()), verify=False)
        print(f"\n{size:,} items and users, {WATCHES} watches each; {recommender.index.describe()}")
        if asked.studies:
            figures[str(size)] = study(store, recommender, users, amount.rounds)
        else:
            figures[str(size)] = measure(store, recommender, users, amount, memory)
    if len(figures) > 1 and not asked.studies:
        figures["private_bytes_a_user"] = bytes_a_user(figures, amount.sizes)
    print(json.dumps(figures))


def measure(
    store: ReleaseStore, recommender: Recommender, users: Int64, amount: Amount, memory: dict[int, Memory]
) -> dict[str, Any]:
    """All figures of one size."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fresh = Path(folder) / "fresh.sqlite"
        servers = {
            "bare ASGI": stack.enter_context(other("bare", store)),
            "ours": stack.enter_context(ours(store, fresh)),
        }
        servers["search and ASGI"] = stack.enter_context(other("searching", store))
        servers |= {
            name: stack.enter_context(other(name.replace(", exact", "-flat"), store)) for name in _NAIVE_SHARE
        }
        cores = sorted(os.sched_getaffinity(0))
        for server in servers.values():
            server.pinned(cores[:1])
        stack.enter_context(on(cores[-1:]))
        turns = {"bare search": searching(recommender, cores[:1])}
        turns |= {name: http(server, _NAIVE_SHARE.get(name, 1)) for name, server in servers.items()}
        costs = take_turns(turns, users, amount.rounds)
        rows = {name: middle(each) for name, each in costs.items()}
        ratios = {name: over(costs, name, _LIMIT) for name in costs}
        print_rows(rows, ratios)
        judged = {name: servers[name] for name in ("bare ASGI", "ours")}
        latency = latencies(judged, users, rows["ours"].rate / 2, amount)
        print_latencies(latency)
    started_in = starts(store)
    workers = measure_workers(store, users, amount.rounds) | told(memory)
    print_target("CPU over bare search and bare ASGI", ratios["ours"], 1.25)
    print_target("p99 over p50 at half of saturation", latency["ours"]["even"].ratio, 4)
    print_target("seconds until ready", started_in, 3)
    return {
        "index": recommender.index.describe(),
        "microseconds": {name: cost._asdict() for name, cost in rows.items()},
        "cpu_over_limit": ratios,
        "latency": {name: {way: found._asdict() for way, found in ways.items()} for name, ways in latency.items()},
        "ready_seconds": started_in,
        "private_bytes": memory[1].private,
        "workers": workers,
    }


def latencies(
    servers: Mapping[str, Server], users: Int64, rate: float, amount: Amount
) -> dict[str, dict[str, Latency]]:
    """At a constant rate, by turns: each client at equal intervals, and all at random (`poisson`)."""
    rng, count = np.random.default_rng(7), int(rate * amount.seconds)
    asked = np.resize(users, count).tolist()
    found: dict[tuple[str, str], list[Latency]] = {}
    for _ in range(amount.rounds):
        ways = {"even": arrivals(rate, count, 16, rng), "random": poisson(rate, count, rng)}
        for (name, server), (way, due) in product(servers.items(), ways.items()):
            driven = at_rate(server, asked, due)
            p50, p99 = driven.quantile(0.5), driven.quantile(0.99)
            found.setdefault((name, way), []).append(Latency(p50, p99, p99 / p50))
    return {
        name: {way: Latency(*map(median, zip(*found[name, way], strict=True))) for way in ways} for name in servers
    }


def measure_workers(store: ReleaseStore, users: Int64, rounds: int) -> dict[str, Any]:
    """What further processes bring and take.

    Here the clients need a part of the cores, so that the rate of two workers on the clock is a lower bound. CPU
    time a request with both at work says what two free cores would bring: 2 times that of one over that of two.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fresh = Path(folder) / "fresh.sqlite"
        servers: dict[str, Server] = {}
        for count in (1, 2):
            servers[f"ours x {count}"] = stack.enter_context(ours(store, fresh, count))
            servers[f"bare ASGI x {count}"] = stack.enter_context(other("bare", store, count))
        cores = sorted(os.sched_getaffinity(0))
        for name, server in servers.items():
            server.pinned(cores[: int(name[-1])])
        costs = take_turns({name: http(server, clients=32) for name, server in servers.items()}, users, rounds)
    found: dict[str, Any] = {}
    for name in ("ours", "bare ASGI"):
        one, two = costs[f"{name} x 1"], costs[f"{name} x 2"]
        found[name] = {
            "on_the_clock": median(b.rate / a.rate for a, b in zip(one, two, strict=True)),
            "by_cpu": median(2 * a.cpu / b.cpu for a, b in zip(one, two, strict=True)),
        }
        print(
            f"two workers, {name:12} {found[name]['on_the_clock']:5.2f} times one on the clock, with the clients on "
            f"the same cores; {found[name]['by_cpu']:5.2f} by CPU a request"
        )
    print_target("two workers, by CPU a request", found["ours"]["by_cpu"], 1.8, most=False)
    return found


def memory_of(store: ReleaseStore, users: Int64, workers: int) -> Memory:
    """What a server holds that has answered for all users, while nothing else has its files in memory."""
    with tempfile.TemporaryDirectory() as folder, ours(store, Path(folder) / "fresh.sqlite", workers) as server:
        for _ in range(2):
            http(server, clients=32)(users.tolist())
        return server.memory()


def told(memory: dict[int, Memory]) -> dict[str, Any]:
    """What further workers hold, printed."""
    second, further = memory[2].pss - memory[1].pss, (memory[4].pss - memory[2].pss) / 2
    print(
        f"memory: {memory[1].pss / 2**20:,.0f} MiB, of which private {memory[1].private / 2**20:,.0f}; "
        f"a second worker and the parent {second / 2**20:,.0f}; each further one {further / 2**20:,.0f}"
    )
    print_target("memory of the second worker", second / memory[1].pss, 0.15)
    return {
        "memory": {str(count): one._asdict() for count, one in memory.items()},
        "second_share": second / memory[1].pss,
        "further_share": further / memory[1].pss,
    }


def ours(store: ReleaseStore, fresh: Path, workers: int = 1) -> AbstractContextManager[Server]:
    """Our server, as `watchnext serve` starts it, without keys."""
    more = ("--without-keys", "--fresh", str(fresh), "--workers", str(workers))
    return started(("watchnext", "serve", str(store.root), "--port", "0", "--json", *more), "/healthz/ready")


def other(what: str, store: ReleaseStore, workers: int = 1) -> AbstractContextManager[Server]:
    """One of the servers of `benchmarks._serving.apps`."""
    command = ("benchmarks._serving.apps", what, str(store.root), "--workers", str(workers))
    return started(command, "/recommend?user_id=user-1")


def starts(store: ReleaseStore) -> float:
    """Seconds from the start of our process until it is ready, with the files in the operating system's cache."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            with ours(store, Path(folder) / "fresh.sqlite") as server:
                times.append(server.ready_seconds)
    return median(times)


def bytes_a_user(figures: dict[str, Any], sizes: tuple[int, ...]) -> float:
    """How much more private memory the largest release takes than the smallest, for each further user (and item)."""
    least, most = min(sizes), max(sizes)
    grown = figures[str(most)]["private_bytes"] - figures[str(least)]["private_bytes"]
    print_target("bytes of private memory a user", grown / (most - least), 200)
    return float(grown / (most - least))


def print_rows(rows: dict[str, Cost], ratios: dict[str, float]) -> None:
    """CPU times of one size."""
    print(f"{'':16}{'CPU µs':>9}{'ratio':>8}{'a second':>10}")
    for name, cost in rows.items():
        print(f"{name:16}{cost.cpu:9.0f}{ratios[name]:8.2f}{cost.rate:10,.0f}", flush=True)


def print_latencies(latency: dict[str, dict[str, Latency]]) -> None:
    """Latencies of one size."""
    for name, ways in latency.items():
        for way, (p50, p99, ratio) in ways.items():
            print(f"{name:16}at half of our rate, {way:7} p50 {p50:8.0f} µs, p99 {p99:8.0f} µs, ratio {ratio:5.1f}")


def print_target(name: str, value: float, target: float, most: bool = True) -> None:
    """A figure beside what it should be."""
    well = value <= target if most else value >= target
    print(f"{name:44}{value:9.2f}   {'at most' if most else 'at least'} {target:g}: {'yes' if well else 'NO'}")


if __name__ == "__main__":
    main()
