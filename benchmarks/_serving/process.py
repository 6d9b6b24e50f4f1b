"""Server processes: started, waited for, and looked at from outside (Linux): CPU time and memory of all of a tree."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks._serving.load import ask

_ENDS_WITHIN = 20
_READY_WITHIN = 120


class Memory(NamedTuple):
    """Bytes of all processes of a server; what they share is counted once."""

    pss: int
    """Whole: each page that is in memory, divided among the processes that have it."""
    private: int
    """Of that, what is in no file: heap and stacks."""


class Server(NamedTuple):
    """A server that answers."""

    pid: int
    port: int
    ready_seconds: float
    """From the start of the process until it was ready."""

    def cpu(self) -> float:
        """CPU seconds that its processes have used so far."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in _tree(self.pid))  # clock_getcpuclockid(3)

    def memory(self) -> Memory:
        """What its processes hold now."""
        sums = {"Pss:": 0, "Pss_Anon:": 0}
        for pid in _tree(self.pid):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                if name in sums:
                    sums[name] += 1024 * int(rest[0])
        return Memory(*sums.values())

    def pinned(self, cores: Sequence[int]) -> None:
        """Let its processes, and all of their threads, run on these cores only."""
        for pid in _tree(self.pid):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def started(command: Sequence[str], ready: str) -> Iterator[Server]:
    """Run `python -m COMMAND`, which prints a line of JSON with its `address`, until the block ends.

    Args:
        command: module and arguments.
        ready: a path that answers 200 as soon as it is ready.

    Raises RuntimeError where it ends before that.
    """
    begin = time.perf_counter()
    whole = [sys.executable, "-m", *command]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True) as process,
    ):
        try:
            line = next(iter(process.stdout or ()), "")
            if not line:
                code = process.wait()
                errors.seek(0)
                raise RuntimeError(f"{' '.join(command)} ended with exit code {code}: {errors.read()[-1000:]}")
            port = int(json.loads(line)["address"].rpartition(":")[2])
            while (answer := ask(port, ready))[0] != 200:
                time.sleep(0.005)
                if process.poll() is not None or time.perf_counter() > begin + _READY_WITHIN:
                    raise RuntimeError(f"{' '.join(command)} is not ready: exit code {process.poll()}, {answer}")
            yield Server(process.pid, port, time.perf_counter() - begin)
        finally:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGTERM)  # also those that it has forked
                process.wait(_ENDS_WITHIN)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _tree(pid: int) -> list[int]:
    """A process and all that it started, and these, and so on."""
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return [pid, *(each for child in children for each in _tree(child))]
