"""What whoever asks gets: items near the vector, then those popular in the country, then those popular everywhere."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from index.askers import Asker
from index.countries import MOST, POPULAR, Countries
from index.exact import ExactIndex
from index.recommender import Found, Recommender, open_release
from index.update import update
from tests.worlds import make_export, two_groups, vectors, write_release
from watchnext.api.answers import Source
from watchnext.catalogue import USER_SCHEMA, save_table
from watchnext.errors import CorruptError
from watchnext.export import Export
from watchnext.features import FeatureSpec


def in_countries(watches: Sequence[Sequence[int]], countries: Sequence[str | None], items: int = 6) -> Export:
    """Users with these watches live in these countries."""
    made = make_export(vectors(items, 4, 0), vectors(len(watches), 4, 1), watches)
    columns = [pa.nulls(len(watches) + 1, field.type) for field in USER_SCHEMA]
    columns[0] = pa.array([None, *countries], pa.large_string())
    table = pa.table(columns, schema=USER_SCHEMA)
    features = FeatureSpec.fit(table)
    return replace(made, user_table=table, manifest=made.manifest.model_copy(update={"features": features}))


WORLD = in_countries([[1, 2, 2], [2, 3], [4, 5, 5], []], ["DE", "DE", "FR", "IT"])


def asker(source: Source = "popular", country: str | None = None, watched: Sequence[int] = ()) -> Asker:
    nobody = np.zeros(0, np.int32)
    return Asker(None, np.array(watched, np.int32), source, nobody, country)


def recommender(world: Export = WORLD) -> Recommender:
    return Recommender(world, ExactIndex(world.item_vectors), "r1", countries=Countries.of(world))


def rows(found: Found) -> list[int]:
    assert sum(count for _, count in found.sources) == len(found.numbers) == len(found.scores)
    return [int(number) for number in found.numbers]


def test_counts_of_countries() -> None:
    popular = Countries.of(WORLD).popular
    assert list(popular) == ["DE", "FR"]
    assert popular["DE"].numbers.tolist() == [2, 1, 3]
    assert popular["DE"].shares.tolist() == pytest.approx([3 / 5, 1 / 5, 1 / 5])
    assert popular["FR"].numbers.tolist() == [5, 4]


def test_popular_in_the_country_and_then_everywhere() -> None:
    found = recommender().answer(asker(country="FR"), 4)
    assert rows(found) == [5, 4, 2, 1]
    assert found.sources == [("popular_in_country", 2), ("popular", 2)]
    assert found.scores.tolist() == pytest.approx([2 / 3, 1 / 3, 3 / 8, 1 / 8])


@pytest.mark.parametrize("country", [None, "XX", "IT"])
def test_nothing_is_popular_there(country: str | None) -> None:
    found = recommender().answer(asker(country=country), 2)
    assert (rows(found), found.sources) == ([2, 5], [("popular", 2)])


def test_watched_and_forbidden_items_are_left_out_everywhere() -> None:
    allowed = np.ones(7, bool)
    allowed[[0, 4]] = False
    found = recommender().answer(asker(country="FR", watched=[2]), 10, allowed)
    assert rows(found) == [5, 1, 3, 6]


def test_popular_items_fill_up_what_the_vector_cannot() -> None:
    world = two_groups()  # item 200 was never trained
    one = recommender(world)
    found = one.answer(one.askers.stored(4), 198)
    assert found.sources == [("stored", 197), ("popular", 1)]
    assert rows(found)[-1] == 200
    assert len(set(rows(found))) == 198
    assert one.answer(one.askers.stored(4), 1000).sources == found.sources


def test_nothing_is_left() -> None:
    found = recommender().answer(asker(watched=range(1, 7)), 3)
    assert (rows(found), found.sources) == ([], [])


def test_published_and_read_again(tmp_path: Path) -> None:
    store, release = write_release(WORLD, tmp_path)
    found = open_release(store.path(release.name)).answer(asker(country="FR"), 3)
    assert (rows(found), found.sources) == ([5, 4, 2], [("popular_in_country", 2), ("popular", 1)])


def test_only_the_most_watched_of_a_country_are_kept() -> None:
    world = in_countries([list(range(1, MOST + 3)), [7]], ["DE", "DE"], items=MOST + 2)
    kept = Countries.of(world).popular["DE"].numbers
    assert (len(kept), kept[0]) == (MOST, 7)


def test_withdrawn_items_are_not_popular_in_a_country(tmp_path: Path) -> None:
    store, _ = write_release(WORLD, tmp_path, "r1")
    update(store, withdraw=["i5"], name="r2")
    found = open_release(store.path("r2")).answer(asker(country="FR"), 3)
    assert (rows(found), found.sources) == ([4, 2, 1], [("popular_in_country", 1), ("popular", 2)])
    assert found.scores.tolist() == pytest.approx([1 / 3, 3 / 8, 1 / 8])
    (tmp_path / "back.jsonl").write_text('{"item_id": "i5", "vector": [1, 2, 3, 4]}')
    update(store, tmp_path / "back.jsonl", name="r3")
    assert rows(open_release(store.path("r3")).answer(asker(country="FR"), 3)) == [5, 4, 2]


@pytest.mark.parametrize(
    ("countries", "items", "shares"),
    [
        (["DE", "FR"], [[0], [5]], [[0.5], [0.5]]),
        (["DE", "FR"], [[2], [7]], [[0.5], [0.5]]),
        (["DE", "FR"], [[-1], [5]], [[0.5], [0.5]]),
        (["DE", "FR"], [None, [5]], [None, [0.5]]),
        (["DE", "FR"], [[2, None], [5]], [[0.5, 0.5], [0.5]]),
        (["DE", "FR"], [[2], [5]], [[0.5], [None]]),
        (["DE", "FR"], [[2, 3], [5]], [[0.5], [0.5, 0.5]]),
        (["DE", "FR"], [[2], [5]], [[0.5], [float("nan")]]),
        (["DE", "FR"], [[2], [5]], [[1.5], [0.5]]),
        (["DE", None], [[2], [5]], [[0.5], [0.5]]),
    ],
)
def test_refuses_a_file_that_no_index_has(countries: list[Any], items: Any, shares: Any, tmp_path: Path) -> None:
    Countries.of(WORLD).save(tmp_path)
    schema = pa.ipc.open_file(tmp_path / POPULAR).schema
    save_table(pa.table([["DE", "FR"], [[2], [6, 1]], [[0.5], [0.5, 0]]], schema=schema), tmp_path / POPULAR)
    assert Countries.open(tmp_path, WORLD).popular["FR"].numbers.tolist() == [6, 1]
    save_table(pa.table([countries, items, shares], schema=schema), tmp_path / POPULAR)
    with pytest.raises(CorruptError, match=r"popular\.arrow.*watchnext index"):
        Countries.open(tmp_path, WORLD)


def test_damaged_bytes_give_no_other_items(tmp_path: Path) -> None:
    Countries.of(WORLD).save(tmp_path)
    content, refused = (tmp_path / POPULAR).read_bytes(), 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        (tmp_path / POPULAR).write_bytes(damaged)
        try:
            popular = Countries.open(tmp_path, WORLD).popular
        except CorruptError:
            refused += 1
        else:
            assert all(((p.numbers >= 1) & (p.numbers <= 6)).all() for p in popular.values())
    assert 0 < refused < len(content)
