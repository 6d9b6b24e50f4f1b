"""The fuzzer in small: it finds nothing wrong with our server, and whatever is wrong with servers that are."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from reliability import _attacks, fuzz
from reliability._attacks import ENDED, HANGS, NO_HTTP, Answers, Status, garbage, silent
from reliability._garbage import KINDS, SHARES
from reliability._report import Report
from reliability._server import Server
from reliability._world import make

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def test_a_server_that_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "IDLE_SECONDS", 0.5)
    report = Report("small")
    with Server(make(tmp_path, 1_000, 2_000), fuzz.WORKERS, None, None, "--docs") as server:
        fuzz.fuzz(server, 600, 0, 0, report, lambda _: None)
    assert [broken for broken in report.broken if "MiB" not in broken] == []  # so few do not warm it up
    assert report.figures["requests"] > 500
    assert {"200", "400", "422", "431"} <= set(report.figures["by status"])


def says(answer: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()

    return handle


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1 << 16):
        pass
    await asyncio.sleep(0.5)
    writer.close()


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (says(b"HTTP/1.1 500 Some\r\nContent-Length: 2\r\n\r\n{}"), 500),
        (says(b"HTTP/1.1 500 Some\r\nContent-Length: 20\r\n\r\n{}"), NO_HTTP),
        (says(b"hello"), NO_HTTP),
        (says(b""), ENDED),
        (says_nothing, HANGS),
    ],
)
def test_what_is_wrong_is_found(handler: Handler, status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_attacks, "SECONDS", 0.3)
    monkeypatch.setattr(_attacks, "QUIET", 0.05)
    assert set(asyncio.run(_asked(handler, garbage, 5)).refused) <= {status}
    assert asyncio.run(_asked(handler, silent, 3)).by_status == {status: 3}


async def _asked(
    handler: Handler, ask: Callable[[tuple[str, int], Random, int, Answers], Awaitable[None]], count: int
) -> Answers:
    got = Answers()
    handling: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        await ask(server.sockets[0].getsockname()[:2], Random(1), count, got)  # noqa: S311
        await asyncio.gather(*filter(None, handling))
    return got


def test_shares_are_of_all_kinds() -> None:
    assert len(SHARES) == len(KINDS)
    assert sum(SHARES) == 100
