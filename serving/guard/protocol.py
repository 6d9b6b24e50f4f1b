"""Limits of what comes over a connection, before any of our code sees a request: a subclass of uvicorn's protocol.

What is refused gets its answer as application/problem+json and then the end of the connection, since where the next
request begins is not known any more. Nothing of it is logged: whoever sends garbage must not fill the disk. Requests
that were sent before, on the same connection, are answered first; the refused one then gets the end alone.

Of uvicorn's insides this uses what `tests/test_protocol_uvicorn.py` names; that test fails where they change.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.guard.heads import (
    BAD,
    FULL,
    LARGE_BODY,
    LARGE_HEAD,
    NO_UPGRADE,
    SLOW_BODY,
    SLOW_HEAD,
    Limits,
    head_size,
    wrong_head,
)
from serving.guard.refusals import Refusal

_BETWEEN, _HEAD, _BODY = range(3)
"""What of a request comes next; plain numbers, as members of an Enum take longer to look up."""


class _RefusedError(Exception):
    """Ends parsing; httptools makes a parser error of it."""


def limited(limits: Limits) -> type["LimitedProtocol"]:
    """The protocol with some limits, for `uvicorn.Config(http=...)`."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits, "turned_away": set()})


class LimitedProtocol(HttpToolsProtocol):
    """One connection. All times are of the event loop; a request that comes in one piece starts no timer."""

    limits: ClassVar[Limits] = Limits()
    turned_away: ClassVar[set["LimitedProtocol"]] = set()
    """Connections beyond the limit that are being told so."""

    _stage = _BETWEEN
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
        super().connection_made(_Written(transport))  # type: ignore[arg-type]
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
    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether to go on: who sends no more may still read, and what was wholly asked for is answered."""
        if self._stage == _BODY or self._all_answered():
            return False
        last = self.pipeline[0][0] if self.pipeline else self.cycle
        last.keep_alive = False
        return True

    @override
    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        for piece in _pieces(data, self.limits.head_bytes) if len(data) > self.limits.head_bytes else (data,):
            self._parse(piece)
            if self._deaf:
                return
        if self._timer is None and (self._stage != _BETWEEN or self._all_answered()):
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
            if self._stage == _BODY:
                if self._wire > 2 * self.limits.body_bytes:  # chunks of single bytes, or trailers without end
                    self._refuse(LARGE_BODY)
            elif self._wire > self.limits.head_bytes:
                self._refuse(LARGE_HEAD)

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage, self._wire = _HEAD, 0
        self._stop_timer()

    @override
    def on_headers_complete(self) -> None:
        upgrade = self.parser.should_upgrade()
        self._refusal = self._wrong_head(upgrade)
        if self._refusal is not None:
            raise _RefusedError
        super().on_headers_complete()
        self._stage, self._wire, self._content = _BODY, 0, 0
        self._stop_timer()
        self.headers = []  # trailers go here, and nowhere else
        if upgrade or self.expect_100_continue:
            self.cycle.keep_alive = False  # whether the client will send a body is not known
            self.cycle.waiting_for_100_continue &= self.scope["http_version"] != "1.0"

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
        self._stage, self._wire = _BETWEEN, 0
        self._stop_timer()

    def _wrong_head(self, upgrade: bool) -> Refusal | None:
        if self._wire and head_size(self.url, self.headers) > self.limits.head_bytes:  # else it came in one piece
            return LARGE_HEAD
        if len(self.pipeline) >= self.limits.pipelined:
            return LARGE_HEAD  # which is not sent: requests before it are unanswered
        if upgrade and self.parser.get_method() == b"CONNECT":
            return NO_UPGRADE
        return wrong_head(self.url, self.parser.get_http_version(), self.headers, upgrade, self.limits)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal if it is this request's turn, and end the connection."""
        self._deaf = True
        self._stop_timer()
        if self._stage != _BODY:  # the request has no cycle yet; `self.cycle` is that of the one before
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
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(self.limits.linger_seconds, self.transport.abort)

    def _start_timer(self) -> None:
        seconds = self.limits.body_seconds if self._stage == _BODY else self.limits.head_seconds
        self._timer = self.loop.call_later(seconds, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self._start_timer()  # it is we who do not read
        elif self._stage == _BETWEEN:
            self.transport.close()
        else:
            self._refuse(SLOW_BODY if self._stage == _BODY else SLOW_HEAD)

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


class _Written:
    """A transport to which writing is no error after its end; uvloop's raises until `connection_lost` is called."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._write, self.is_closing = transport, transport.write, transport.is_closing

    def write(self, data: bytes) -> None:
        if not self.is_closing():
            self._write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _pieces(data: bytes, size: int) -> Iterator[memoryview]:
    """Views of at most `size` bytes, so that limits hold within what was read at once."""
    view = memoryview(data)
    return (view[start : start + size] for start in range(0, len(data), size))


def _cut_unread(transport: asyncio.Transport, seconds: float) -> None:
    """Have the system cut a connection whose other end takes nothing for some time, whoever closed it here."""
    connection = transport.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT") and connection.family != socket.AF_UNIX:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * seconds))
