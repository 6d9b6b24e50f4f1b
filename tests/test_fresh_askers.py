"""Vectors of users with fresh watches: which are kept, how many, and until when."""

import numpy as np
import pytest

from index.askers import Asker
from index.exact import ExactIndex
from index.recommender import Recommender
from serving.fresh.store import Fresh
from serving.users import FreshAskers
from tests.worlds import mean_world
from watchnext.features import UserContext

VECTORS = np.array([[0, 0], [1, 0], [0, 1], [3, 4]], np.float32)
STORED = 10
"""Watches of the user `old`."""


def askers(users: int = 100, watches: int = 100) -> FreshAskers:
    export = mean_world(VECTORS, {"old": [(1, time) for time in range(STORED)]})
    return FreshAskers(Recommender(export, ExactIndex(export.item_vectors), "r"), users, watches)


def fresh(*items: str, erased: int | None = None) -> Fresh:
    """As a store tells it: other objects each time."""
    return Fresh(tuple(("".join(item), 100 + n) for n, item in enumerate(items)), erased)


def ask(of: FreshAskers, user: str, what: Fresh) -> Asker:
    return of.ask(user, what, None, 1000)


def kept(of: FreshAskers, user: str, what: Fresh, before: Asker) -> bool:
    """Whether the same asker is given again, rather than an equal one."""
    again = ask(of, user, what)
    assert again.watched.tolist() == before.watched.tolist()
    return again is before


def test_a_vector_is_kept_until_something_is_new() -> None:
    some = askers()
    first = ask(some, "ann", fresh("i1"))
    assert kept(some, "ann", fresh("i1"), first)
    for other in (fresh("i2"), fresh("i1", "i2"), Fresh((("i1", 101),)), fresh("i1", erased=5)):
        assert ask(some, "ann", other) is not first
    assert ask(some, "ann", fresh("i1", "i3")).watched.tolist() == [1, 3]
    assert ask(some, "ann", fresh("i2")).vector is not None
    assert ask(some, "bob", fresh("i1")) is not first


def test_what_is_asked_with_a_context_is_not_kept() -> None:
    some = askers()
    first = some.ask("ann", fresh("i1"), UserContext(country="DE"), 1000)
    assert first.country == "DE"
    assert ask(some, "ann", fresh("i1")).country is None


def test_of_many_users_those_asked_last_are_kept() -> None:
    some = askers(users=2)
    ann, bob = ask(some, "ann", fresh("i1")), ask(some, "bob", fresh("i1"))
    assert kept(some, "ann", fresh("i1"), ann)
    ask(some, "cid", fresh("i1"))
    assert kept(some, "ann", fresh("i1"), ann)
    assert not kept(some, "bob", fresh("i1"), bob)


def test_of_many_watches_those_asked_last_are_kept() -> None:
    some = askers(watches=5)
    ann, bob = ask(some, "ann", fresh("i1", "i2")), ask(some, "bob", fresh("i1", "i2", "i3"))
    assert kept(some, "ann", fresh("i1", "i2"), ann)
    assert kept(some, "bob", fresh("i1", "i2", "i3"), bob)
    cid = ask(some, "cid", fresh("i1"))  # one too many, of whom ann has waited longest
    assert kept(some, "bob", fresh("i1", "i2", "i3"), bob)
    assert kept(some, "cid", fresh("i1"), cid)
    assert not kept(some, "ann", fresh("i1", "i2"), ann)


def test_a_user_whose_watches_change_counts_once() -> None:
    some = askers(watches=5)
    ann = ask(some, "ann", fresh("i1"))
    for item in ("i1", "i2", "i3") * 5:
        bob = ask(some, "bob", fresh("i2", item, "i3"))
    assert kept(some, "ann", fresh("i1"), ann)
    assert kept(some, "bob", fresh("i2", "i3", "i3"), bob)


@pytest.mark.parametrize(("watches", "is_kept"), [(STORED, False), (STORED + 1, True)])
def test_stored_watches_count_too_and_one_user_may_have_too_many(watches: int, is_kept: bool) -> None:
    some = askers(watches=watches)
    old = ask(some, "old", fresh("i2"))
    assert kept(some, "old", fresh("i2"), old) is is_kept
    for _ in range(3):
        ann = ask(some, "ann", fresh("i1"))
        assert kept(some, "ann", fresh("i1"), ann)
