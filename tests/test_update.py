"""Updates: new items, replaced vectors and withdrawn items, in a new release that shares what did not change."""

import json
import multiprocessing
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from index.build import IndexOptions, build_from_export
from index.countries import Countries
from index.everyone import Everyone
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.filters import Filters, ItemFilter
from index.folder import IndexManifest, open_index, save_index
from index.kinds import Kind
from index.neighbours import Neighbours
from index.publish import publish
from index.recommender import Recommender, open_release
from index.update import Updated, update
from serving.app import create_app
from tests.commands import run, run_json
from tests.publisher import update_forever
from tests.servers import running, settings, wait_ready
from tests.worlds import ITEMS, USERS, random_export, two_groups, vectors, write_both, write_release
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.cli.app import app
from watchnext.errors import CorruptError, ReleaseRefusedError, UsageError
from watchnext.export import OPTIMIZER, TRAINED_CATALOGUE, Export, write_export
from watchnext.features import Float32
from watchnext.item_changes import read_changes
from watchnext.release import EXPORT, INDEX, ReleaseStore

ODD, EVEN = [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
"""Vectors of the two groups; odd users like the first, and u1 and u4 get i3, i5, ... and i6, i8, ...."""


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """The two groups as release `r1`."""
    return write_release(two_groups(), tmp_path, "r1")[0]


def lines(folder: Path, *rows: Mapping[str, Any]) -> Path:
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def change(store: ReleaseStore, *rows: Mapping[str, Any], withdraw: Sequence[str] = (), **more: Any) -> Updated:
    return update(store, lines(store.root.parent, *rows) if rows else None, withdraw, **more)


def current(store: ReleaseStore) -> Recommender:
    return open_release(store.path(store.current()))


def found(store: ReleaseStore, user: str, k: int = 3, wanted: ItemFilter | None = None) -> list[str]:
    return [candidate.id for candidate in current(store).recommend(user, k, wanted).candidates]


def scaled(vector: Sequence[float], length: float) -> list[float]:
    return [length * value for value in vector]


def test_a_new_item_is_found_by_those_who_like_it(store: ReleaseStore) -> None:
    assert found(store, "u1") == ["i3", "i5", "i7"]
    done = change(store, {"item_id": "new", "vector": scaled(ODD, 2), "title": "New"}, name="r2")
    assert (done.new, done.replaced, done.withdrawn, done.restored, done.fresh) == (1, 0, 0, 0, 1)
    assert (done.manifest.items, done.manifest.users, done.manifest.updated_from) == (ITEMS + 1, 40, "r1")
    assert store.current() == "r2"
    assert found(store, "u1") == ["new", "i3", "i5"]
    assert found(store, "u4") == ["i6", "i8", "i10"]
    best = current(store).recommend("u1", 1).candidates[0]
    assert (best.number, best.title, best.score) == (ITEMS + 1, "New", 2.0)
    assert found(store, "nobody", ITEMS + 9)[-1] == "new"


def test_a_replaced_vector_moves_its_item(store: ReleaseStore) -> None:
    done = change(store, {"item_id": "i7", "vector": scaled(EVEN, 3)}, {"item_id": "i10", "vector": [0, 0, 0, 1]})
    assert (done.new, done.replaced, done.fresh) == (0, 2, 2)
    assert found(store, "u1") == ["i3", "i5", "i9"]
    assert found(store, "u4") == ["i7", "i6", "i8"]
    assert current(store).export.catalogue.title(7) == "Video 7"


def test_an_item_that_training_did_not_see_can_be_given_a_vector(store: ReleaseStore) -> None:
    change(store, {"item_id": f"i{ITEMS}", "vector": scaled(ODD, 2)})
    assert found(store, "u1", 2) == [f"i{ITEMS}", "i3"]


def test_withdrawn_items_are_in_no_answer(store: ReleaseStore) -> None:
    world = two_groups()
    world = replace(world, watched_vectors=world.item_vectors)
    store = write_release(world, store.root.parent / "watched")[0]
    assert found(store, "nobody") == ["i1", "i2", "i3"]
    done = change(store, withdraw=["i3", "i1", "i8", "i1"])
    assert (done.withdrawn, done.fresh, done.manifest.items) == (3, 0, ITEMS)
    recommender = current(store)
    assert found(store, "u1") == ["i5", "i7", "i9"]
    assert found(store, "u4") == ["i6", "i10", "i12"]
    assert found(store, "nobody") == ["i2", "i4", "i5"]
    assert found(store, "nobody", wanted=ItemFilter(only=("i1", "i5"))) == ["i5"]
    assert not {"i1", "i3", "i8"} & {*found(store, "nobody", ITEMS), *found(store, "u1", ITEMS)}
    (lists,) = Everyone(recommender).parts([range(1, USERS + 1)], 5)
    assert lists.numbers.all()
    assert not np.isin(lists.numbers, [1, 3, 8]).any()
    neighbours = Neighbours(recommender.export)
    for which in ("item", "watched"):
        assert [c.id for c in neighbours.similar(6, 3, "cosine", which)] == ["i2", "i4", "i10"]
        assert [c.id for c in neighbours.analogy([5], [2], 3, "dot", which)] == ["i7", "i9", "i11"]
        assert not neighbours.has_vector(8, which)
        with pytest.raises(UsageError, match=r"'i8': got no vector.*withdrawn"):
            neighbours.similar(8, 3, "cosine", which)


def test_a_withdrawn_item_comes_back_with_a_vector(store: ReleaseStore) -> None:
    change(store, withdraw=["i3", "i5"])
    assert change(store, {"item_id": "i5", "title": "Five"}).restored == 0
    assert found(store, "u1") == ["i7", "i9", "i11"]
    done = change(store, {"item_id": "i5", "vector": scaled(ODD, 2)})
    assert (done.restored, done.replaced, done.new, done.fresh) == (1, 0, 0, 1)
    assert found(store, "u1") == ["i5", "i7", "i9"]
    assert "i5" in found(store, "nobody", ITEMS)
    assert current(store).export.withdrawn.tolist() == [3]
    assert change(store, {"item_id": "i3", "vector": scaled(ODD, 3)}).fresh == 2
    assert found(store, "u1") == ["i3", "i5", "i7"]
    assert not (store.path(store.current()) / EXPORT / "withdrawn.npy").exists()


def test_a_new_item_can_be_withdrawn(store: ReleaseStore) -> None:
    change(store, {"item_id": "new", "vector": scaled(ODD, 2)})
    assert change(store, withdraw=["new"]).fresh == 0
    assert found(store, "u1") == ["i3", "i5", "i7"]
    assert "new" not in found(store, "nobody", ITEMS + 9)


def test_updates_add_up(store: ReleaseStore) -> None:
    change(store, {"item_id": "a", "vector": scaled(ODD, 2)}, name="r2")
    change(store, {"item_id": "b", "vector": scaled(ODD, 3)}, withdraw=["i3"], name="r3")
    done = change(store, {"item_id": "a", "vector": scaled(ODD, 4)}, withdraw=["i5"], name="r4")
    assert (done.fresh, done.replaced, done.manifest.items, done.manifest.updated_from) == (2, 1, ITEMS + 2, "r3")
    assert found(store, "u1", 4) == ["a", "b", "i7", "i9"]
    assert store.names() == ["r1", "r2", "r3", "r4"]
    store.make_current("r1")
    assert found(store, "u1") == ["i3", "i5", "i7"]
    assert change(store, withdraw=["i7"], base="r2", name="r5").manifest.updated_from == "r2"
    assert found(store, "u1") == ["a", "i3", "i5"]


def test_facts_change_and_null_keeps_them(tmp_path: Path) -> None:
    known: list[list[Any]] = [["Heat", ["crime", "drama"], 100], ["Casino", None, None], [None, None, None]]
    columns = [[None] + [row[n] for row in known] for n in range(3)]
    world = replace(random_export(3, 2, dim=4), catalogue=Catalogue(pa.table(columns, schema=ITEM_SCHEMA)))
    store = write_release(world, tmp_path)[0]
    rows = (
        {"item_id": "i1", "title": None, "categories": ["film"]},
        {"item_id": "i3", "title": "1984-01-01", "uploaded": 300},
        {"item_id": "n", "vector": [1, 2, 3, 4], "categories": [" new ", ""], "uploaded": 400_000_000_000},
    )
    done = change(store, *rows)
    assert (done.new, done.replaced, done.described, done.fresh) == (1, 0, 2, 1)
    table = current(store).export.catalogue.table
    assert table.column("title").to_pylist() == [None, "Heat", "Casino", "1984-01-01", None]
    assert table.column("categories").to_pylist() == [None, ["film"], None, None, ["new"]]
    assert table.column("uploaded").to_pylist() == [None, 100, None, 300, 400_000_000]
    assert found(store, "nobody", 9, ItemFilter(categories=("new", "film"))) == ["i1", "n"]
    assert found(store, "nobody", 9, ItemFilter(uploaded_after=300)) == ["i3", "n"]
    with pytest.raises(UsageError, match="'crime'"):
        found(store, "nobody", 9, ItemFilter(categories=("crime",)))


def test_facts_that_are_told_again_change_nothing(store: ReleaseStore) -> None:
    assert change(store, {"item_id": "i1", "title": "One"}, {"item_id": "i2", "title": "Two"}).described == 2
    assert change(store, {"item_id": "i1", "title": "One"}, {"item_id": "i2", "title": "2"}).described == 1


def test_ids_that_are_whole_numbers_become_texts(tmp_path: Path) -> None:
    assert read_changes(lines(tmp_path, {"item_id": 5}, {"item_id": 77}), 4).ids == ["5", "77"]
    assert read_changes(lines(tmp_path, {"item_id": "1984-01-01"}), 4).ids == ["1984-01-01"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"item_id": 5}, {"item_id": "x"}], r"'item_id'.*got a (number|string).*whole numbers in all lines"),
        ([{"item_id": "x"}, {"item_id": 5}], r"'item_id'.*got a (number|string).*whole numbers in all lines"),
        ([{"item_id": 5.5}], "'item_id'"),
        ([{"item_id": "x", "title": 3}], "'title'.*got a number.*Give texts"),
        ([{"item_id": 5, "title": 3}], "'title'.*got a number.*Give texts"),
        ([{"item_id": "x", "categories": "a|b"}], "'categories'.*got a string.*lists of texts"),
        ([{"item_id": "x", "vector": "1 2 3 4"}], "'vector'.*got a string.*lists of numbers"),
    ],
)
def test_json_of_another_kind_is_named(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_changes(lines(tmp_path, *rows), 4)


KINDS = [
    (Kind("Flat"), {}),
    (Kind("SQ8", "l2"), {"k_factor": 8}),
    (Kind("IVF8,SQfp16"), {"nprobe": 8, "k_factor": 2}),
    (Kind("IVF8,PQ4x4fs"), {"nprobe": 8, "k_factor": 64}),
    (Kind("HNSW16,SQfp16", "l2"), {"efSearch": 2000, "k_factor": 4}),
]


def publish_kind(export: Export, kind: Kind, search: dict[str, int], folder: Path) -> ReleaseStore:
    """Publish an export with an index of some kind."""
    store, (written, index) = ReleaseStore(folder / "releases"), write_both(export, folder)
    own = {"created", "files", "kind", "space", "effort", "dim", "indexed"}
    about = IndexManifest.read(index).model_dump(exclude=own)
    built = FaissIndex.build(export.item_vectors, kind, search)
    save_index(built, Filters.of(export.catalogue, export.items), Countries({}), index, **about)
    publish(written, index, store, "r1")
    return store


@pytest.mark.parametrize(("kind", "search"), KINDS)
def test_every_kind_of_index_finds_what_exact_search_finds(
    kind: Kind, search: dict[str, int], tmp_path: Path
) -> None:
    items, users, k = 2000, 60, 20
    world, rng = random_export(items, users), np.random.default_rng(5)
    store, expected = publish_kind(world, kind, search, tmp_path), np.array(world.item_vectors)
    withdrawn: set[int] = set()
    for step in range(3):
        numbers = [*(rng.permutation(len(expected) - 1)[:200] + 1), *range(len(expected), len(expected) + 100)]
        gone, given = numbers[:50], numbers[50:]
        made = vectors(len(given), 16, seed=step, skew=0.3)[1:]
        expected = np.concatenate([expected, np.zeros((100, 16), np.float32)])
        expected[gone], expected[given] = 0, made
        withdrawn = (withdrawn | set(gone)) - set(given)
        rows = [{"item_id": f"i{n}", "vector": v.tolist()} for n, v in zip(given, made, strict=True)]
        change(store, *rows, withdraw=[f"i{n}" for n in gone])
    recommender = current(store)
    assert recommender.export.withdrawn.tolist() == sorted(withdrawn)
    np.testing.assert_array_equal(recommender.export.item_vectors, expected)
    watched = [world.histories[user] for user in range(1, users + 1)]
    allowed = np.arange(len(expected)) % 3 > 0
    for mask in (None, allowed):
        want = ExactIndex(expected).search(world.user_vectors[1:], k, watched, mask)
        got = recommender.index.search(world.user_vectors[1:], k, watched, mask)
        np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
        assert (got[1] == want[1]).mean() > 0.999


def test_unchanged_files_are_shared_and_survive_the_release_they_came_from(store: ReleaseStore) -> None:
    before = {path.relative_to(store.root / "r1"): path.read_bytes() for path in files(store.root / "r1")}
    change(store, {"item_id": "i7", "vector": ODD}, name="r2")
    change(store, {"item_id": "new", "vector": ODD}, name="r3")
    change(store, withdraw=["i7"], name="r4")
    assert {path.relative_to(store.root / "r1"): path.read_bytes() for path in files(store.root / "r1")} == before
    always = {"index/index.faiss", "index/numbers.npy", "index/popular.arrow"}
    always |= {"export/user_vectors.npy", "export/histories/items.npy"}
    assert always <= same(store, "r1", "r4")
    filters = {"categories.arrow", "category_bitmaps.npy", "category_lists.npy"}
    filters |= {"upload_times.npy", "upload_order.npy", "upload_prefixes.npy"}
    grown = {"export/item_vocabulary.arrow", "export/catalogue.arrow", *(f"index/filters/{name}" for name in filters)}
    assert {path.name for path in files(store.root / "r3" / "index" / "filters")} == filters
    assert grown <= same(store, "r1", "r2")
    assert not grown & same(store, "r2", "r3")
    assert grown <= same(store, "r3", "r4")
    assert "export/item_vectors.npy" not in same(store, "r1", "r2") | same(store, "r3", "r4")
    expected = found(store, "u1", 9)
    for name in ("r1", "r2", "r3"):
        shutil.rmtree(store.root / name)
    assert found(store, "u1", 9) == expected
    assert change(store, withdraw=["i3"]).manifest.updated_from == "r4"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def same(store: ReleaseStore, one: str, other: str) -> set[str]:
    """The files of two releases that are one."""
    names = {path.relative_to(store.root / one).as_posix() for path in files(store.root / one)}
    there = {name for name in names if (store.root / other / name).exists()}
    return {name for name in there if (store.root / one / name).samefile(store.root / other / name)}


def test_without_hard_links_files_are_copied(store: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    change(store, withdraw=["i3"], name="r2")
    assert same(store, "r1", "r2") == set()
    assert found(store, "u1", 2) == ["i5", "i7"]


def test_the_index_can_be_built_again_and_withdrawn_items_stay_so(store: ReleaseStore, tmp_path: Path) -> None:
    change(store, {"item_id": "new", "vector": scaled(ODD, 2)}, withdraw=["i3", "i1"], name="r2")
    export, index = store.root / "r2" / EXPORT, tmp_path / "again"
    build_from_export(export, index, IndexOptions())
    assert publish(export, index, store, "r3").items == ITEMS + 1
    opened = open_index(store.root / "r3" / INDEX, Export.open(export).item_vectors)
    assert (len(opened.changes.fresh), len(opened.changes.withdrawn), len(opened)) == (0, 0, ITEMS - 2)
    assert found(store, "u1") == ["new", "i5", "i7"]
    assert found(store, "nobody", 2) == ["i2", "i4"]
    assert change(store, {"item_id": "i1", "vector": scaled(ODD, 9)}, withdraw=["new"], name="r4").fresh == 1
    assert found(store, "u1") == ["i5", "i7", "i9"]
    assert found(store, "u3") == ["i5", "i7", "i9"], "i1 was watched"
    assert current(store).recommend("nobody", 1).candidates[0].id == "i1"


def test_a_running_server_keeps_its_release(store: ReleaseStore) -> None:
    with running(create_app(settings(store.root))) as client:
        wait_ready(client)
        change(store, {"item_id": "new", "vector": scaled(ODD, 2)}, withdraw=["i3"])
        answer = client.get("/recommend?user_id=u1&k=2").json()
        assert (answer["release"], [c["item_id"] for c in answer["candidates"]]) == ("r1", ["i3", "i5"])
    with running(create_app(settings(store.root))) as client:
        wait_ready(client)
        answer = client.get("/recommend?user_id=u1&k=2").json()
        assert (answer["release"], [c["item_id"] for c in answer["candidates"]]) == (store.current(), ["new", "i5"])


def test_killed_updates_leave_nothing_readable(tmp_path: Path) -> None:
    store, _ = write_release(random_export(10_000, 1000, dim=32), tmp_path, "good")
    made = vectors(2, 32, seed=9)[1:].tolist()
    here = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    for path, vector in zip(here, made, strict=True):
        path.write_text(json.dumps({"item_id": "i1", "vector": vector}))
    start = time.perf_counter()
    update(store, here[1])
    seconds = time.perf_counter() - start
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.publisher"])
    left: set[str] = set()
    for share in np.linspace(0.05, 1.5, 12):
        before = set(store.names())
        receiver, sender = processes.Pipe(duplex=False)
        child = processes.Process(target=update_forever, args=(order(here, store), store.root, sender))
        child.start()
        receiver.recv()
        time.sleep(share * seconds)
        child.kill()
        child.join()
        left |= {path.name for path in store.root.glob(".*.*/")}
        assert before <= set(store.names())
        for name in {store.current(), "good"} | set(store.names()) - before:
            assert open_release(store.path(name)).recommend("u1", 5).candidates
    assert left, "no kill met an update half way"
    update(store, order(here, store)[0], name="last")
    assert not list(store.root.glob(".*.*/"))
    assert store.current() == "last"


def order(paths: list[Path], store: ReleaseStore) -> tuple[Path, Path]:
    """Two files of one item each, first the one that changes the current release."""
    now = current(store).export.item_vectors[1]
    first, second = paths
    same_now = np.array_equal(np.array(json.loads(first.read_text())["vector"], np.float32), now)
    return (second, first) if same_now else (first, second)


V = ODD
WRONG: list[tuple[list[dict[str, Any]], list[str], str]] = [
    ([{"item_id": "new", "vector": [1, 2, 3]}], [], "vector of item 'new': got 3 numbers where items have 4"),
    ([{"item_id": "new", "vector": []}], [], "vector of item 'new': got 0 numbers"),
    ([{"item_id": "new", "vector": [1, 2, 3, 1e39]}], [], "vector of item 'new': got a number that is not finite"),
    ([{"item_id": "new", "vector": [1, None, 3, 4]}], [], "vector of item 'new': got a number that is not finite"),
    ([{"item_id": "new", "vector": [1, 2, 3, 1e38]}], [], "vector of item 'new': got a length that 32 bits cannot"),
    ([{"item_id": "new", "vector": [0, 0, 1e-30, 0]}], [], "vector of item 'new': got a length that 32 bits cannot"),
    ([{"item_id": "i1", "vector": [0, 0, 0, 0]}], [], "vector of item 'i1': got nothing but zeros"),
    ([{"item_id": "i1", "vector": [1e-60, 0, 0, 0]}], [], "vector of item 'i1': got nothing but zeros"),
    ([{"item_id": "i1", "vector": V}, {"item_id": "i1", "title": "x"}], [], "'item_id': got 'i1' twice"),
    ([{"item_id": "new", "title": "x"}], [], "item without a vector: 'new': got a new item"),
    ([{"item_id": "", "vector": V}], [], "'item_id': got an empty id"),
    ([{"vector": V}], [], "an empty id"),
    ([{"item_id": "i1", "vectors": V}], [], "a column 'vectors'"),
    ([{"item_id": "i1", "vector": "x"}], [], r"items\.jsonl"),
    ([{"item_id": "i1", "uploaded": "soon"}], [], "column 'uploaded': got the type string"),
    ([{"item_id": "i1", "vector": V}], ["i1"], "item to withdraw: 'i1': got a change to it"),
    ([], ["i1", "gone", "lost"], "item to withdraw: 'gone', 'lost': got no such item"),
    ([], [], "nothing that changes"),
    ([{"item_id": "i1", "title": "Video 1"}, {"item_id": "i3", "title": None}], [], "nothing that changes"),
    ([{"item_id": "i1", "vector": [0, 0.999, 0, 0]}], [], "nothing that changes"),
]


@pytest.mark.parametrize(("rows", "withdraw", "message"), WRONG)
def test_wrong_items(rows: list[dict[str, Any]], withdraw: list[str], message: str, store: ReleaseStore) -> None:
    with pytest.raises((UsageError, CorruptError), match=message):
        change(store, *rows, withdraw=withdraw)
    unchanged(store)


def unchanged(store: ReleaseStore) -> None:
    assert {path.name for path in store.root.iterdir()} == {"r1", "CURRENT", ".lock"}
    assert found(store, "u1") == ["i3", "i5", "i7"]


def test_withdrawing_again_changes_nothing(store: ReleaseStore) -> None:
    change(store, withdraw=["i3"], name="r2")
    with pytest.raises(UsageError, match="nothing that changes"):
        change(store, withdraw=["i3"])


def test_a_release_without_items_is_refused(store: ReleaseStore) -> None:
    with pytest.raises(ReleaseRefusedError, match="no item to recommend"):
        change(store, withdraw=[f"i{n}" for n in range(1, ITEMS + 1)])
    unchanged(store)


@pytest.mark.parametrize("name", ["export/item_vectors.npy", "index/index.faiss", "export/user_vectors.npy"])
def test_a_damaged_release_is_not_updated(name: str, store: ReleaseStore) -> None:
    path = store.root / "r1" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(CorruptError, match=path.name):
        change(store, withdraw=["i3"])
    assert store.names() == ["r1"]


def test_names_and_places(store: ReleaseStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'r1', which"):
        change(store, withdraw=["i3"], name="r1")
    with pytest.raises(UsageError, match="release: got 'r9'"):
        change(store, withdraw=["i3"], base="r9")
    with pytest.raises(UsageError, match="no current release"):
        change(ReleaseStore(tmp_path / "nowhere"), withdraw=["i3"])
    assert not (tmp_path / "nowhere").exists()
    unchanged(store)


def test_what_training_knew_of_items_is_kept_beside_the_optimizer(tmp_path: Path) -> None:
    world = replace(two_groups(), optimizer={"step": np.zeros(1, np.int64)})
    store = write_release(world, tmp_path, "r1")[0]
    change(store, {"item_id": "i7", "vector": ODD}, name="r2")
    assert not (store.root / "r2" / EXPORT / TRAINED_CATALOGUE).exists()
    change(store, {"item_id": "i7", "title": "Seven"}, name="r3")
    change(store, {"item_id": "i7", "title": "7"}, name="r4")
    first = store.root / "r1" / EXPORT
    for name in ("r3", "r4"):
        export = store.root / name / EXPORT
        assert (export / TRAINED_CATALOGUE).samefile(first / "catalogue.arrow")
        assert (export / OPTIMIZER).samefile(first / OPTIMIZER)
    opened = current(store).export
    assert opened.trained_catalogue is not None
    assert (opened.trained_catalogue.title(7), opened.catalogue.title(7)) == ("Video 7", "7")
    write_export(opened, tmp_path / "written")
    again = Export.open(tmp_path / "written")
    assert again.trained_catalogue is not None
    assert again.trained_catalogue.title(7) == "Video 7"


def test_the_command(store: ReleaseStore, tmp_path: Path) -> None:
    ids = tmp_path / "gone.txt"
    ids.write_bytes("\ufeffi5\r\n\ni6\n".encode())
    items = lines(tmp_path, {"item_id": "new", "vector": scaled(ODD, 2)}, {"item_id": "i9", "vector": V})
    words = ("update", store.root, "--items", items, "--withdraw", "i3", "--withdraw-from", ids, "--name", "r2")
    facts = run_json(*words)
    assert facts == {
        "name": "r2",
        "updated_from": "r1",
        "items": ITEMS + 1,
        "new_items": 1,
        "vectors_replaced": 1,
        "facts_changed": 0,
        "withdrawn": 3,
        "restored": 0,
        "scored_beside_the_index": 2,
        "rebuild": False,
        "written": str(store.root / "r2"),
    }
    answer = run_json("recommend", store.root, "--user", "u1", "-k", "3")
    assert [c["item_id"] for c in answer["candidates"]] == ["new", "i9", "i7"]
    assert run_json("releases", "show", store.root)["updated_from"] == "r1"
    assert "updated_from" not in run_json("releases", "show", store.root, "r1")
    assert "watchnext serve" in run("update", store.root, "--withdraw", "i7", "--from", "r1")
    with pytest.raises(UsageError, match="--withdraw-from"):
        run("update", store.root, "--withdraw-from", tmp_path / "nowhere.txt")
    with pytest.raises(UsageError, match="--items"):
        run("update", store.root, "--items", tmp_path / "nowhere.parquet")


def test_many_fresh_items_ask_for_a_new_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_release(random_export(300, 5, dim=4), tmp_path, "r1")[0]
    monkeypatch.setattr("index.update.MANY_FRESH", 2)
    monkeypatch.setattr("index.update._NANOSECONDS", 1e9)
    made: Float32 = vectors(3, 4, seed=3)
    rows = [{"item_id": f"n{n}", "vector": made[n].tolist()} for n in (1, 2, 3)]
    assert not change(store, *rows[:2], name="r2").rebuild
    words = ["update", str(store.root), "--items", str(lines(tmp_path, rows[2]))]
    said = CliRunner().invoke(app, [*words, "--name", "r3"]).stderr
    assert "3 items are scored with every query" in said
    assert f"watchnext index {store.root / 'r3' / EXPORT}" in said
    assert run_json(*words, "--from", "r2")["rebuild"] is True
    monkeypatch.setattr("index.update._NANOSECONDS", 1e-9)
    assert run_json(*words, "--from", "r2")["rebuild"] is False
