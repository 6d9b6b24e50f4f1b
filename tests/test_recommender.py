"""What a release recommends: to known users, to unknown ones, to those who have watched nearly everything."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from index.exact import ExactIndex
from index.filters import ItemFilter
from index.recommender import Recommender, open_release
from tests.worlds import ITEMS, make_export, two_groups, vectors, write_release
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.denied import deny, lift
from watchnext.errors import CorruptError, UsageError
from watchnext.export import Export


def recommender(export: Export) -> Recommender:
    return Recommender(export, ExactIndex(export.item_vectors), "r1")


def test_known_user_gets_the_own_group_without_what_was_watched() -> None:
    answer = recommender(two_groups()).recommend("u4", 3)  # has watched i2 and i4
    assert (answer.source, answer.release) == ("stored", "r1")
    assert [(c.number, c.id, c.title) for c in answer.candidates] == [
        (6, "i6", None),
        (8, "i8", None),
        (10, "i10", None),
    ]
    assert [c.score for c in answer.candidates] == pytest.approx([0.994, 0.992, 0.99])


def test_titles() -> None:
    answer = recommender(two_groups()).recommend("u1", 1)
    assert answer.candidates[0].title == "Video 3"


def test_unknown_user_gets_the_most_watched() -> None:
    answer = recommender(two_groups()).recommend("nobody", 4)
    assert answer.source == "popular"
    assert [c.id for c in answer.candidates] == ["i1", "i2", "i3", "i4"]  # by 20, 20, 19, 19 of 40 users
    assert [c.score for c in answer.candidates] == pytest.approx([20 / 420, 20 / 420, 19 / 420, 19 / 420])


@pytest.mark.parametrize("cause", ["no vector", "no watch"])
def test_user_of_whom_the_model_knows_nothing(cause: str) -> None:
    world = two_groups()
    if cause == "no vector":
        world.user_vectors[1] = 0
        expected = ["i2", "i3"]  # i1 was watched
    else:
        world = make_export(world.item_vectors, world.user_vectors[:3], [[], [2]])
        expected = ["i2", "i1"]
    answer = recommender(world).recommend("u1", 2)
    assert (answer.source, [c.id for c in answer.candidates]) == ("popular", expected)


def test_who_has_watched_everything_but_three_gets_three() -> None:
    world = make_export(vectors(50, 4, 0), vectors(1, 4, 1), [[n for n in range(1, 51) if n not in {7, 20, 33}]])
    answer = recommender(world).recommend("u1", 50)
    assert sorted(c.number for c in answer.candidates) == [7, 20, 33]
    assert answer.source == "stored"


def test_asks_for_more_than_there_is() -> None:
    assert len(recommender(two_groups()).recommend("nobody", 1000).candidates) == 200


def test_k_must_be_positive() -> None:
    with pytest.raises(UsageError, match="k: got 0"):
        recommender(two_groups()).recommend("u1", 0)


def films() -> Export:
    """The two groups; items of numbers up to 100 are old, multiples of 10 are `round`, 200 has no vector."""
    rows = [(["round"] if n % 10 == 0 else ["plain", "any"], 0 if n <= 100 else 1000) for n in range(1, ITEMS + 1)]
    columns = [[None] * (ITEMS + 1), [None, *(row[0] for row in rows)], [None, *(row[1] for row in rows)]]
    return replace(two_groups(), catalogue=Catalogue(pa.table(columns, schema=ITEM_SCHEMA)))


@pytest.mark.parametrize(
    ("user", "wanted", "found"),
    [
        ("u4", ItemFilter(categories=("round",)), ["i10", "i20", "i30"]),
        ("u4", ItemFilter(uploaded_after=500), ["i102", "i104", "i106"]),
        ("u4", ItemFilter(only=("i2", "i8", "i7")), ["i8", "i7"]),  # i2 was watched
        ("u4", ItemFilter(only=("i200",)), []),
        ("u4", ItemFilter(without=("i6", "i10")), ["i8", "i12", "i14"]),
        ("nobody", ItemFilter(categories=("round",)), ["i10", "i20", "i30"]),
        ("nobody", ItemFilter(categories=("round",), uploaded_after=500), ["i110", "i120", "i130"]),
        ("nobody", ItemFilter(only=("i200", "i7")), ["i7", "i200"]),
        ("nobody", ItemFilter(without=("i1", "i3")), ["i2", "i4", "i5"]),
        ("nobody", ItemFilter(), ["i1", "i2", "i3"]),
    ],
)
def test_only_what_is_wanted(user: str, wanted: ItemFilter, found: list[str]) -> None:
    answer = recommender(films()).recommend(user, 3, wanted)
    assert [c.id for c in answer.candidates] == found
    assert answer.source == ("popular" if user == "nobody" else "stored")


def test_an_unknown_category_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"'rund'.*'round'"):
        recommender(films()).recommend("u4", 3, ItemFilter(categories=("rund",)))


def test_denied_items_are_out_whatever_is_wanted(tmp_path: Path) -> None:
    store, manifest = write_release(films(), tmp_path)
    one = open_release(store.path(manifest.name))
    deny(store.root, ["i6", "i20", "i1", "of a later release"])

    def ask(user: str, wanted: ItemFilter | None = None) -> list[str]:
        return [c.id for c in one.recommend(user, 3, wanted).candidates]

    assert ask("u4") == ["i8", "i10", "i12"]
    assert ask("u4", ItemFilter(categories=("round",))) == ["i10", "i30", "i40"]
    assert ask("u4", ItemFilter(only=("i6", "i8"))) == ["i8"]
    assert ask("nobody") == ["i2", "i3", "i4"]
    assert ask("nobody", ItemFilter(categories=("round",))) == ["i10", "i30", "i40"]
    deny(store.root, [f"i{n}" for n in range(1, 199)])  # many
    assert ask("u2") == ["i199"]
    assert ask("nobody") == ["i199", "i200"]
    lift(store.root, ["i6"])
    assert ask("u4") == ["i6", "i199"]


def test_links_to_releases_deny_what_their_store_denies(tmp_path: Path) -> None:
    store, manifest = write_release(two_groups(), tmp_path)
    inside, outside = store.root / "link", tmp_path / "link"
    elsewhere = tmp_path / "elsewhere"
    store.path(manifest.name).rename(elsewhere)
    inside.symlink_to(elsewhere)
    outside.symlink_to(inside)
    store.make_current("link")
    deny(store.root, ["i3"])
    assert open_release(store.path("link")).recommend("u1", 1).candidates[0].id == "i5"
    inside.unlink()
    elsewhere.rename(inside)
    assert open_release(outside).recommend("u1", 1).candidates[0].id == "i5"


def test_opens_a_release_and_checks_it(tmp_path: Path) -> None:
    store, manifest = write_release(two_groups(), tmp_path)
    path = store.path(manifest.name)
    assert open_release(path).recommend("u1", 1).candidates[0].id == "i3"
    vectors_file = path / "export" / "user_vectors.npy"
    vectors_file.write_bytes(vectors_file.read_bytes()[:-1])
    with pytest.raises(CorruptError, match="user_vectors"):
        open_release(path)


def test_no_watches_at_all() -> None:
    world = replace(two_groups(), item_counts=np.zeros(201, np.int64))
    answer = recommender(world).recommend("nobody", 2)
    assert [(c.id, c.score) for c in answer.candidates] == [("i1", 0.0), ("i2", 0.0)]


@pytest.mark.parametrize(("name", "matters"), [("optimizer.safetensors", False), ("item_vectors.npy", True)])
def test_only_files_that_are_read_must_be_whole(tmp_path: Path, name: str, matters: bool) -> None:
    store, release = write_release(replace(two_groups(), optimizer={"m": np.zeros(3, np.float32)}), tmp_path)
    file = store.path(release.name) / "export" / name
    file.write_bytes(file.read_bytes()[:-1] + b"\7")
    if matters:
        with pytest.raises(CorruptError, match=name):
            open_release(store.path(release.name))
    else:
        assert open_release(store.path(release.name)).recommend("u1", 1).candidates
