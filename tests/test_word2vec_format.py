"""The formats of word2vec: known bytes, gensim both ways, any ids and numbers, and hostile files."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from watchnext.errors import CorruptError, UsageError
from watchnext.word2vec_format import Float32, read_vectors, without_spaces, write_vectors

IDS = ["a", "ä視", "c"]
VECTORS = np.array([[1, -0.5], [0.1, 1e-7], [3.4e38, -1e-45]], np.float32)
TEXT = "3 2\na 1 -0.5\nä視 0.1 1e-7\nc 3.4e+38 -1e-45\n".encode()
PACKED = [struct.pack("<2f", *row) for row in VECTORS.tolist()]
BINARY = b"3 2\n" + b"".join(id_.encode() + b" " + row + b"\n" for id_, row in zip(IDS, PACKED, strict=True))

SPACES = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace())
ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=SPACES), min_size=1, max_size=5)


@st.composite
def worlds(draw: st.DrawFn, least: int = 1) -> tuple[list[str], Float32]:
    names = draw(st.lists(ids, min_size=1, max_size=6, unique=True))
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    return names, draw(arrays(np.float32, (len(names), draw(st.integers(least, 5))), elements=numbers))


def random(rows: int, dim: int) -> tuple[list[str], Float32]:
    return [f"i{n}" for n in range(rows)], np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)


@pytest.mark.parametrize(("binary", "wanted"), [(False, TEXT), (True, BINARY)])
def test_known_bytes(tmp_path: Path, binary: bool, wanted: bytes) -> None:
    write_vectors(tmp_path / "v", IDS, VECTORS, binary)
    assert (tmp_path / "v").read_bytes() == wanted
    write_vectors(tmp_path / "v.gz", IDS, VECTORS, binary)
    assert gzip.decompress((tmp_path / "v.gz").read_bytes()) == wanted
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v", "v.gz"]


@pytest.mark.parametrize(
    "content",
    [
        BINARY,
        BINARY.replace(b"\nc ", b"c ").rstrip(b"\n"),  # gensim writes no newlines
        TEXT,
        TEXT.rstrip(b"\n"),
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b"\n", b" \n").replace(b"3 2 ", b"3 2"),  # word2vec.c has a space after every number
    ],
)
@pytest.mark.parametrize("name", ["v", "v.gz"])
def test_what_others_write(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(content) if name == "v.gz" else content)
    found = read_vectors(tmp_path / name)
    assert found.ids == IDS
    assert found.vectors.dtype == np.float32
    assert found.vectors.tolist() == VECTORS.tolist()


def test_numbers_as_word2vec_prints_them(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(b"2 3\n</s> 0.002001 0.002210 -0.001915 \nthe -0.033682 1.000000 10.500000 \n")
    found = read_vectors(tmp_path / "v.txt")
    assert found.ids == ["</s>", "the"]
    wanted = np.array([[0.002001, 0.00221, -0.001915], [-0.033682, 1, 10.5]], np.float32)
    assert found.vectors.tolist() == wanted.tolist()


@settings(max_examples=100, deadline=None)
@given(worlds(), st.booleans(), st.sampled_from(["v", "v.gz"]))
def test_any_vectors_come_back(
    tmp_path_factory: pytest.TempPathFactory, world: tuple[list[str], Float32], binary: bool, name: str
) -> None:
    path = tmp_path_factory.mktemp("w2v") / name
    write_vectors(path, *world, binary)
    found = read_vectors(path, binary)
    assert found.ids == world[0]
    assert np.array_equal(found.vectors, world[1])


@settings(max_examples=100, deadline=None)
@given(worlds(least=2), st.booleans())
def test_the_format_is_told_by_the_content(
    tmp_path_factory: pytest.TempPathFactory, world: tuple[list[str], Float32], binary: bool
) -> None:
    path = tmp_path_factory.mktemp("w2v") / "v"
    write_vectors(path, *world, binary)
    found = read_vectors(path)
    assert found.ids == world[0]
    assert np.array_equal(found.vectors, world[1])


@pytest.mark.parametrize("binary", [False, True])
def test_many_blocks(tmp_path: Path, binary: bool) -> None:
    names, rows = random(140_000, 8)
    write_vectors(tmp_path / "v", names, rows, binary)
    found = read_vectors(tmp_path / "v")
    assert found.ids == names
    assert np.array_equal(found.vectors, rows)


@pytest.mark.parametrize("binary", [False, True])
def test_vectors_longer_than_a_block(tmp_path: Path, binary: bool) -> None:
    names, rows = random(3, 1_100_000)
    write_vectors(tmp_path / "v", names, rows, binary)
    assert np.array_equal(read_vectors(tmp_path / "v").vectors, rows)


@settings(max_examples=40, deadline=None)
@given(worlds(), st.booleans())
def test_gensim_reads_what_is_written(
    tmp_path_factory: pytest.TempPathFactory, world: tuple[list[str], Float32], binary: bool
) -> None:
    path = tmp_path_factory.mktemp("w2v") / "v"
    write_vectors(path, *world, binary)
    theirs = KeyedVectors.load_word2vec_format(str(path), binary=binary)
    assert theirs.index_to_key == world[0]
    assert np.array_equal(theirs.vectors, world[1])


@settings(max_examples=40, deadline=None)
@given(worlds(least=2), st.booleans())
def test_what_gensim_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, world: tuple[list[str], Float32], binary: bool
) -> None:
    path = tmp_path_factory.mktemp("w2v") / "v"
    theirs = KeyedVectors(world[1].shape[1])
    theirs.add_vectors(*world)
    theirs.save_word2vec_format(str(path), binary=binary)
    found = read_vectors(path)
    assert found.ids == world[0]
    assert np.array_equal(found.vectors, world[1])


@pytest.mark.parametrize("name", ["v.bin.gz", "v.txt.gz"])
def test_gensim_reads_compressed_files(tmp_path: Path, name: str) -> None:
    names, rows = random(100, 7)
    write_vectors(tmp_path / name, names, rows, ".bin" in name)
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / name), binary=".bin" in name)
    assert np.array_equal(theirs.vectors, rows)


def as_distance_c(path: Path) -> dict[bytes, tuple[float, ...]]:
    """What distance.c of the word2vec tool reads: its loop, which takes one character after the other."""
    found = {}
    with path.open("rb") as file:
        count, dim = map(int, file.readline().split())
        for _ in range(count):
            word = b""
            while (character := file.read(1)) not in {b"", b" "}:
                word += character if character != b"\n" else b""
            found[word] = struct.unpack(f"<{dim}f", file.read(4 * dim))
    return found


def test_the_word2vec_tool_reads_what_is_written(tmp_path: Path) -> None:
    names, rows = random(50, 9)
    write_vectors(tmp_path / "v.bin", names, rows, binary=True)
    wanted = {name.encode(): tuple(row) for name, row in zip(names, rows.tolist(), strict=True)}
    assert as_distance_c(tmp_path / "v.bin") == wanted


HOSTILE = [
    (b"", "no header"),
    (b"a 1 2\n", "no header"),
    (b"-1 2\na 1 2\n", "no header"),
    (b"1\na 1 2\n", "no header"),
    (b"1 2", "no header"),
    (b"9" * 500 + b" 2\n", "no header"),
    (b"0 2\n", "promises 0 vectors"),
    (b"1 0\na\n", "vectors of 0 numbers"),
    (b"1000000000000 1000000000000\na 1 2\n", "promises 1,000,000,000,000 vectors of 1,000,000,000,000 numbers"),
    (b"4 2\na 1 2\nb 3 4\n", "promises 4 vectors"),
    (b"3 2\na 1.2 2.1\nb 3.2 4.1\n", "the end of the file after 2 of 3 vectors"),
    (b"1 2\na 1 2\nb 3 4\n", "more than the 1 vectors"),
    (b"2 2\na 1 2\nb 3\n", "1 numbers where 2 are due, in the vector of 'b'"),
    (b"2 2\na 1\nb 3 4\n", "1 numbers where 2 are due, in the vector of 'a'"),
    (b"2 2\na 1 2\nb 3 4 5\n", "3 numbers where 2 are due, in the vector of 'b'"),
    (b"2 2\na 1 2\nb  3 4\n", "3 numbers where 2 are due"),
    (b"2 2\na 1 2\nb 3 x\n", "'x'"),
    (b"2 2\na 1 2\nb 3 \xff\n", "vectors 1 to 2"),
    (b"2 2\na 1 2\nb 3 nan\n", "not finite in the vector of 'b'"),
    (b"2 2\na 1 -inf\nb 3 4\n", "not finite in the vector of 'a'"),
    (b"2 2\na 1 1e39\nb 3 4\n", "not finite in the vector of 'a'"),
    (b"2 2\na 1 2\na 3 4\n", "the id 'a' twice, as vectors 1 and 2"),
    (b"2 2\na 1 2\n\xff 3 4\n", "not UTF-8, as the id of vector 2"),
    (b"2 2\na 1 2\n 3 4\n", "no id before vector 2"),
    (b"2 2\na 1 2\n\nb 3 4\n", "no id before vector 2"),
    (b"1 2\na " + struct.pack("<2f", 1, float("nan")), "not finite in the vector of 'a'"),
    (b"1 2\na " + struct.pack("<2f", 1, 2) + b"\nb", "more than the 1 vectors"),
    (b"2 1\na " + struct.pack("<f", 1) + b"\na " + struct.pack("<f", 2) + b"\n", "the id 'a' twice"),
    (b"1 1\n" + b"\x80" * 100_000, "no space in 65,536 bytes"),
]


@pytest.mark.parametrize(("content", "named"), HOSTILE)
def test_hostile_files(tmp_path: Path, content: bytes, named: str) -> None:
    for name, written in (("v", content), ("v.gz", gzip.compress(content))):
        if name == "v.gz" and "promises 4 vectors" in named:
            continue  # what a compressed file can hold is known less well
        (tmp_path / name).write_bytes(written)
        with pytest.raises(CorruptError) as caught:
            read_vectors(tmp_path / name)
        assert caught.value.argument == str(tmp_path / name)
        assert named in str(caught.value.got)


def test_files_cut_anywhere(tmp_path: Path) -> None:
    whole = {"v": BINARY[:-1], "v.gz": gzip.compress(TEXT)}
    for name, content in whole.items():
        for size in range(len(content)):
            (tmp_path / name).write_bytes(content[:size])
            with pytest.raises(CorruptError, match=name):
                read_vectors(tmp_path / name)
    (tmp_path / "v.gz").write_bytes(TEXT)
    with pytest.raises(CorruptError, match="gzip"):
        read_vectors(tmp_path / "v.gz")
    with pytest.raises(UsageError, match="no such file"):
        read_vectors(tmp_path / "w")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([b"", b"2 1\n", b"1 2\n", b"2 2\na 1 2\n"]))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes
) -> None:
    path = tmp_path_factory.mktemp("w2v") / "v"
    path.write_bytes(start + content)
    try:
        found = read_vectors(path)
    except CorruptError:
        return
    assert np.isfinite(found.vectors).all()
    assert len(set(found.ids)) == len(found.ids) == len(found.vectors)


def test_ids_with_spaces() -> None:
    names = ["Heat", "Toy Story", "a\u00a0b\t"]
    with pytest.raises(UsageError, match=r"'Toy Story'.*--spaces _"):
        without_spaces(names)
    assert without_spaces(names, "_") == ["Heat", "Toy_Story", "a_b_"]
    assert without_spaces(names, "") == ["Heat", "ToyStory", "ab"]
    with pytest.raises(UsageError, match="'a_b' and 'a b', which become equal"):
        without_spaces(["a_b", "c", "a b", "c d"], "_")
    with pytest.raises(UsageError, match="--spaces"):
        without_spaces(names, "a b")
    for empty in ("", " "):
        with pytest.raises(UsageError, match="ids"):
            without_spaces([empty], "")


def test_a_failure_leaves_the_older_file(tmp_path: Path) -> None:
    names, rows = random(70_000, 4)
    write_vectors(tmp_path / "v", IDS, VECTORS, True)
    rows[-1, -1] = np.nan
    with pytest.raises(UsageError, match="not finite"):
        write_vectors(tmp_path / "v", names, rows, True)
    assert [p.name for p in tmp_path.iterdir()] == ["v"]
    assert (tmp_path / "v").read_bytes() == BINARY
    for wrong in ([], ["a"]):
        with pytest.raises(UsageError, match="a vector for each id"):
            write_vectors(tmp_path / "v", wrong, VECTORS[: 2 * len(wrong)], True)
    with pytest.raises(UsageError, match="'a b'"):
        write_vectors(tmp_path / "v", ["a b"], VECTORS[:1], True)
