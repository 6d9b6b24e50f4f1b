"""The file formats of the word2vec tool (Mikolov et al. 2013), which gensim and many others read and write.

A header `count dim`, then for each vector

    text:    the id, a space, the numbers with spaces between them, a newline
    binary:  the id, a space, the numbers as little-endian float32, a newline, which gensim leaves out

Ids hold no spaces. Reading takes both for hostile: nothing is allocated that the file is too small to fill.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, NoReturn, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from watchnext.errors import CorruptError, UsageError
from watchnext.files import atomic_file

Float32 = NDArray[np.float32]

_BLOCK = 1 << 22
_FLOATS = 1 << 18
_LONGEST_ID = 1 << 16
_LONGEST_NUMBER = 64
_GZIP_RATIO = 1032
"""Deflate makes at most this many bytes of one."""
_SPACE = re.compile(r"\s")
_NUMBERS = re.compile(rb"[-+.0-9eEinfatyINFATY \r]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_CURE = "Give a whole file in the word2vec format: a header `count dim`, then as many ids with their vectors."


class Vectors(NamedTuple):
    """What a file holds: `ids`, each once, and `vectors` [ids, dim], all finite."""

    ids: list[str]
    vectors: Float32


def without_spaces(ids: Sequence[str], spaces: str | None = None) -> list[str]:
    """Ids as the format can hold them.

    Args:
        spaces: written in the place of each character of white space; None replaces none.

    Raises UsageError naming the first id that has white space, is empty, or becomes equal to another.

    >>> without_spaces(["Toy Story", "Heat"], "_")
    ['Toy_Story', 'Heat']
    """
    if spaces is not None and _SPACE.search(spaces):
        raise UsageError("--spaces", repr(spaces), "Give something without white space: --spaces _.")
    written = list(ids) if spaces is None else [_SPACE.sub(spaces, id_) for id_ in ids]
    wrong = next((id_ for id_ in written if not id_ or _SPACE.search(id_)), None)
    if wrong is not None:
        got = f"the id {wrong!r}, which the format cannot hold"
        raise UsageError("ids", got, "Replace white space by something else: --spaces _.")
    if spaces is not None and len(set(written)) < len(written):
        first, second = _first_twice(written)
        got = f"the ids {ids[first]!r} and {ids[second]!r}, which become equal"
        raise UsageError("--spaces", got, "Give another replacement: --spaces __.")
    return written


def write_vectors(path: Path, ids: Sequence[str], vectors: Float32, binary: bool) -> None:
    """Write vectors block by block; the file is there whole or not at all. Compressed if its name ends in `.gz`.

    Texts have as many digits as a float32 needs to be read back exactly.

    Args:
        ids: as `without_spaces` returns them.
        vectors: [ids, dim], may be memory-mapped.

    Raises UsageError for an id with white space, or where there is no vector or a number that is not finite.
    """
    without_spaces(ids)
    if not len(ids) or len(ids) != len(vectors) or not vectors.shape[1]:
        raise UsageError("vectors", f"the shape {vectors.shape} for {len(ids)} ids", "Give a vector for each id.")
    rows = max(1, _FLOATS // vectors.shape[1])
    with atomic_file(path) as raw, _compressed(path, raw) as file:
        file.write(b"%d %d\n" % vectors.shape)
        for start in range(0, len(ids), rows):
            block = np.ascontiguousarray(vectors[start : start + rows], "<f4")
            if not np.isfinite(block).all():
                raise UsageError("vectors", "a number that is not finite", "Train again.")
            lines = _as_bytes(block) if binary else _as_text(block)
            names = (id_.encode() for id_ in ids[start : start + rows])
            file.write(b"".join(b"%b %b\n" % pair for pair in zip(names, lines, strict=True)))


def _as_bytes(block: Float32) -> list[bytes]:
    raw, width = block.tobytes(), block.shape[1] * 4
    return [raw[start : start + width] for start in range(0, len(raw), width)]


def _as_text(block: Float32) -> list[bytes]:
    numbers = pa.Array.from_buffers(pa.float32(), block.size, [None, pa.py_buffer(block)]).cast(pa.string())
    ends = np.arange(0, block.size + 1, block.shape[1], dtype=np.int32)
    offsets = pa.Array.from_buffers(pa.int32(), len(ends), [None, pa.py_buffer(ends)])
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, numbers), " ")
    lines: list[bytes] = joined.cast(pa.binary()).to_pylist()
    return lines


@contextmanager
def _compressed(path: Path, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    if path.suffix != ".gz":
        yield raw
        return
    with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as file:
        yield cast(IO[bytes], file)


def read_vectors(path: Path, binary: bool | None = None) -> Vectors:
    """Read a file, decompressed if its name ends in `.gz`.

    Args:
        binary: which of the formats; None tells by the first vector.

    Raises UsageError where there is no file, CorruptError where the header is wrong or promises more than the file
    can hold, where the file ends early or goes on, and for numbers that are not finite or an id that comes twice.
    """
    if not path.is_file():
        raise UsageError(str(path), "no such file", "Give the path of a file in the word2vec format.")
    try:
        with _opened(path) as file:
            reader = _Reader(path, file)
            reader.read(reader.looks_binary() if binary is None else binary)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorruptError(str(path), error, _CURE) from error
    found = Vectors(reader.ids, reader.vectors)
    if len(set(found.ids)) < len(found.ids):
        first, second = _first_twice(found.ids)
        _corrupt(path, f"the id {found.ids[first]!r} twice, as vectors {first + 1:,} and {second + 1:,}")
    return found


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _first_twice(ids: Sequence[str]) -> tuple[int, int]:
    """Positions of the first id that is a repetition: of its first occurrence, and of the second."""
    seen: dict[str, int] = {}
    for position, id_ in enumerate(ids):
        if seen.setdefault(id_, position) != position:
            return seen[id_], position
    raise ValueError("each id once")


def _corrupt(path: Path, got: str) -> NoReturn:
    raise CorruptError(str(path), got, _CURE)


class _Reader:
    """Reads what is behind the header of an opened file, block by block, into `ids` and `vectors`."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        header = file.readline(64)
        match = re.fullmatch(rb"\s*(\d+)\s+(\d+)\s*\n", header)
        if not match:
            self._fail(f"the first line {header[:40]!r}, which is no header")
        count, dim = int(match[1]), int(match[2])
        most = path.stat().st_size * (_GZIP_RATIO if path.suffix == ".gz" else 1)
        if not count or not dim or count * (1 + 2 * dim) > most:
            self._fail(f"a header that promises {count:,} vectors of {dim:,} numbers in a file of this size")
        self.ids: list[str] = []
        self.vectors: Float32 = np.empty((count, dim), np.float32)
        self._count, self._dim, self._format = count, dim, ""

    def looks_binary(self) -> bool:
        """Whether what follows the first id is no line of numbers. Reads nothing on."""
        here = self._file.tell()
        _, _, rest = self._file.read(_LONGEST_ID + _LONGEST_NUMBER * self._dim).partition(b" ")
        self._file.seek(here)
        line, _, after = rest.partition(b"\n")
        whole = len(line.split()) == self._dim
        return not (_NUMBERS.fullmatch(line) and (whole or not _CONTROL.search(after[: 4 * self._dim])))

    def read(self, binary: bool) -> None:
        """Read all vectors, and see that nothing comes after them."""
        self._format = "binary" if binary else "text"
        rest = self._read_binary() if binary else self._read_text()
        if (rest + self._file.read(_LONGEST_ID)).strip():
            self._fail(f"more than the {self._count:,} vectors of its header")

    def _read_binary(self) -> bytes:
        """Returns what was read after the last vector."""
        data = b""
        while len(self.ids) < self._count:
            block = self._file.read(max(_BLOCK, 4 * self._dim))
            self._check_there(block)
            data += block
            first, start = len(self.ids), 0
            while len(self.ids) < self._count and (end := self._take(data, start)):
                start = end
            self._check_finite(first)
            data = data[start:]
        return data

    def _take(self, data: bytes, start: int) -> int:
        """Take the vector that begins at a position of `data`; where it ends, 0 if it is not there whole."""
        space = data.find(b" ", start, start + _LONGEST_ID)
        end = space + 1 + 4 * self._dim
        if space < 0 and len(data) - start >= _LONGEST_ID:
            self._fail(f"no space in {_LONGEST_ID:,} bytes where the id of vector {len(self.ids) + 1:,} is due")
        if space < 0 or end > len(data):
            return 0
        self.vectors[len(self.ids)] = np.frombuffer(data, "<f4", self._dim, space + 1)
        self.ids.append(self._id(data[start:space].lstrip(b"\n")))
        return end

    def _read_text(self) -> bytes:
        longest = _LONGEST_ID + _LONGEST_NUMBER * self._dim
        while len(self.ids) < self._count:
            first = len(self.ids)
            rows = min(max(1, _FLOATS // self._dim), self._count - first)
            pairs = []
            for _ in range(rows):
                line = self._file.readline(longest)
                self._check_there(line)
                id_, _, numbers = line.rstrip().partition(b" ")
                self.ids.append(self._id(id_))
                pairs.append(numbers)
            self.vectors[first : first + rows] = self._numbers(pairs, first)
            self._check_finite(first)
        return b""

    def _numbers(self, lines: list[bytes], first: int) -> Float32:
        """[lines, dim] the numbers of some lines, of which `first` is the position in the file."""
        try:
            parts = pc.split_pattern(pa.array(lines, pa.string()), " ")
            wrong = np.flatnonzero(pc.list_value_length(parts).to_numpy() != self._dim)
            if len(wrong):
                row = int(wrong[0])
                got = f"{len(parts[row]):,} numbers where {self._dim:,} are due"
                self._fail(f"{got}, in the vector of {self.ids[first + row]!r}")
            numbers: Float32 = parts.flatten().cast(pa.float32()).to_numpy().reshape(len(lines), self._dim)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            what = f"one of the vectors {first + 1:,} to {first + len(lines):,}"
            self._fail(f"{str(error).splitlines()[0][:200]}, in {what}")
        return numbers

    def _id(self, raw: bytes) -> str:
        try:
            id_ = raw.decode()
        except UnicodeDecodeError:
            self._fail(f"{raw[:40]!r}, which is not UTF-8, as the id of vector {len(self.ids) + 1:,}")
        if not id_:
            self._fail(f"no id before vector {len(self.ids) + 1:,}")
        return id_

    def _check_there(self, read: bytes) -> None:
        if not read:
            here = f"after {len(self.ids):,} of {self._count:,} vectors"
            self._fail(f"the end of the file {here}, when read as {self._format}")

    def _check_finite(self, first: int) -> None:
        bad = np.flatnonzero(~np.isfinite(self.vectors[first : len(self.ids)]).all(axis=1))
        if len(bad):
            self._fail(f"a number that is not finite in the vector of {self.ids[first + int(bad[0])]!r}")

    def _fail(self, got: str) -> NoReturn:
        _corrupt(self._path, got)
