"""Many who ask a server at once, over kept-alive connections, and what they got: when, how long, which status."""

import asyncio
import json
import random
import time
from array import array
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import numpy as np
import uvloop
from numpy.typing import NDArray

Done = TypeVar("Done")
FAILED = 0
"""In place of a status: the connection was refused or ended before the answer."""
PAUSES = {FAILED: 0.05, 503: 1.0}
"""Seconds, about, until a client of a closed loop asks again."""
Ask = Callable[[], bytes]
"""Makes the next request."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    head: bytes
    body: bytes

    @property
    def retry_after(self) -> bool:
        """Whether it says when to ask again."""
        return b"\r\nretry-after:" in self.head.lower()


def run(work: Coroutine[Any, Any, Done]) -> Done:
    """Run in an event loop that leaves more of the processors to the server than asyncio's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: reliability\r\n\r\n".encode()


def post(path: str, body: object) -> bytes:
    """A request with JSON."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: reliability\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(content), content)


class Client:
    """One connection, opened when it is needed, and again after it ended."""

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request, read the answer. Raises OSError or asyncio.IncompleteReadError."""
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection(*self._where)
        try:
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await self._reader.readexactly(length)
        except BaseException:
            self.close()
            raise
        if b"\r\nconnection: close" in lower:
            self.close()
        return Answer(int(head[9:12]), head, body)

    def close(self) -> None:
        """End the connection."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
        self._reader = self._writer = None


class Answers:
    """What many requests got; all arrays are aligned."""

    def __init__(self) -> None:
        self._sent, self._seconds, self._status = array("d"), array("d"), array("H")
        self.without_retry_after = 0
        """Answers 503 that do not say when to ask again."""
        self.odd: dict[str, int] = {}
        """What failed requests ran into, and how often."""

    def add(self, sent: float, status: int, answer: Answer | None = None) -> None:
        """Note an answer that is there now."""
        self._sent.append(sent)
        self._seconds.append(time.monotonic() - sent)
        self._status.append(status)
        if answer is not None and status == 503 and not answer.retry_after:
            self.without_retry_after += 1

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def sent(self) -> NDArray[np.float64]:
        """Monotonic seconds when each was sent, or was to be sent."""
        return np.array(self._sent)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """From then to the answer."""
        return np.array(self._seconds)

    @property
    def status(self) -> NDArray[np.uint16]:
        """Of HTTP; `FAILED` where there was none."""
        return np.array(self._status)

    def count(self, *statuses: int) -> int:
        """How many got one of some statuses."""
        return int(np.isin(self.status, statuses).sum())

    def milliseconds(self, quantile: float, chosen: NDArray[np.bool_] | None = None) -> float:
        """A quantile of the latencies of those answered 200; NaN where none was."""
        good = self.status == 200
        found = self.seconds[good if chosen is None else good & chosen]
        return float(np.quantile(found, quantile)) * 1000 if len(found) else float("nan")

    def within(self, start: float, end: float) -> NDArray[np.bool_]:
        """Which were sent between two moments."""
        return (self.sent >= start) & (self.sent < end)


async def ask_once(client: Client, request: bytes, answers: Answers, sent: float | None = None) -> int:
    """Ask, note what came; returns the status."""
    sent = time.monotonic() if sent is None else sent
    try:
        answer = await asyncio.wait_for(client.ask(request), 30)
    except (OSError, EOFError, TimeoutError) as error:
        answers.odd[repr(error)] = answers.odd.get(repr(error), 0) + 1
        answers.add(sent, FAILED)
        return FAILED
    answers.add(sent, answer.status, answer)
    if answer.status not in {200, 503}:
        told = f"{answer.status} {answer.body[:200].decode()}"
        answers.odd[told] = answers.odd.get(told, 0) + 1
    return answer.status


async def closed_loop(
    where: tuple[str, int],
    ask: Ask,
    connections: int,
    stop: asyncio.Event,
    answers: Answers,
    rate: float | None = None,
) -> None:
    """Each of some connections asks, waits for the answer, asks again, until `stop` is set.

    Args:
        rate: requests a second of all together; those who are late do not wait, and count from when they were due.
            None asks as fast as the answers come.
    """
    start = time.monotonic()

    async def one(place: int) -> None:
        client, turn = Client(*where), 0
        while not stop.is_set():
            due = None
            if rate is not None:
                due = start + (turn * connections + place) / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                turn += 1
            pause = PAUSES.get(await ask_once(client, ask(), answers, due), 0.0)
            if pause:
                await asyncio.sleep(random.uniform(0.5, 1.5) * pause)
        client.close()

    await asyncio.gather(*(one(place) for place in range(connections)))


async def open_loop(
    where: tuple[str, int], ask: Ask, rate: float, seconds: float, answers: Answers, connections: int = 512
) -> None:
    """Requests come at random moments (Poisson), whoever is still waiting; latencies count from when each was due.

    Args:
        connections: at most so many; whoever finds none free counts as failed.
    """
    free = [Client(*where) for _ in range(connections)]
    clients, asking = list(free), set[asyncio.Task[None]]()

    async def one(client: Client, due: float) -> None:
        await ask_once(client, ask(), answers, due)
        free.append(client)

    gaps = np.random.default_rng(0).exponential(1 / rate, int(rate * seconds))
    for due in (time.monotonic() + np.cumsum(gaps)).tolist():
        if due > time.monotonic():
            await asyncio.sleep(due - time.monotonic())
        if not free:
            answers.add(due, FAILED)
            answers.odd["no free connection"] = answers.odd.get("no free connection", 0) + 1
            continue
        task = asyncio.create_task(one(free.pop(), due))
        asking.add(task)
        task.add_done_callback(asking.discard)
    if asking:
        await asyncio.wait(asking)
    for client in clients:
        client.close()
