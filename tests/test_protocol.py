"""What comes over a connection: bounded in size and time, refused with an answer, never taken for another request."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from serving.guard.heads import Limits
from tests.raw_http import Answer, Server, answers, limited_server, read_all
from watchnext.api.problems import Problem

LIMITS = Limits(
    head_bytes=2000,
    headers=20,
    head_seconds=0.4,
    body_bytes=5000,
    body_seconds=0.4,
    unread_seconds=0.4,
    connections=20,
    pipelined=4,
    linger_seconds=0.3,
)
GET = b"GET /a HTTP/1.1\r\nHost: h\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def shared(request: pytest.FixtureRequest) -> Iterator[Server]:
    with limited_server(LIMITS, request.param) as server:
        yield server


@pytest.fixture
def server(shared: Server, caplog: pytest.LogCaptureFixture) -> Iterator[Server]:
    """One server for all tests: after each it must answer as ever, and have logged nothing."""
    shared.app.paths.clear()
    shared.app.bodies.clear()
    shared.app.headers.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        yield shared
    assert [answer.status for answer in shared.ask(LAST)] == [200]
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []


def check_refused(answer: Answer, status: int) -> None:
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers
    told = Problem.model_validate_json(answer.body)
    assert told.status == status
    assert json.loads(answer.body) == told.model_dump(mode="json")


def body_of(answer: Answer) -> object:
    return json.loads(answer.body)


def test_requests_of_all_kinds_are_answered_on_one_connection(server: Server) -> None:
    pieces = (
        GET + b"\r\n",
        POST + b"Content-Length: 5\r\n\r\nhe",
        b"llo",
        POST + CHUNKED + b"\r\n5\r\nhello\r\n1;extension=1\r\n!",
        b"\r\n0\r\n\r\n",
        b"\r\n" + LAST,
    )
    got = server.ask(*pieces)
    assert [body_of(answer) for answer in got] == [
        {"path": "/a", "bytes": 0},
        {"path": "/a", "bytes": 5},
        {"path": "/a", "bytes": 6},
        {"path": "/last", "bytes": 0},
    ]
    assert server.app.bodies == [b"", b"hello", b"hello!", b""]


def test_a_request_byte_by_byte(server: Server) -> None:
    request = POST + CLOSE + b"Content-Length: 3\r\n\r\nabc"
    got = server.ask(*(request[i : i + 1] for i in range(len(request))), pause=0)
    assert [body_of(answer) for answer in got] == [{"path": "/a", "bytes": 3}]


def test_paths_of_any_unicode(server: Server) -> None:
    server.ask(b"GET /b%C3%BC%00%E2%82%AC?q=%F0%9F%8E%AC HTTP/1.1\r\nHost: h\r\n" + CLOSE + b"\r\n")
    assert server.app.paths == ["/bü\0€"]


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /a\r\n\r\n",
        b"get /a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /a HTTP/9.9\r\nHost: h\r\n\r\n",
        b"GET /a HTTP/2.0\r\nHost: h\r\n\r\n",
        b"GET /a HTTP/0.9\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: h\n\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\xc3\xbc HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /a?user_id=%C3 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"CONNECT /a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        GET + b"Bad header\r\n\r\n",
        GET + b"Bad : space\r\n\r\n",
        GET + b"A: b\r\n folded\r\n\r\n",
        GET + b"A: \0\r\n\r\n",
        GET + b"A\xff: b\r\n\r\n",
        GET + b"Authorization: a\r\nAuthorization: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    ],
)
def test_what_is_no_http_gets_400(request_: bytes, server: Server) -> None:
    (answer,) = server.ask(request_)
    check_refused(answer, 400)
    assert server.app.paths == []


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity\r\nContent-Length: 0\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\n",
        b"X: y\rTransfer-Encoding: chunked\r\n",
        b"Content-Length: 0\r\nContent-Length: 0\r\n",
        b"Content-Length: 0\r\nContent-Length: 39\r\n",
        b"Content-Length: 0, 0\r\n",
        b"Content-Length: +0\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x0\r\n",
        b"Content-Length: 1_0\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
def test_nothing_is_smuggled_by_framing(head: bytes, pieces: int, server: Server) -> None:
    sent = (POST + head + b"\r\n", b"0\r\n\r\n" + SMUGGLED)
    (answer,) = server.ask(*sent) if pieces == 2 else server.ask(b"".join(sent))
    check_refused(answer, 400)
    assert server.app.paths == []


def test_http_1_0_has_no_chunks(server: Server) -> None:
    (answer,) = server.ask(b"POST /a HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED)
    check_refused(answer, 400)
    assert server.app.paths == []


@pytest.mark.parametrize(
    "body",
    [
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"0\r\nBad trailer\r\n\r\n",
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
def test_nothing_is_smuggled_by_chunks(body: bytes, pieces: int, server: Server) -> None:
    sent = (POST + CHUNKED + b"\r\n", body + SMUGGLED)
    (answer,) = server.ask(*sent) if pieces == 2 else server.ask(b"".join(sent))
    check_refused(answer, 400)
    assert server.app.bodies == []
    assert "/smuggled" not in server.app.paths


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_an_upgrade_is_not_made(protocol: bytes, pieces: int, server: Server) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
    sent = (GET + upgrade + b"\r\n", SMUGGLED)
    (answer,) = server.ask(*sent) if pieces == 2 else server.ask(b"".join(sent))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    for framing in (b"Content-Length: %d\r\n" % len(SMUGGLED), CHUNKED):
        sent = (POST + upgrade + framing + b"\r\n", SMUGGLED)
        (answer,) = server.ask(*sent) if pieces == 2 else server.ask(b"".join(sent))
        check_refused(answer, 400)
    assert server.app.paths == ["/a"]


def head_of(size: int) -> bytes:
    """A request whose URL, names and values have `size` bytes, with 4 for each header."""
    rest = len(b"/aHosth") + 4 + len(b"Connectionclose") + 4 + len(b"X") + 4
    return GET + CLOSE + b"X: " + b"x" * (size - rest) + b"\r\n\r\n"


def test_heads_have_a_size(server: Server) -> None:
    assert [answer.status for answer in server.ask(head_of(LIMITS.head_bytes))] == [200]
    (answer,) = server.ask(head_of(LIMITS.head_bytes + 1))
    check_refused(answer, 431)
    assert server.app.paths == ["/a"]


def test_heads_have_so_many_headers(server: Server) -> None:
    more = LIMITS.headers - 2
    assert [a.status for a in server.ask(GET + CLOSE + b"A: b\r\n" * more + b"\r\n")] == [200]
    (answer,) = server.ask(GET + CLOSE + b"A: b\r\n" * (more + 1) + b"\r\n")
    check_refused(answer, 431)


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * 100_000,
        b"GET /a?" + b"a=b&" * 100_000,
        b"GET /a HTTP/1.1\r\nX: " + b"x" * 1_000_000,
        b"GET /a HTTP/1.1\r\n" + b"x" * 100_000,
        b"GET /a HTTP/1.1\r\n" + b"A: b\r\n" * 100_000,
        b"\r\n" * 100_000,
    ],
)
def test_endless_heads(endless: bytes, server: Server) -> None:
    (answer,) = server.ask(endless)
    check_refused(answer, 431)
    (answer,) = server.ask(*(endless[i : i + 1500] for i in range(0, 15_000, 1500)), pause=0.001)
    check_refused(answer, 431)
    assert server.app.paths == []


def test_bodies_have_a_size(server: Server) -> None:
    size = LIMITS.body_bytes
    for framing, body in (
        (b"Content-Length: %d\r\n", b"x" * size),
        (CHUNKED, b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"),
    ):
        head = framing % size if b"%d" in framing else framing
        assert [a.status for a in server.ask(POST + CLOSE + head + b"\r\n" + body)] == [200]
    assert server.app.bodies == [b"x" * size] * 2


def test_an_announced_body_is_refused_before_it_comes(server: Server) -> None:
    for more in (b"", b"x" * 100, b"x" * 1_000_000):
        (answer,) = server.ask(POST + b"Content-Length: %d\r\n\r\n" % (LIMITS.body_bytes + 1) + more)
        check_refused(answer, 413)
    assert server.app.paths == []


def test_a_body_in_chunks_is_counted(server: Server) -> None:
    chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    whole = POST + CHUNKED + b"\r\n" + chunk * 5 + b"1\r\nx\r\n0\r\n\r\n" + SMUGGLED
    for sent in ((whole,), tuple(whole[i : i + 700] for i in range(0, len(whole), 700))):
        (answer,) = server.ask(*sent, pause=0.005)
        check_refused(answer, 413)
    assert server.app.bodies == []
    assert set(server.app.paths) == {"/a"}


@pytest.mark.parametrize(
    "endless", [b"1\r\nx\r\n", b"1;" + b"e" * 5000, b"0\r\nX: " + b"x" * 50_000, b"0\r\n" + b"A: b\r\n" * 9000]
)
def test_what_surrounds_chunks_is_counted_too(endless: bytes, server: Server) -> None:
    (answer,) = server.ask(POST + CHUNKED + b"\r\n" + endless * (1 + 30_000 // len(endless)))
    check_refused(answer, 413)
    assert server.app.bodies == []


def test_trailers_are_no_headers(server: Server) -> None:
    got = server.ask(POST + CHUNKED + CLOSE + b"\r\n", b"1\r\nx\r\n0\r\nAuthorization: Bearer stolen\r\nX: y\r\n\r\n")
    assert [answer.status for answer in got] == [200]
    assert [name for name, _ in server.app.headers[0]] == [b"host", b"transfer-encoding", b"connection"]


def test_expect(server: Server) -> None:
    expect = b"Expect: 100-continue\r\n"
    got = server.ask(POST + expect + b"Content-Length: 5\r\n\r\n", b"hello" + SMUGGLED)
    assert [answer.status for answer in got] == [100, 200]
    got = server.ask(POST + expect + b"Content-Length: 5001\r\n\r\n")
    assert [answer.status for answer in got] == [413]
    got = server.ask(b"POST /early HTTP/1.1\r\nHost: h\r\n" + expect + b"Content-Length: 60\r\n\r\n", SMUGGLED)
    assert [(answer.status, answer.headers["connection"]) for answer in got] == [(200, "close")]
    got = server.ask(b"POST /a HTTP/1.0\r\n" + expect + b"Content-Length: 5\r\n\r\n", b"hello")
    assert [answer.status for answer in got] == [200]
    assert "/smuggled" not in server.app.paths


def test_slow_requests(server: Server) -> None:
    half = GET + b"X: "
    (answer,) = server.ask(half)
    check_refused(answer, 408)
    (answer,) = server.ask(half, *[b"x"] * 30, pause=0.05)
    check_refused(answer, 408)
    assert server.app.paths == []
    for framing in (b"Content-Length: 50\r\n\r\n", CHUNKED + b"\r\n32\r\n"):
        (answer,) = server.ask(POST + framing, *[b"x"] * 30, pause=0.05)
        check_refused(answer, 408)
    assert server.app.bodies == []


def test_silent_connections_end(server: Server) -> None:
    assert server.ask() == []
    assert server.ask(b"\r\n") == []
    assert [answer.status for answer in server.ask(GET + b"\r\n", b"\r\n", *[b"\r\n"] * 20, pause=0.05)] == [200]


def test_half_requests_leave_nothing_behind(server: Server) -> None:
    whole = POST + b"Content-Length: 5\r\n\r\nhello"
    for end in range(0, len(whole), 3):
        with server.connect() as connection:
            connection.sendall(whole[:end])
    server.wait_for(connections=0)


def test_who_sends_no_more_still_gets_what_was_asked_for(server: Server) -> None:
    slow = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"
    for sent, paths in [(slow, ["/slow"]), (slow + GET + b"\r\n", ["/slow", "/a"]), (slow + GET, ["/slow"])]:
        with server.connect() as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            got = answers(read_all(connection))
        assert [body_of(answer)["path"] for answer in got] == paths  # type: ignore[index]
        assert got[-1].headers["connection"] == "close"
    server.wait_for(connections=0)


def test_who_goes_away_while_asking_is_no_error(server: Server) -> None:
    slow = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"
    for _ in range(30):
        with server.connect() as connection:
            connection.sendall(slow + POST + b"Content-Length: 5\r\n\r\nhe")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        with server.connect() as connection:
            connection.sendall(POST + b"Content-Length: 5\r\n\r\nhe")
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b""
    server.wait_for(connections=0)


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    requests = [b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n" % name for name in (b"slow", b"b", b"slow", b"c")]
    got = server.ask(b"".join(requests) + LAST)
    assert [body_of(answer)["path"] for answer in got] == ["/slow", "/b", "/slow", "/c", "/last"]  # type: ignore[index]


def test_who_is_not_read_is_not_late(server: Server) -> None:
    slower = b"GET /slower HTTP/1.1\r\nHost: h\r\n\r\n"
    got = server.ask(slower + GET + b"\r\n" + LAST[:10], LAST[10:], pause=0.5)
    assert [answer.status for answer in got] == [200] * 3


def test_pipelines_have_a_length(server: Server) -> None:
    got = server.ask((GET + b"\r\n") * 1000)
    assert [answer.status for answer in got] == [200] * (LIMITS.pipelined + 1)


@pytest.mark.parametrize(
    "bad", [b"\0\r\n\r\n", b"GET /smuggled HTTP/1.1\r\n\r\n", POST + b"Content-Length: 5001\r\n\r\n"]
)
def test_what_is_wrong_is_not_the_answer_to_the_request_before(bad: bytes, server: Server) -> None:
    slow = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"
    for sent in ((slow + bad + SMUGGLED,), (slow, bad + SMUGGLED)):
        assert [answer.status for answer in server.ask(*sent)] == [200]
    assert server.app.paths == ["/slow"] * 2


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_wrong_body_is_refused_in_its_turn(pieces: int, server: Server) -> None:
    sent = (b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n" + POST + CHUNKED + b"\r\n", b"x\r\n" + SMUGGLED)
    first, second = server.ask(*sent) if pieces == 2 else server.ask(b"".join(sent))
    assert first.status == 200
    check_refused(second, 400)
    assert server.app.paths == ["/slow"]


def test_a_wrong_body_after_its_answer_ends_the_connection(server: Server) -> None:
    early = b"POST /early HTTP/1.1\r\nHost: h\r\n" + CHUNKED + b"\r\n"
    for rest in (b"x\r\n", b"1\r\nx\r\n" * 20_000):
        assert [answer.status for answer in server.ask(early, rest + SMUGGLED, pause=0.1)] == [200]
    assert server.app.paths == ["/early"] * 2


def test_an_application_that_answers_after_a_refusal_is_not_heard(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /hasty HTTP/1.1\r\nHost: h\r\n" + CHUNKED + b"\r\n1\r\nx\r\n")
        time.sleep(0.1)
        connection.sendall(b"x\r\n")
        (answer,) = answers(read_all(connection))
        check_refused(answer, 400)
        time.sleep(0.2)  # the application answers now, while the connection is there, and nothing may be logged
    assert server.app.paths == ["/hasty"]


def test_an_unread_body_is_read_and_the_connection_goes_on(server: Server) -> None:
    early = b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"
    assert [answer.status for answer in server.ask(early, b"x" * 50, b"x" * 50 + LAST)] == [200, 200]


def test_what_is_not_taken_is_cut(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
        server.wait_for(connections=1)
        server.wait_for(connections=0)


def test_what_is_taken_too_slowly_is_cut(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
        server.wait_for(connections=1)
        taken = 0
        with suppress(ConnectionResetError):
            while server.server.server_state.connections and taken < 1 << 22:
                taken += len(connection.recv(4096))
                time.sleep(0.005)
    assert 0 < taken < 1 << 22


def test_connections_have_a_number(server: Server) -> None:
    server.wait_for(connections=0)
    with limited_server(Limits(connections=2)) as small:
        first, second = small.connect(), small.connect()
        small.wait_for(connections=2)
        for sent in (b"", GET + b"\r\n", POST + b"Content-Length: 100000\r\n\r\n" + bytes(100_000)):
            (answer,) = small.ask(sent, pause=0)
            check_refused(answer, 503)
            assert answer.headers["retry-after"] == "1"
        second.sendall(LAST)
        assert [answer.status for answer in answers(read_all(second))] == [200]
        second.close()
        small.wait_for(connections=1)
        assert [answer.status for answer in small.ask(LAST)] == [200]
        first.close()
        assert small.app.paths == ["/last"] * 2


def test_a_flood_of_connections_is_cut(server: Server) -> None:
    with limited_server(Limits(connections=2, linger_seconds=60)) as small:
        held = [small.connect() for _ in range(2)]
        small.wait_for(connections=2)
        more = [small.connect() for _ in range(20)]
        got = [received_at_once(connection) for connection in more]
        assert [bool(each) for each in got] == [True] * 2 + [False] * 18
        for connection in held:
            connection.close()
        small.wait_for(connections=0)  # those that are being told do not count
        assert [answer.status for answer in small.ask(LAST)] == [200]
        for connection in more:
            connection.close()


def received_at_once(connection: socket.socket) -> bytes:
    try:
        return connection.recv(10_000)
    except ConnectionResetError:
        return b""
