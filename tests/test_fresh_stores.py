"""What is true of every store of fresh watches, beside a plain model of it; on SQLite and on a real Redis server."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from serving.fresh.choose import open_store, open_upkeep
from serving.fresh.sqlite import SqliteStore
from serving.fresh.store import NOTHING, Fresh, FreshStore, Watch
from tests.fresh_stores import AWKWARD, Model, RedisServer, opened, redis_server, watch
from watchnext.errors import UsageError

Made = Callable[[Callable[[], float]], FreshStore]
"""Opens the store, with a clock."""
USERS = ["u", "ü", "a\0b"]
some_watches = st.lists(
    st.builds(
        Watch,
        event_id=st.sampled_from([f"e{n}" for n in range(12)]),
        user_id=st.sampled_from(USERS),
        item_id=st.sampled_from(["i", "j", "視\0"]),
        time=st.integers(95, 110),
        fraction=st.sampled_from([None, 0.0, 0.25, 1.5]),
    ),
    max_size=5,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), "--appendonly", "yes") as running:
        yield running


@pytest.fixture(params=["sqlite", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store is."""
    return str(tmp_path / "fresh.db") if request.param == "sqlite" else emptied(request.getfixturevalue("server"))


def emptied(server: RedisServer) -> str:
    server.send(b"FLUSHALL")
    return server.url


class Stores(RuleBasedStateMachine):
    """Does the same to a store and to the model of it."""

    def __init__(self, where: str, made: Made) -> None:
        super().__init__()
        self.where, self.made, self.now, self.model = where, made, 100, Model()
        self.runner = asyncio.Runner()
        self.store = made(lambda: self.now)

    @rule(watches=some_watches)
    def add(self, watches: list[Watch]) -> None:
        assert self.runner.run(self.store.add(watches)) == self.model.add(watches)

    @rule(user=st.sampled_from(USERS), seconds=st.integers(0, 3))
    def erase(self, user: str, seconds: int) -> None:
        self.now += seconds
        assert self.runner.run(self.store.erase(user)) == self.model.erase(user, self.now)

    @rule(before=st.integers(90, 112))
    def prune(self, before: int) -> None:
        upkeep = open_upkeep(self.where)
        assert upkeep.prune(before) == self.model.prune(before)
        upkeep.close()

    @rule(before=st.integers(90, 112), every=st.integers(1, 3))
    def prune_what_was_learned(self, before: int, every: int) -> None:
        upkeep = open_upkeep(self.where)
        learned = {(w.user_id, w.item_id, w.time) for w in list(upkeep.watches())[::every]}
        assert upkeep.prune(before, learned) == self.model.prune(before, learned)
        upkeep.close()

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.made(lambda: self.now)

    @rule()
    def all_of_it(self) -> None:
        upkeep = open_upkeep(self.where)
        ordered = sorted(self.model.watches, key=lambda w: (w.user_id.encode(), w.time))
        assert list(upkeep.watches()) == ordered
        assert list(upkeep.erased()) == sorted(self.model.erasures.items(), key=lambda pair: pair[0].encode())
        upkeep.close()

    @invariant()
    def same(self) -> None:
        for user in [*USERS, "nobody"]:
            assert self.runner.run(self.store.of(user)) == self.model.of(user)
            assert self.runner.run(self.store.history(user)) == self.model.of(user)
        assert self.runner.run(self.store.size()) == len(self.model.watches)

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()


def test_sqlite_is_like_its_model() -> None:
    class Sqlite(Stores):
        def __init__(self) -> None:
            self.folder = tempfile.mkdtemp()
            path = Path(self.folder) / "fresh.db"
            super().__init__(str(path), lambda clock: SqliteStore(path, clock=clock))

        def teardown(self) -> None:
            super().teardown()
            shutil.rmtree(self.folder)

    run_state_machine_as_test(Sqlite, settings=settings(max_examples=25, stateful_step_count=25))


def test_redis_is_like_its_model(server: RedisServer) -> None:
    from serving.fresh.redis import RedisStore  # noqa: PLC0415  (the package may be missing)

    class OnRedis(Stores):
        def __init__(self) -> None:
            super().__init__(emptied(server), lambda clock: RedisStore(server.url, 5, 5, clock))

    run_state_machine_as_test(OnRedis, settings=settings(max_examples=25, stateful_step_count=25))


def test_ids_come_back_as_they_were(where: str) -> None:
    async def work() -> None:
        store = opened(where)
        watches = [
            Watch(f"e{n}", user, item, n, None)
            for n, (user, item) in enumerate((user, item) for user in AWKWARD for item in AWKWARD)
        ]
        assert await store.add(watches) == len(watches)
        for user in AWKWARD:
            for ask in (store.of, store.history):
                assert [item for item, _ in (await ask(user)).watches] == AWKWARD
        await store.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("field", "value", "got"),
    [
        ("event_id", "\ud800", r"event id: got '\\ud800'"),
        ("user_id", "  ", "user id: got '  '"),
        ("user_id", "", "user id: got ''"),
        ("item_id", "ü" * 129, "item id: got 258 bytes"),
        ("time", 1_700_000_000_000, "time of a watch: got 1700000000000. Give seconds"),
        ("fraction", float("nan"), "fraction of a watch: got nan"),
        ("fraction", -0.1, "fraction of a watch: got -0.1"),
    ],
)
def test_what_cannot_be_kept_is_refused_whole(where: str, field: str, value: Any, got: str) -> None:
    async def work() -> None:
        store = opened(where)
        with pytest.raises(UsageError, match=got):
            await store.add([watch("good"), watch("bad")._replace(**{field: value})])
        assert await store.of("u") == NOTHING
        await store.close()

    asyncio.run(work())


def test_asking_for_an_id_that_is_not_unicode(where: str) -> None:
    async def work() -> None:
        store = opened(where)
        for ask in (store.of, store.history, store.erase):
            with pytest.raises(UsageError, match=r"user id: got '\\ud800'"):
                await ask("\ud800")
        await store.add([watch("e")])
        assert await store.of("u") == Fresh((("i", 1),))
        await store.close()

    asyncio.run(work())


def test_a_thousand_at_once_and_only_the_last_are_told(where: str) -> None:
    async def work() -> None:
        store = opened(where)
        for first in range(0, 11_000, 1000):
            assert await store.add([watch(f"e{n}", item=f"i{n}", at=n) for n in range(first, first + 1000)]) == 1000
        assert await store.add([watch(f"e{n}", at=n) for n in range(1000)]) == 0
        assert (await store.of("u")).watches == tuple((f"i{n}", n) for n in range(10_000, 11_000))
        assert (await store.history("u")).watches == tuple((f"i{n}", n) for n in range(1000, 11_000))
        assert await store.size() == 11_000
        upkeep = open_upkeep(where)
        assert [w.time for w in upkeep.watches()] == list(range(11_000))
        assert upkeep.prune(10_500) == 10_500
        upkeep.close()
        for ask in (store.of, store.history):
            assert (await ask("u")).watches == tuple((f"i{n}", n) for n in range(10_500, 11_000))
        assert await store.erase("u") == 500
        await store.close()

    asyncio.run(work())


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 30), max_size=6), min_size=2, max_size=30))
def test_of_adds_at_the_same_time_each_event_is_new_once(adds: list[list[int]]) -> None:
    async def work(path: Path) -> None:
        store = SqliteStore(path)
        numbers = count(1)
        new = await asyncio.gather(
            *(store.add([watch(f"e{e}", item=f"i{e}", at=next(numbers)) for e in events]) for events in adds)
        )
        events = {e for events in adds for e in events}
        assert sum(new) == len(events) == await store.size()
        assert {item for item, _ in (await store.of("u")).watches} == {f"i{e}" for e in events}
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(work(Path(folder) / "fresh.db"))


def test_two_stores_see_what_the_other_has_added_at_once(where: str) -> None:
    async def work() -> None:
        one, other = opened(where), opened(where)
        assert await other.of("u") == NOTHING
        for n in range(20):
            await (one if n % 2 else other).add([watch(f"e{n}", item=f"i{n}", at=n)])
            seen = await (other if n % 2 else one).of("u")
            assert seen.watches[-1] == (f"i{n}", n)
        await other.erase("u")
        assert (await one.of("u")).watches == ()
        assert await one.add([watch("late")]) == 0
        await one.close()
        await other.close()

    asyncio.run(work())


def test_a_retry_of_what_was_erased_stays_out_though_its_clock_was_ahead(where: str) -> None:
    async def work() -> None:
        store, ahead = opened(where), int(time.time()) + 3600
        watches = [watch("e1", item="j", at=ahead), watch("e2", at=ahead - 60), watch("e3", at=5)]
        assert await store.add(watches) == 3
        assert await store.erase("u") == 3
        assert await store.add(watches) == 0
        assert await store.erase("u") == 0
        assert await store.add(watches) == 0
        assert await store.of("u") == Fresh((), ahead)
        upkeep = open_upkeep(where)
        assert list(upkeep.erased()) == [("u", ahead)]  # so that the next training leaves them out, too
        upkeep.close()
        assert await store.add([watch("e4", item="new", at=ahead + 1), watch("e5", "v", at=1)]) == 2
        assert (await store.of("u")).watches == (("new", ahead + 1),)
        await store.close()

    asyncio.run(work())


def test_other_urls_are_refused() -> None:
    with pytest.raises(UsageError, match=r"the URL postgres://.*redis://"):
        open_store("postgres://host/db")
