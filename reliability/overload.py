"""More requests than a server can answer, and SIGTERM under load.

One worker has a processor of its own and the clients another, so that they do not slow each other. What it can do is
found with a few connections that ask as fast as they are answered; then requests come at half that rate, at twice it,
from a crowd of connections at once, and at half again. Latencies are those of answers
200 to what was asked after the first second, from when it was due.

    python -m reliability.overload --quick
"""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reliability._load import FAILED, Answers, Ask, closed_loop, get, open_loop, run
from reliability._report import Report, arguments, steps
from reliability._server import Server
from reliability._world import World, make

Step = Callable[[str], None]
ASKED = "k=10&offset=900"
"""Much to search, exactly, and little to send, so that it is not the clients that are measured."""
SLOWER = 3.0
"""How many times the p99 at half load it may be at twice the load."""
CROWD = 800
"""Connections, whose clients wait for a second when they are told to."""
DRAINING = 100.0
"""Requests a second over kept connections while servers are stopped; half as many come over new ones."""
_FEW = 16


def main() -> int:
    """Run, print."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--drains", type=int, default=20, help="servers that are stopped under load")
    asked = parser.parse_args()
    seconds, drains = (3.0, 3) if asked.quick else (asked.seconds, asked.drains)
    items = 50_000 if asked.quick else 150_000
    report = Report("overload")
    with tempfile.TemporaryDirectory() as folder, steps() as step:
        step("making a release")
        world = make(Path(folder), items, 2_000, items + 1)
        overload(world, seconds, report, step)
        drain(world, drains, report, step)
    return report.end()


def overload(world: World, seconds: float, report: Report, step: Step = lambda _: None) -> None:
    """All loads one after the other on one server."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        report.skip("overload", "needs two processors")
        return
    ask = _asking(world)
    os.sched_setaffinity(0, processors[1:])
    try:
        with Server(world, 1, None, processors[0]) as server:
            where = server.host, server.port
            step("as fast as it can")
            rate = _full(where, ask, seconds)
            loads: dict[str, Answers] = {}
            for name, part in (("half", 0.5), ("twice", 2.0), ("half again", 0.5)):
                step(f"{name} of {rate:.0f} requests a second")
                loads[name] = Answers()
                run(open_loop(where, ask, part * rate, seconds, loads[name]))
                if name == "twice":
                    step(f"{CROWD} connections")
                    loads["crowd"] = Answers()
                    run(_timed(where, ask, CROWD, seconds, loads["crowd"]))
            alive = server.get("/healthz/ready")[0]
            log = server.log()
    finally:
        os.sched_setaffinity(0, processors)
    report.must("the server is ready afterwards", alive == 200, alive)
    report.must("no traceback", "Traceback" not in log, log[-2000:])
    _judge(report, rate, loads)


def _full(where: tuple[str, int], ask: Ask, seconds: float) -> float:
    """Answers a second where none has to wait long."""
    run(_timed(where, ask, _FEW, seconds / 2, Answers()))
    answers = Answers()
    run(_timed(where, ask, _FEW, seconds, answers))
    return answers.count(200) / float(np.ptp(answers.sent))


async def _timed(where: tuple[str, int], ask: Ask, connections: int, seconds: float, answers: Answers) -> None:
    stop = asyncio.Event()
    load = asyncio.create_task(closed_loop(where, ask, connections, stop, answers))
    await asyncio.sleep(seconds)
    stop.set()
    await load


def _judge(report: Report, rate: float, loads: dict[str, Answers]) -> None:
    report.figures["answers a second at most"] = rate
    for name, answers in loads.items():
        refused = answers.status == 503
        report.must(f"each request is answered: {name}", not answers.count(FAILED), answers.odd)
        report.must(f"answers are 200 or 503: {name}", answers.count(200, 503) == len(answers), answers.odd)
        report.must(f"503 says when to come again: {name}", not answers.without_retry_after)
        report.figures[f"{name}: requests, of them refused"] = [len(answers), int(refused.sum())]
        report.figures[f"{name}: p50 and p99, ms"] = [
            round(answers.milliseconds(quantile, _settled(answers)), 2) for quantile in (0.5, 0.99)
        ]
        if refused.any():
            told = float(np.quantile(answers.seconds[refused], 0.99))
            report.figures[f"{name}: p99 until refused, ms"] = round(1000 * told, 2)
    half, twice = (loads[name].milliseconds(0.99, _settled(loads[name])) for name in ("half", "twice"))
    report.figures["p99 at twice / at half"] = twice / half
    report.must("what is too much is refused", loads["twice"].count(503))
    report.must(
        f"p99 at twice the load is at most {SLOWER:g} times that at half", twice <= SLOWER * half, twice / half
    )
    again = loads["half again"]
    report.must("afterwards nothing is refused", again.count(200) == len(again), again.odd)


def _settled(answers: Answers) -> NDArray[np.bool_]:
    """All that were asked after the first second, in which a queue may form and go."""
    settled: NDArray[np.bool_] = answers.sent > answers.sent.min() + 1
    return settled


def _asking(world: World) -> Ask:
    chance = random.Random(3)
    return lambda: get(f"/recommend?user_id=user-{1 + chance.randrange(world.users)}&{ASKED}")


def drain(world: World, servers: int, report: Report, step: Step = lambda _: None) -> None:
    """Send SIGTERM to servers of two workers under load; whatever was sent before must be answered."""
    failed = sent = 0
    odd: dict[str, int] = {}
    took, codes = list[float](), set[int]()
    for turn in range(servers):
        step(f"SIGTERM under load, {turn + 1} of {servers}")
        answers = Answers()
        with Server(world, 2) as server:
            at = run(_terminate(server, _asking(world), answers))
            codes.add(server.wait(30))
            took.append(time.monotonic() - at)
        before = answers.sent < at
        failed += int((answers.status[before] != 200).sum())
        sent += int(before.sum())
        if (answers.status[before] != 200).any():
            odd |= answers.odd
    report.must("what was sent before SIGTERM is answered", not failed, f"{failed} of {sent} were not: {odd}")
    report.must("servers end with exit code 0", codes == {0}, codes)
    report.figures |= {
        "servers ended by SIGTERM": servers,
        "requests sent before": sent,
        "of them failed": failed,
        "from SIGTERM to the end, s": max(took),
    }


async def _terminate(server: Server, ask: Ask, answers: Answers) -> float:
    """Load, half of it over new connections; SIGTERM; returns when that was."""
    stop, where = asyncio.Event(), (server.host, server.port)
    load = [
        asyncio.create_task(closed_loop(where, ask, 8, stop, answers, DRAINING)),
        asyncio.create_task(closed_loop(where, lambda: _closing(ask()), 4, stop, answers, DRAINING / 2)),
    ]
    await asyncio.sleep(random.uniform(0.3, 0.8))
    at = time.monotonic()
    server.terminate()
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.gather(*load)
    return at


def _closing(request: bytes) -> bytes:
    return request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


if __name__ == "__main__":
    raise SystemExit(main())
