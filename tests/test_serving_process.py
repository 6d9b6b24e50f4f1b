"""A real server process: starts, answers, stops; and loads nothing that only training needs."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.servers import wait_ready
from tests.worlds import two_groups, write_release


@contextmanager
def server(releases: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "watchnext", "serve", str(releases), "--port", "0", "--json", "--without-keys"]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"], process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(two_groups(), tmp_path_factory.mktemp("world"), "r1")[0].root


def test_answers_at_once_on_a_kept_connection(releases: Path) -> None:
    with server(releases) as (address, _), httpx.Client(base_url=address) as client:
        wait_ready(client)
        fastest = min(client.get("/recommend?user_id=u1").elapsed.total_seconds() for _ in range(20))
    assert fastest < 0.03, "that is the time of a delayed acknowledgement: the listener lacks TCP_NODELAY"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_answers_and_stops(releases: Path, stop: signal.Signals) -> None:
    with server(releases) as (address, process):
        with httpx.Client(base_url=address) as client:
            wait_ready(client)
            known = client.get("/recommend?user_id=u1&k=2").json()
            unknown = client.get("/recommend?user_id=nobody&k=2").json()
            wrong = client.get("/recommend?user_id=u1&k=0")
        process.send_signal(stop)
        _, log = process.communicate(timeout=10)
    assert [c["item_id"] for c in known["candidates"]] == ["i3", "i5"]
    assert (known["source"], unknown["source"]) == ("stored", "popular")
    assert wrong.headers["content-type"] == "application/problem+json"
    assert process.returncode == 0
    assert "Answering from current (r1)" in log
    assert "No keys are asked for: whoever reaches 127.0.0.1 may ask and write." in log
    assert "Traceback" not in log


def test_taken_port(releases: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "watchnext", "serve", str(releases), "--port", port, "--without-keys"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_leaves_tensorflow_and_duckdb_out(releases: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "import serving.app\n"
        "from index.recommender import open_release\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "assert open_release(path).recommend('u1', 3).source == 'stored'\n"
        "print(sorted({'tensorflow', 'duckdb', 'model', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(releases / "r1")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
