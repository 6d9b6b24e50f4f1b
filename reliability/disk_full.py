"""A disk that fills up while a release is published and while watches come in, and has room again later.

As root the disk is a small tmpfs; else no file of the process may grow beyond some size (RLIMIT_FSIZE), which fails
at the same calls with another error number. `--limit` takes the second way as root, too.

    python -m reliability.disk_full --quick
"""

import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from reliability._report import Report, arguments, steps
from reliability._server import Server, soon
from reliability._world import World, make
from serving.fresh.sqlite import SqliteUpkeep

TMPFS, LIMIT = "tmpfs", "RLIMIT_FSIZE"
_SPARE = 200_000
"""Bytes of room that are left before watches come in."""


class Disk(Protocol):
    """A folder that may be made full."""

    folder: Path

    def fill(self, pid: int, room: int) -> None:
        """Leave some bytes of room for a process."""

    def free(self, pid: int) -> None:
        """Give it room again."""


class _Tmpfs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, pid: int, room: int) -> None:
        left = shutil.disk_usage(self.folder).free - room
        with (self.folder / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, max(1, left))

    def free(self, pid: int) -> None:
        (self.folder / "filler").unlink()


class _Limit:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, pid: int, room: int) -> None:
        sizes = [path.stat().st_size for path in self.folder.iterdir() if path.is_file()]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(sizes, default=0) + room, resource.RLIM_INFINITY))

    def free(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def main() -> int:
    """Run, print."""
    parser = arguments(__doc__)
    parser.add_argument("--limit", action="store_true", help=f"{LIMIT} also where a tmpfs could be mounted")
    asked = parser.parse_args()
    report = Report("a full disk")
    with tempfile.TemporaryDirectory() as folder, steps() as step:
        step("making a release")
        world = make(Path(folder), 5_000 if asked.quick else 100_000, 2_000)
        way = LIMIT if asked.limit or not can_mount(Path(folder)) else TMPFS
        report.figures["disk made full by"] = way
        step("publishing to a full disk")
        publish_to_full_disk(world, way, report)
        step("watching on a full disk")
        watch_on_full_disk(world, way, report, 3 if asked.quick else 20)
    return report.end()


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    try:
        with _mounted(folder / "try", 1 << 20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def _mounted(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
        folder.rmdir()


@contextmanager
def _disk(way: str, folder: Path, size: int) -> Iterator[Disk]:
    if way == TMPFS:
        with _mounted(folder, size) as mounted:
            yield _Tmpfs(mounted)
    else:
        folder.mkdir()
        yield _Limit(folder)


def publish_to_full_disk(world: World, way: str, report: Report) -> None:
    """Publish where there is room for a part of a release only; then, with room for all of it, again."""
    size = sum(world.sizes())
    with _disk(way, world.folder / "small", 3 * size + (1 << 20)) as disk:
        there = replace(world, releases_in=disk.folder)
        there.publish("first")
        with Server(there) as server:
            for part in (0.02, 0.5, 0.9):
                told = _publish_into(disk, there, part)
                report.must("publishing to a full disk fails and says what to do", "publish again" in told, told)
                report.must("no traceback", "Traceback" not in told, told)
                report.must("CURRENT stays", there.store.current() == "first", there.store.current())
                report.must("no part of a release is left", there.store.names() == ["first"], there.store.names())
                report.must("nothing hidden is left", not list(disk.folder.rglob(".second*")))
                report.must("the server goes on", server.get("/recommend?user_id=user-1&k=5")[0] == 200)
            there.publish("second")
            report.must(
                "with room again a release is published and served", soon(lambda: server.release() == "second")
            )
    report.figures["publications that found the disk full"] = 3


def _publish_into(disk: Disk, world: World, part: float) -> str:
    """Publish by the command line with room for a part of it, or of its largest file; returns what it says."""
    command = [sys.executable, "-m", "watchnext", "publish", *map(str, world.parts)]
    command += ["--to", str(world.store.root), "--name", "second"]
    if isinstance(disk, _Limit):
        return _told(["prlimit", f"--fsize={int(part * max(world.sizes()))}:", *command])
    disk.fill(0, int(part * sum(world.sizes())))
    try:
        return _told(command)
    finally:
        disk.free(0)


def _told(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else f"exit code 0: {done.stdout}"


def watch_on_full_disk(world: World, way: str, report: Report, rounds: int) -> None:
    """Send watches until the disk is full; the same ones again when it has room."""
    acknowledged, refused, events = set[str](), list[str](), itertools.count()
    seconds = list[float]()
    with _disk(way, world.folder / "fresh", 8 << 20) as disk:
        path = disk.folder / "fresh.sqlite"
        with Server(world, 1, str(path)) as server:
            _send(server, [f"full-{next(events)}" for _ in range(10)], acknowledged)
            for _ in range(rounds):
                disk.fill(server.pid, _SPARE)
                full = _until_full(server, events, acknowledged, report)
                report.must("a full disk refuses watches", full, "none was refused")
                refused += full
                for user in (1, 2, 3):
                    status, answer, _ = server.get(f"/recommend?user_id=user-{user}&k=5")
                    report.must("recommendations go on", status == 200 and len(answer["candidates"]) == 5, answer)
                disk.free(server.pid)
                start = time.monotonic()
                report.must("watches are taken again", soon(lambda: _send(server, full, acknowledged)))  # noqa: B023
                seconds.append(time.monotonic() - start)
        with Server(world, 1, str(path)):
            pass
        upkeep = SqliteUpkeep(path)
        found = Counter(watch.event_id for watch in upkeep.watches())
        upkeep.close()
    lost = acknowledged - set(found)
    report.must("no acknowledged watch is lost", not lost, f"{len(lost)} are")
    report.must("no watch is there twice", max(found.values()) == 1)
    report.figures |= {
        "times the disk was full": rounds,
        "watches acknowledged": len(acknowledged),
        "refused, and taken later": len(refused),
        "of them lost": len(lost),
        "until watches are taken again, s": max(seconds),
    }


def _until_full(server: Server, events: "itertools.count[int]", acknowledged: set[str], report: Report) -> list[str]:
    """Send a hundred watches a request until one is refused; returns its events, none if none was in time."""
    for _ in range(500):
        batch = [f"full-{next(events)}" for _ in range(100)]
        status, answer, headers = server.post("/watches", _watches(batch))
        if status != 200:
            report.must("refused watches get 503", status == 503, (status, answer))
            report.must("refused watches are told when to come again", "retry-after" in headers, headers)
            return batch
        acknowledged.update(batch)
    return []


def _send(server: Server, events: list[str], acknowledged: set[str]) -> bool:
    taken = server.post("/watches", _watches(events))[0] == 200
    if taken:
        acknowledged.update(events)
    return taken


def _watches(events: list[str]) -> dict[str, list[dict[str, str]]]:
    made = [(event, int(event.removeprefix("full-"))) for event in events]
    return {
        "watches": [
            {"event_id": event, "user_id": f"user-{1 + n % 100}", "item_id": f"video-{1 + n % 1000}"}
            for event, n in made
        ]
    }


if __name__ == "__main__":
    raise SystemExit(main())
