"""Files of new and changed items: what their columns may be, and what is refused with which words."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchnext.errors import CorruptError, UsageError
from watchnext.item_changes import ItemChanges, read_changes

TWO = [[1.0, 2.0], None]


def read(folder: Path, **columns: Any) -> ItemChanges:
    pq.write_table(pa.table({"item_id": ["a", "b"], **columns}), folder / "items.parquet")
    return read_changes(folder / "items.parquet", 2)


@pytest.mark.parametrize(
    "type_",
    [
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float16()),
        pa.list_(pa.int32()),
        pa.list_(pa.float32(), 2),
    ],
)
def test_vectors_of_many_types(type_: pa.DataType, tmp_path: Path) -> None:
    numbers = [np.float16(1), np.float16(2)] if type_ == pa.list_(pa.float16()) else TWO[0]
    changes = read(tmp_path, vector=pa.array([numbers, None]).cast(type_) if numbers is TWO[0] else [numbers, None])
    assert changes.vectors.tolist() == [[1, 2], [0, 0]]
    assert changes.vectors.dtype == np.float32
    assert changes.has_vector.tolist() == [True, False]


@pytest.mark.parametrize(
    "ids", [[7, 8], pa.array(["7", "8"]).dictionary_encode(), pa.array(["7", "8"], "large_string")]
)
def test_ids_of_many_types(ids: Any, tmp_path: Path) -> None:
    assert read(tmp_path, item_id=ids).ids == ["7", "8"]


@pytest.mark.parametrize(
    ("uploaded", "expected"),
    [
        ([1_700_000_000, None], [1_700_000_000, None]),
        ([1_700_000_000_999, -1], [1_700_000_000, -1]),
        ([1_700_000_000_999_999, 1_700_000_000_999_999_999], [1_700_000_000] * 2),
        ([1_700_000_000.9, -0.5], [1_700_000_000, -1]),
        ([datetime(1970, 1, 2), datetime(1969, 12, 31, 23, 59, 59, 5)], [86_400, -1]),
        ([datetime(1970, 1, 2, tzinfo=UTC), None], [86_400, None]),
        ([datetime(1600, 1, 1), datetime(2500, 1, 1)], [-11_676_096_000, 16_725_225_600]),
        ([date(1970, 1, 2), None], [86_400, None]),
        ([None, None], [None, None]),
        ([Decimal("1700000000.5"), Decimal("-0.5")], [1_700_000_000, -1]),
        (["2023-11-14T22:13:20.9Z", "1969-12-31T23:59:59.5+00:00"], [1_700_000_000, -1]),
        (["2023-11-14T22:13:20.9", "1970-01-02"], [1_700_000_000, 86_400]),
    ],
)
def test_times(uploaded: list[Any], expected: list[int | None], tmp_path: Path) -> None:
    assert read(tmp_path, uploaded=uploaded).facts.column("uploaded").to_pylist() == expected


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        (["a| b ||", None], [["a", "b"], None]),
        ([["a", None, " "], []], [["a"], []]),
        (pa.array([["a"], ["b"]], pa.list_(pa.string(), 1)), [["a"], ["b"]]),
    ],
)
def test_categories(categories: Any, expected: list[list[str] | None], tmp_path: Path) -> None:
    assert read(tmp_path, categories=categories).facts.column("categories").to_pylist() == expected


def test_arrow_and_lines_of_json_say_the_same_as_parquet(tmp_path: Path) -> None:
    rows = '{"item_id": "a", "vector": [1, 2.5], "title": "1999-01-01", "uploaded": "1970-01-02"}\n{"item_id": "b"}\n'
    (tmp_path / "items.jsonl").write_text(rows)
    columns = {"vector": [[1, 2.5], None], "title": ["1999-01-01", None], "uploaded": [86_400, None]}
    table = pa.table({"item_id": ["a", "b"], **columns})
    pyarrow.feather.write_feather(table, tmp_path / "items.feather")
    with pa.OSFile(str(tmp_path / "items.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    wanted = read(tmp_path, **columns)
    for name in ("items.jsonl", "items.feather", "items.arrow"):
        changes = read_changes(tmp_path / name, 2)
        assert changes.ids == wanted.ids
        assert changes.vectors.tolist() == wanted.vectors.tolist() == [[1, 2.5], [0, 0]]
        assert changes.facts.to_pylist() == wanted.facts.to_pylist()


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": pa.array([], pa.string())}), tmp_path / "items.parquet")
    assert read_changes(tmp_path / "items.parquet", 2).ids == []
    for content in ("", "\n\n"):
        (tmp_path / "items.jsonl").write_text(content)
        assert read_changes(tmp_path / "items.jsonl", 2).ids == []


def test_lines_of_json_have_times_of_one_kind(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"item_id": "a", "uploaded": 5}\n{"item_id": "b", "uploaded": 5.5}\n')
    assert read_changes(tmp_path / "items.jsonl", 2).facts.column("uploaded").to_pylist() == [5, 5]
    (tmp_path / "items.jsonl").write_text(
        '{"item_id": "a", "uploaded": 5}\n{"item_id": "b", "uploaded": "1970-01-02"}\n'
    )
    with pytest.raises(UsageError, match=r"'uploaded' .* got a string\. Give timestamps in all lines, or seconds"):
        read_changes(tmp_path / "items.jsonl", 2)


NO_TIMES = [
    [float("nan"), 1.0],
    [1.0, float("inf")],
    [-float("inf"), 1.0],
    [1e19, 1.0],
    pa.array([2**63, 1], pa.uint64()),
]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        *(({"uploaded": column}, "column 'uploaded': got a number that is not finite") for column in NO_TIMES),
        ({"vector": [1.0, 2.0]}, "column 'vector': got the type double"),
        ({"vector": [["x"], ["y"]]}, "column 'vector': got the type"),
        ({"vector": [[1.0, float("nan")], None]}, "vector of item 'a': got a number that is not finite"),
        ({"vector": [None, [1.0, 2.0, 3.0]]}, "vector of item 'b': got 3 numbers where items have 2"),
        ({"title": [1, 2]}, "column 'title': got the type int64"),
        ({"categories": [[1], [2]]}, "column 'categories': got the type"),
        ({"uploaded": ["a", "b"]}, "column 'uploaded': got the type string"),
        ({"item_id": ["a", None]}, "an empty id"),
        ({"item_id": [1.5, 2.5]}, "column 'item_id': got the type double"),
        ({"item_id": pa.array([b"\xff", b"\xfe"]).view("string")}, r"items\.parquet: got .*UTF8"),
        ({"score": [1, 2]}, "a column 'score'"),
    ],
)
def test_wrong_columns(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((UsageError, CorruptError), match=message):
        read(tmp_path, **columns)


def test_wrong_files(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id\na\n")
    (tmp_path / "items.arrow").write_text("no Arrow")
    (tmp_path / "items.jsonl").write_text('{"item_id": "a"\n')
    pq.write_table(pa.table({"title": ["a"]}), tmp_path / "items.parquet")
    wrong = {"items.csv": "ends in one of", "items.arrow": "Write the file again", "items.jsonl": "JSON parse error"}
    for name, message in (
        wrong | {"items.parquet": "no column 'item_id'", "none.parquet": "which is no file"}
    ).items():
        with pytest.raises((UsageError, CorruptError), match=message):
            read_changes(tmp_path / name, 2)


@pytest.mark.parametrize("id_", ['"a"', "5"])
@pytest.mark.parametrize("wrong", ['{"item_id": ID', '{"item_id": ID, "vector": [1e999]}', "{", '{"item_id"}'])
def test_broken_lines_are_the_same_error_whatever_ids_are(id_: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(f'{{"item_id": {id_}}}\n{wrong.replace("ID", id_)}\n')
    with pytest.raises(CorruptError, match=r"items\.jsonl: got JSON parse error.*Write the file again"):
        read_changes(tmp_path / "items.jsonl", 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cut")
    read(folder, vector=TWO, title=["x", "y"])
    return folder / "items.parquet"


@given(st.data())
def test_a_file_cut_anywhere_is_an_error(whole: Path, data: st.DataObject) -> None:
    content = whole.read_bytes()
    cut = whole.with_name("cut.parquet")
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CorruptError, match="cut"):
        read_changes(cut, 2)
