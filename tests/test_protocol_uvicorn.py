"""What `guard/protocol.py` relies on inside uvicorn and httptools: where a new version changes it, this says what."""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from serving.guard.protocol import LimitedProtocol

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


async def _application(_: Any, __: Any, ___: Any) -> None: ...


def within(check: Callable[[HttpToolsProtocol, MagicMock], None]) -> None:
    """Run a check on uvicorn's own protocol after its connection was made."""

    async def run() -> None:
        config = uvicorn.Config(_application, http=HttpToolsProtocol, ws="none", headers=[("x", "y")])
        protocol = HttpToolsProtocol(config, ServerState(), {})
        transport = MagicMock(spec=asyncio.Transport)
        transport.is_closing.return_value = False
        protocol._start_asgi_task = MagicMock()  # type: ignore[method-assign]
        protocol.connection_made(transport)
        check(protocol, transport)

    asyncio.run(run())


def test_only_these_methods_are_extended() -> None:
    extended = {name for name in vars(LimitedProtocol) if callable(getattr(HttpToolsProtocol, name, None))}
    parser = {"on_message_begin", "on_headers_complete", "on_body", "on_message_complete"}
    connection = {
        "connection_made",
        "connection_lost",
        "data_received",
        "eof_received",
        "pause_writing",
        "resume_writing",
    }
    assert {name for name in extended if not name.startswith("__")} == parser | connection


def test_no_name_of_ours_is_uvicorns() -> None:
    def check(protocol: HttpToolsProtocol, _: MagicMock) -> None:
        protocol.data_received(GET)
        ours = {name for name in vars(LimitedProtocol) if not name.startswith("__")}
        shared = {name for name in ours if hasattr(protocol, name) and not callable(getattr(protocol, name))}
        assert shared == set()

    within(check)


def test_a_connection_is_counted_and_has_a_flow() -> None:
    def check(protocol: HttpToolsProtocol, transport: MagicMock) -> None:
        assert protocol in protocol.connections
        assert protocol.transport is transport
        assert protocol.flow.read_paused is False
        assert protocol.cycle is None
        assert protocol.ws_protocol_class is None
        protocol.connection_lost(None)
        assert protocol not in protocol.connections

    within(check)


def test_requests_become_cycles_and_wait_in_the_pipeline() -> None:
    def check(protocol: HttpToolsProtocol, _: MagicMock) -> None:
        protocol.data_received(GET[:-2])
        assert (protocol.url, protocol.headers) == (b"/a", [])
        protocol.data_received(GET[-2:])
        first = protocol.cycle
        assert protocol.scope["headers"] is protocol.headers
        assert protocol.headers == [(b"host", b"h")]
        assert protocol.scope["http_version"] == "1.1"
        assert (first.keep_alive, first.disconnected, first.response_started) == (True, False, False)
        assert (first.response_complete, first.waiting_for_100_continue) == (False, False)
        assert not first.message_event.is_set() or not first.more_body
        assert list(protocol.pipeline) == []
        protocol.data_received(GET)
        assert protocol.cycle is not first
        assert protocol.flow.read_paused
        protocol.data_received(GET)
        assert protocol.pipeline[0][0] is protocol.cycle  # the newest; served are those from the other end
        assert len(protocol.pipeline) == 2

    within(check)


def test_keep_alive_has_a_timer_that_data_unsets() -> None:
    def check(protocol: HttpToolsProtocol, _: MagicMock) -> None:
        protocol.data_received(GET)
        protocol.cycle.response_complete = True
        protocol.on_response_complete()
        assert protocol.timeout_keep_alive_task is not None
        protocol._unset_keepalive_if_required()
        assert protocol.timeout_keep_alive_task is None

    within(check)


def test_an_error_in_a_callback_is_a_parser_error_and_an_upgrade_is_told_before_the_body() -> None:
    class Callbacks:
        def on_headers_complete(self) -> None:
            raise KeyError

    with pytest.raises(httptools.HttpParserError):
        httptools.HttpRequestParser(Callbacks()).feed_data(GET)
    parser = httptools.HttpRequestParser(object())
    with pytest.raises(httptools.HttpParserUpgrade):
        parser.feed_data(memoryview(GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"))
    assert parser.should_upgrade()
    assert (parser.get_http_version(), parser.get_method()) == ("1.1", b"GET")
