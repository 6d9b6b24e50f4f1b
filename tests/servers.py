"""An API under uvicorn in a thread of the test, with a client for it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from serving.settings import ServingSettings


def settings(releases: Path, **more: Any) -> ServingSettings:
    """Of a server for tests: no keys, and it sees another release at once."""
    return ServingSettings(releases=releases, **{"without_keys": True, "docs": True, "poll_seconds": 0.01, **more})


@contextmanager
def running(app: FastAPI, **options: Any) -> Iterator[httpx.Client]:
    """Serve an app on a free port, with options of `uvicorn.Config`; the server has stopped when the block ends."""
    server = uvicorn.Server(uvicorn.Config(app, **{"port": 0, "log_level": "info", **options}))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.002)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def wait_ready(client: httpx.Client) -> None:
    """Wait until a release is loaded; fails after 10 seconds."""
    end = time.monotonic() + 10
    while client.get("/healthz/ready").status_code != 200:
        assert time.monotonic() < end, "not ready after 10 s"
        time.sleep(0.01)


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for at most ten seconds."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
