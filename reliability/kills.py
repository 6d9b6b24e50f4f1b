"""kill -9 wherever it hurts: workers under load, the server while watches come in, during a swap, during publication.

python -m reliability.kills --quick
"""

import asyncio
import itertools
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from reliability._load import FAILED, Answers, Client, ask_once, closed_loop, get, post, run
from reliability._report import Report, arguments, steps
from reliability._server import Server, soon
from reliability._world import World, make
from serving.fresh.sqlite import SqliteUpkeep

Step = Callable[[str], None]
Row = tuple[str, str, int]
"""A watch: user, item and time."""
CONNECTIONS, RETRIES = 8, 3
_EVENT, _FIRST_TIME = "kill-", 1_700_000_000
AGAIN = 20
"""Acknowledged watches that are sent once more to the next server."""
READY_AGAIN = 20.0
"""Seconds after which a worker that was killed must have a successor."""


def main() -> int:
    """Run, print."""
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of the server while watches come in")
    asked = parser.parse_args()
    items, few, kills = (5_000, 3, 5) if asked.quick else (100_000, 20, asked.kills)
    report = Report("kill -9")
    with tempfile.TemporaryDirectory() as folder, steps() as step:
        step("making a release")
        world = make(Path(folder), items, 2_000)
        kill_workers(world, few, report, step)
        kill_while_swapping(world, few, report, step)
        kill_while_publishing(world, few, report, step)
        kill_while_watching(world, kills, report, step)
    return report.end()


def kill_workers(world: World, kills: int, report: Report, step: Step) -> None:
    """Kill one of two workers again and again, while some ask and others ask with retries."""
    plain, patient = Answers(), Answers()
    recovery: list[float] = []
    with Server(world, 2) as server:

        async def load() -> None:
            where, stop = (server.host, server.port), asyncio.Event()
            asking = [
                asyncio.create_task(closed_loop(where, _asking(world), CONNECTIONS, stop, plain)),
                asyncio.create_task(_retrying(where, world, stop, patient)),
            ]
            for kill in range(kills):
                step(f"killing a worker, {kill + 1} of {kills}")
                await asyncio.sleep(random.uniform(0.2, 0.6))
                recovery.append(await _kill_one(server))
            await asyncio.sleep(0.5)
            stop.set()
            await asyncio.gather(*asking)

        run(load())
        log = server.log()
    failed = plain.count(FAILED)
    report.must("only requests in flight on a killed worker fail", failed <= kills * CONNECTIONS, failed)
    report.must("no request gets an error", plain.count(FAILED, 200) == len(plain), plain.odd)
    report.must("three tries hide the death of a worker", patient.count(200) == len(patient), patient.odd)
    report.must("no traceback", "Traceback" not in log, log[-2000:])
    report.figures |= {
        "workers killed": kills,
        "requests meanwhile": len(plain),
        "of them failed": failed,
        "failed after three tries": len(patient) - patient.count(200),
        "until two workers run again, ms": float(np.median(recovery)) * 1000,
    }


async def _kill_one(server: Server) -> float:
    """Kill a worker at random; returns the seconds until there are as many as before, none of them that one."""
    before = server.workers()
    victim, start = random.choice(before), time.monotonic()
    os.kill(victim, signal.SIGKILL)
    while victim in (now := server.workers()) or len(now) < len(before):
        if time.monotonic() > start + READY_AGAIN:
            raise RuntimeError(f"no successor of a killed worker:\n{server.log()}")
        await asyncio.sleep(0.005)
    return time.monotonic() - start


def _asking(world: World) -> Callable[[], bytes]:
    chance = random.Random(2)
    return lambda: get(f"/recommend?user_id=user-{1 + chance.randrange(world.users)}&k=50")


async def _retrying(where: tuple[str, int], world: World, stop: asyncio.Event, answers: Answers) -> None:
    """Ask as a client does that tries again over a new connection: after 50 ms, and after 100 ms more."""
    client, ask = Client(*where), _asking(world)
    while not stop.is_set():
        request, start = ask(), time.monotonic()
        for tried in range(RETRIES):
            status = await ask_once(client, request, Answers())
            if status == 200 or tried == RETRIES - 1:
                break
            await asyncio.sleep(0.05 * 2**tried)
        answers.add(start, status)
    client.close()


def kill_while_swapping(world: World, kills: int, report: Report, step: Step) -> None:
    """Kill a worker some time after CURRENT has changed: it may be opening the release just then."""
    if "second" not in world.store.names():
        world.publish("second")
    answers, stale, settled = Answers(), Counter[str](), list[float]()
    with Server(world, 2) as server:

        async def load() -> None:
            stop = asyncio.Event()
            asking = asyncio.create_task(_retrying((server.host, server.port), world, stop, answers))
            for kill in range(kills):
                step(f"killing a worker while it swaps, {kill + 1} of {kills}")
                name = "first" if world.store.current() == "second" else "second"
                world.store.make_current(name)
                flipped = time.monotonic()
                await asyncio.sleep(random.uniform(0, 1.5))
                await _kill_one(server)
                while set(await asyncio.to_thread(_releases, server)) != {name}:
                    if time.monotonic() > flipped + READY_AGAIN:
                        stale[name] += 1
                        break
                settled.append(time.monotonic() - flipped)
            stop.set()
            await asking

        run(load())
        log = server.log()
    report.must("all workers answer from the new release in the end", not stale, dict(stale))
    report.must("three tries hide a death during a swap", answers.count(200) == len(answers), answers.odd)
    report.must("no traceback of a swap", "Traceback" not in log, log[-2000:])
    report.figures |= {
        "workers killed during swaps": kills,
        "until all answer from the new release, s": float(np.median(settled)),
    }


def _releases(server: Server) -> list[str]:
    """What some connections, which reach both workers sooner or later, are answered from."""
    found = []
    for _ in range(12):
        with suppress(OSError, ValueError):
            found.append(server.release())
    return found


def kill_while_publishing(world: World, kills: int, report: Report, step: Step) -> None:
    """Kill who publishes, at any moment of it; the store stays whole and the server answers."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    current_broken, finished = list[str](), 0
    with Server(world, 1) as server:
        for kill in range(kills):
            step(f"killing a publication, {kill + 1} of {kills}")
            ours, theirs = context.Pipe()
            before = world.store.names()
            process = context.Process(target=_publish_forever, args=(world, theirs))
            process.start()
            ours.recv()
            time.sleep(random.uniform(0, 1.0))
            process.kill()
            process.join()
            finished += len(world.store.names()) - len(before)
            try:
                world.store.manifest(world.store.current()).verify(world.store.path(world.store.current()))
            except Exception as error:
                current_broken.append(repr(error))
            report.must("the server answers after a killed publication", server.get("/releases/current")[0] == 200)
            _tidy(world)
        name = world.publish()
        report.must("publishing works after kills", soon(lambda: server.release() == name), server.release())
    hidden = [path.name for path in world.store.root.glob(".*.*/")]
    report.must("CURRENT names a whole release", not current_broken, current_broken)
    report.must("the next publication clears what killed ones left", not hidden, hidden)
    report.figures |= {"publications killed": kills, "publications that ended meanwhile": finished}


def _publish_forever(world: World, started: Any) -> None:
    started.send("go")
    while True:
        world.publish()


def _tidy(world: World) -> None:
    for name in world.store.names():
        if name not in {"first", "second", world.store.current()}:
            world.withdraw(name)


def kill_while_watching(world: World, kills: int, report: Report, step: Step) -> None:
    """Kill all of the server while watches come in: all acknowledged ones are there, once, however often sent.

    Every other server has two workers, of which one is killed first.
    """
    acknowledged: set[str] = set()
    unsure: list[bytes] = []
    events, restart = itertools.count(), list[float]()
    tasks, store = 4, world.folder / "watched.sqlite"
    for kill in range(kills):
        step(f"killing the server while watches come in, {kill + 1} of {kills}; {len(acknowledged):,} acknowledged")
        with Server(world, 1 + kill % 2, str(store)) as server:
            restart.append(server.ready_seconds)
            sent = [_watch(event) for event in random.sample(sorted(acknowledged), min(AGAIN, len(acknowledged)))]
            left, unsure = [*unsure, *sent], []
            run(_watch_until_killed(server, tasks, events, acknowledged, left, unsure))
    judge_watches(_stored(store), acknowledged, {_row(_name(n)) for n in range(next(events))}, report)
    report.must("watches came in", len(acknowledged) >= kills, len(acknowledged))
    report.figures |= {
        "servers killed while watches came in": kills,
        "from the start of a server until it answers, s": float(np.median(restart)),
    }


def judge_watches(stored: list[Row], acknowledged: set[str], sent: set[Row], report: Report) -> None:
    """Compare what the store has with what was sent and what was acknowledged.

    By users, items and times: whether the store takes an event id for another's is what is asked.
    """
    found = Counter(stored)
    lost = {_row(event) for event in acknowledged} - set(found)
    twice = [row for row, times in found.items() if times > 1]
    strange = set(found) - sent
    report.must("every acknowledged watch is there", not lost, f"{len(lost)} are not")
    report.must("no watch is there twice", not twice, f"{len(twice)} are")
    report.must("no watch is there that nobody sent", not strange, f"{len(strange)} are")
    report.figures |= {
        "watches acknowledged": len(acknowledged),
        "of them lost": len(lost),
        "watches there twice": len(twice),
    }


def _stored(store: Path) -> list[Row]:
    """All watches in a store."""
    upkeep = SqliteUpkeep(store)
    try:
        return [(watch.user_id, watch.item_id, watch.time) for watch in upkeep.watches()]
    finally:
        upkeep.close()


async def _watch_until_killed(
    server: Server,
    tasks: int,
    events: "itertools.count[int]",
    acknowledged: set[str],
    left: list[bytes],
    unsure: list[bytes],
) -> None:
    """Send watches, those in `left` first; kill the server after up to 0.3 s, one of several workers before it."""
    dead = asyncio.Event()

    async def one() -> None:
        client = Client(server.host, server.port)
        while not dead.is_set():
            request = left.pop() if left else _watch(_name(next(events)))
            try:
                answer = await client.ask(request)
            except (OSError, EOFError):
                unsure.append(request)
                break
            if answer.status == 200:
                acknowledged.add(_event(request))
            else:
                unsure.append(request)
        client.close()

    asking = [asyncio.create_task(one()) for _ in range(tasks)]
    await asyncio.sleep(random.uniform(0.01, 0.3))
    workers = server.workers()
    if len(workers) > 1:
        os.kill(random.choice(workers), signal.SIGKILL)
        await asyncio.sleep(random.uniform(0, 0.1))
    os.killpg(server.pid, signal.SIGKILL)
    dead.set()
    await asyncio.gather(*asking)
    unsure.extend(left)


def _watch(event: str) -> bytes:
    user, item, time_ = _row(event)
    return post("/watches", {"watches": [{"event_id": event, "user_id": user, "item_id": item, "time": time_}]})


def _name(number: int) -> str:
    return f"{_EVENT}{number}"


def _row(event: str) -> Row:
    """The watch of an event; no two have the same time."""
    number = int(event.removeprefix(_EVENT))
    return f"user-{1 + number % 50}", f"video-{1 + number % 1000}", _FIRST_TIME + number


def _event(request: bytes) -> str:
    return request.partition(b'"event_id": "')[2].partition(b'"')[0].decode()


if __name__ == "__main__":
    raise SystemExit(main())
