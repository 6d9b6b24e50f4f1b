"""One line for each request, made in microseconds: only the user's id can be anything, all else is of known sets."""

import logging
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import count
from typing import Any, Literal

import structlog

from serving.telemetry.lines import json_line, plain, printable
from serving.telemetry.logs import Logs

UserNames = Literal["hash", "plain", "none"]

_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """Ids of requests: the caller's, or made ones of 16 hexadecimal digits. Make it in each worker, after the fork.

    Made ones are 32 random bits of the process and a number that counts from a random start.
    """

    def __init__(self) -> None:
        self._prefix = os.urandom(4).hex()
        self._numbers = count(int.from_bytes(os.urandom(4)))

    def of(self, given: bytes | None) -> str:
        """The `X-Request-Id` that was sent if it is 1 to 64 letters, digits, `.`, `_` and `-`, else a new id."""
        if given is not None and _GIVEN.fullmatch(given):
            return given.decode()
        return f"{self._prefix}{next(self._numbers) & 0xFFFFFFFF:08x}"


def user_names(how: UserNames) -> Callable[[str], str | None]:
    """How lines name users. Make it before the fork, so that all workers name them alike.

    Args:
        how: `hash`: by a hash with a key that is drawn here and kept nowhere. One user's lines can be found together
            as long as the server runs, but not whose they are, so that nothing is left to erase. `plain`: by the id,
            escaped and cut at 256 bytes. `none`: not at all.
    """
    if how == "none":
        return lambda _: None
    if how == "plain":
        return printable
    key = os.urandom(16)
    return lambda id_: blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8, key=key).hexdigest()


class RequestLog:
    """Writes a line for each request. Make it before or after the fork.

    Args:
        logs: where lines go.
        users: how they name users.
    """

    def __init__(self, logs: Logs, users: Callable[[str], str | None]) -> None:
        self._write, self._users, self._text = logs.writer.write, users, logs.log_format == "text"
        self._log = structlog.get_logger()

    def __call__(
        self,
        request_id: str,
        method: str,
        route: str,
        status: int,
        seconds: float,
        size: int,
        *,
        user: str | None = None,
        **more: str | int | float | None,
    ) -> None:
        """Write the line of an answered request.

        Args:
            request_id: by `RequestIds`.
            method: of HTTP.
            route: the route, not the path that was sent, which may hold ids.
            status: of the answer.
            seconds: from request to answer.
            size: bytes of the answer's body.
            user: the id as it was asked; it is written as `users` says.
            more: what else is known: release, variant, source, key, trace. None is left out.
        """
        line: dict[str, Any] = {
            "timestamp": datetime.now(UTC),
            "level": "error" if status == 500 else "info",
            "event": "request",
            "request_id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1e3, 3),
            "bytes": size,
        }
        if user is not None:
            line["user"] = self._users(user)
        line |= {name: value for name, value in more.items() if value is not None}
        if self._text:
            self._told(line)
            return
        try:
            self._write(json_line(line))
        except TypeError:  # a text that is not Unicode
            self._write(json_line(plain(line)))

    def _told(self, line: dict[str, Any]) -> None:
        level = logging.ERROR if line.pop("level") == "error" else logging.INFO
        self._log.log(level, line.pop("event"), **line)
