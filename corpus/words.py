"""Lines of words -> watches, for the formats `sequences` (`user item item ...`) and `text` (words only).

A watch's time is its place among its user's watches, so that an item watched again is a watch of its own.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from corpus.lines import Record

MAX_WORDS = 1000
"""Lines of a text are cut after every so many words: MAX_SENTENCE_LENGTH of word2vec.c (Mikolov et al. 2013)."""
_BLOCK = 1 << 20
_ROWS = 1 << 18
_SPACE = re.compile(r"\s")


class Run(NamedTuple):
    """Watches of one user, one after the other; `start` is the time of the first."""

    user: str
    start: int
    items: list[str]


class Sequences:
    """Lines `user item item ...`; a user goes on in later lines and files."""

    def __init__(self) -> None:
        self._watched: dict[str, int] = {}

    def runs(self, records: Iterable[Record], broken: list[Record]) -> Iterator[Run]:
        """The watches of each line; lines that are none are appended to `broken`."""
        for record in records:
            text = _text(record, broken)
            if text is None:
                continue
            user, *items = text.split() or [""]
            if not items:
                broken.append(record._replace(problem="user without items"))
                continue
            start = self._watched.get(user, 0)
            self._watched[user] = start + len(items)
            yield Run(user, start, items)


class Texts:
    """Lines of words. Each is a user, whose id is the line's number, counted on over several files.

    The parts of a line that is longer than `MAX_WORDS` are users, too: `7`, `7.2`, `7.3` and so on.
    """

    def __init__(self) -> None:
        self._lines = 0

    def runs(self, records: Iterable[Record], broken: list[Record]) -> Iterator[Run]:
        """The words of each line or part; lines that are not UTF-8 are appended to `broken`."""
        before = self._lines
        for record in records:
            self._lines = before + record.line
            text = _text(record, broken) or ""
            for part, words in enumerate(parts(text), 1):
                yield Run(f"{self._lines}.{part}" if part > 1 else str(self._lines), 0, words)


def parts(text: str) -> Iterator[list[str]]:
    """The words between the white space of a text, `MAX_WORDS` at a time.

    A block after the other, since all words of a long line at once would take many times its size in memory.
    """
    words: list[str] = []
    start = 0
    while start < len(text):
        space = _SPACE.search(text, start + _BLOCK)
        end = space.end() if space else len(text)
        words += text[start:end].split()
        whole = len(words) - len(words) % MAX_WORDS
        yield from (words[first : first + MAX_WORDS] for first in range(0, whole, MAX_WORDS))
        words, start = words[whole:], end
    if words:
        yield words


def tables(runs: Iterable[Run]) -> Iterator[pa.Table]:
    """The columns user, item and time of some runs, many rows at a time."""
    users: list[str] = []
    items: list[str] = []
    times: list[int] = []
    for run in runs:
        users += [run.user] * len(run.items)
        items += run.items
        times += range(run.start, run.start + len(run.items))
        if len(items) >= _ROWS:
            yield _table(users, items, times)
            users, items, times = [], [], []
    if items:
        yield _table(users, items, times)


def _table(users: list[str], items: list[str], times: list[int]) -> pa.Table:
    columns = [pa.array(users, pa.string()), pa.array(items, pa.string()), pa.array(times, pa.int64())]
    return pa.table(columns, names=["user", "item", "time"])


def _text(record: Record, broken: list[Record]) -> str | None:
    try:
        return record.raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        broken.append(record._replace(problem="invalid UTF-8"))
        return None
