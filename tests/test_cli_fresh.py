"""From a store to the next corpus: `watchnext fresh` and `watchnext ingest --erased`."""

import asyncio
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from corpus.corpus import Corpus
from serving.fresh.sqlite import SqliteStore
from serving.fresh.store import Watch
from tests.commands import run, run_json
from tests.fresh_stores import AWKWARD, redis_server
from tests.test_corpus_reference import content
from watchnext.errors import UsageError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Everybody has watched two items at a time and one later; all but the first user were erased in between."""
    now = [50.0]

    async def fill() -> None:
        opened = SqliteStore(tmp_path / "fresh.db", clock=lambda: now[0])
        await opened.add([Watch(f"x{u}", user, "old", 10, None) for u, user in enumerate(AWKWARD)])
        for user in AWKWARD[1:]:
            await opened.erase(user)
        await opened.add(
            [
                Watch(f"{u}-{item}", user, item, 60 if item != "last" else 70, 0.5 if item == "b" else None)
                for item in ("b", "a", "last")
                for u, user in enumerate(AWKWARD)
            ]
        )
        await opened.close()

    asyncio.run(fill())
    return tmp_path / "fresh.db"


def test_export_is_a_log(store: Path, tmp_path: Path) -> None:
    log = tmp_path / "watches.parquet"
    assert run_json("fresh", "export", store, "--to", log) == {"watches": 31, "written": str(log)}
    (tmp_path / "older.csv").write_text("user,item,time\nu,oldest,1\nzoe,oldest,1\n")
    made = run_json("ingest", tmp_path / "older.csv", log, "--to", tmp_path / "corpus")
    assert (made["kept"], made["rejected"]) == (33, {})
    expected = {user: [("b", 60), ("a", 60), ("last", 70)] for user in AWKWARD}
    expected["u"] = [("oldest", 1), ("old", 10), *expected["u"]]
    expected["zoe"] = [("oldest", 1)]
    assert content(Corpus.open(tmp_path / "corpus")) == expected
    fractions = pq.read_table(log)["fraction"].to_pylist()
    assert sorted(fractions, key=str) == [0.5] * len(AWKWARD) + [None] * 21


def test_erased_users_are_left_out_of_the_next_corpus(store: Path, tmp_path: Path) -> None:
    listed = tmp_path / "erased.csv"
    assert run_json("fresh", "erased", store, "--to", listed) == {"users": 9, "written": str(listed)}
    pq.write_table(
        pq.read_table(_export(store, tmp_path)).set_column(2, "time", [list(range(36, 67))]),
        tmp_path / "log.parquet",
    )
    pq_users = pq.read_table(tmp_path / "log.parquet").to_pylist()
    left = [r for r in pq_users if r["user"] == "u" or r["time"] > 50]
    made = run_json("ingest", tmp_path / "log.parquet", "--erased", listed, "--to", tmp_path / "corpus")
    assert (made["erased"], made["kept"]) == (len(pq_users) - len(left), len(left))
    assert 0 < made["erased"] < 20
    assert "erased" in run("ingest", tmp_path / "log.parquet", "--erased", listed, "--to", tmp_path / "corpus")


def _export(store: Path, tmp_path: Path) -> Path:
    run("fresh", "export", store, "--to", tmp_path / "all.parquet")
    return tmp_path / "all.parquet"


def test_prune(store: Path, tmp_path: Path) -> None:
    assert run_json("fresh", "prune", store, "--before", "1970-01-01T00:01:10") == {"watches": 21}
    assert run_json("fresh", "prune", store, "--before", "1970-01-01T00:01:10") == {"watches": 0}
    assert pq.read_table(_export(store, tmp_path))["time"].to_pylist() == [70] * 10
    assert run_json("fresh", "erased", store, "--to", tmp_path / "erased.csv")["users"] == 9


def test_what_came_after_an_export_is_not_pruned_with_it(store: Path, tmp_path: Path) -> None:
    log = _export(store, tmp_path)

    async def late() -> None:
        opened = SqliteStore(store)
        await opened.add([Watch("late", "u", "late", 5, None)])
        await opened.close()

    asyncio.run(late())
    assert run_json("fresh", "prune", store, "--exported", log, "--before", "1970-01-01T00:01:10") == {"watches": 21}
    assert run_json("fresh", "prune", store, "--exported", log) == {"watches": 10}
    assert pq.read_table(_export(store, tmp_path)).to_pylist() == [
        {"user": "u", "item": "late", "time": 5, "fraction": None}
    ]
    (tmp_path / "no.parquet").write_text("user,item,time\n")
    with pytest.raises(UsageError, match="--exported and --before: got neither"):
        run("fresh", "prune", store)
    with pytest.raises(UsageError, match=r"--exported: got .*no\.parquet"):
        run("fresh", "prune", store, "--exported", tmp_path / "no.parquet")


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    for words in (("export", "--to", "x.parquet"), ("erased", "--to", "x.csv"), ("prune", "--before", "2026-01-01")):
        with pytest.raises(UsageError, match=r"typo\.db: got no such file"):
            run("fresh", words[0], tmp_path / "typo.db", *words[1:])


def test_redis(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        from serving.fresh.redis import RedisStore  # noqa: PLC0415  (the package may be missing)

        async def fill() -> None:
            opened = RedisStore(server.url, clock=lambda: 50)
            await opened.add([Watch(f"e{n}", f"u{n % 3}", f"i{n}", n, None) for n in range(9)])
            await opened.erase("u1")
            await opened.close()

        asyncio.run(fill())
        log = tmp_path / "watches.parquet"
        assert run_json("fresh", "export", server.url, "--to", log)["watches"] == 6
        rows = [(r["user"], r["item"], r["time"]) for r in pq.read_table(log).to_pylist()]
        assert rows == [(f"u{u}", f"i{n}", n) for u in (0, 2) for n in range(9) if n % 3 == u]
        run("fresh", "erased", server.url, "--to", tmp_path / "erased.csv")
        assert (tmp_path / "erased.csv").read_text().splitlines() == ["user,time", "u1,50"]
        assert run_json("fresh", "prune", server.url, "--before", "1970-01-01T00:00:06")["watches"] == 4


@pytest.mark.parametrize(
    ("what", "name", "suffix"), [("export", "b.csv", ".parquet"), ("erased", "e.parquet", ".csv")]
)
def test_names_of_another_kind_of_file_are_refused(
    store: Path, tmp_path: Path, what: str, name: str, suffix: str
) -> None:
    with pytest.raises(UsageError, match=f"--to.*Give a name that ends in {suffix}"):
        run("fresh", what, store, "--to", tmp_path / name)
    assert not (tmp_path / name).exists()
