"""A server of the command line as a process of its own: started, looked at, stopped, killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reliability._world import World


class Server:
    """`watchnext serve`, in a process group of its own; `with` ends it.

    Args:
        world: whose releases and fresh watches.
        workers: processes that answer.
        fresh: where fresh watches are kept, if not in the world's file.
        cpu: the only processor that it may use; None for all.
        options: more of the command line.
    """

    def __init__(
        self, world: World, workers: int = 1, fresh: str | None = None, cpu: int | None = None, *options: str
    ) -> None:
        self._log = (world.folder / "server.log").open("ab")
        self._from = self._log.tell()
        command = [sys.executable, "-m", "watchnext", "serve", str(world.store.root), "--port", "0", "--json"]
        command += ["--workers", str(workers), "--fresh", fresh or str(world.fresh), "--without-keys", *options]
        if cpu is not None:
            command = ["taskset", "--cpu-list", str(cpu), *command]
        self.started = time.monotonic()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True)
        self._workers = workers
        try:
            line = self._process.stdout.readline() if self._process.stdout else b""
            if not line:
                raise RuntimeError(f"the server did not start:\n{self.log()}")
            self.host, _, port = json.loads(line)["address"].removeprefix("http://").partition(":")
            self.port = int(port)
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        self.ready_seconds = time.monotonic() - self.started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the process that answers, or that forked those that do."""
        return self._process.pid

    def log(self) -> str:
        """What this server has said so far."""
        self._log.flush()
        return Path(self._log.name).read_bytes()[self._from :].decode()

    def workers(self) -> list[int]:
        """The processes that answer now."""
        return children(self.pid) if self._workers > 1 else [self.pid]

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait until it answers from a release."""
        end = time.monotonic() + seconds
        while True:
            with suppress(OSError, HTTPException):
                if self.get("/healthz/ready")[0] == 200:
                    return
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(f"the server is not ready:\n{self.log()}")
            time.sleep(0.01)

    def get(self, path: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Ask over a connection of its own; returns status, body and headers."""
        return self.ask("GET", path)

    def post(self, path: str, body: object) -> tuple[int, dict[str, Any], dict[str, str]]:
        """The same with a body."""
        return self.ask("POST", path, json.dumps(body))

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, dict[str, Any], dict[str, str]]:
        """One request over a connection of its own. Raises OSError or HTTPException where it fails."""
        connection = HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def release(self) -> str:
        """The release that answers now."""
        return str(self.get("/releases/current")[1]["name"])

    def terminate(self) -> None:
        """Send SIGTERM, and do not wait."""
        self._process.terminate()

    def wait(self, seconds: float) -> int:
        """Wait for the end; returns the exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """Kill all its processes at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()


def soon(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something comes true within some seconds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def proportional_memory(pids: list[int]) -> int:
    """Bytes of memory of some processes; a page that n processes map counts an n-th for each (PSS)."""
    total = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return 1024 * total


def mapped_releases(pid: int, world: World) -> set[str]:
    """The releases of which a process maps files, deleted ones included."""
    root = f"{world.store.root.resolve()}/"
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(root)[1].split("/")[0] for line in lines if root in line}
