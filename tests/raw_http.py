"""A tiny application under the limited protocol, in a thread of the test, and bytes sent to it over a socket."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from serving.guard.browsers import security_headers
from serving.guard.heads import Limits
from serving.guard.protocol import limited


@dataclass
class Recorder:
    """Answers what it was asked, and remembers it.

    /slow takes 0.2 seconds; /early reads nothing, nor does /slower, for 0.7 seconds; /hasty reads one message; /large
    is 32 MiB.
    """

    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """Of requests that were read to their end."""
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    """As they are after the body was read."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"
        path = scope["path"]
        self.paths.append(path)
        if path == "/hasty":
            await receive()
            await asyncio.sleep(0.2)
        content = b"" if path in {"/early", "/hasty", "/slower"} else await self._read(receive)
        if content is None:
            return
        self.headers.append(list(scope["headers"]))
        if path == "/slow":
            await asyncio.sleep(0.2)
        if path == "/slower":
            await asyncio.sleep(0.7)
        answer = bytes(1 << 25) if path == "/large" else json.dumps({"path": path, "bytes": len(content)}).encode()
        length = str(len(answer)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": answer[:10], "more_body": True})
        await send({"type": "http.response.body", "body": answer[10:], "more_body": False})

    async def _read(self, receive: ASGIReceiveCallable) -> bytes | None:
        content, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return None
            content += message["body"]
            more = message["more_body"]
        self.bodies.append(content)
        return content


@dataclass(frozen=True)
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A running server."""

    app: Recorder
    port: int
    server: uvicorn.Server

    def connect(self) -> socket.socket:
        """A connection that gives up after 10 seconds."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, *pieces: bytes, pause: float = 0.02) -> list[Answer]:
        """Send pieces one after the other, and read answers until the server ends the connection."""
        with self.connect() as connection:
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except (BrokenPipeError, ConnectionResetError):
                    break
                time.sleep(pause)
            return answers(read_all(connection))

    def wait_for(self, connections: int) -> None:
        """Wait until there are so many connections; fails after 10 seconds."""
        end = time.monotonic() + 10
        while len(self.server.server_state.connections) != connections:
            assert time.monotonic() < end, f"{len(self.server.server_state.connections)} connections after 10 s"
            time.sleep(0.01)


def read_all(connection: socket.socket) -> bytes:
    """All until the other side ends the connection; fails where it does not."""
    received = b""
    while True:
        try:
            piece = connection.recv(1 << 16)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


def answers(received: bytes) -> list[Answer]:
    """The answers in what was received; fails where it is anything but whole answers with a Content-Length."""
    found = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        status = re.fullmatch(r"HTTP/1\.1 (\d{3}) [\w -]+", first)
        assert status, first
        assert end
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if status[1] == "100" else int(headers["content-length"])
        assert len(received) >= length
        found.append(Answer(int(status[1]), headers, received[:length]))
        received = received[length:]
    return found


@contextmanager
def limited_server(
    limits: Limits, loop: Literal["asyncio", "uvloop"] = "uvloop", keep_alive: float = 5
) -> Iterator[Server]:
    """Serve a `Recorder` with some limits; the server has stopped when the block ends."""
    app = Recorder()
    config = uvicorn.Config(
        app,
        http=limited(limits),
        ws="none",
        loop=loop,
        lifespan="off",
        port=0,
        log_config=None,  # so that pytest sees what is logged
        access_log=False,
        server_header=False,
        headers=security_headers(docs=False),
        timeout_keep_alive=keep_alive,  # type: ignore[arg-type]
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.002)
        yield Server(app, server.servers[0].sockets[0].getsockname()[1], server)
    finally:
        server.should_exit = True
        thread.join()
