"""What is answered where a request never reaches the application: whole HTTP answers, made once."""

import json
from dataclasses import dataclass, field
from http import HTTPStatus

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope


@dataclass(frozen=True)
class Refusal:
    """An answer after which the connection ends, as application/problem+json (RFC 9457).

    Args:
        status: of HTTP.
        detail: what is wrong, and what to do about it.
        retry_after: seconds after which to ask again, for 503.
    """

    status: int
    detail: str
    retry_after: int | None = None
    body: bytes = field(init=False, repr=False)
    headers: list[tuple[bytes, bytes]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        title = HTTPStatus(self.status).phrase
        told = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, "errors": []}
        body = json.dumps(told).encode()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self.retry_after is not None:
            headers.append((b"retry-after", str(self.retry_after).encode()))
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "headers", headers)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """The refusal as an ASGI application."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})

    def raw(self, more_headers: list[tuple[bytes, bytes]]) -> bytes:
        """The refusal as it goes over the wire, with headers that all answers have."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in (*more_headers, *self.headers)]
        return b"\r\n".join([*lines, b"", self.body])
