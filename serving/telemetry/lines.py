"""Log lines that stay whole and harmless, whatever is in them and however many processes write into one file."""

import os
import select
from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Any

import orjson

LINE_BYTES = getattr(select, "PIPE_BUF", 4096)
"""Longest line: a write of so many bytes into a pipe is not mixed with those of other processes."""
TEXT_BYTES = 256
"""Longest id."""
PATIENCE = 0.2
"""Seconds that a line waits for somebody to read those before it."""
_STACK_KEYS = {"exception", "stack", "stack_info"}
_STACKS = (2000, 1000, 500, 0)
"""Characters of a stack that are tried; its end says what failed."""


def printable(text: str, most: int = TEXT_BYTES) -> str:
    r"""A text that no terminal, pager or line of a log takes for anything but text, of at most `most` bytes in UTF-8.

    Letters of all scripts stay. Control and format characters, line separators and lone surrogates become escapes.

    >>> printable("añb\n\x1b[31m")
    'añb\\n\\x1b[31m'
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most])
    if len(text) * 4 > most:  # it may be too long
        text = text.encode()[:most].decode(errors="ignore")
    return text


def plain(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event with nothing but printable texts and values that JSON has; a stack keeps its lines."""
    return {printable(str(key)): _plain(str(key), value) for key, value in event.items()}


def _plain(key: str, value: object) -> object:
    if value is None or isinstance(value, bool | datetime):
        return value
    if isinstance(value, float):
        return float(value)  # NumPy's are others
    if isinstance(value, int) and value.bit_length() < 64:
        return int(value)
    text = value if isinstance(value, str) else repr(value)
    if key in _STACK_KEYS:
        return "\n".join(printable(line, LINE_BYTES) for line in text.splitlines())
    return printable(text.rstrip("\n"), LINE_BYTES)


def json_line(event: dict[str, Any]) -> bytes:
    """A line of JSON with its end, of at most `LINE_BYTES`: where it is longer, its texts are cut.

    Args:
        event: as `plain` leaves it.
    """
    options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
    line = orjson.dumps(event, option=options)
    for most in _STACKS:
        if len(line) <= LINE_BYTES:
            return line
        line = orjson.dumps({key: _cut(key, value, most) for key, value in event.items()}, option=options)
    if len(line) > LINE_BYTES:
        few = {key: event[key] for key in ("timestamp", "level", "event", "logger") if key in event}
        line = orjson.dumps({key: _cut(key, value, 0) for key, value in few.items()}, option=options)
    return line


def _cut(key: str, value: object, stack: int) -> object:
    if not isinstance(value, str):
        return value
    return value[len(value) - min(stack, len(value)) :] if key in _STACK_KEYS else printable(value)


class LineWriter:
    """Writes each line with one call of the system, so that lines of several processes are not mixed.

    Writes into one open file, which forked processes share, follow one another; writes into a pipe do up to
    `LINE_BYTES`. A line that cannot be written (the disk is full, nobody reads) is lost and counted: no request fails
    for its log line, or hangs since a pipe is full.

    Args:
        file: descriptor of an open file; 2 is stderr.
    """

    def __init__(self, file: int = 2) -> None:
        self._file = file
        self.lost = 0
        self._impatient_until = 0.0

    def write(self, line: bytes) -> None:
        """Write a line with its end."""
        try:
            if self._has_room():
                os.write(self._file, line)
            else:
                self.lost += 1
        except OSError:
            self.lost += 1

    def _has_room(self) -> bool:
        """Whether a write returns at once, by now or after `PATIENCE`, for which nobody waits in vain often."""
        poll = select.poll()  # a new one: those of two threads are not to be mixed
        poll.register(self._file, select.POLLOUT)
        if poll.poll(0):
            return True
        if monotonic() < self._impatient_until:
            return False
        if poll.poll(1000 * PATIENCE):
            return True
        self._impatient_until = monotonic() + 50 * PATIENCE
        return False

    debug = info = warning = error = critical = msg = write  # what structlog calls by the level
