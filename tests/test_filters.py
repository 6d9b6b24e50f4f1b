"""Masks of categories, upload times and ids: equal to a plain reading of the catalogue."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index.build import IndexOptions, build_from_export
from index.filters import FILTERS, Filters, ItemFilter
from index.folder import open_index
from tests.worlds import two_groups
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.errors import CorruptError, UsageError
from watchnext.export import write_export
from watchnext.vocabulary import Vocabulary

Row = tuple[list[str | None] | None, int | None]
"""Categories and upload time of an item."""

NEWS, SPORT, RARE = "News", "Sport: ski & sledge", "größte Höhle"
WORLD: list[Row] = [([NEWS], 100), ([NEWS, SPORT], 200), ([SPORT], None), (None, 300), ([], 200), ([RARE], -50)]


def catalogue(rows: list[Row]) -> Catalogue:
    columns = [[None, *column] for column in ([None] * len(rows), [row[0] for row in rows], [row[1] for row in rows])]
    return Catalogue(pa.table(columns, schema=ITEM_SCHEMA))


def ids(items: int) -> Vocabulary:
    return Vocabulary([f"i{n}" for n in range(1, items + 1)])


def filters(rows: list[Row]) -> Filters:
    return Filters.of(catalogue(rows), ids(len(rows)))


def found(mask: NDArray[np.bool_] | None) -> list[int]:
    assert mask is not None
    return np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (ItemFilter(categories=(NEWS,)), [1, 2]),
        (ItemFilter(categories=(SPORT, RARE)), [2, 3, 6]),
        (ItemFilter(uploaded_after=200), [2, 4, 5]),
        (ItemFilter(uploaded_before=200), [1, 6]),
        (ItemFilter(uploaded_after=-50, uploaded_before=101), [1, 6]),
        (ItemFilter(uploaded_after=101, uploaded_before=200), []),
        (ItemFilter(uploaded_before=2**63 - 1), [1, 2, 4, 5, 6]),
        (ItemFilter(categories=(NEWS,), uploaded_after=150), [2]),
        (ItemFilter(only=("i3", "i1", "gone", "i3")), [1, 3]),
        (ItemFilter(only=()), []),
        (ItemFilter(only=("gone",)), []),
        (ItemFilter(without=("i1", "gone")), [2, 3, 4, 5, 6]),
        (ItemFilter(only=("i1", "i3"), without=("i1",)), [3]),
        (ItemFilter(categories=(SPORT,), only=("i1", "i2", "gone")), [2]),
    ],
)
def test_known_answers(wanted: ItemFilter, numbers: list[int]) -> None:
    assert found(filters(WORLD).mask(wanted)) == numbers


def test_asking_for_nothing_is_no_mask() -> None:
    assert filters(WORLD).mask(ItemFilter()) is None


names = st.sampled_from(["a", "b", "c", "B", "", "\U0001f600\n"])
times = st.integers(-5, 40) | st.sampled_from([-(2**63), 2**63 - 1])
rows = st.tuples(st.none() | st.lists(names | st.none(), max_size=4), st.none() | times)


@settings(max_examples=300)
@given(data=st.data(), world=st.lists(rows, min_size=1, max_size=300))
def test_equals_a_plain_reading(data: st.DataObject, world: list[Row]) -> None:
    known = sorted({name for row in world for name in row[0] or () if name is not None})
    categories = data.draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
    dated = any(row[1] is not None for row in world)
    after, before = (data.draw(st.none() | times) if dated else None for _ in range(2))
    if after is not None and before is not None and after >= before:
        before = None
    numbers = st.lists(st.integers(1, 310), max_size=40)
    only, without = data.draw(st.none() | numbers), data.draw(numbers)

    def meets(number: int, row: Row) -> bool:
        return (
            (not categories or any(name in categories for name in row[0] or ()))
            and (after is None or (row[1] is not None and row[1] >= after))
            and (before is None or (row[1] is not None and row[1] < before))
            and (only is None or number in only)
            and number not in without
        )

    wanted = ItemFilter(
        categories=tuple(categories),
        uploaded_after=after,
        uploaded_before=before,
        only=None if only is None else tuple(f"i{n}" for n in only),
        without=tuple(f"i{n}" for n in without),
    )
    mask = filters(world).mask(wanted)
    if mask is None:
        assert wanted == ItemFilter()
        return
    assert mask.shape == (len(world) + 1,)
    assert found(mask) == [number for number, row in enumerate(world, 1) if meets(number, row)]


def large(items: int = 5000) -> list[Row]:
    """Item n: category `all`, each 500th also `rare`, named twice; uploaded at n // 3, each 7th at no known time."""
    every = range(1, items + 1)
    return [(["all"] if n % 500 else ["rare", "all", "rare"], None if n % 7 == 0 else n // 3) for n in every]


@pytest.mark.parametrize(("after", "before"), [(0, 1), (1, 1600), (700, 701), (26, 27), (0, 10_000), (1667, 1668)])
def test_ranges_among_many_blocks(after: int, before: int, tmp_path: Path) -> None:
    made = filters(large())
    made.save(tmp_path)
    for one in (made, Filters.open(tmp_path, ids(5000))):
        mask = one.mask(ItemFilter(uploaded_after=after, uploaded_before=before))
        assert found(mask) == [n for n in range(1, 5001) if n % 7 and after <= n // 3 < before]


def test_rare_categories_are_lists_and_frequent_ones_bitmaps(tmp_path: Path) -> None:
    filters(large()).save(tmp_path)
    assert np.load(tmp_path / FILTERS / "category_bitmaps.npy").shape == (1, 632)
    assert np.load(tmp_path / FILTERS / "category_lists.npy").tolist() == list(range(500, 5001, 500))
    opened = Filters.open(tmp_path, ids(5000))
    assert found(opened.mask(ItemFilter(categories=("rare",)))) == list(range(500, 5001, 500))
    assert found(opened.mask(ItemFilter(categories=("all", "rare")))) == list(range(1, 5001))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("news", "'News'"),
        ("Newz", "'News'"),
        ("ski", "'Sport: ski & sledge'"),
        ("xyz", "'News', 'Sport: ski & sledge', 'größte Höhle'"),
        ("", "'News', 'Sport: ski & sledge', 'größte Höhle'"),
    ],
)
def test_an_unknown_category_is_refused_with_those_near(name: str, near: str) -> None:
    with pytest.raises(UsageError) as refused:
        filters(WORLD).mask(ItemFilter(categories=(NEWS, name)))
    assert (refused.value.argument, refused.value.got) == ("category", repr(name))
    assert refused.value.cure == f"Give one that items have, like {near}."


def test_what_nothing_is_known_of_cannot_be_asked_for() -> None:
    nothing = filters([(None, None), (None, None)])
    for wanted in (ItemFilter(categories=("a",)), ItemFilter(uploaded_after=0)):
        with pytest.raises(UsageError, match="watchnext ingest"):
            nothing.mask(wanted)
    assert found(nothing.mask(ItemFilter(without=("i1",)))) == [2]


def test_a_range_that_ends_before_it_begins() -> None:
    with pytest.raises(UsageError, match="uploaded_after: got 5, and 5 as uploaded_before"):
        ItemFilter(uploaded_after=5, uploaded_before=5)


def test_a_build_writes_them_beside_the_index(tmp_path: Path) -> None:
    write_export(two_groups(), tmp_path / "export")
    manifest = build_from_export(tmp_path / "export", tmp_path / "index", IndexOptions())
    files = sorted(path.name for path in (tmp_path / "index" / FILTERS).iterdir())
    assert sorted(name for name in manifest.files if name.startswith(FILTERS)) == [f"{FILTERS}/{n}" for n in files]
    path = tmp_path / "index" / FILTERS / "upload_prefixes.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptError, match="upload_prefixes"):
        open_index(tmp_path / "index", two_groups().item_vectors)


FILES = ["categories.arrow", *(f"{name}.npy" for name in ("category_bitmaps", "category_lists"))]
FILES += [f"upload_{name}.npy" for name in ("times", "order", "prefixes")]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_or_cut_is_corrupt(name: str, tmp_path: Path) -> None:
    filters(large()).save(tmp_path)
    path = tmp_path / FILTERS / name
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptError):
            Filters.open(tmp_path, ids(5000))
    path.unlink()
    with pytest.raises(CorruptError):
        Filters.open(tmp_path, ids(5000))


@pytest.mark.parametrize("name", FILES)
def test_files_of_another_catalogue_do_not_fit(name: str, tmp_path: Path) -> None:
    for folder, items in (("one", 5000), ("other", 7000)):
        (tmp_path / folder).mkdir()
        filters(large(items)).save(tmp_path / folder)
    (tmp_path / "other" / FILTERS / name).replace(tmp_path / "one" / FILTERS / name)
    with pytest.raises(CorruptError):
        Filters.open(tmp_path / "one", ids(5000))


@pytest.mark.parametrize("name", ["category_lists", "upload_order"])
@pytest.mark.parametrize("number", [0, -1, 5001])
def test_numbers_of_no_item_are_corrupt(name: str, number: int, tmp_path: Path) -> None:
    filters(large()).save(tmp_path)
    path = tmp_path / FILTERS / f"{name}.npy"
    numbers = np.load(path)
    numbers[5] = number
    np.save(path, numbers)
    with pytest.raises(CorruptError, match="not from 1 to 5000"):
        Filters.open(tmp_path, ids(5000))


def test_numbers_of_another_type_are_corrupt(tmp_path: Path) -> None:
    filters(large()).save(tmp_path)
    path = tmp_path / FILTERS / "upload_order.npy"
    np.save(path, np.load(path).astype(np.int64))
    with pytest.raises(CorruptError, match="int64"):
        Filters.open(tmp_path, ids(5000))
