"""The client against a server that fails as it is told to, with a clock that stands still but for the waits."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchnext.client import (
    AsyncClient,
    BadAnswerError,
    Client,
    ClientError,
    ForbiddenError,
    NoAnswerError,
    ProblemError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from watchnext.client.errors import retry_after
from watchnext.client.retries import Patience

Reply = Callable[[socket.socket], None]


def sends(status: int, body: str = "{}", *headers: str) -> Reply:
    """Answer, and end the connection."""
    lines = [f"HTTP/1.1 {status} Some", f"Content-Length: {len(body)}", "Connection: close", *headers, "", body]
    return lambda connection: connection.sendall("\r\n".join(lines).encode())


GOOD = sends(200, '{"status": "ready", "release": "r1", "since a newer version": {"a": 1}}')
BUSY = sends(503, '{"title": "Service Unavailable", "status": 503, "detail": "Busy.", "new": 1}')


def says_nothing(connection: socket.socket) -> None:
    pass


def breaks_off(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def stalls(connection: socket.socket) -> None:
    connection.recv(1)


def trickles(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b" ")
        time.sleep(0.02)


class Scripted:
    """Gives one reply to each connection, and keeps the requests that it got."""

    def __init__(self, replies: list[Reply]) -> None:
        self._replies = replies
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with self._listener:
            for reply in self._replies:
                connection, _ = self._listener.accept()
                connection.settimeout(10)
                with connection:
                    self.requests.append(_request(connection))
                    with suppress(BrokenPipeError, ConnectionResetError):
                        reply(connection)


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1 << 16)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body


@contextmanager
def scripted(*replies: Reply) -> Iterator[Scripted]:
    server = Scripted(list(replies))
    yield server
    server.thread.join(10)
    assert not server.thread.is_alive(), f"{len(server.requests)} of {len(replies)} replies were asked for"


class Timed:
    """Asks with a clock that only waits move, and random numbers that are all .5; keeps the waits."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.waits: list[float] = []

    def __call__(self, server: Scripted, ask: Callable[[Any], Any], timeout: float = 60, **more: Any) -> Any:
        self.waits.clear()
        if self.kind == "sync":
            with Client(server.url, timeout=timeout, **more) as client:
                self._prepare(client)
                client._sleep = self.waits.append  # type: ignore[assignment]
                return ask(client)
        return asyncio.run(self._asked(server, ask, timeout, more))

    async def _asked(self, server: Scripted, ask: Callable[[Any], Any], timeout: float, more: dict[str, Any]) -> Any:
        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        async with AsyncClient(server.url, timeout=timeout, **more) as client:
            self._prepare(client)
            client._sleep = sleep  # type: ignore[assignment]
            return await ask(client)

    def _prepare(self, client: Client | AsyncClient) -> None:
        client._clock, client._random = lambda: sum(self.waits), lambda: 0.5


@pytest.fixture(params=["sync", "async"])
def timed(request: pytest.FixtureRequest) -> Timed:
    return Timed(request.param)


def ready(client: Any) -> Any:
    return client.ready()


@pytest.mark.parametrize("trouble", [BUSY, says_nothing, breaks_off, resets])
def test_what_passes_is_asked_again_after_longer_and_longer_waits(timed: Timed, trouble: Reply) -> None:
    with scripted(trouble, trouble, trouble, GOOD) as server:
        assert timed(server, ready).release == "r1"
    assert timed.waits == pytest.approx([0.05, 0.1, 0.2])


def test_waits_are_bounded_and_the_last_error_is_told_when_the_time_would_be_over(timed: Timed) -> None:
    with scripted(*[BUSY] * 10) as server, pytest.raises(UnavailableError, match="Busy") as error:
        timed(server, ready, timeout=11)
    assert timed.waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5, 2.5])
    assert sum(timed.waits) < 11 <= sum(timed.waits) + 2.5
    assert error.value.problem.detail == "Busy."


def test_the_server_says_how_long_to_wait(timed: Timed) -> None:
    later = sends(503, "{}", "Retry-After: 7")
    limited = sends(429, "{}", "Retry-After: 2")
    with scripted(later, limited, GOOD) as server:
        assert timed(server, ready).status == "ready"
    assert timed.waits == pytest.approx([7.05, 2.1])
    with scripted(limited) as server, pytest.raises(TooManyRequestsError) as error:
        timed(server, ready, timeout=2)
    assert (timed.waits, error.value.retry_after) == ([], 2)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, ProblemError), (401, UnauthorizedError), (403, ForbiddenError), (500, ProblemError)]
)
def test_other_errors_are_told_at_once(timed: Timed, status: int, kind: type[ProblemError]) -> None:
    with scripted(sends(status, "<html>a proxy's page</html>")) as server, pytest.raises(kind) as error:
        timed(server, ready)
    assert timed.waits == []
    assert (error.value.status, error.value.problem.detail) == (status, "<html>a proxy's page</html>")


def test_a_repeated_watch_is_the_same_watch(timed: Timed) -> None:
    with scripted(breaks_off, sends(200, '{"added": 1, "ignored": 0}')) as server:
        assert timed(server, lambda client: client.watched("ann", "i1"), key="wn_key").added == 1
    first, second = server.requests
    assert first == second
    assert first.startswith(b"POST /watches HTTP/1.1\r\n")
    assert b"\r\nauthorization: bearer wn_key\r\n" in first.lower()


@pytest.mark.parametrize("body", ["", "[]", '{"status": "ready"}', "<html>"])
def test_answers_of_something_else(timed: Timed, body: str) -> None:
    with scripted(sends(200, body)) as server, pytest.raises(BadAnswerError, match="GET /healthz/ready"):
        timed(server, ready)


def hurried(url: str, kind: str) -> None:
    """Ask with the real clock and little time."""

    async def ask() -> None:
        async with AsyncClient(url, timeout=0.1) as client:
            await client.ready()

    if kind == "async":
        asyncio.run(ask())
    else:
        with Client(url, timeout=0.1) as client:
            client.ready()


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("slow", [stalls, trickles])
def test_a_slow_server_is_left(kind: str, slow: Reply) -> None:
    with scripted(slow) as server, pytest.raises(NoAnswerError, match="GET /healthz/ready"):
        hurried(server.url, kind)


def test_nobody_listens(timed: Timed) -> None:
    with scripted() as server:
        pass
    with pytest.raises(NoAnswerError, match=f"Check that a server answers at {server.url}/"):
        timed(server, ready, timeout=0.3)
    assert timed.waits == pytest.approx([0.05, 0.1])


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("12") == 12
    soon = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True))
    assert soon is not None
    assert 90 < soon <= 100
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for nothing in (None, "", "-1", "soon", "1.5", "²"):
        assert retry_after(nothing) is None


@given(st.floats(0.1, 100), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50))
def test_no_wait_ends_after_the_time(seconds: float, drawn: list[float]) -> None:
    now = 1000.0
    numbers = iter(drawn)
    patience = Patience(seconds, lambda: now, lambda: next(numbers))
    longest = 0.1
    for _ in drawn:
        try:
            wait = patience.wait(NoAnswerError("GET /", "nothing", "Wait."))
        except ClientError:
            break
        assert 0 <= wait <= longest
        now += wait
        assert now <= 1000 + seconds
        longest = min(2 * longest, 5.0)
