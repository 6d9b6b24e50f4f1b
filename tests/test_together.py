"""Searches that are made together find what each finds alone."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.askers import Asker
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.interface import Bool
from index.kinds import Kind
from index.recommender import Found, Recommender
from serving.together import MOST, Searched, Together
from tests.worlds import make_export, vectors
from watchnext.histories import Int32

ITEMS, USERS = 30, 20
WORLD = make_export(
    vectors(ITEMS, 4, 0), vectors(USERS, 4, 1), [[1 + (u * n) % ITEMS for n in range(1, u)] for u in range(USERS)]
)


def recommender() -> Recommender:
    return Recommender(WORLD, FaissIndex.build(WORLD.item_vectors, Kind("Flat")), "r1")


def together(asked: Sequence[tuple[Recommender, Asker, int]]) -> list[Searched | BaseException]:
    async def ask() -> list[Searched | BaseException]:
        searches = Together()
        return await asyncio.gather(*(searches.search(*one) for one in asked), return_exceptions=True)

    return asyncio.run(ask())


def plain(found: Found) -> tuple[list[int], object]:
    return found.numbers.tolist(), found.sources


@given(st.lists(st.tuples(st.integers(0, USERS), st.sampled_from([1, 5, ITEMS + 5])), min_size=1, max_size=3 * MOST))
@settings(max_examples=30, deadline=None)
def test_everybody_gets_what_they_would_get_alone(asked: list[tuple[int, int]]) -> None:
    fast, exact = recommender(), Recommender(WORLD, ExactIndex(WORLD.item_vectors), "r1")
    askers = [fast.askers.stored(user) for user, _ in asked]
    got = together([(fast, asker, k) for asker, (_, k) in zip(askers, asked, strict=True)])
    for searched, asker, (_, k) in zip(got, askers, asked, strict=True):
        assert isinstance(searched, Searched)
        alone = exact.answer(asker, k)
        assert plain(searched.found) == plain(alone)
        np.testing.assert_allclose(searched.found.scores, alone.scores, rtol=1e-5, atol=1e-5)
        assert searched.search > 0


def test_two_releases_each_answer_their_own() -> None:
    other = make_export(vectors(ITEMS, 4, 5), WORLD.user_vectors, [[1]] * USERS)
    first, second = recommender(), Recommender(other, ExactIndex(other.item_vectors), "r2")
    asker = first.askers.stored(4)
    got = together([(first, asker, 3), (second, asker, 3), (first, asker, 3)])
    found = [plain(one.found)[0] for one in got if isinstance(one, Searched)]
    assert found[0] == found[2] == plain(first.answer(asker, 3))[0]
    assert found[1] == plain(second.answer(asker, 3))[0] != found[0]


def test_a_search_that_fails_fails_for_those_that_asked_and_no_other() -> None:
    class Broken(Recommender):
        def answers(self, askers: Sequence[Asker], k: int, allowed: Bool | None = None) -> list[Found]:
            raise OSError("gone")

    well, broken = recommender(), Broken(WORLD, ExactIndex(WORLD.item_vectors), "r2")
    asker = well.askers.stored(4)
    got = together([(broken, asker, 3), (well, asker, 3), (broken, asker, 3)])
    assert [type(one) for one in got] == [OSError, Searched, OSError]


def test_who_has_gone_keeps_nobody_from_an_answer() -> None:
    async def ask() -> Searched:
        searches, one = Together(), recommender()
        asker = one.askers.stored(4)
        gone, waits = (asyncio.ensure_future(searches.search(one, asker, 3)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await waits

    assert len(asyncio.run(ask()).found.numbers) == 3


def test_many_are_searched_in_parts() -> None:
    sizes: list[int] = []

    class Counting(Recommender):
        def answers(self, askers: Sequence[Asker], k: int, allowed: Bool | None = None) -> list[Found]:
            sizes.append(len(askers))
            return super().answers(askers, k, allowed)

    counting = Counting(WORLD, ExactIndex(WORLD.item_vectors), "r1")
    together([(counting, counting.askers.stored(4), 3)] * (2 * MOST + 3))
    assert sizes == [MOST, MOST, 3]


def test_an_answer_of_a_few_items_is_numbers_of_32_bits() -> None:
    one = recommender()
    numbers: Int32 = one.answer(one.askers.stored(4), 3).numbers
    assert numbers.dtype == np.int32
