"""Redis that goes away, comes back, is slow, or forgets; on a real server."""

import asyncio
import logging
import re
import signal
import sys
from pathlib import Path

import pytest

from serving.fresh.choose import open_store
from serving.fresh.store import NOTHING, FreshStore
from tests.fresh_stores import RedisServer, opened, redis_server, watch
from watchnext.errors import StoreUnavailableError, UsageError


async def patient(store: FreshStore, user: str = "u") -> list[str]:
    """Ask until the store is asked again."""
    for _ in range(200):
        try:
            return [item for item, _ in (await store.of(user)).watches]
        except StoreUnavailableError:
            await asyncio.sleep(0.02)
    raise AssertionError("the store does not come back")


def test_a_server_that_restarts_has_kept_what_it_acknowledged(tmp_path: Path) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always")

    async def work(server: RedisServer) -> None:
        store = opened(server.url)
        assert await store.add([watch("e", item="kept")]) == 1
        server.kill()
        for ask in (lambda: store.of("u"), lambda: store.add([watch("f")])):
            with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1.*Connect.*See whether the server runs"):
                await ask()
            with pytest.raises(StoreUnavailableError, match="a moment ago"):
                await ask()
        with pytest.raises(StoreUnavailableError, match="a moment ago"):
            await store.history("u")
        server.start(*options)
        assert await patient(store) == ["kept"]
        await asyncio.sleep(1)
        assert await store.add([watch("e", item="again")]) == 0
        await store.close()

    with redis_server(tmp_path, *options) as server:
        asyncio.run(work(server))


def test_idle_connections_that_a_restart_broke_are_replaced(tmp_path: Path) -> None:
    async def work(server: RedisServer) -> None:
        store = opened(server.url)
        await store.add([watch("e")])
        await store.of("u")
        server.kill()
        server.start()
        assert await store.of("u") == NOTHING
        assert await store.add([watch("e")]) == 1
        await store.close()

    with redis_server(tmp_path) as server:
        asyncio.run(work(server))


def test_a_server_that_hangs_costs_one_wait(tmp_path: Path) -> None:
    async def work(server: RedisServer) -> None:
        assert server.process is not None
        store = open_store(server.url)
        await store.add([watch("e", item="i")])
        await store.of("u")
        server.process.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreUnavailableError, match="Timeout"):
            await store.of("u")
        with pytest.raises(StoreUnavailableError, match="a moment ago"):
            await store.of("u")
        server.process.send_signal(signal.SIGCONT)
        assert await patient(store) == ["i"]
        await store.close()

    with redis_server(tmp_path) as server:
        asyncio.run(work(server))


def test_many_at_once_share_few_connections(tmp_path: Path) -> None:
    async def work(server: RedisServer) -> None:
        store = opened(server.url)
        new = await asyncio.gather(*(store.add([watch(f"e{n % 50}", at=n)]) for n in range(200)))
        assert sum(new) == 50
        found = await asyncio.gather(*(store.of("u") for _ in range(200)))
        found += await asyncio.gather(*(store.history("u") for _ in range(200)))
        assert {len(fresh.watches) for fresh in found} == {50}
        clients = re.search(rb"connected_clients:(\d+)", server.send(b"INFO clients"))
        assert clients is not None
        assert int(clients[1]) <= 8 + 8 + 1
        await store.close()

    with redis_server(tmp_path) as server:
        asyncio.run(work(server))


def test_no_room_in_memory(tmp_path: Path) -> None:
    async def work(server: RedisServer) -> None:
        store = opened(server.url)
        with pytest.raises(StoreUnavailableError, match="maxmemory"):
            await store.add([watch("e")])
        assert await store.of("u") == NOTHING
        await store.close()

    with redis_server(tmp_path, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as server:
        asyncio.run(work(server))


@pytest.mark.parametrize(("appendonly", "warnings"), [("yes", 0), ("no", 1)])
def test_a_server_without_a_file_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, appendonly: str, warnings: int
) -> None:
    async def work(server: RedisServer) -> None:
        store = opened(server.url)
        await store.add([watch("e")])
        await store.add([watch("f")])
        await store.close()

    with redis_server(tmp_path, "--appendonly", appendonly) as server, caplog.at_level(logging.WARNING):
        asyncio.run(work(server))
    assert [record.message.count("no append-only file") for record in caplog.records] == [1] * warnings


def test_valkeys_urls_and_wrong_passwords(tmp_path: Path) -> None:
    async def work(server: RedisServer) -> None:
        address = f"127.0.0.1:{server.port}"
        store = opened(f"valkey://:secret@{address}/3")
        assert await store.add([watch("e")]) == 1
        await store.close()
        wrong = opened(f"redis://ann:guess@{address}")
        with pytest.raises(StoreUnavailableError, match="Authentication") as caught:
            await wrong.of("u")
        assert "guess" not in str(caught.value)
        await wrong.close()

    with redis_server(tmp_path, "--requirepass", "secret") as server:
        asyncio.run(work(server))


def test_a_wrong_url_and_a_missing_package() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "serving.fresh.redis", raising=False)
        patch.delattr("serving.fresh.redis", raising=False)
        patch.setitem(sys.modules, "redis", None)
        with pytest.raises(UsageError, match=r"pip install 'watchnext\[redis\]'"):
            open_store("redis://host")
    pytest.importorskip("redis")
    with pytest.raises(UsageError, match=r"store redis://host:port.*Give redis://host:port"):
        open_store("redis://ann:secret@host:port")
