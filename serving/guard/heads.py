"""Whether a request is well-formed and within limits, judged by its head alone. Bytes in, a refusal or None out."""

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from serving.guard.refusals import Refusal


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


def wrong_head(
    url: bytes, version: str, headers: list[tuple[bytes, bytes]], upgrade: bool, limits: Limits
) -> Refusal | None:
    """What to answer a request whose head is complete, None where nothing is wrong with it but perhaps its size.

    Args:
        url: path and query as sent.
        version: `1.1`.
        headers: names, in lower case, and values; the parser has checked that Content-Length is a number.
        upgrade: whether the parser takes what follows for another protocol's.
        limits: of sizes.
    """
    if len(headers) > limits.headers:
        return LARGE_HEAD
    named = dict(headers)
    if len(named) < len(headers) and _twice(headers):
        return TWICE
    if b"%" in url and not _is_utf8(unquote_to_bytes(url)):
        return BAD_UTF8
    if version == "1.1" and b"host" not in named:
        return BAD_HOST
    if version != "1.1" or upgrade or b"content-length" in named or b"transfer-encoding" in named:
        return _wrong_framing(version, named, upgrade, limits)
    return None


def head_size(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes of URL, names and values, with four for each header: `: ` and the end of the line."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def _twice(headers: list[tuple[bytes, bytes]]) -> bool:
    names = [name for name, _ in headers if name in _ONCE]
    return len(set(names)) < len(names)


def _wrong_framing(version: str, named: dict[bytes, bytes], upgrade: bool, limits: Limits) -> Refusal | None:
    if version not in {"1.1", "1.0"}:
        return BAD_VERSION
    length, coding = int(named.get(b"content-length", 0)), named.get(b"transfer-encoding")
    if coding is not None and (version == "1.0" or b"content-length" in named or coding.lower() != b"chunked"):
        return BAD_CODING
    if length > limits.body_bytes:
        return LARGE_BODY
    if upgrade and (length or coding):
        return NO_UPGRADE  # the parser would take the body for the other protocol's
    return None


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
