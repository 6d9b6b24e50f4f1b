"""Config -> the folder of a world: parts made in parallel; an interrupted run goes on with those that are missing.

Parts lie in a hidden sibling of the target until all are there; then the folder appears at once.
"""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simulation.clock import SLOTS
from simulation.config import WorldConfig
from simulation.ids import ITEM, USER, IdTable
from simulation.items import item_table
from simulation.manifest import WorldManifest
from simulation.sessions import Shelf, SlotLog, draw_slot
from simulation.users import user_table
from simulation.world import World
from watchnext.files import atomic_folder, write_atomic

WATCHES, SEARCHES, ITEMS, USERS = "watches", "searches", "items.parquet", "users.parquet"

Progress = Callable[[str, int, int], None]
"""Called with the stage (`world`, `files`), how much of it is done, and of how much."""


@dataclass(frozen=True)
class Part:
    """A file to be made.

    Args:
        path: relative to the world's folder: one of the two tables, or the watches of some slots.
        slots: of those watches; empty for a table.
    """

    path: str
    slots: range = range(0)


def parts_of(config: WorldConfig) -> list[Part]:
    """All files of a world but those of searches, which are made with the watches they lead to."""
    total = config.days * SLOTS
    size = min(max(round(config.part_watches * total / config.watches), 1), total)
    spans = [range(start, min(start + size, total)) for start in range(0, total, size)]
    log = [Part(f"{WATCHES}/part-{i:05d}.parquet", span) for i, span in enumerate(spans)]
    return [Part(ITEMS), Part(USERS), *log]


def simulate(
    config: WorldConfig, to: Path, workers: int = 1, progress: Progress = lambda stage, done, total: None
) -> WorldManifest:
    """Write the world of a configuration to the folder `to`; the same files with any number of workers.

    Args:
        workers: processes that make parts; 1 makes them in this process.

    Raises UsageError if there is something at `to` that is no world, or if the configuration is impossible.
    """
    WorldManifest.check_target(to)
    partial = _partial(config, to)
    progress("world", 0, 1)
    world = World.of(config)
    progress("world", 1, 1)
    parts = parts_of(config)
    missing = [part for part in parts if not (partial / part.path).is_file()]
    done = len(parts) - len(missing)
    progress("files", done, len(parts))
    for _ in _made(world, partial, missing, workers):
        done += 1
        progress("files", done, len(parts))
    counts = {"watches": _rows(partial / WATCHES), "searches": _rows(partial / SEARCHES)}
    manifest = WorldManifest.seal(partial, config=config, **counts)
    with atomic_folder(to, WorldManifest) as folder:
        for entry in list(partial.iterdir()):
            entry.rename(folder / entry.name)
    shutil.rmtree(partial.parent)
    return manifest


def _partial(config: WorldConfig, to: Path) -> Path:
    """The folder of an earlier run with the same configuration, cleaned of half-written files; else a new one."""
    beside = to.with_name(f".{to.name}.partial")
    folder, noted, text = beside / "world", beside / "config.json", config.model_dump_json().encode()
    if beside.exists() and not (noted.is_file() and noted.read_bytes() == text):
        shutil.rmtree(beside)
    write_atomic(noted, text)
    folder.mkdir(exist_ok=True)
    for path in folder.rglob(".*"):
        path.unlink()
    return folder


def _made(world: World, folder: Path, parts: list[Part], workers: int) -> Iterator[None]:
    """Make parts, and yield as often as one is done."""
    workers = min(workers, sum(len(part.slots) > 0 for part in parts))
    if workers <= 1:
        maker = PartMaker(world, folder)
        for part in parts:
            maker.write(part)
            yield
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (world, folder)) as pool:
        try:
            for future in as_completed([pool.submit(_write_in_worker, part) for part in parts]):
                future.result()
                yield
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class PartMaker:
    """Makes and writes the files of a world.

    Args:
        folder: the world's, as it becomes.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder
        self._users, self._items = IdTable(USER, len(world.users)), IdTable(ITEM, len(world.items))

    def write(self, part: Part) -> None:
        """Write a part."""
        if part.path == ITEMS:
            _write(item_table(self.world.items), self.folder / ITEMS)
        elif part.path == USERS:
            _write(user_table(self.world.users), self.folder / USERS)
        else:
            self._write_log(part)

    def _write_log(self, part: Part) -> None:
        """Write searches, then watches, whose file says that both are whole."""
        logs = self._draw(part)
        if self.world.config.searches:
            searches = pa.concat_tables([log.searches for log in logs])
            user = self._users.take(searches.column("user").to_numpy())
            _write(searches.set_column(0, "user", user), self.folder / part.path.replace(WATCHES, SEARCHES))
        users, items, times, fractions = (
            np.concatenate([getattr(log, name) for log in logs]) for name in ("users", "items", "times", "fractions")
        )
        columns = {"user": self._users.take(users), "item": self._items.take(items)}
        columns |= {"time": pa.array(times), "fraction": pa.array(fractions)}
        _write(pa.table(columns), self.folder / part.path)

    def _draw(self, part: Part) -> list[SlotLog]:
        logs: list[SlotLog] = []
        shelf: Shelf | None = None
        for slot in part.slots:
            if shelf is None or shelf.day != slot // SLOTS:
                shelf = Shelf.of(self.world, slot // SLOTS)
            logs.append(draw_slot(self.world, shelf, slot))
        return logs


_maker: PartMaker | None = None


def _start_worker(world: World, folder: Path) -> None:
    """Make a worker ready: interruptions are the parent's to handle, and without a parent there is nothing to do."""
    global _maker  # noqa: PLW0603  (a worker process has one, for all its parts)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _maker = PartMaker(world, folder)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _write_in_worker(part: Part) -> None:
    if _maker is None:
        raise RuntimeError("the worker was not started")
    _maker.write(part)


def _write(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet. Ids hardly repeat within a page, so dictionaries would only cost time."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=False)
    write_atomic(path, sink.getvalue().to_pybytes())


def _rows(folder: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))
