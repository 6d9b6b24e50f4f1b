"""What may happen to the file: killed writers, a full disk, locks, damage, other files in its place, erasure."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.fresh import database
from serving.fresh.choose import open_store, open_upkeep
from serving.fresh.sqlite import SqliteStore
from serving.fresh.store import NOTHING, Fresh
from tests.fresh_stores import watch
from watchnext.errors import CorruptError, StoreUnavailableError, UsageError

ROOT = Path(__file__).parent.parent
ADDER = """
import asyncio, sys
from pathlib import Path
from serving.fresh.sqlite import SqliteStore
from serving.fresh.store import Watch

async def one(store, name, n):
    new = await store.add([Watch(f"{name}-{n}", f"u{n % 7}", f"{name}-{n}", n, None)])
    sys.stdout.write(f"{name}-{n} {new}\\n")

async def work(path, name, adds):
    store = SqliteStore(Path(path))
    print("ready", flush=True)
    for n in range(0, adds, 4):
        await asyncio.gather(*(one(store, name, m) for m in range(n, n + 4)))
        sys.stdout.flush()
    await store.close()

asyncio.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def adder(path: Path, name: str, adds: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", ADDER, str(path), name, str(adds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def events(path: Path) -> list[str]:
    upkeep = open_upkeep(path)
    found = [w.event_id for w in upkeep.watches()]
    upkeep.close()
    return found


def run(path: Path, work: Callable[[SqliteStore], Awaitable[None]], **options: float) -> None:
    """Open a store, do something with it, close it."""

    async def opened() -> None:
        store = SqliteStore(path, **options)  # type: ignore[arg-type]
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(opened())


def test_two_processes_make_and_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"
    with adder(path, "a", 400) as one, adder(path, "b", 400) as other:
        told = [process.communicate(timeout=60)[0].splitlines() for process in (one, other)]
    assert one.returncode == other.returncode == 0
    assert [len(lines) for lines in told] == [401, 401]
    assert sorted(events(path)) == sorted(f"{name}-{n}" for name in "ab" for n in range(400))


def test_killed_while_adding(tmp_path: Path) -> None:
    path, rng = tmp_path / "fresh.db", np.random.default_rng(0)
    acknowledged: list[str] = []
    for kill in range(20):
        with adder(path, f"k{kill}", 10**6) as process:
            assert process.stdout is not None
            process.stdout.readline()
            lines = [process.stdout.readline() for _ in range(rng.integers(1, 60))]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        acknowledged += [line.split()[0] for line in lines if line.endswith(" 1\n")]
    found = events(path)
    assert len(set(acknowledged)) == len(acknowledged) > 100
    assert set(acknowledged) <= set(found)
    assert len(set(found)) == len(found)
    with closing(sqlite3.connect(path)) as con:
        assert con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert con.execute("SELECT watches FROM size").fetchone()[0] == len(found)


FULL = """
import asyncio, json, resource, sys
from pathlib import Path
from serving.fresh.sqlite import SqliteStore
from serving.fresh.store import Watch
from watchnext.errors import StoreUnavailableError

async def work(path):
    store, kept, refused = SqliteStore(Path(path)), [], []
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    for n in range(40):
        if n == 30:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        try:
            await store.add([Watch(f"{n}-{m}", "u", "i" * 200, m, None) for m in range(20)])
            kept.append(n)
        except StoreUnavailableError as error:
            refused.append(n)
            told = str(error)
        assert len((await store.of("u")).watches) == 20 * len(kept) == await store.size()
    await store.close()
    print(json.dumps([kept, refused, told]))

asyncio.run(work(sys.argv[1]))
"""


def test_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    kept, refused, told = json.loads(done.stdout)
    assert 2 < len(refused) < 30
    assert set(range(30, 40)) <= set(kept)
    assert "disk" in told
    assert sorted(events(path)) == sorted(f"{n}-{m}" for n in kept for m in range(20))


def test_full_by_sqlites_own_limit(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await store.add([watch("e0")])

        def limit(con: sqlite3.Connection) -> int:
            return int(con.execute("PRAGMA max_page_count = 12").fetchone()[0])

        await store._writer.run(limit)
        with pytest.raises(StoreUnavailableError, match=r"a full disk \(SQLITE_FULL\)"):
            await store.add([watch(f"e{n}", item="i" * 200) for n in range(1, 1000)])
        assert await store.size() == 1
        assert await store.add([watch(f"e{n}", item="i" * 200) for n in range(1, 1000)]) == 999

    run(tmp_path / "fresh.db", work)


def test_locked_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"

    async def work(store: SqliteStore) -> None:
        await store.add([watch("e0")])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="a lock of another process"):
                await store.add([watch("e1", item="j", at=2)])
            assert (await store.of("u")).watches == (("i", 1),)
        assert await store.add([watch("e1", item="j", at=2)]) == 1
        assert (await store.of("u")).watches == (("i", 1), ("j", 2))

    run(path, work, write_seconds=0.2)


def test_our_own_lock_is_held_for_long(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"

    async def work(store: SqliteStore) -> None:
        with database.locked(path):
            with pytest.raises(StoreUnavailableError, match=r"no answer in 0\.1 s"):
                await store.add([watch("given up")])
            waiting = asyncio.ensure_future(store.add([watch("waits")]))
            await asyncio.sleep(0.01)
        assert await waiting == 1
        assert await store.add([watch("given up")]) == 1

    run(path, work, write_seconds=0.1)


def test_a_file_locked_for_one_alone_costs_one_wait(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"
    database.prepare(path)

    async def work(store: SqliteStore) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            for ask in (store.of, store.history):
                with pytest.raises(StoreUnavailableError, match="a lock of another process"):
                    await ask("u")
                with pytest.raises(StoreUnavailableError, match="a moment ago"):
                    await ask("u")
            store._reader._breaker._until = 0
            with pytest.raises(StoreUnavailableError, match=r"process \(SQLITE_BUSY\)\."):
                await store.size()
        store._reader._breaker._until = store._teller._breaker._until = 0
        assert await store.of("u") == await store.history("u") == NOTHING

    run(path, work)


def test_while_a_history_is_read_others_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    async def work(store: SqliteStore) -> None:
        await store.add([watch("e")])
        read = store._teller.read

        def when_answered(query: str, values: tuple[str, ...]) -> list[Any]:
            assert answered.wait(30)
            return read(query, values)

        monkeypatch.setattr(store._teller, "read", when_answered)
        history = asyncio.ensure_future(store.history("u"))
        await asyncio.sleep(0)
        assert await store.of("u") == Fresh((("i", 1),))
        answered.set()
        assert await history == Fresh((("i", 1),))

    run(tmp_path / "fresh.db", work)


def test_damage_is_told_at_the_start_and_survived_later(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"

    async def work(store: SqliteStore) -> None:
        await store.add([watch(f"e{n}", item="i" * 200) for n in range(1000)])
        await store.close()  # everything is in the file now
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
        for ask in (store.of("u"), store.history("u"), store.add([watch("new")])):
            with pytest.raises(StoreUnavailableError, match=r"a damaged database.*move it away"):
                await ask
        path.write_bytes(whole)
        store._reader._breaker._until = store._teller._breaker._until = 0
        assert len((await store.of("u")).watches) == len((await store.history("u")).watches) == 1000
        assert await store.add([watch("new")]) == 1

    run(path, work)
    path.write_bytes(b"no database, but longer than the head of one would be" * 100)
    with pytest.raises(CorruptError, match=r"fresh\.db: got file is not a database.*move it away"):
        open_store(path)


def test_other_databases_and_folders_are_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as con:
        con.execute("CREATE TABLE mine (x)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(UsageError, match=r"other\.db: got another SQLite database"):
        open_store(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before
    database.prepare(tmp_path / "newer.db")
    with closing(sqlite3.connect(tmp_path / "newer.db")) as con:
        con.execute("PRAGMA user_version = 2")
    with pytest.raises(UsageError, match=r"newer\.db: got a store of version 2"):
        open_store(tmp_path / "newer.db")
    with pytest.raises(UsageError, match="a folder"):
        open_store(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        open_upkeep(tmp_path / "typo.db")
    assert not (tmp_path / "typo.db").exists()


def test_what_was_killed_before_it_had_a_schema_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"
    with closing(sqlite3.connect(path)) as con:
        con.execute("PRAGMA journal_mode = WAL")

    async def work(store: SqliteStore) -> None:
        assert await store.add([watch("e")]) == 1

    run(path, work)


def test_a_file_that_is_gone_or_another(tmp_path: Path) -> None:
    path, aside = tmp_path / "fresh.db", tmp_path / "aside.db"

    async def work(store: SqliteStore) -> None:
        await store.add([watch("e")])
        path.rename(aside)
        with pytest.raises(StoreUnavailableError, match="not there"):
            await store.add([watch("f")])
        store._reader._look = store._teller._look = 0
        for ask in (store.of, store.history):
            with pytest.raises(StoreUnavailableError, match="not there"):
                await ask("u")
        assert not path.exists()
        database.prepare(path)
        store._reader._breaker._until = store._teller._breaker._until = 0
        assert await store.of("u") == await store.history("u") == NOTHING
        assert await store.add([watch("g")]) == 1

    run(path, work)
    assert events(path) == ["g"]


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from serving.fresh.choose import open_store
from watchnext.errors import StoreUnavailableError
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
for name in ("closed/fresh.db", "mine.db"):
    try:
        open_store(Path(sys.argv[1]) / name)
    except StoreUnavailableError as error:
        print(error)
"""


def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    database.prepare(tmp_path / "mine.db")
    for path in tmp_path.glob("mine.db*"):
        path.chmod(0o400)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    command = [sys.executable, "-c", UNPRIVILEGED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    (tmp_path / "closed").chmod(0o700)
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == [
        "got Permission denied. Let this process read and write the file and its folder.",
        "got a file that is not there or may not be opened (SQLITE_CANTOPEN). Put it back, or restart."
        " Let this process read and write the file and its folder.",
    ], done.stderr


def test_read_only_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"

    async def work(store: SqliteStore) -> None:
        await store.add([watch("e")])

        def forbid(con: sqlite3.Connection) -> int:
            con.execute("PRAGMA query_only = ON")
            return 0

        await store._writer.run(forbid)
        with pytest.raises(StoreUnavailableError, match="may not be written"):
            await store.add([watch("f")])
        assert await store.add([watch("f")]) == 1

    run(path, work)


def test_what_is_erased_or_pruned_is_in_no_file(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"

    def traces(of: bytes) -> list[str]:
        return [file.name for file in tmp_path.iterdir() if of in file.read_bytes()]

    async def work(store: SqliteStore) -> None:
        for n in range(30):
            watches = [watch(f"{u}-{n}-{m}", u, f"item-of-{u}-{n}", n) for u in ("ann", "bob") for m in range(20)]
            await store.add(watches)
        await store.of("ann")
        assert traces(b"item-of-ann")
        assert await store.erase("ann") == 600
        assert traces(b"item-of-ann") == traces(b"ann-1") == []
        assert traces(b"item-of-bob-7")
        upkeep = open_upkeep(path)
        upkeep.prune(20)
        upkeep.close()
        assert traces(b"item-of-bob-7") == []
        assert traces(b"item-of-bob-27")

    run(path, work)


def test_a_cancelled_add_and_a_closed_loop_harm_nobody(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await store.add([watch("e0")])
        adding = asyncio.ensure_future(store.add([watch("e1")]))
        await asyncio.sleep(0)
        adding.cancel()
        assert await store.add([watch("e2")]) == 1

    run(tmp_path / "fresh.db", work)
    store = SqliteStore(tmp_path / "fresh.db")
    asyncio.run(store.add([watch("e3")]))
    assert asyncio.run(store.add([watch("e4")])) == 1
    asyncio.run(store.close())
    assert {"e0", "e2", "e3", "e4"} <= set(events(tmp_path / "fresh.db"))


def test_a_store_made_before_a_fork_serves_all_children(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "fresh.db")

    async def work(child: int) -> None:
        for n in range(50):
            await store.add([watch(f"{child}-{n}", f"u{child}", at=n)])
            assert len((await store.of(f"u{child}")).watches) == n + 1
        await store.close()

    children = []
    for child in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                asyncio.run(work(child))
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert len(events(tmp_path / "fresh.db")) == 150
