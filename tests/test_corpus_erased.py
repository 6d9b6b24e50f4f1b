"""Erased users: nothing of theirs from before the erasure gets into a corpus, nor beside it."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.corpus import Corpus
from corpus.ingest import ingest
from tests.test_corpus_reference import Row, content, ids, options, reference, row, write_parquet
from watchnext.errors import RejectedRowsError, UsageError, WatchnextError

LOG = "user,item,time\nann,a,10\nann,b,20\nann,c,30\nbob,a,10\nann,,5\nann,d,soon\nbob,,5\n"


def made(tmp_path: Path, erased: str, **more: object) -> Corpus:
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "erased.csv").write_text(erased)
    chosen = {"erased": (str(tmp_path / "erased.csv"),), "max_rejected_share": 1, **more}
    return ingest(options(str(tmp_path / "log.csv"), tmp_path / "c", **chosen))


def test_by_hand(tmp_path: Path) -> None:
    corpus = made(tmp_path, "user,time\nann,5\nann,20\nnobody,99\n")
    assert content(corpus) == {"ann": [("c", 30)], "bob": [("a", 10)]}
    counts = corpus.manifest.counts
    assert (counts.erased, counts.rejected, counts.kept, counts.rows_read) == (4, {"missing item id": 1}, 2, 7)
    rejected = pq.read_table(tmp_path / "c" / "rejected.parquet").to_pylist()
    assert [r["row"] for r in rejected] == ["bob,,5"]


def test_nobody_is_erased(tmp_path: Path) -> None:
    assert made(tmp_path, "user,time\n").manifest.counts.erased == 0


def test_everybody_is_erased(tmp_path: Path) -> None:
    with pytest.raises(WatchnextError, match=r"no watch left of 7 rows: 7 of erased users.*change --erased"):
        made(tmp_path, "user,time\nann,99\nbob,99\n")


def test_an_erasure_later_than_now_counts(tmp_path: Path) -> None:
    corpus = made(tmp_path, "user,time\nbob,2040-01-01\n", now="2030-01-01T00:00:00Z")
    assert set(content(corpus)) == {"ann"}


@pytest.mark.parametrize("line", ["ann,soon", "ann,", ",5", "ann", '"a"n,5'])
def test_a_list_that_is_not_understood_stops_everything(tmp_path: Path, line: str) -> None:
    with pytest.raises(RejectedRowsError, match=r"--erased: got 1 malformed rows of 2; .*erased\.csv:3"):
        made(tmp_path, f"user,time\nbob,1\n{line}\n")
    assert not (tmp_path / "c").exists()


def test_a_list_without_its_columns(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--erased: got no column 'time'"):
        made(tmp_path, "user,when\nann,1\n")


def test_searches_go_too(tmp_path: Path) -> None:
    (tmp_path / "searches.csv").write_text("user,query,time\nann,jazz,15\nann,rock,25\nbob,jazz,15\nann,,3\n")
    corpus = made(tmp_path, "user,time\nann,20\n", searches=(str(tmp_path / "searches.csv"),))
    counts = corpus.manifest.searches
    assert counts is not None
    assert (counts.rows_read, counts.erased, counts.searches, counts.rejected) == (4, 2, 2, {})
    assert corpus.search_tokens is not None
    assert corpus.search_tokens.ids([1, 2]) == ["jazz", "rock"]


def test_the_users_table_is_read_of_those_who_have_watches_left(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user,country\nann,DE\nbob,FR\n")
    corpus = made(tmp_path, "user,time\nann,20\nbob,10\n", users=tmp_path / "users.csv")
    assert content(corpus) == {"ann": [("c", 30)]}
    assert corpus.user_table.column("country").to_pylist() == [None, "DE"]


@pytest.mark.parametrize("as_text", [True, False])
def test_whole_numbers_in_parquet(tmp_path: Path, as_text: bool) -> None:
    pq.write_table(pa.table({"user": [7, 7, 8], "item": [1, 2, 3], "time": [1, 5, 1]}), tmp_path / "log.parquet")
    users = pa.array(["7"] if as_text else [7])
    pq.write_table(pa.table({"user": users, "time": [4]}), tmp_path / "erased.parquet")
    chosen = options(str(tmp_path / "log.parquet"), tmp_path / "c", erased=(str(tmp_path / "erased.parquet"),))
    assert content(ingest(chosen)) == {"7": [("2", 5)], "8": [("3", 1)]}


@settings(max_examples=40)
@given(st.lists(row, min_size=1, max_size=30), st.dictionaries(ids, st.integers(-1, 4)), st.sampled_from([1, 2]))
def test_equals_a_log_without_these_rows(rows: list[Row], erased: dict[str, int], least: int) -> None:
    left = [r for r in rows if r[2] > erased.get(r[0], -1)]
    expected = reference(left, 0.5, least, 1, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        listed = {"user": pa.array(erased, pa.string()), "time": pa.array(erased.values(), pa.int64())}
        pq.write_table(pa.table(listed), path / "erased.parquet")
        chosen = options(
            write_parquet(rows, path / "log.parquet"),
            path / "c",
            columns={"fraction": "f"},
            min_fraction=0.5,
            min_user_watches=least,
            erased=(str(path / "erased.parquet"),),
        )
        if not expected:
            with pytest.raises(WatchnextError, match="no watch left"):
                ingest(chosen)
            return
        corpus = ingest(chosen)
    assert content(corpus) == expected
    assert corpus.manifest.counts.erased == len(rows) - len(left)
    assert corpus.manifest.counts.rows_read == len(rows) == corpus.manifest.counts.kept + corpus.manifest.counts.gone
