"""Sends what `_garbage` makes, and what schemathesis makes of the description of an API; counts what comes back."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from requests import RequestException, Session

from reliability._garbage import KINDS, SHARES, WELL, Pieces, half

SECONDS = 45.0
"""What is neither answered nor ended by then hangs; the bounds of `heads.Limits` add up to 41."""
QUIET = 0.3
"""Seconds without an answer after which a client says that it will send no more."""
TOGETHER = 64
"""Connections at a time."""
ENDED, HANGS, NO_HTTP = "ended", "hangs", "no HTTP"
"""In place of a status: the connection ended without an answer, nothing came in time, the answer is none."""
Status = int | str
_RESET = struct.pack("ii", 1, 0)


class Answers:
    """What came back."""

    def __init__(self) -> None:
        self.by_status: Counter[Status] = Counter()
        self.refused: Counter[Status] = Counter()
        """Of requests that should have been answered 200, and were not, nor by 503."""

    def note(self, status: Status, is_well: bool = False) -> None:
        """Count an answer, of a request that was well."""
        self.by_status[status] += 1
        if is_well and status not in {200, 503}:
            self.refused[status] += 1


async def garbage(where: tuple[str, int], random: Random, requests: int, got: Answers) -> None:
    """Send so many requests of all kinds, each over a connection of its own."""
    left = iter(random.choices(list(KINDS), SHARES, k=requests))

    async def client() -> None:
        for kind in left:
            is_well = kind in WELL
            got.note(await _sent(where, KINDS[kind](random), SECONDS if is_well else QUIET), is_well)

    await asyncio.gather(*(client() for _ in range(TOGETHER)))


async def silent(where: tuple[str, int], random: Random, connections: int, got: Answers) -> None:
    """Send halves of requests, and then nothing until the server ends the connection."""
    for status in await asyncio.gather(*(_sent(where, half(random), SECONDS) for _ in range(connections))):
        got.note(status)


async def _sent(where: tuple[str, int], pieces: Pieces, quiet: float) -> Status:
    """The status of the first answer on a new connection."""
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(*where)
            try:
                return await _first_status(reader, writer, pieces, quiet)
            finally:
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # or ports run out
                writer.close()
    except TimeoutError:
        return HANGS
    except OSError:
        return ENDED


async def _first_status(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: Pieces, quiet: float
) -> Status:
    with suppress(ConnectionError):  # it may have answered before all was sent
        for place, piece in enumerate(pieces):
            if place:
                await asyncio.sleep(0.001)
            writer.write(piece)
            await writer.drain()
    answer = asyncio.ensure_future(_read(reader))
    try:
        await asyncio.wait([answer], timeout=quiet)
        if not answer.done():
            writer.write_eof()
        return await answer
    finally:
        answer.cancel()


async def _read(reader: asyncio.StreamReader) -> Status:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        version, status, *_ = head.split(b" ", 2)
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        if status != b"100":
            await reader.readexactly(int(lines[b"content-length"]))
        return int(status) if version == b"HTTP/1.1" else NO_HTTP
    except asyncio.IncompleteReadError as error:
        return ENDED if not error.partial else NO_HTTP
    except (asyncio.LimitOverrunError, KeyError, ValueError):
        return NO_HTTP


def described(url: str, requests: int, seed: int, got: Answers) -> None:
    """Ask each route what the description of the API allows and forbids, over kept connections."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [operation.ok() for operation in schema.get_all_operations()]
    modes = list(schemathesis.GenerationMode)
    how = settings(
        max_examples=-(-requests // (len(modes) * len(operations))),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with Session() as session:
        ask = _asking(session, got)
        for operation in operations:
            for mode in modes:
                with suppress(Unsatisfiable):  # a route without parameters cannot be asked wrongly
                    seeded(seed)(how(given(operation.as_strategy(mode))(ask)))()


def _asking(session: Session, got: Answers) -> Callable[[Any], None]:
    def ask(case: Any) -> None:
        try:
            got.note(case.call(session=session, timeout=SECONDS).status_code)
        except RequestException as error:
            got.note(HANGS if "timed out" in str(error).lower() else ENDED)

    return ask
