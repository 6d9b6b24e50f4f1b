"""Stores of fresh watches to test: a plain model, a Redis server of the test's own, and sync ways to ask."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from serving.fresh.sqlite import SqliteStore
from serving.fresh.store import Fresh, FreshStore, Watch

AWKWARD = ["u", "ü", "a\0b", "\0", "視" * 85, 'q"u,o\nte', "x" * 256, " padded ", "\U0001f3ac", "%s'; --"]
"""Ids that are allowed."""


class Model:
    """What a store should know, written from its description with nothing but lists."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []
        self.erasures: dict[str, int] = {}

    def add(self, watches: Sequence[Watch]) -> int:
        new = 0
        for watch in watches:
            known = watch.event_id in {w.event_id for w in self.watches}
            late = watch.user_id in self.erasures and watch.time <= self.erasures[watch.user_id]
            if not known and not late:
                self.watches.append(watch)
                new += 1
        return new

    def erase(self, user: str, now: int) -> int:
        gone = [w for w in self.watches if w.user_id == user]
        self.watches = [w for w in self.watches if w.user_id != user]
        self.erasures[user] = max(now, self.erasures.get(user, now), *(w.time for w in gone))
        return len(gone)

    def prune(self, time_: int, learned: set[tuple[str, str, int]] | None = None) -> int:
        before = len(self.watches)
        self.watches = [
            w
            for w in self.watches
            if w.time >= time_ or (learned is not None and (w.user_id, w.item_id, w.time) not in learned)
        ]
        return before - len(self.watches)

    def of(self, user: str) -> Fresh:
        found = sorted((w for w in self.watches if w.user_id == user), key=lambda w: w.time)
        return Fresh(tuple((w.item_id, w.time) for w in found), self.erasures.get(user))


def opened(where: str) -> FreshStore:
    """The store at a path or URL, with time for a machine that is busy."""
    if "://" not in where:
        return SqliteStore(Path(where), 5, 10)
    from serving.fresh.redis import RedisStore  # noqa: PLC0415  (the package may be missing)

    return RedisStore(where, 5, 10)


def watch(event: str, user: str = "u", item: str = "i", at: int = 1) -> Watch:
    return Watch(event, user, item, at)


class RedisServer:
    """A real server on a port of its own; may be stopped and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [self._program, "--port", str(self.port), "--dir", str(self._folder), "--save", "", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            try:
                if self.send(b"PING").startswith((b"+PONG", b"-NOAUTH")):
                    return
            except OSError:
                pass
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.01)

    def send(self, command: bytes) -> bytes:
        """A command without arguments; its answer."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(command + b"\r\n")
            return connection.recv(1000).strip()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Skips the test where there is no server or no client."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server or valkey-server on the PATH")
    if find_spec("redis") is None:
        pytest.skip("the package redis is not installed")
    server = RedisServer(program, folder)
    try:
        server.start(*options)
        yield server
    finally:
        server.kill()
