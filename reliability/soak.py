"""Half an hour of mixed load on a real server with another release every minute: no failure, no growth, no stalls.

Every other minute a release is published anew, in a process of its own, and the oldest is deleted; in the minutes
between CURRENT goes back to the one before. Requests come at a steady rate and count from when they were due.

    python -m reliability.soak --quick
"""

import asyncio
import itertools
import math
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reliability._load import Answers, Ask, closed_loop, get, post, run
from reliability._report import Report, arguments, steps
from reliability._server import Server, mapped_releases, proportional_memory
from reliability._world import World, make

WORKERS, CONNECTIONS = 2, 16
AROUND = 5.0
"""Seconds from a change of CURRENT in which the workers swap, and as many before it to compare with."""
GROWTH, SLOWER = 1.05, 2.0
WARM = 60.0
"""Seconds in which caches fill up and processes part from what they were forked from."""
WATCHING = 500
"""Users who watch, and whose histories are read."""


class Swap(NamedTuple):
    """One change of CURRENT: when, to what, and whether it was published just then."""

    at: float
    release: str
    published: bool


class Memory(NamedTuple):
    """Bytes of all processes of the server at a moment (PSS)."""

    at: float
    size: int


def main() -> int:
    """Run, print."""
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two changes of the release")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second")
    parser.add_argument("--items", type=int, default=100_000)
    asked = parser.parse_args()
    if asked.quick:
        asked.minutes, asked.every, asked.items = 0.6, 6.0, 20_000
    with tempfile.TemporaryDirectory() as folder, steps() as step:
        step("making a release")
        world = make(Path(folder), asked.items, asked.items // 5)
        report = soak(world, asked.minutes * 60, asked.every, asked.rate, step)
    return report.end()


def soak(
    world: World, seconds: float, every: float, rate: float, step: Callable[[str], None] = lambda _: None
) -> Report:
    """Serve a world under load for some seconds, with another release after each `every`."""
    report = Report(f"{seconds / 60:.3g} minutes at {rate:.0f} requests a second, {WORKERS} workers")
    answers, swaps, memory = Answers(), list[Swap](), list[Memory]()
    with Server(world, WORKERS) as server:
        run(_run(world, server, seconds, every, rate, step, answers, swaps, memory))
        mapped = [mapped_releases(pid, world) for pid in server.workers()]
        log = server.log()
    failed, refused = len(answers) - answers.count(200), answers.count(503)
    report.must("no request fails", not failed, f"{failed} did, {refused} of them with 503: {answers.odd}")
    report.must("the log has no traceback", "Traceback" not in log, log[-2000:])
    report.must("a worker maps one release after a swap", all(len(names) <= 2 for names in mapped), mapped)
    report.figures |= {"requests": len(answers), "swaps": len(swaps), "failed": failed, "of them 503": refused}
    _latencies(report, answers, swaps, every)
    _memory(report, memory, swaps, every)
    return report


async def _run(
    world: World,
    server: Server,
    seconds: float,
    every: float,
    rate: float,
    step: Callable[[str], None],
    answers: Answers,
    swaps: list[Swap],
    memory: list[Memory],
) -> None:
    stop, start = asyncio.Event(), time.monotonic()
    load = asyncio.create_task(
        closed_loop((server.host, server.port), mixed(world), CONNECTIONS, stop, answers, rate)
    )
    turns = itertools.count(1)
    swapping: asyncio.Task[None] | None = None
    next_swap = start + every
    while time.monotonic() < start + seconds:
        await asyncio.sleep(min(1.0, every / 6))
        memory.append(Memory(time.monotonic(), proportional_memory([server.pid, *server.workers()])))
        if time.monotonic() >= next_swap and time.monotonic() < start + seconds - min(AROUND, every / 2):
            next_swap += every
            swapping = asyncio.create_task(_swap(world, next(turns), swaps))
        step(f"{(time.monotonic() - start) / 60:.1f} min, {len(answers):,} answers, {len(swaps)} swaps")
    if swapping is not None:
        await swapping
    stop.set()
    await load


async def _swap(world: World, turn: int, swaps: list[Swap]) -> None:
    """Publish in odd turns, and delete what is older than the one before; go back in even ones."""
    if turn % 2 == 0:
        name = world.store.previous()
        world.store.make_current(name)
        swaps.append(Swap(time.monotonic(), name, False))
        return
    process = world.publish_apart(f"turn-{turn:04}")
    told, _ = await asyncio.to_thread(process.communicate)
    if process.returncode:
        raise RuntimeError(told)
    swaps.append(Swap(time.monotonic(), f"turn-{turn:04}", True))
    for name in world.store.names()[:-2]:
        world.withdraw(name)


def mixed(world: World) -> Ask:
    """Makes requests: of 100, 76 GET /recommend, 4 with `explain`, 8 POST /recommend, 8 watches, 4 histories."""
    chance, event = random.Random(1), itertools.count()

    def ask() -> bytes:
        which, user = chance.random(), f"user-{1 + chance.randrange(world.users)}"
        watching = f"user-{1 + chance.randrange(WATCHING)}"
        item = f"video-{1 + chance.randrange(world.items)}"
        if which < 0.76:
            return get(f"/recommend?user_id={user}&k=50")
        if which < 0.80:
            return get(f"/recommend?user_id={watching}&k=20&explain=true")
        if which < 0.88:
            return post("/recommend", {"k": 20, "history": [{"item_id": item}]})
        if which < 0.96:
            watch = {"event_id": f"soak-{next(event)}", "user_id": watching, "item_id": item}
            return post("/watches", {"watches": [watch]})
        return get(f"/users/{watching}/history?limit=20")

    return ask


def _latencies(report: Report, answers: Answers, swaps: list[Swap], every: float) -> None:
    around = min(AROUND, every / 3)
    start = answers.sent.min()
    minutes = [
        answers.within(at, at + 60)
        for at in np.arange(start, answers.sent.max(), 60)
        if answers.within(at, at + 60).sum() > 100
    ]
    during = _any(answers, [(swap.at, swap.at + around) for swap in swaps])
    before = _any(answers, [(swap.at - every / 2 - around, swap.at - every / 2) for swap in swaps])
    ratio = answers.milliseconds(0.99, during) / answers.milliseconds(0.99, before)
    report.figures |= {
        "p50 by minute, ms": [round(answers.milliseconds(0.5, minute), 2) for minute in minutes],
        "p99 by minute, ms": [round(answers.milliseconds(0.99, minute), 2) for minute in minutes],
        "p99 away from swaps, ms": answers.milliseconds(0.99, before),
        "p99 around swaps, ms": answers.milliseconds(0.99, during),
        "slowest around swaps, ms": answers.milliseconds(1.0, during),
        "around swaps / away": ratio,
    }
    report.must(f"p99 around swaps is at most {SLOWER:g} times that away from them", ratio <= SLOWER, f"{ratio:.2f}")


def _any(answers: Answers, spans: list[tuple[float, float]]) -> Any:
    chosen = np.zeros(len(answers), bool)
    for span in spans:
        chosen |= answers.within(*span)
    return chosen


def _memory(report: Report, memory: list[Memory], swaps: list[Swap], every: float) -> None:
    """Compare medians of a third of the time each: releases come and go within it."""
    warm = max(swaps[1].at + every / 2, memory[0].at + WARM) if len(swaps) > 2 else math.inf
    if memory[-1].at < warm + 60:
        report.skip("growth of memory", f"needs {WARM:.0f} s and two swaps to warm up, and a minute")
        return
    sizes = [one.size for one in memory if one.at > warm]
    third = max(1, len(sizes) // 3)
    first, last = float(np.median(sizes[:third])), float(np.median(sizes[-third:]))
    report.figures |= {
        "memory after the first swaps, MiB": first / 2**20,
        "memory at the end, MiB": last / 2**20,
        "most memory, MiB": max(sizes) / 2**20,
        "growth": last / first,
    }
    report.must(f"memory grows by at most {GROWTH - 1:.0%}", last <= GROWTH * first, f"{last / first - 1:.1%}")


if __name__ == "__main__":
    raise SystemExit(main())
