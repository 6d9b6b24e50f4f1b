"""Recommendations of all users: what each user gets alone, in a folder that is whole or not there."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from index.everyone import Everyone
from index.exact import ExactIndex
from index.faiss_index import Changes, FaissIndex
from index.kinds import Kind
from index.recommendations import SCHEMA, RecommendationsManifest, recommend_all
from index.recommender import Recommender, open_release
from tests.commands import run, run_json
from tests.worlds import make_export, random_export, two_groups, vectors, write_release
from watchnext.denied import deny
from watchnext.errors import UsageError
from watchnext.export import Export
from watchnext.release import ReleaseManifest, ReleaseStore


def written(export: Export, tmp_path: Path, **how: Any) -> tuple[Recommender, list[dict[str, Any]]]:
    """Publish, recommend to all; returns who recommends, with the exact index, and the rows."""
    store, release = write_release(export, tmp_path)
    one = open_release(store.path(release.name))
    recommend_all(one, release, tmp_path / "all", **how)
    exact = Recommender(one.export, ExactIndex(one.export.item_vectors), release.name, denied=one.denied)
    return exact, pq.read_table(tmp_path / "all").to_pylist()


def one_by_one(one: Recommender, k: int) -> list[dict[str, Any]]:
    rows = []
    for user in one.export.users.all_ids():
        answer = one.recommend(user, k)
        rows += [
            {"user_id": user, "rank": rank, "item_id": c.id, "score": pytest.approx(c.score), "source": answer.source}
            for rank, c in enumerate(answer.candidates, 1)
        ]
    return rows


@pytest.mark.parametrize("part_users", [1, 7, 100])
def test_all_users_at_once_get_what_each_gets_alone(tmp_path: Path, part_users: int) -> None:
    world = two_groups()
    world.user_vectors[5] = 0
    one, rows = written(world, tmp_path, k=6, part_users=part_users)
    assert rows == one_by_one(one, 6)
    assert {row["source"] for row in rows if row["user_id"] == "u5"} == {"popular"}


def test_users_without_a_watch_and_users_who_have_watched_nearly_everything(tmp_path: Path) -> None:
    watches = [[], list(range(1, 49)), [], [3]]
    one, rows = written(make_export(vectors(50, 4, 0), vectors(4, 4, 1), watches), tmp_path, k=5)
    assert rows == one_by_one(one, 5)
    assert [row["source"] for row in rows] == ["popular"] * 5 + ["stored"] * 2 + ["popular"] * 5 + ["stored"] * 5
    assert {row["item_id"] for row in rows if row["user_id"] == "u2"} == {"i49", "i50"}


def test_more_users_than_a_block_and_more_items_than_a_tile(tmp_path: Path) -> None:
    one, rows = written(random_export(5000, 1200), tmp_path, k=10, part_users=700)
    assert rows == one_by_one(one, 10)


def test_equal_scores_are_ordered_by_item_number(tmp_path: Path) -> None:
    same = np.ones((101, 2), np.float32)
    same[0] = 0
    rows = written(make_export(same, same[:3], [[2], [1, 3]]), tmp_path, k=4)[1]
    assert [row["item_id"] for row in rows] == ["i1", "i3", "i4", "i5", "i2", "i4", "i5", "i6"]


def test_denied_items_are_out(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    deny(tmp_path / "releases", ["i3", "i8"])
    one, rows = written(two_groups(), tmp_path, k=200)
    assert rows == one_by_one(one, 200)
    assert not {"i3", "i8"} & {row["item_id"] for row in rows}


def test_withdrawn_items_are_out() -> None:
    world = two_groups()
    built = FaissIndex.build(world.item_vectors, Kind("Flat"))
    changes = Changes(withdrawn=np.array([3, 8], np.int32))
    index = FaissIndex(built._index, world.item_vectors, built._numbers, built.kind, built.effort, changes)
    (lists,) = Everyone(Recommender(world, index, "r")).parts([range(1, 41)], 200)
    assert set(lists.numbers.ravel().tolist()) == set(range(200)) - {3, 8}


def test_nobody(tmp_path: Path) -> None:
    one, release = a_release(tmp_path, two_groups())
    nobody = make_export(one.export.item_vectors, one.export.user_vectors[:1], [])
    recommend_all(Recommender(nobody, one.index, "r"), release, tmp_path / "all", 3)
    assert pq.read_table(tmp_path / "all").num_rows == 0


def test_k_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="k: got 0"):
        next(Everyone(a_release(tmp_path, two_groups())[0]).parts([range(1, 2)], 0))


def test_pyarrow_duckdb_and_pandas_read_the_folder(tmp_path: Path) -> None:
    rows = written(two_groups(), tmp_path, k=3, part_users=15)[1]
    folder = tmp_path / "all"
    assert sorted(path.name for path in folder.iterdir()) == [
        "_manifest.json",
        "part-00000.parquet",
        "part-00001.parquet",
        "part-00002.parquet",
    ]
    assert pq.read_table(folder).schema.equals(SCHEMA)
    assert pd.read_parquet(folder).to_dict("records") == rows
    found = duckdb.execute(f"FROM '{folder}/*.parquet' ORDER BY substr(user_id, 2)::INT, rank").fetchall()
    assert found == [tuple(row.values()) for row in rows]
    manifest = RecommendationsManifest.read(folder)
    manifest.verify(folder)
    assert (manifest.rows, manifest.settings.k, manifest.settings.users) == (120, 3, 40)


def test_only_recommendations_are_replaced(tmp_path: Path) -> None:
    store, _ = write_release(two_groups(), tmp_path)
    file, folder = tmp_path / "log.csv", tmp_path / "folder"
    file.write_text("user,item,time\n")
    folder.mkdir()
    (folder / "manifest.json").write_text('{"format": "watchnext-recommendations-1"}')
    for target in (file, folder, tmp_path / "export"):
        with pytest.raises(UsageError, match="target"):
            run("recommend", store.root, "--all", "--to", target)
    assert file.read_text() == "user,item,time\n"
    for k in (3, 2):
        assert run_json("recommend", store.root, "--all", "--to", tmp_path / "all", "-k", str(k))["rows"] == 40 * k
    assert not list(tmp_path.glob(".*"))


def a_release(tmp_path: Path, export: Export) -> tuple[Recommender, ReleaseManifest]:
    store, release = write_release(export, tmp_path)
    return open_release(store.path(release.name)), release


class StoppedError(Exception):
    """Ends a run in the middle."""


def stopped_after(count: int) -> Callable[[int], None]:
    users = iter(range(10**6))

    def advance(more: int) -> None:
        for _ in range(more):
            if next(users) >= count:
                raise StoppedError

    return advance


def unfinished(tmp_path: Path) -> tuple[Recommender, ReleaseManifest, Path]:
    """A run of parts of 10 users with 3 items each that ended after two parts."""
    one, release = a_release(tmp_path, two_groups())
    with pytest.raises(StoppedError):
        recommend_all(one, release, tmp_path / "all", 3, 10, stopped_after(20))
    parts = tmp_path / ".all.unfinished" / "parts"
    assert sorted(path.name for path in parts.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]
    assert not (tmp_path / "all").exists()
    return one, release, parts


def test_a_run_goes_on_after_the_last_whole_part(tmp_path: Path) -> None:
    one, release, parts = unfinished(tmp_path)
    (parts / ".part-00002.parquet.abc").write_bytes(b"PAR1")
    before = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    told: list[int] = []
    recommend_all(one, release, tmp_path / "all", 3, 10, told.append)
    assert told == [20, 10, 10]
    assert {name: (tmp_path / "all" / name).stat().st_mtime_ns for name in before} == before
    assert pq.read_table(tmp_path / "all").to_pylist() == one_by_one(one, 3)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("k", "part_users"), [(4, 10), (3, 20)])
def test_other_settings_are_refused_while_a_run_is_unfinished(tmp_path: Path, k: int, part_users: int) -> None:
    one, release, parts = unfinished(tmp_path)
    with pytest.raises(UsageError, match=rf"got {k} and {part_users} where .*\.all\.unfinished .* with 3 and 10"):
        recommend_all(one, release, tmp_path / "all", k, part_users)
    assert len(list(parts.iterdir())) == 2


@pytest.mark.parametrize("what", ["release", "denied", "popular denied", "damaged"])
def test_what_was_made_of_something_else_is_made_anew(tmp_path: Path, what: str) -> None:
    one, release, parts = unfinished(tmp_path)
    if what == "release":
        swapped = one.export.user_vectors[:, [1, 0, 2, 3]]
        one, release = a_release(tmp_path / "later", replace(two_groups(), user_vectors=np.array(swapped)))
    elif what == "denied":
        deny(tmp_path / "releases", ["i5"])
    elif what == "popular denied":
        deny(tmp_path / "releases", ["i200"])  # which has no vector
    else:
        (parts.parent / "settings.json").write_text("{")
    told: list[int] = []
    recommend_all(one, release, tmp_path / "all", 3, 10, told.append)
    assert told == [0, 10, 10, 10, 10]
    assert pq.read_table(tmp_path / "all").to_pylist() == one_by_one(one, 3)


def test_two_do_not_write_one_folder(tmp_path: Path) -> None:
    one, release = a_release(tmp_path, two_groups())

    def meanwhile(_: int) -> None:
        with pytest.raises(UsageError, match="another process is writing"):
            recommend_all(one, release, tmp_path / "all", 3, 10)

    recommend_all(one, release, tmp_path / "all", 3, 10, meanwhile)
    assert pq.read_table(tmp_path / "all").to_pylist() == one_by_one(one, 3)


def command(store: ReleaseStore, to: Path) -> list[str]:
    words = ["recommend", str(store.root), "--all", "--to", str(to), "-k", "5", "--part-users", "200", "--json"]
    return [sys.executable, "-W", "error", "-m", "watchnext", *words]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path, how: signal.Signals) -> None:
    store, _ = write_release(random_export(3000, 60_000, dim=32), tmp_path)
    to, parts = tmp_path / "cut", tmp_path / ".cut.unfinished" / "parts"
    process = subprocess.Popen(command(store, to), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: parts.is_dir() and len(list(parts.iterdir())) >= 5)
    process.send_signal(how)
    message = process.communicate(timeout=60)[1].strip()
    assert process.returncode == (-9 if how == signal.SIGKILL else 130)
    assert message.startswith("Interrupted. Go on with: watchnext recommend") if how == signal.SIGINT else not message
    assert not to.exists()
    there = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert len(there) < 300
    done = subprocess.run(command(store, to), capture_output=True, text=True, check=True)
    assert (json.loads(done.stdout)["rows"], done.stderr) == (300_000, "")
    assert {name: (to / name).stat().st_mtime_ns for name in there} == there
    subprocess.run(command(store, tmp_path / "whole"), capture_output=True, check=True)
    assert RecommendationsManifest.read(to).files == RecommendationsManifest.read(tmp_path / "whole").files


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("waited in vain")
