"""Clients of an HTTP server: plain sockets in one loop, some 25 CPU microseconds a request, and honest latencies.

At a constant rate a latency counts from the moment at which the request was to be sent, so that requests that wait
behind a slow one count, too (no coordinated omission).
"""

import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
_BYTES = 1 << 16


class Driven(NamedTuple):
    """How some requests were answered."""

    latencies: Seconds
    """[requests] from when they were to be sent until the answer was whole."""
    seconds: float
    """From the first request to the last answer."""

    def quantile(self, q: float) -> float:
        """Microseconds that a share `q` of the answers took at most."""
        return float(np.quantile(self.latencies, q) * 1e6)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


def get(path: str) -> bytes:
    """A request as browsers and proxies send it, in few bytes."""
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: benchmark\r\naccept: */*\r\n\r\n".encode()


def arrivals(rate: float, count: int, clients: int, rng: np.random.Generator) -> Seconds:
    """[count] when requests are to be sent at a constant rate: by each client at equal intervals."""
    each = -(-count // clients)
    interval = clients / rate
    times = rng.random(clients)[:, None] * interval + np.arange(each)[None] * interval
    return np.sort(times.ravel())[:count]


def poisson(rate: float, count: int, rng: np.random.Generator) -> Seconds:
    """[count] when requests are to be sent by so many people that each comes whenever it likes."""
    return np.cumsum(rng.exponential(1 / rate, count))


def drive(port: int, requests: Sequence[bytes], clients: int, due: Seconds | None = None) -> Driven:
    """Send requests over some connections that stay open, one at a time over each.

    Args:
        port: of a server on this machine.
        requests: what is sent.
        clients: how many connections.
        due: [requests] seconds from the start, rising, when each is to be sent; a request whose time comes when all
            connections are busy waits, and that counts. None sends the next as soon as a connection has its answer.

    Raises RuntimeError for an answer that is not 200.
    """
    latencies, clock = np.zeros(len(requests)), time.perf_counter
    with ExitStack() as stack:
        idle = deque(stack.enter_context(_connected(port)) for _ in range(clients))
        by_descriptor, poll = {one.fileno(): one for one in idle}, select.poll()
        for one in idle:
            poll.register(one, select.POLLIN)
        under_way: dict[int, tuple[int, float]] = {}
        parts = dict.fromkeys(by_descriptor, b"")
        sent = answered = 0
        begin = clock()
        while answered < len(requests):
            while idle and sent < len(requests):
                now = clock()
                if due is not None and begin + due[sent] > now:
                    break
                one = idle.popleft()  # the one that rests longest: a server closes those that rest for seconds
                one.send(requests[sent])
                under_way[one.fileno()] = sent, now if due is None else begin + due[sent]
                sent += 1
            for descriptor, _ in poll.poll(0 if due is not None and idle else None):
                parts[descriptor] += by_descriptor[descriptor].recv(_BYTES)
                if _whole(parts[descriptor]):
                    number, since = under_way.pop(descriptor)
                    latencies[number] = clock() - since
                    parts[descriptor] = b""
                    idle.append(by_descriptor[descriptor])
                    answered += 1
        return Driven(latencies, clock() - begin)


def ask(port: int, path: str) -> tuple[int, bytes]:
    """One request over a connection of its own: status and body; 0 where nobody listens."""
    try:
        with _connected(port) as connection:
            connection.sendall(get(path))
            answer = b""
            while not (length := _length(answer)) or len(answer) < length:
                part = connection.recv(_BYTES)
                if not part:
                    return 0, b""
                answer += part
    except OSError:
        return 0, b""
    return int(answer[9:12]), answer[answer.find(b"\r\n\r\n") + 4 :]


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _whole(answer: bytes) -> bool:
    """Whether an answer has come to its end. Raises RuntimeError where it is not 200."""
    if len(answer) > 12 and answer[9:12] != b"200":
        raise RuntimeError(f"an answer that is not 200: {answer[:500]!r}")
    length = _length(answer)
    if not answer:
        raise RuntimeError("a server that closes connections")
    return bool(length) and len(answer) >= length


def _length(answer: bytes) -> int:
    """Bytes of the whole answer; 0 while that is not known."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    at = answer.lower().find(b"content-length:", 0, end)
    return end + 4 + int(answer[at + 15 : answer.find(b"\r", at)])
