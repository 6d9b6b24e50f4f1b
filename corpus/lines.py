"""Records of text files with the physical line each starts at: what DuckDB does not tell. Read only when needed.

A CSV record is well-formed if DuckDB's strict reader takes it: as many columns as the header (empty ones more are
tolerated), quoted fields closed and followed by a delimiter, UTF-8. A broken record is only its first line; reading
goes on at the next one, so that a quote left open costs one row and not the rest of the file.
"""

import gzip
import re
import zlib
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple, cast

MAX_LINES = 1000
"""A quoted field over more lines counts as never closed."""


class Record(NamedTuple):
    """One record: the 1-based line where it starts, its bytes with the line end, and what is wrong with it."""

    line: int
    raw: bytes
    problem: str | None


def open_text(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressed if its name ends in `.gz`."""
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def lines(file: IO[bytes]) -> Iterator[Record]:
    """The lines of a file that are not blank."""
    for line, raw in enumerate(file, 1):
        if raw.strip():
            yield Record(line, raw, None)


def is_blank(path: Path) -> bool:
    """Whether a text file has blank lines only. One that cannot be read is not: who reads it says what is wrong."""
    try:
        with open_text(path) as file:
            return next(lines(file), None) is None
    except (OSError, EOFError, zlib.error):
        return False


class CsvGrammar:
    """What a well-formed CSV record looks like.

    Args:
        delimiter: one character.
        width: columns; None takes any number, for the header.
    """

    def __init__(self, delimiter: str, width: int | None) -> None:
        d = re.escape(delimiter.encode())
        inside = rb'[^"]*(?:" *"[^"]*)*'  # spaces between the two quotes: so does DuckDB
        field = rb'(?: ?"' + inside + rb'" *|(?! ?")[^' + d + rb"\r\n]*)"
        self._quoted = re.compile(rb"(?:^|(?<=" + d + rb')) ?"' + inside + rb'" *')
        self._record = re.compile(field + rb"(?:" + d + field + rb")*\r?\n?")
        self._open = re.compile(rb"(?:" + field + d + rb')* ?"' + inside)
        self._delimiter, self._width = delimiter.encode(), width

    def is_open(self, raw: bytes) -> bool:
        """Whether a quoted field goes on after the end of `raw`."""
        return b'"' in raw and self._open.fullmatch(raw) is not None

    def problem(self, raw: bytes) -> str | None:
        """What is wrong with a record, None if nothing is."""
        if not self._record.fullmatch(raw):
            return "bad quotes"
        fields = self._fields(raw)
        if self._width is not None and len(fields) < self._width:
            return "too few columns"
        if self._width is not None and any(fields[self._width :]):
            return "too many columns"
        try:
            raw.decode()
        except UnicodeDecodeError:
            return "invalid UTF-8"
        return None

    def _fields(self, raw: bytes) -> list[bytes]:
        """The fields of a well-formed record; of a quoted one only whether it is empty."""
        bare = self._quoted.sub(lambda m: b"" if m[0].strip() == b'""' else b"quoted", raw) if b'"' in raw else raw
        return bare.rstrip(b"\r\n").split(self._delimiter)


def csv_records(file: IO[bytes], delimiter: str, width: int) -> Iterator[Record]:
    """The records of a CSV, the header first; blank lines are none.

    Args:
        file: the decompressed bytes.
        delimiter: one character.
        width: columns of the header.
    """
    grammar = CsvGrammar(delimiter, width)
    pending: deque[bytes] = deque()
    number = 1
    while pending or _fill(pending, file, 1):
        if not pending[0].strip(b"\r\n"):
            size = 1
        else:
            size = _size(pending, file, grammar)
            raw = b"".join(islice(pending, size))
            problem = grammar.problem(raw)
            if problem:
                size, raw = 1, pending[0]
            yield Record(number, raw, problem)
        for _ in range(size):
            pending.popleft()
        number += size


def repair(path: Path, to: Path, delimiter: str, width: int) -> list[Record]:
    """Copy the well-formed records of a CSV, with line ends of one kind as DuckDB insists; return the others."""
    broken = []
    with open_text(path) as file, to.open("wb") as good:
        for record in csv_records(file, delimiter, width):
            if record.problem:
                broken.append(record)
            else:
                good.write(record.raw.rstrip(b"\r\n") + b"\n")
    return broken


def _fill(pending: deque[bytes], file: IO[bytes], size: int) -> bool:
    """Read until `size` lines are pending; False at the end of the file."""
    while len(pending) < size:
        line = file.readline()
        if not line:
            return False
        pending.append(line)
    return True


def _size(pending: deque[bytes], file: IO[bytes], grammar: CsvGrammar) -> int:
    """Over how many lines the record at the front goes."""
    size = 1
    is_open = grammar.is_open(pending[0])
    while is_open and size < MAX_LINES and _fill(pending, file, size + 1):
        size += 1
        if b'"' in pending[size - 1]:  # only then may it have been closed
            is_open = grammar.is_open(b"".join(islice(pending, size)))
    return size
