"""Malformed rows: every one with its file, line, reason and text; the share above which nothing is written."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.corpus import Corpus
from corpus.ingest import ingest
from corpus.lines import csv_records
from tests.test_corpus_reference import content, options
from watchnext.errors import RejectedRowsError

BROKEN_CSV = b"""user,item,time,note
u1,i1,1,fine

u2,"i
2",2,"three
lines ""quoted""
here"
u3,i3,3
u4,"i4",4,never "closed
u5,"i5,5,never closed
u6,i6,6,fine
u7,i7,7,too,many
u8,i8,yesterday,"over
two lines"
,i9,9,fine
u10, ,10,fine
u11,i11,,fine
u12,\xff,12,bad
u13,i13,99999999999,fine
u14,"i14"x,14,fine
u15,i15,15,"fine"
"""


def rejected(folder: Path) -> list[tuple[int, str]]:
    return [(r["line"], r["reason"]) for r in pq.read_table(folder / "rejected.parquet").to_pylist()]


def test_csv_lines_and_reasons(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(BROKEN_CSV)
    corpus = ingest(options(str(tmp_path / "log.csv"), tmp_path / "c", max_rejected_share=1))
    assert rejected(tmp_path / "c") == [
        (8, "too few columns"),
        (10, "bad quotes"),
        (12, "too many columns"),
        (13, "unparsable timestamp"),
        (15, "missing user id"),
        (16, "missing item id"),
        (17, "missing timestamp"),
        (18, "invalid UTF-8"),
        (19, "future timestamp"),
        (20, "bad quotes"),
    ]
    assert content(corpus) == {
        "u1": [("i1", 1)],
        "u15": [("i15", 15)],
        "u2": [("i\n2", 2)],
        "u4": [("i4", 4)],
        "u6": [("i6", 6)],
    }
    rows = pq.read_table(tmp_path / "c" / "rejected.parquet").to_pylist()
    assert rows[0] == {
        "file": str(tmp_path / "log.csv"),
        "line": 8,
        "reason": "too few columns",
        "row": "u3,i3,3",
    }
    assert rows[3]["row"] == 'u8,i8,yesterday,"over\ntwo lines"'
    assert rows[7]["row"] == "u12,\\xff,12,bad"
    counts = corpus.manifest.counts
    assert counts.rows_read == 15 == counts.kept + counts.gone


def test_csv_that_is_well_formed_needs_lines_too(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('"us""er\n",item,user,time\n1,"a\n\nb",u,1\n\n2,b,u,noon\n3,c,u,2\n')
    ingest(options(str(tmp_path / "log.csv"), tmp_path / "c", max_rejected_share=0.5))
    assert rejected(tmp_path / "c") == [(7, "unparsable timestamp")]


def test_jsonl_lines_and_reasons(tmp_path: Path) -> None:
    lines = [
        '{"user": "u", "item": 1, "time": 1, "f": 0.5}',
        "{broken",
        "",
        "[1, 2, 3]",
        '{"user": 1.5, "item": 1, "time": 1, "f": 1}',
        '{"user": {"id": 1}, "item": 1, "time": 1, "f": 1}',
        '{"user": "u", "item": [1], "time": 1, "f": 1}',
        '{"user": null, "item": 1, "time": 1, "f": 1}',
        '{"user": "u", "time": 1, "f": 1}',
        '{"user": "u", "item": "1", "time": true, "f": 1}',
        '{"user": "u", "item": "1", "time": 1, "f": "much"}',
        '{"user": "u", "item": "1", "time": 1, "f": -0.5}',
        '{"user": "u", "item": "1", "time": 1}',
        '{"user": "u", "item": "1", "time": 2, "f": 0.1}',
        '{"user": "\\ud800", "item": 1, "time": 1, "f": 1}',
        '{"user": "u", "item": "1", "time": 2, "f": 1}',
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    corpus = ingest(
        options(
            str(tmp_path / "log.jsonl"),
            tmp_path / "c",
            max_rejected_share=1,
            columns={"fraction": "f"},
            min_fraction=0.3,
        )
    )
    assert rejected(tmp_path / "c") == [
        (2, "broken line"),
        (4, "broken line"),
        (5, "user id of the wrong type"),
        (6, "user id of the wrong type"),
        (7, "item id of the wrong type"),
        (8, "missing user id"),
        (9, "missing item id"),
        (10, "unparsable timestamp"),
        (11, "unparsable fraction"),
        (12, "unparsable fraction"),
        (13, "missing fraction"),
        (15, "broken line"),
    ]
    assert content(corpus) == {"u": [("1", 1), ("1", 2)]}
    assert corpus.manifest.counts.below_fraction == 1


def test_parquet_rows_and_reasons(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user": pa.array([1, None, 3, 4, 5], pa.int32()),
            "item": ["a", "b", " ", None, "e"],
            "time": pa.array([1.0, 2.0, 3.0, 4.0, float("nan")]),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    ingest(options(str(tmp_path / "log.parquet"), tmp_path / "c", max_rejected_share=0.8))
    assert rejected(tmp_path / "c") == [
        (2, "missing user id"),
        (3, "missing item id"),
        (4, "missing item id"),
        (5, "unparsable timestamp"),
    ]
    row = pq.read_table(tmp_path / "c" / "rejected.parquet")["row"][0].as_py()
    assert json.loads(row) == {"user": None, "item": "b", "time": 2.0}


def test_lines_count_anew_in_each_file(tmp_path: Path) -> None:
    for name, body in (("a", "u,i,1\nu,i,x\n"), ("b", "u,i,2\n,i,1\n,i\nu,i,x\n"), ("c", "u,i,x\n")):
        (tmp_path / f"{name}.csv").write_text("user,item,time\n" + body)
    ingest(options(str(tmp_path / "*.csv"), tmp_path / "c", max_rejected_share=1))
    rows = pq.read_table(tmp_path / "c" / "rejected.parquet").to_pylist()
    assert [(Path(r["file"]).name, r["line"]) for r in rows] == [
        ("a.csv", 3),
        ("b.csv", 3),
        ("b.csv", 4),
        ("b.csv", 5),
        ("c.csv", 2),
    ]


@pytest.mark.parametrize(("share", "stops"), [(0.2, False), (0.19, True)])
def test_share(tmp_path: Path, share: float, stops: bool) -> None:
    (tmp_path / "log.csv").write_text("user,item,time\n" + "u,i,1\n" * 4 + ",i,1\n")
    chosen = options(str(tmp_path / "log.csv"), tmp_path / "c", max_rejected_share=share)
    if not stops:
        assert ingest(chosen).manifest.counts.rejected == {"missing user id": 1}
        return
    with pytest.raises(RejectedRowsError, match=r"1 missing user id.*log\.csv:6 missing user id: ',i,1'") as caught:
        ingest(chosen)
    assert "c.rejected.parquet" in caught.value.cure
    assert pq.read_table(tmp_path / "c.rejected.parquet").num_rows == 1
    assert not (tmp_path / "c").exists()


def test_now_decides_what_is_future(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,time\nu,i,2020-01-01T12:00:00Z\nu,j,2020-01-02T12:00:01Z\n")
    values: dict[str, Any] = {"now": datetime(2020, 1, 1, 12, tzinfo=UTC), "max_rejected_share": 1}
    corpus = ingest(options(str(tmp_path / "log.csv"), tmp_path / "c", **values))
    assert rejected(tmp_path / "c") == [(3, "future timestamp")]
    assert Corpus.open(tmp_path / "c").manifest == corpus.manifest


def test_a_quote_left_open_at_the_top_costs_one_row(tmp_path: Path) -> None:
    body = 'u,"open,1\n' + "".join(f"u{i},i,{i}\n" for i in range(3000))
    (tmp_path / "log.csv").write_text("user,item,time\n" + body)
    corpus = ingest(options(str(tmp_path / "log.csv"), tmp_path / "c"))
    assert (len(corpus.users), rejected(tmp_path / "c")) == (3000, [(2, "bad quotes")])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["a", "1", ",", ",", '"', '"', "\n", "\r\n", " ", "é"]), max_size=30).map("".join))
def test_any_text_is_taken_apart_without_loss(tmp_path_factory: pytest.TempPathFactory, body: str) -> None:
    folder = tmp_path_factory.mktemp("csv")
    raw = f"user,item,time\nu,i,1\n{body}".encode()
    (folder / "log.csv").write_bytes(raw)
    corpus = ingest(options(str(folder / "log.csv"), folder / "c", max_rejected_share=1))
    records = list(csv_records(io.BytesIO(raw), ",", 3))
    assert corpus.manifest.counts.rows_read == len(records) - 1
    physical = raw.split(b"\n")
    for row in pq.read_table(folder / "c" / "rejected.parquet").to_pylist():
        assert physical[row["line"] - 1].rstrip(b"\r").decode().startswith(row["row"].split("\n")[0].rstrip("\r"))
