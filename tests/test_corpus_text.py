"""Plain texts as corpora: each line a user, each word an item, long lines cut after every 1,000 words."""

import gzip
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.corpus import Corpus
from corpus.ingest import ingest
from tests.commands import run, run_json
from tests.test_corpus_reference import options
from watchnext.errors import RejectedRowsError, UsageError

SPACES = [c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace() and c != "\n"]
words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=["\n", "\ufeff", *SPACES]), min_size=1, max_size=4
)
spaces = st.text(st.sampled_from(SPACES), min_size=1, max_size=2)
line = st.tuples(
    spaces | st.just(""), st.lists(st.tuples(words, spaces), max_size=5), st.sampled_from([1, 1, 250, 999, 1001])
)


def texts(corpus: Corpus) -> dict[str, list[str]]:
    h = corpus.histories
    return {corpus.users.id(u): corpus.items.ids(h[u]) for u in range(1, len(h))}


@pytest.mark.parametrize("name", ["t.txt", "t.txt.gz"])
def test_known_lines(tmp_path: Path, name: str) -> None:
    content = "\ufeffa rose is a  rose\r\n\n \t\n\u00a0\nRose,\tis\x0bä\u2003視\nlast".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    corpus = ingest(options(str(tmp_path / name), tmp_path / "c", format="text"))
    assert texts(corpus) == {
        "1": ["a", "rose", "is", "a", "rose"],
        "5": ["Rose,", "is", "ä", "視"],
        "6": ["last"],
    }
    assert corpus.items.ids([1, 2, 3]) == ["a", "is", "rose"]
    assert corpus.histories.times.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 0]
    assert corpus.manifest.counts.rows_read == 10
    assert Corpus.open(tmp_path / "c").manifest.of_text


def test_sequences_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("u a b\n")
    assert not ingest(options(str(tmp_path / "s.txt"), tmp_path / "c", format="sequences")).manifest.of_text


def test_long_lines_are_cut(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(" ".join(map(str, range(n))) for n in (999, 1000, 1001, 2000, 2001)))
    corpus = ingest(options(str(tmp_path / "t.txt"), tmp_path / "c", format="text"))
    assert {user: (len(words), words[0], words[-1]) for user, words in texts(corpus).items()} == {
        "1": (999, "0", "998"),
        "2": (1000, "0", "999"),
        "3": (1000, "0", "999"),
        "3.2": (1, "1000", "1000"),
        "4": (1000, "0", "999"),
        "4.2": (1000, "1000", "1999"),
        "5": (1000, "0", "999"),
        "5.2": (1000, "1000", "1999"),
        "5.3": (1, "2000", "2000"),
    }


def test_one_line_of_megabytes(tmp_path: Path) -> None:
    expected = [f"{'w' * (n % 19)}{n}" for n in range(300_000)]
    (tmp_path / "t.txt").write_text(" ".join(expected))
    corpus = ingest(options(str(tmp_path / "t.txt"), tmp_path / "c", format="text"))
    found = texts(corpus)
    in_order = [found["1"], *(found[f"1.{part}"] for part in range(2, 301))]
    assert [word for part in in_order for word in part] == expected
    assert {len(part) for part in in_order} == {1000}


def test_lines_count_on_over_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n\nb\n\n")
    (tmp_path / "b.txt").write_text("\nc\n")
    corpus = ingest(options(str(tmp_path / "*.txt"), tmp_path / "c", format="text"))
    assert texts(corpus) == {"1": ["a"], "3": ["b"], "5": ["c"]}


@settings(max_examples=60, deadline=None)
@given(st.lists(line, min_size=1, max_size=6))
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, list[tuple[str, str]], int]]
) -> None:
    folder = tmp_path_factory.mktemp("text")
    rows = [before + "".join(word + space for word, space in content) * times for before, content, times in lines]
    (folder / "t.txt").write_bytes("\n".join([*rows, "end"]).encode())
    corpus = ingest(options(str(folder / "t.txt"), folder / "c", format="text"))
    expected = {str(len(rows) + 1): ["end"]}
    for number, (_, content, times) in enumerate(lines, 1):
        all_ = [word for word, _ in content] * times
        for start in range(0, len(all_), 1000):
            expected[f"{number}.{start // 1000 + 1}" if start else str(number)] = all_[start : start + 1000]
    assert texts(corpus) == expected


def test_minima(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a b a\nb b c\nb d\n")
    log = str(tmp_path / "t.txt")
    frequent = ingest(options(log, tmp_path / "c", format="text", min_item_watches=2))
    assert texts(frequent) == {"1": ["a", "b", "a"], "2": ["b", "b"], "3": ["b"]}
    assert frequent.manifest.counts.out_of_vocabulary == 2
    long = ingest(options(log, tmp_path / "c", format="text", min_item_watches=2, min_user_watches=2))
    assert texts(long) == {"1": ["a", "b", "a"], "2": ["b", "b"]}
    assert long.manifest.counts.by_short_users == 1


def test_lines_that_are_not_utf8_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"a b\n\na \xff c\n\xc3\nd\n")
    chosen: dict[str, object] = {"format": "text", "max_rejected_share": 0.4}
    corpus = ingest(options(str(tmp_path / "t.txt"), tmp_path / "c", **chosen))
    assert texts(corpus) == {"1": ["a", "b"], "5": ["d"]}
    assert corpus.manifest.counts.rejected == {"invalid UTF-8": 2}
    rejected = pq.read_table(tmp_path / "c" / "rejected.parquet").to_pylist()
    assert [(r["line"], r["row"]) for r in rejected] == [(3, "a \\xff c"), (4, "\\xc3")]
    with pytest.raises(RejectedRowsError, match="2 malformed rows of 5"):
        ingest(options(str(tmp_path / "t.txt"), tmp_path / "d", format="text", max_rejected_share=0.3))


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a b a\nb c\n")
    facts = run_json("ingest", tmp_path / "t.txt", "--format", "text", "--to", tmp_path / "c")
    assert (facts["kept"], facts["users"], facts["items"]) == (5, 2, 3)
    with pytest.raises(UsageError, match=r"--format parquet, csv, jsonl, sequences or text"):
        run("ingest", tmp_path / "t.txt", "--to", tmp_path / "c")
