"""Thousands of broken byte streams: each is answered or ended, none with a 5xx, and the server goes on as ever."""

import logging
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from serving.guard.heads import Limits
from tests.raw_http import Server, limited_server, read_all

STREAMS = 3000
LIMITS = Limits(
    head_bytes=2000,
    headers=20,
    head_seconds=0.15,
    body_bytes=5000,
    body_seconds=0.15,
    connections=100,
    pipelined=4,
    linger_seconds=0.1,
)
PARTS = [
    b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /a HTTP/1.0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5001\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 2000 + b"\r\n\r\n",
    b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    b"Connection: close\r\n",
    b"Content-Length: 7\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"ffffffff\r\n",
    b"%c3%28%00",
    b"\0",
    b"\xff\xfe",
    b"x" * 3000,
]


def stream(number: int) -> list[bytes]:
    """Some of the parts, damaged or not, cut into pieces."""
    rng = random.Random(number)  # noqa: S311
    made = bytearray(b"".join(rng.choices(PARTS, k=rng.randint(1, 6))))
    if rng.random() < 0.1:
        made = bytearray(rng.randbytes(rng.randint(1, 500)))
    for _ in range(rng.choice((0, 1, 1, 3, 10))):
        place = rng.randrange(len(made) + 1)
        match rng.randrange(4):
            case 0:
                made[place:place] = rng.choice(PARTS)
            case 1:
                del made[place : place + rng.randint(1, 10)]
            case 2:
                made[place:place] = rng.randbytes(rng.randint(1, 4))
            case _:
                made[place : place + 1] = bytes([rng.choice(b"\r\n :;,%0159aZ\t\x7f\x80")])
    cuts = sorted(rng.randrange(len(made) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
    return [bytes(made[a:b]) for a, b in zip([0, *cuts], [*cuts, len(made)], strict=True)]


def send(server: Server, number: int) -> bytes:
    with server.connect() as connection:
        for piece in stream(number):
            try:
                connection.sendall(piece)
            except OSError:
                break
        return read_all(connection)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_broken_streams(loop: Literal["asyncio", "uvloop"], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), limited_server(LIMITS, loop, keep_alive=0.03) as server:
        with ThreadPoolExecutor(16) as pool:
            received = list(pool.map(lambda number: send(server, number), range(STREAMS)))
        server.wait_for(connections=0)
        last = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        assert [answer.status for answer in server.ask(last)] == [200]
    statuses = [int(status) for each in received for status in re.findall(rb"HTTP/1\.1 (\d{3})", each)]
    assert {status for status in statuses if status >= 500} == set()
    assert {200, 400, 408, 413, 431} <= set(statuses)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
