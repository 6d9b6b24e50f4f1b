"""Cleaning against a plain-Python reference written from its description, and corpora worked out by hand."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.corpus import Corpus
from corpus.ingest import ingest
from corpus.options import IngestOptions
from watchnext.errors import WatchnextError

Row = tuple[str, str, int, float]
World = dict[str, list[tuple[str, int]]]


def reference(rows: list[Row], fraction: float, users: int, items: int, top: int | None) -> World:
    """What should be left: each user's (item, time) in order."""
    seen = set()
    left = []
    for user, item, time, watched in rows:
        if watched >= fraction and (user, item, time) not in seen:
            seen.add((user, item, time))
            left.append((user, item, time))
    counts = Counter(item for _, item, _ in left)
    best = sorted((item for item in counts if counts[item] >= items), key=lambda i: (-counts[i], i))
    left = [row for row in left if row[1] in set(best[:top])]
    while True:
        per_user, per_item = Counter(r[0] for r in left), Counter(r[1] for r in left)
        after = [r for r in left if per_user[r[0]] >= users and per_item[r[1]] >= items]
        if len(after) == len(left):
            break
        left = after
    world: World = {}
    for user, item, time in sorted(left, key=lambda row: row[2]):  # stable: ties in the order of the log
        world.setdefault(user, []).append((item, time))
    return world


def content(corpus: Corpus) -> World:
    h = corpus.histories
    return {
        corpus.users.id(u): list(zip(corpus.items.ids(h[u]), h.times_of(u).tolist(), strict=True))
        for u in range(1, len(h))
    }


def write_parquet(rows: list[Row], path: Path) -> str:
    columns = [list(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(dict(zip(("user", "item", "time", "f"), columns, strict=True))), path)
    return str(path)


def options(log: str, to: Path, **values: Any) -> IngestOptions:
    return IngestOptions.model_validate({"logs": (log,), "to": to, **values})


ids = st.sampled_from(["a", "b", "ä", "視", "10", "9", "x y", 'q"u', "c,d", "'; DROP TABLE log"])
row = st.tuples(ids, ids, st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(row, min_size=1, max_size=40),
    st.sampled_from([0.0, 0.5]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([1, 2]),
)
def test_equals_the_reference(
    rows: list[Row], fraction: float, users: int, items: int, top: int | None, threads: int
) -> None:
    expected = reference(rows, fraction, users, items, top)
    with tempfile.TemporaryDirectory() as folder:
        chosen = options(
            write_parquet(rows, Path(folder) / "log.parquet"),
            Path(folder) / "corpus",
            columns={"fraction": "f"},
            min_fraction=fraction,
            min_user_watches=users,
            min_item_watches=items,
            max_items=top,
            threads=threads,
        )
        if not expected:
            with pytest.raises(WatchnextError, match="no watch left"):
                ingest(chosen)
            assert not (Path(folder) / "corpus").exists()
            return
        ingest(chosen)
        corpus = Corpus.open(Path(folder) / "corpus")
        counts = corpus.manifest.counts
        assert content(corpus) == expected
        assert counts.rows_read == len(rows) == counts.kept + counts.gone
        assert counts.kept == sum(map(len, expected.values()))
        popularity = Counter(item for watches in expected.values() for item, _ in watches)
        order = sorted(popularity, key=lambda i: (-popularity[i], i))
        assert corpus.items.ids(range(1, len(corpus.items) + 1)) == order
        assert corpus.item_counts.tolist() == [0, *(popularity[i] for i in order)]
        assert corpus.users.ids(range(1, len(corpus.users) + 1)) == sorted(expected)


def test_counts_of_each_stage_by_hand(tmp_path: Path) -> None:
    rows: list[Row] = [
        ("u", "a", 2, 1.0),
        ("u", "b", 1, 1.0),
        ("u", "a", 2, 0.9),  # duplicate
        ("u", "c", 3, 0.1),  # below the fraction
        ("v", "a", 1, 1.0),
        ("v", "b", 2, 1.0),
        ("v", "d", 3, 1.0),  # an item watched once
        ("w", "a", 1, 1.0),  # a user with one watch
    ]
    log = write_parquet(rows, tmp_path / "log.parquet")
    corpus = ingest(
        options(
            log,
            tmp_path / "corpus",
            columns={"fraction": "f"},
            min_fraction=0.5,
            min_user_watches=2,
            min_item_watches=2,
        )
    )
    assert corpus.manifest.counts.model_dump() == {
        "rows_read": 8,
        "rejected": {},
        "erased": 0,
        "below_fraction": 1,
        "duplicates": 1,
        "out_of_vocabulary": 1,
        "by_short_users": 1,
        "kept": 4,
    }
    assert content(corpus) == {"u": [("b", 1), ("a", 2)], "v": [("a", 1), ("b", 2)]}
    assert (corpus.manifest.first_time, corpus.manifest.last_time) == (1, 2)


def test_threads_and_row_groups_do_not_matter(tmp_path: Path) -> None:
    n = 300_000
    table = pa.table({"user": [i % 7 for i in range(n)], "item": [i % 1013 for i in range(n)], "time": [5] * n})
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=10_000)
    made = [
        ingest(options(str(tmp_path / "log.parquet"), tmp_path / f"c{t}", threads=t)).manifest.files for t in (1, 2)
    ]
    assert made[0] == made[1]
    corpus = Corpus.open(tmp_path / "c1")
    first = list(dict.fromkeys(str(i % 1013) for i in range(0, n, 7)))
    assert corpus.items.ids(corpus.histories[1]) == first


def test_sequences_keep_repeats_and_go_on_over_lines(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"u\ta b a\r\n\nv  b\nlonely\nu c\n\xff x\n")
    corpus = ingest(options(str(tmp_path / "log.txt"), tmp_path / "c", format="sequences", max_rejected_share=0.5))
    assert content(corpus) == {"u": [("a", 0), ("b", 1), ("a", 2), ("c", 3)], "v": [("b", 0)]}
    assert corpus.manifest.counts.rejected == {"user without items": 1, "invalid UTF-8": 1}
    rejected = pq.read_table(tmp_path / "c" / "rejected.parquet").to_pylist()
    assert [(r["line"], r["row"]) for r in rejected] == [(4, "lonely"), (6, "\\xff x")]


def test_real_sequences() -> None:
    data = Path(__file__).parents[2] / "shared" / "data" / "amazon-beauty" / "beauty.txt"
    if not data.is_file():
        pytest.skip("the data folder is not beside the repository")
    with tempfile.TemporaryDirectory() as folder:
        corpus = ingest(
            options(str(data), Path(folder) / "c", format="sequences", min_user_watches=5, min_item_watches=5)
        )
        lines = [line.split() for line in data.read_text().splitlines()]
        assert (len(corpus.users), len(corpus.items)) == (22_363, 12_101)
        assert corpus.manifest.counts.kept == sum(len(words) - 1 for words in lines) == 198_502
        assert corpus.items.ids(corpus.histories[corpus.users.number("2")]) == lines[1][1:]


def test_manifest_is_json_with_options(tmp_path: Path) -> None:
    log = write_parquet([("u", "a", 2, 1.0)], tmp_path / "log.parquet")
    ingest(options(log, tmp_path / "c", max_items=7))
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert manifest["format"] == "watchnext-corpus-1"
    assert manifest["options"]["max_items"] == 7
    assert set(manifest["files"]) >= {"histories/items.npy", "rejected.parquet", "users.arrow"}
