"""Requests that nobody should send, to a server with two workers, and what becomes of it.

Up to a tenth of the requests is made by schemathesis out of the description of the API, valid and not. The others go
over sockets: random and mutated bytes, halves, headers and bodies that are too large, pipelines, slow clients, and
among them requests that must be answered 200. At last some connections stay silent in the middle of a request.
Whatever comes: every connection ends or is answered, no answer is an error of the server but 503, no worker dies, and
memory and open files stay what they were.

    python -m reliability.fuzz --quick
"""

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from reliability._attacks import HANGS, NO_HTTP, Answers, described, garbage, silent
from reliability._load import run
from reliability._report import Report, arguments, steps
from reliability._server import Server, proportional_memory, soon
from reliability._world import make

WORKERS = 2
IDLE_SECONDS = 6.0
"""After which a server has ended connections without requests."""
PARTS = 5
"""Of all requests; after each memory is looked at."""
GROWTH = 8
"""MiB that all processes together may take more after the last part than before it."""
LEFT = 2
"""Files that a worker may have open more: a connection that is only just ended."""


def main() -> int:
    """Run, print."""
    parser = arguments(__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--silent", type=int, default=200, help="connections that stay silent at last")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    requests, quiet = (4_000, 50) if asked.quick else (asked.requests, asked.silent)
    report = Report("fuzz")
    with tempfile.TemporaryDirectory() as folder, steps() as step:
        step("making a release")
        with Server(make(Path(folder), 1_000, 2_000), WORKERS, None, None, "--docs") as server:
            fuzz(server, requests, quiet, asked.seed, report, step)
    return report.end()


def fuzz(server: Server, requests: int, quiet: int, seed: int, report: Report, step: Callable[[str], None]) -> None:
    """Ask a server, and judge it."""
    soon(lambda: len(server.workers()) == WORKERS)
    start, workers, got, random = time.monotonic(), server.workers(), Answers(), Random(seed)
    memory: list[float] = []
    files: dict[int, int] = {}
    for part in range(1, PARTS + 1):
        step(f"part {part} of {PARTS}: what schemathesis makes")
        described(f"http://{server.host}:{server.port}", requests // 10 // PARTS, seed + part, got)
        step(f"part {part} of {PARTS}: what goes over sockets")
        left = requests * part // PARTS - got.by_status.total()  # schemathesis makes fewer where a route has few
        run(garbage((server.host, server.port), random, left, got))
        _until_idle(server)
        memory.append(_memory(server, workers))
        files = files or _open_files(workers)
    step(f"{quiet} connections that stay silent")
    run(silent((server.host, server.port), random, quiet, got))
    _until_idle(server)
    report.figures |= {
        "requests": got.by_status.total(),
        "by status": {str(status): count for status, count in sorted(got.by_status.items(), key=str)},
        "hangs": got.by_status[HANGS],
        "5xx but 503": sum(n for status, n in got.by_status.items() if status in range(500, 600) and status != 503),
        "MiB after each part": [round(size, 1) for size in memory],
        "MiB more after the last": memory[-1] - memory[-2],
        "seconds": time.monotonic() - start,
    }
    _judge(server, workers, got, report)
    for worker, before in files.items():
        now = _open_files([worker]).get(worker, 0)
        report.must(f"at most {LEFT} open files more than before", now <= before + LEFT, f"{before}, and then {now}")


def _judge(server: Server, workers: list[int], got: Answers, report: Report) -> None:
    figures, log = report.figures, server.log()
    report.must("no connection hangs", not figures["hangs"], figures["hangs"])
    report.must("answers are HTTP", not got.by_status[NO_HTTP], got.by_status[NO_HTTP])
    report.must("no errors of the server but 503", not figures["5xx but 503"], figures["by status"])
    report.must("good requests are answered", not got.refused, dict(got.refused))
    report.must("no worker died", server.workers() == workers, f"{workers}, and then {server.workers()}")
    report.must("no errors in the log", "Traceback" not in log and '"level":"error"' not in log, _errors(log))
    report.must(f"at most {GROWTH} MiB more after the last part", figures["MiB more after the last"] <= GROWTH)
    report.must("the server is ready afterwards", server.get("/healthz/ready")[0] == 200)


def _until_idle(server: Server) -> None:
    """Wait until the workers have ended the connections that clients left; idle ones end after 5 s."""
    time.sleep(IDLE_SECONDS)
    server.wait_ready()


def _memory(server: Server, workers: list[int]) -> float:
    return proportional_memory([server.pid, *workers]) / 2**20


def _open_files(pids: list[int]) -> dict[int, int]:
    found = {}
    for pid in pids:
        with suppress(FileNotFoundError):
            found[pid] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return found


def _errors(log: str) -> str:
    place = max(log.find("Traceback"), log.find('"level":"error"'))
    return log[max(0, place - 500) : place + 2000]


if __name__ == "__main__":
    sys.exit(main())
