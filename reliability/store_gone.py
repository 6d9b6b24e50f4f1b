"""The store of fresh watches locked, replaced or stopped under a running server, and there again later.

Redis is tried where `redis-server` or `valkey-server` and the package redis are found.

    python -m reliability.store_gone --quick
"""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from reliability._report import Report, arguments, steps
from reliability._server import Server, soon
from reliability._world import World, make

Running = tuple[str, Callable[[], "subprocess.Popen[bytes]"], Callable[[], None]]
"""A Redis server: its URL, its process now, and how to start it again."""
ASKED = 20
"""Recommendations while the store is away."""
SLOWEST = 0.5
"""Seconds that one of them may take, on a busy machine."""
_SURE = [("--appendonly", "yes"), ("--appendfsync", "always"), ("--save", "")]


def main() -> int:
    """Run, print."""
    asked = arguments(__doc__).parse_args()
    report = Report("the store of fresh watches is gone")
    with tempfile.TemporaryDirectory() as folder, steps() as step:
        step("making a release")
        world = make(Path(folder), 5_000 if asked.quick else 100_000, 2_000)
        rounds = 1 if asked.quick else 5
        for turn in range(rounds):
            step(f"SQLite, {turn + 1} of {rounds}")
            sqlite_gone(world, report)
            step(f"Redis, {turn + 1} of {rounds}")
            redis_gone(world, report)
        report.figures["rounds"] = rounds
    return report.end()


def sqlite_gone(world: World, report: Report) -> None:
    """Let another process hold the lock for writing; then take the file away and put something else there."""
    with Server(world) as server:
        _know(server, "before-sqlite", report)
        with _locked(world.fresh):
            _refuses_watches(server, "locked", report)
            _recommends(server, "SQLite locked for writing", report, degraded=False)
        _all_is_well(server, "after a lock", report)
        aside = world.fresh.with_suffix(".aside")
        aside.mkdir()
        for path in world.folder.glob(f"{world.fresh.name}*"):
            path.rename(aside / path.name)
        world.fresh.write_bytes(b"something else" * 1000)
        _degrades(server, report, "SQLite's file replaced")
        _refuses_watches(server, "replaced", report)
        _recommends(server, "SQLite's file replaced", report, degraded=True)
        for path in aside.iterdir():
            path.replace(world.folder / path.name)
        aside.rmdir()
        _all_is_well(server, "after the file is back", report)


def redis_gone(world: World, report: Report) -> None:
    """Stop a Redis server as by SIGSTOP, so that it answers nothing, then kill it; start it again."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        report.skip("Redis", "no redis-server or valkey-server on the PATH")
        return
    if find_spec("redis") is None:
        report.skip("Redis", "the package redis is not installed")
        return
    with tempfile.TemporaryDirectory() as folder, _redis(program, Path(folder)) as redis:
        _redis_gone(world, redis, report)


def _redis_gone(world: World, redis: Running, report: Report) -> None:
    url, process, start = redis
    with Server(world, 1, url) as server:
        _know(server, "before-redis", report)
        process().send_signal(signal.SIGSTOP)
        _refuses_watches(server, "stopped", report)
        _recommends(server, "Redis stopped", report, degraded=True)
        process().send_signal(signal.SIGCONT)
        _all_is_well(server, "after Redis goes on", report)
        process().kill()
        process().wait()
        _refuses_watches(server, "killed", report)
        _recommends(server, "Redis killed", report, degraded=True)
        start()
        _all_is_well(server, "after Redis runs again", report)


def _know(server: Server, event: str, report: Report) -> None:
    """Post a watch of user-1, so that what is known of that user is not what is stored."""
    status, answer, _ = server.post("/watches", _watch(f"{event}-{time.time_ns()}"))
    report.must("a watch is taken", status == 200, answer)
    report.must("it counts at once", server.get("/recommend?user_id=user-1&k=5")[1]["source"] == "fresh")


def _degrades(server: Server, report: Report, when: str) -> None:
    """It is looked once a second whether another file has taken the place."""
    found = soon(lambda: server.get("/recommend?user_id=user-1&k=5")[1]["degraded"] is True)
    report.must(f"recommendations are marked degraded: {when}", found)


def _recommends(server: Server, when: str, report: Report, degraded: bool) -> None:
    """All recommendations are answered soon; where they are degraded, from what is stored."""
    slowest, wanted = 0.0, (degraded, "stored" if degraded else "fresh")
    for _ in range(ASKED):
        start = time.monotonic()
        status, answer, _ = server.get("/recommend?user_id=user-1&k=5")
        slowest = max(slowest, time.monotonic() - start)
        got = answer.get("degraded"), answer.get("source")
        report.must(f"recommendations go on: {when}", status == 200 and len(answer["candidates"]) == 5, answer)
        report.must(f"they say what they are from: {when}", got == wanted, got)
        time.sleep(0.02)
    report.must(f"recommendations do not wait: {when}", slowest < SLOWEST, f"{slowest:.2f} s")
    report.worst(f"slowest recommendation, ms: {when}", 1000 * slowest)


def _refuses_watches(server: Server, when: str, report: Report) -> None:
    start = time.monotonic()
    status, answer, headers = server.post("/watches", _watch(f"refused-{time.time_ns()}"))
    told = status == 503 and "retry-after" in headers
    report.must(f"watches get 503 and Retry-After: {when}", told, (status, answer, headers))
    report.worst(f"until a watch is refused, s: {when}", time.monotonic() - start)


def _all_is_well(server: Server, when: str, report: Report) -> None:
    """Watches are taken and read again within some seconds, and count."""
    start = time.monotonic()
    event = _watch(f"again-{time.time_ns()}")
    report.must(f"watches are taken again: {when}", soon(lambda: server.post("/watches", event)[0] == 200))
    again = soon(lambda: server.get("/recommend?user_id=user-1&k=5")[1]["source"] == "fresh")
    report.must(f"fresh watches count again: {when}", again)
    report.worst(f"until all is well, s: {when}", time.monotonic() - start)


def _watch(event: str) -> dict[str, list[dict[str, str]]]:
    return {"watches": [{"event_id": event, "user_id": "user-1", "item_id": "video-7"}]}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold SQLite's lock for writing over a connection of one's own, as a careless program would."""
    con = sqlite3.connect(path, isolation_level=None)
    con.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        con.execute("ROLLBACK")
        con.close()


@contextmanager
def _redis(program: str, folder: Path) -> Iterator[Running]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        options = [part for option in _SURE for part in option]
        command = [program, "--port", str(port), "--dir", str(folder), *options]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        if not soon(lambda: _listens(port)):
            raise RuntimeError("redis-server does not listen")

    start()
    try:
        yield f"redis://127.0.0.1:{port}/0", lambda: running[-1], start
    finally:
        for process in running:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.wait()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(100).startswith(b"+PONG")
    return False


if __name__ == "__main__":
    raise SystemExit(main())
