"""What no well-behaved client sends, byte by byte, beside what one does. Bytes out, no sockets."""

import json
from collections.abc import Callable
from random import Random
from urllib.parse import quote

TOKENS = (
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\xff",
    b"%",
    b"%00",
    b"%2F",
    b"%FF",
    b"../",
    b"&k=1",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b"HTTP/2.0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\xf0\x9f\x92\xa9",
)
"""What parsers stumble over."""
Pieces = list[bytes]
"""Sent one after the other, with a moment between them."""


def valid(random: Random) -> bytes:
    """A request that is answered 200."""
    user, item = f"user-{random.randrange(1, 3000)}", f"video-{random.randrange(1, 900)}"
    kind = random.randrange(8)
    if kind == 0:
        watch = {"event_id": str(random.random()), "user_id": quote(user), "item_id": item}
        return _request("POST", "/watches", {"watches": [watch] * random.randrange(1, 20)})
    if kind == 1:
        history = [{"item_id": f"video-{random.randrange(1, 900)}"} for _ in range(random.randrange(50))]
        return _request("POST", "/recommend", {"history": history, "k": random.randrange(1, 200)})
    exclude = "".join(f"&exclude=video-{n}" for n in range(random.randrange(100)))
    paths = [
        f"/recommend?user_id={user}&k={random.randrange(1, 1000)}{exclude}",
        f"/recommend?user_id={user}&k=20&explain=true",
        f"/users/{user}/history",
        f"/similar?item_id={item}",
        f"/analogy?positive={item}&k=3",
        "/releases",
    ]
    return _request("GET", paths[kind - 2])


def noise(random: Random) -> Pieces:
    """Random bytes."""
    return [random.randbytes(random.randrange(1, 2000))]


def mutated(random: Random) -> Pieces:
    """A request in which some bytes are others, missing or twice."""
    content = valid(random)
    for _ in range(random.randrange(1, 8)):
        start = random.randrange(len(content) + 1)
        end = min(len(content), start + random.randrange(20))
        middle = random.choice((b"", content[start:end] * 2, random.randbytes(3), random.choice(TOKENS)))
        content = content[:start] + middle + content[end:]
    return [content]


def half(random: Random) -> Pieces:
    """The beginning of a request."""
    content = valid(random)
    return [content[: random.randrange(1, len(content))]]


def headers(random: Random) -> Pieces:
    """Too many headers, or too long ones, or too long an address."""
    name, count, size = random.choice(((b"X", 1, 100_000), (b"X", 5000, 10), (b"Cookie", 200, 1000)))
    if random.random() < 0.3:
        return [b"GET /recommend?user_id=" + b"a" * size * count + b" HTTP/1.1\r\nHost: a\r\n\r\n"]
    lines = b"".join(b"%b-%d: %b\r\n" % (name, n, b"a" * size) for n in range(count))
    return [b"GET /releases HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"]


def bodies(random: Random) -> Pieces:
    """Bodies that are too large, announced or not, deeply nested, or of another kind than JSON."""
    head = b"POST /watches HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    content = random.choice(
        (
            b"[" * 100_000,
            b'{"watches":' * 50_000,
            b"1" * 100_000,
            b'"\\ud800"',
            b"\xff" * 1000,
            b"",
            b"NaN",
            b"a" * 2_000_000,
        )
    )
    if random.random() < 0.3:
        return [head + b"Content-Length: 99999999999\r\n\r\n", content]
    if random.random() < 0.5:
        return [head + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n" % (len(content), content), b"0\r\n\r\n"]
    return [head + b"Content-Length: %d\r\n\r\n" % len(content), content]


def pipelined(random: Random) -> Pieces:
    """Many requests at once, the last of them broken."""
    return [b"".join(valid(random) for _ in range(random.randrange(2, 60))) + mutated(random)[0]]


def slow(random: Random) -> Pieces:
    """A request in many pieces."""
    content = valid(random)
    size = random.randrange(1, 1 + len(content) // 4)
    return [content[start : start + size] for start in range(0, len(content), size)]


KINDS: dict[str, Callable[[Random], Pieces]] = {
    "valid": lambda random: [valid(random)],
    "slow": slow,
    "noise": noise,
    "mutated": mutated,
    "half": half,
    "headers": headers,
    "bodies": bodies,
    "pipelined": pipelined,
}
WELL = ("valid", "slow")
"""Kinds that are answered 200."""
SHARES = (15, 5, 15, 40, 10, 5, 5, 5)
"""Of the kinds, of a hundred."""


def _request(method: str, path: str, body: object = None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: reliability\r\n".encode()
    if body is None:
        return head + b"\r\n"
    content = json.dumps(body).encode()
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
