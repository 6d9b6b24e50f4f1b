"""One request a turn of the event loop, and which of a queue are refused."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.guard.turns import FEW, REFUSED_FOR_ONE, STANDING, Turns


def in_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


@given(st.integers(1, 20), st.integers(1, 5))
def test_all_get_a_turn_in_their_order_and_the_loop_turns_in_between(requests: int, steady: int) -> None:
    async def work() -> None:
        turns, seen, ticks = Turns(steady), list[tuple[int, int]](), 0

        async def ask(number: int) -> None:
            assert await turns.mine(0.0)
            seen.append((number, ticks))

        asking = [asyncio.create_task(ask(number)) for number in range(requests)]
        while not all(task.done() for task in asking):
            await asyncio.sleep(0)
            ticks += 1
        assert [number for number, _ in seen] == list(range(requests))
        assert len({tick for _, tick in seen}) == requests, "two were answered in one turn of the loop"

    in_loop(work)


def test_a_burst_may_wait_and_a_queue_that_stands_is_short() -> None:
    async def work() -> None:
        turns = Turns(3)
        assert await turns.mine(0.0)
        burst = [asyncio.create_task(turns.mine(STANDING / 2)) for _ in range(10)]
        late = [asyncio.create_task(turns.mine(STANDING * 2)) for _ in range(5)]
        assert await asyncio.gather(*burst) == [True] * 10
        assert await asyncio.gather(*late) == [False] * 5

    in_loop(work)


def test_a_queue_that_was_empty_is_not_one_that_stands() -> None:
    async def work() -> None:
        turns = Turns(1)
        for moment in (0.0, 10.0):
            asking = [asyncio.create_task(turns.mine(moment)) for _ in range(4)]
            assert await asyncio.gather(*asking) == [True] * 4
            await asyncio.sleep(0)

    in_loop(work)


def test_the_more_are_refused_the_more_are_answered_in_a_turn() -> None:
    async def work() -> None:
        turns = Turns(4)
        waiting = [asyncio.create_task(turns.mine(0.0)) for _ in range(5)]
        refused = [asyncio.create_task(turns.mine(STANDING + 1)) for _ in range(3 * REFUSED_FOR_ONE)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert [task.done() for task in waiting] == [True] * 5
        assert not any(await asyncio.gather(*refused))

    in_loop(work)


@pytest.mark.parametrize("arriving", [2, 10, 100])
def test_under_overload_without_end_the_queue_stays_short(arriving: int) -> None:
    async def work() -> None:
        turns, waited, tick, steady = Turns(4), list[int](), 0, 4

        async def ask(came: int) -> None:
            if await turns.mine(came / 1000) and came > 1000 * STANDING + 400:
                waited.append(tick - came)

        for tick in range(1000):
            asking = [asyncio.create_task(ask(tick)) for _ in range(arriving)]
            await asyncio.sleep(0)
        await asyncio.gather(*asking)
        assert len(waited) >= 400
        assert max(waited) <= steady + 1

    in_loop(work)


def test_who_has_gone_takes_no_turn() -> None:
    async def work() -> None:
        turns = Turns(4)
        assert await turns.mine(0.0)
        waiting = [asyncio.create_task(turns.mine(0.0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        assert await asyncio.gather(*waiting[1:]) == [True, True]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await turns.mine(0.0)

    in_loop(work)


def test_a_long_queue_is_answered_one_a_turn() -> None:
    async def work() -> None:
        turns, seen, ticks = Turns(100, each=4), list[int](), 0

        async def ask() -> None:
            assert await turns.mine(0.0)
            seen.append(ticks)

        asking = [asyncio.create_task(ask()) for _ in range(1 + 10 + FEW)]
        while not all(task.done() for task in asking):
            await asyncio.sleep(0)
            ticks += 1
        assert list(Counter(seen).values()) == [1] * 11 + [4] * (FEW // 4)

    in_loop(work)


@given(st.integers(1, 1 + FEW), st.integers(1, 5))
def test_some_may_share_a_turn_in_their_order(requests: int, each: int) -> None:
    async def work() -> None:
        turns, seen, ticks = Turns(100, each=each), list[tuple[int, int]](), 0

        async def ask(number: int) -> None:
            assert await turns.mine(0.0)
            seen.append((number, ticks))

        asking = [asyncio.create_task(ask(number)) for number in range(requests)]
        while not all(task.done() for task in asking):
            await asyncio.sleep(0)
            ticks += 1
        assert [number for number, _ in seen] == list(range(requests))
        sizes = list(Counter(tick for _, tick in seen).values())
        assert sizes[0] == 1, "the first that comes waits for nobody"
        assert sizes[1:-1] == [each] * len(sizes[1:-1])
        assert sizes[-1] <= each

    in_loop(work)
