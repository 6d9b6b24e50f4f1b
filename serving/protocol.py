"""Limits of what comes over a connection, before any of our code sees a request: a subclass of uvicorn's protocol.

What is refused gets its answer as application/problem+json and then the end of the connection, since where the next
request begins is not known any more. Nothing of it is logged: whoever sends garbage must not fill the disk. Requests
that were sent before, on the same connection, are answered first; the refused one then gets the end alone.

Of uvicorn's insides this uses what `tests/test_protocol_uvicorn.py` names; that test fails where they change.
"""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar
from urllib.parse import unquote_to_bytes

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.refusals import Refusal


@dataclass(frozen=True)
class Limits:
    """How much and how long one connection, and how many connections."""

    head_bytes: int = 16 * 1024
    """Request line and headers; 431 beyond."""
    headers: int = 64
    """How many headers; 431 beyond."""
    head_seconds: float = 10
    """From the first byte of a request, or from a connection's beginning, to the end of the headers; 408 after."""
    body_bytes: int = 1024 * 1024
    """Body of a request; 413 beyond, at once where its length is announced."""
    body_seconds: float = 30
    """From the end of the headers to the end of the body; 408 after."""
    unread_seconds: float = 30
    """How long a client may leave what is sent to it; the connection is then cut."""
    connections: int = 1000
    """Of one process; each beyond gets 503 and its end."""
    pipelined: int = 32
    """Requests that wait on one connection for those before them to be answered; the connection ends beyond."""
    linger_seconds: float = 1
    """How long to read on, and forget, after a refusal: closing sooner could destroy the answer under way."""


class _Stage(Enum):
    """What of a request comes next."""

    BETWEEN = 0
    HEAD = 1
    BODY = 2


class _RefusedError(Exception):
    """Ends parsing; httptools makes a parser error of it."""


BAD = Refusal(400, "This is not HTTP/1.1 as RFC 9112 has it. Send one well-formed request after the other.")
BAD_VERSION = Refusal(400, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
BAD_HOST = Refusal(400, "A request of HTTP/1.1 has exactly one header Host.")
BAD_CODING = Refusal(400, "A body is sent with Content-Length or, by HTTP/1.1, with Transfer-Encoding: chunked.")
BAD_UTF8 = Refusal(400, "Path or query is not UTF-8. Percent-encode the bytes of UTF-8.")
TWICE = Refusal(400, "A header that may be there once is there twice.")
NO_UPGRADE = Refusal(400, "No other protocol is spoken here. Leave out the header Upgrade.")
SLOW_HEAD = Refusal(408, "The headers took too long. Send a request at once.")
SLOW_BODY = Refusal(408, "The body took too long. Send less, or faster.")
LARGE_BODY = Refusal(413, "The body is too large. Send less at once.")
LARGE_HEAD = Refusal(431, "Request line and headers are too large or too many. Send less.")
FULL = Refusal(
    503, "This server has as many connections as it takes. Ask again, and keep connections.", retry_after=1
)

_ONCE = frozenset(
    (b"authorization", b"content-length", b"content-type", b"expect", b"host", b"transfer-encoding", b"upgrade")
)


def limited(limits: Limits) -> type["LimitedProtocol"]:
    """The protocol with some limits, for `uvicorn.Config(http=...)`."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits, "turned_away": set()})


class LimitedProtocol(HttpToolsProtocol):
    """One connection. All times are of the event loop; a request that comes in one piece starts no timer."""

    limits: ClassVar[Limits] = Limits()
    turned_away: ClassVar[set["LimitedProtocol"]] = set()
    """Connections beyond the limit that are being told so."""

    _stage = _Stage.BETWEEN
    _wire = 0
    """Bytes of this stage so far, without the piece in which it began."""
    _content = 0
    """Bytes of this body so far."""
    _deaf = False
    """What still comes is forgotten."""
    _refusal: Refusal | None = None
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.ws_protocol_class = None
        _cut_unread(transport, self.limits.unread_seconds)
        if len(self.connections) <= self.limits.connections:
            self._start_timer()
            return
        self._deaf = True
        self.connections.discard(self)
        if len(self.turned_away) >= self.limits.connections:
            transport.abort()
            return
        self.turned_away.add(self)
        self._answer(FULL)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.resume_writing()
        self.turned_away.discard(self)
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        for piece in _pieces(data, self.limits.head_bytes) if len(data) > self.limits.head_bytes else (data,):
            self._parse(piece)
            if self._deaf:
                return
        if self._timer is None and (self._stage is not _Stage.BETWEEN or self._all_answered()):
            self._start_timer()

    def _parse(self, piece: bytes | memoryview) -> None:
        self._wire += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # a request without a body that is answered as if it had no such header
        except httptools.HttpParserError:
            self._refuse(self._refusal or BAD)
        else:
            if self._stage is _Stage.BODY:
                if self._wire > 2 * self.limits.body_bytes:  # chunks of single bytes, or trailers without end
                    self._refuse(LARGE_BODY)
            elif self._wire > self.limits.head_bytes:
                self._refuse(LARGE_HEAD)

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._enter(_Stage.HEAD)

    @override
    def on_headers_complete(self) -> None:
        self._refusal = self._wrong_head()
        if self._refusal:
            raise _RefusedError
        super().on_headers_complete()
        self._enter(_Stage.BODY)
        self._content = 0
        if self.expect_100_continue or self.parser.should_upgrade():
            self.cycle.keep_alive = False  # whether the client will send a body is not known
        if self.scope["http_version"] == "1.0":
            self.cycle.waiting_for_100_continue = False
        self.headers = []  # trailers go here, and nowhere else

    @override
    def on_body(self, body: bytes) -> None:
        self._content += len(body)
        if self._content > self.limits.body_bytes:
            self._refusal = LARGE_BODY
            raise _RefusedError
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(_Stage.BETWEEN)

    def _enter(self, stage: _Stage) -> None:
        self._stage, self._wire = stage, 0
        self._stop_timer()

    def _wrong_head(self) -> Refusal | None:
        size, once = len(self.url), {}
        for name, value in self.headers:
            size += len(name) + len(value) + 4  # ": " and the line's end
            if name in _ONCE:
                if name in once:
                    return TWICE
                once[name] = value
        if size > self.limits.head_bytes or len(self.headers) > self.limits.headers:
            return LARGE_HEAD
        if len(self.pipeline) >= self.limits.pipelined:
            return LARGE_HEAD  # which is not sent: requests before it are unanswered
        if b"%" in self.url and not _is_utf8(unquote_to_bytes(self.url)):
            return BAD_UTF8
        return self._wrong_framing(once)

    def _wrong_framing(self, once: dict[bytes, bytes]) -> Refusal | None:
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            return BAD_VERSION
        if version == "1.1" and b"host" not in once:
            return BAD_HOST
        length, coding = int(once.get(b"content-length", 0)), once.get(b"transfer-encoding")
        if coding is not None and (version == "1.0" or b"content-length" in once or coding.lower() != b"chunked"):
            return BAD_CODING
        if length > self.limits.body_bytes:
            return LARGE_BODY
        if self.parser.should_upgrade() and (length or coding or self.parser.get_method() == b"CONNECT"):
            return NO_UPGRADE  # httptools then takes the body for the other protocol's
        return None

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal if it is this request's turn, and end the connection."""
        self._deaf = True
        self._stop_timer()
        if self._stage is not _Stage.BODY:  # the request has no cycle yet; `self.cycle` is that of the one before
            if self._all_answered():
                self._answer(refusal)
            else:
                self.cycle.keep_alive = False
        elif self.pipeline:
            self.pipeline[0] = self.cycle, refusal
        elif self.cycle.response_complete:
            self._end()
        elif self.cycle.response_started:
            self.cycle.keep_alive = False
        else:
            self.cycle.disconnected = True  # so that the application's answer is dropped
            self.cycle.message_event.set()
            self._answer(refusal)

    def _all_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _answer(self, refusal: Refusal) -> None:
        self.transport.write(refusal.raw(self.server_state.default_headers))
        self._end()

    def _end(self) -> None:
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(self.limits.linger_seconds, self.transport.abort)

    def _start_timer(self) -> None:
        seconds = self.limits.body_seconds if self._stage is _Stage.BODY else self.limits.head_seconds
        self._timer = self.loop.call_later(seconds, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.flow.read_paused:
            self._start_timer()  # it is we who do not read
        elif self._stage is _Stage.BETWEEN:
            self.transport.close()
        else:
            self._refuse(SLOW_BODY if self._stage is _Stage.BODY else SLOW_HEAD)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.unread_seconds, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def _pieces(data: bytes, size: int) -> Iterator[memoryview]:
    """Views of at most `size` bytes, so that limits hold within what was read at once."""
    view = memoryview(data)
    return (view[start : start + size] for start in range(0, len(data), size))


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _cut_unread(transport: asyncio.Transport, seconds: float) -> None:
    """Have the system cut a connection whose other end takes nothing for some time, whoever closed it here."""
    connection = transport.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT") and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * seconds))
