"""CSV, Parquet and JSONL hold the same corpus; times in all their forms; globs; columns by any name."""

import csv
import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.corpus import Corpus
from corpus.ingest import ingest
from corpus.options import IngestOptions
from tests.test_corpus_reference import content, options
from watchnext.errors import CorruptError, RejectedRowsError, UsageError, WatchnextError

NASTY = 'the "u" ; DROP TABLE log; --'
ROWS = [("ü,1", 'i"1', 100), ("ü,1", "two\nlines", 50), ("視", "i'2", 7), ("a b", "-1", 8), ("視", 'i"1', 9)]


def write(path: Path, names: tuple[str, str, str] = ("user", "item", "time"), rows: list[Any] = ROWS) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({n: list(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)}), path)
    elif path.name.endswith(".jsonl"):
        path.write_text("\n\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    else:
        with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
            csv.writer(file, delimiter="\t" if ".tsv" in path.name else ",").writerows([names, *rows])
    return path


@pytest.mark.parametrize("name", ["l.csv", "l.tsv", "l.csv.gz", "l.jsonl", "l.parquet", "o'log [1] *?.csv"])
def test_formats_agree(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "with 'quotes' and spaces"
    folder.mkdir()
    corpus = ingest(options(str(write(folder / name)), folder / "c"))
    assert content(corpus) == {
        "a b": [("-1", 8)],
        "視": [("i'2", 7), ('i"1', 9)],
        "ü,1": [("two\nlines", 50), ('i"1', 100)],
    }
    assert corpus.manifest.counts.rejected == {}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_columns_by_any_name(tmp_path: Path, ending: str) -> None:
    log = write(tmp_path / f"l.{ending}", (NASTY, "a/b~c", "when, exactly?"))
    names = {"user": NASTY, "item": "a/b~c", "time": "when, exactly?"}
    assert len(ingest(options(str(log), tmp_path / "c", columns=names)).users) == 3


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_missing_column_names_option_and_columns(tmp_path: Path, ending: str) -> None:
    log = write(tmp_path / f"l.{ending}", ("user", "video", "time"))
    with pytest.raises(UsageError, match=r"--item-column.*'item'.*'user', 'video', 'time'"):
        ingest(options(str(log), tmp_path / "c"))


def test_glob_in_name_order_with_ties_in_file_order(tmp_path: Path) -> None:
    for part, item in (("b", "second"), ("a", "first"), ("c", "third")):
        write(tmp_path / f"{part}.csv", rows=[("u", item, 5)])
    (tmp_path / "empty.csv").touch()
    corpus = ingest(options(str(tmp_path / "*.csv"), tmp_path / "c"))
    assert content(corpus)["u"] == [("first", 5), ("second", 5), ("third", 5)]
    both = (str(tmp_path / "c.csv"), str(tmp_path / "[ab].csv"))
    corpus = ingest(IngestOptions(logs=both, to=tmp_path / "d"))
    assert content(corpus)["u"] == [("third", 5), ("first", 5), ("second", 5)]


def test_mixed_formats_and_integer_ids_are_decimal_text(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", rows=[(7, 10, 1), (7, 9, 2)])
    write(tmp_path / "b.csv", rows=[("007", "10", 3)])
    write(tmp_path / "c.jsonl", rows=[(7, "10", 4)])
    corpus = ingest(options(str(tmp_path / "[abc].*"), tmp_path / "c"))
    assert content(corpus) == {"007": [("10", 3)], "7": [("10", 1), ("9", 2), ("10", 4)]}
    numbers = ingest(options(str(tmp_path / "a.parquet"), tmp_path / "d"))
    assert content(numbers) == {"7": [("10", 1), ("9", 2)]}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700000000", 1_700_000_000),
        ("1700000000.9", 1_700_000_000),
        ("1.7e9", 1_700_000_000),
        ("1700000000999", 1_700_000_000),
        ("1700000000999999", 1_700_000_000),
        ("1700000000999999999", 1_700_000_000),
        ("-1.5", -2),
        ("2023-11-14T22:13:20Z", 1_700_000_000),
        ("2023-11-14 22:13:20.7", 1_700_000_000),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000),
        ("2023-11-14", 1_699_920_000),
    ],
)
def test_times_as_text(tmp_path: Path, text: str, seconds: int) -> None:
    for ending in ("csv", "jsonl", "parquet"):
        log = write(tmp_path / f"l.{ending}", rows=[("u", "i", text)])
        assert ingest(options(str(log), tmp_path / "c")).histories.times.tolist() == [seconds]


@pytest.mark.parametrize("number", ["1700000000.5", "1.7e9", "1700000000999.5", "1700000000999999", "1700000000"])
def test_times_as_numbers_of_json(tmp_path: Path, number: str) -> None:
    (tmp_path / "l.jsonl").write_text(f'{{"user": "u", "item": "i", "time": {number}}}\n')
    assert ingest(options(str(tmp_path / "l.jsonl"), tmp_path / "c")).histories.times.tolist() == [1_700_000_000]


@pytest.mark.parametrize(
    ("value", "type_", "seconds"),
    [
        (date(2023, 11, 14), pa.date32(), 1_699_920_000),
        (datetime(2023, 11, 14, 22, 13, 20, 5), pa.timestamp("us"), 1_700_000_000),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), pa.timestamp("ms", "Europe/Berlin"), 1_700_000_000),
        (datetime(2023, 11, 14, 22, 13, 20), pa.timestamp("ns"), 1_700_000_000),
        (1_700_000_000_000, pa.int64(), 1_700_000_000),
        (1_700_000_000.75, pa.float64(), 1_700_000_000),
    ],
)
def test_times_of_parquet_types(tmp_path: Path, value: Any, type_: Any, seconds: int) -> None:
    table = pa.table({"user": ["u"], "item": [3.0], "time": pa.array([value], type_)})
    pq.write_table(table, tmp_path / "l.parquet")
    corpus = ingest(options(str(tmp_path / "l.parquet"), tmp_path / "c"))
    assert content(corpus) == {"u": [("3", seconds)]}


def test_wrong_calls(tmp_path: Path) -> None:
    log = write(tmp_path / "l.csv")
    for logs, values, wanted in (
        ("nowhere.csv", {}, "no such file"),
        (str(tmp_path), {}, "a folder"),
        (str(write(tmp_path / "l.xyz")), {}, "--format"),
        (str(log), {"delimiter": ";"}, "--user-column"),
    ):
        with pytest.raises(UsageError, match=wanted):
            ingest(options(logs, tmp_path / "c", **values))
    with pytest.raises(UsageError, match="--fraction-column"):
        options(str(log), tmp_path / "c", min_fraction=0.5)
    with pytest.raises(UsageError, match="memory-limit"):
        ingest(options(str(log), tmp_path / "c", memory_limit="lots"))


def test_unreadable_and_empty_logs(tmp_path: Path) -> None:
    (tmp_path / "l.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(CorruptError, match=r"l\.parquet"):
        ingest(options(str(tmp_path / "l.parquet"), tmp_path / "c"))
    for name, content_ in [
        ("l.csv", "user,item,time\n"),
        *((n, c) for n in ("l.csv", "l.jsonl") for c in ("", "\n \n")),
    ]:
        (tmp_path / name).write_text(content_)
        with pytest.raises(
            WatchnextError, match=f"{name}: got a log without rows. Give a log with at least one watch"
        ):
            ingest(options(str(tmp_path / name), tmp_path / "c"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.csv", "l.jsonl", "l.parquet"]


def test_a_column_of_a_type_that_is_no_id(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user": [True], "item": ["i"], "time": [1]}), tmp_path / "l.parquet")
    with pytest.raises(UsageError, match="BOOLEAN"):
        ingest(options(str(tmp_path / "l.parquet"), tmp_path / "c"))


def test_a_folder_that_is_no_corpus_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="watchnext ingest` did not write"):
        ingest(options(str(write(tmp_path / "l.csv")), tmp_path / "mine"))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_an_older_corpus_survives_a_failed_run(tmp_path: Path) -> None:
    log = write(tmp_path / "l.csv")
    before = ingest(options(str(log), tmp_path / "c")).manifest
    write(log, rows=[*ROWS, ("u", "i", "yesterday")])
    with pytest.raises(RejectedRowsError):
        ingest(options(str(log), tmp_path / "c"))
    assert Corpus.open(tmp_path / "c").manifest == before
    assert (tmp_path / "c.rejected.parquet").is_file()
    write(log)
    ingest(options(str(log), tmp_path / "c"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "l.csv"]
