"""Publishing: only whole and right releases become current, whatever happens."""

import multiprocessing
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.build import IndexOptions, build_from_export
from index.countries import Countries
from index.faiss_index import FaissIndex
from index.filters import Filters
from index.folder import IndexManifest, save_index
from index.kinds import Kind
from index.publish import publish
from index.recommender import open_release
from tests.publisher import publish_forever
from tests.worlds import make_export, random_export, two_groups, vectors, write_both, write_release
from watchnext.errors import ReleaseRefusedError, UsageError
from watchnext.export import Export, ExportManifest, write_export
from watchnext.files import MANIFEST
from watchnext.release import ReleaseManifest, ReleaseStore
from watchnext.vocabulary import Vocabulary


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """A store whose current release is `good`."""
    return write_release(two_groups(), tmp_path / "first", "good")[0]


def refused(export: Path, index: Path, store: ReleaseStore, reason: str) -> None:
    with pytest.raises(ReleaseRefusedError, match=reason):
        publish(export, index, store, "bad")
    assert store.names() == ["good"]
    assert store.current() == "good"
    assert open_release(store.path("good")).recommend("u1", 1).candidates[0].id == "i3"
    assert {path.name for path in store.root.iterdir()} == {"good", "CURRENT", ".lock"}


def test_publishes(tmp_path: Path) -> None:
    store, manifest = write_release(two_groups(), tmp_path)
    assert store.current() == manifest.name == store.names()[0]
    assert (manifest.items, manifest.users, manifest.dim, manifest.index) == (200, 40, 4, "Flat")
    assert (manifest.recall_at_50, manifest.metrics) == (1.0, {"recall@50": 0.25})
    assert manifest == ReleaseManifest.read(store.path(manifest.name))
    assert {"export/manifest.json", "index/manifest.json", "index/index.faiss"} <= set(manifest.files)


def test_a_release_is_a_copy(tmp_path: Path, store: ReleaseStore) -> None:
    shutil.rmtree(tmp_path / "first" / "export")
    shutil.rmtree(tmp_path / "first" / "index")
    assert open_release(store.path("good")).recommend("u2", 1).candidates[0].id == "i4"


def test_names_of_one_second_differ(tmp_path: Path) -> None:
    folders = write_both(two_groups(), tmp_path)
    store = ReleaseStore(tmp_path / "releases")
    names = [publish(*folders, store).name for _ in range(4)]
    assert len(set(names)) == 4
    assert store.names() == names
    assert (store.current(), store.previous()) == (names[3], names[2])


@pytest.mark.parametrize("name", ["good", "a/b", "..", ".x", "", "CURRENT", "a b"])
def test_impossible_names(name: str, tmp_path: Path, store: ReleaseStore) -> None:
    with pytest.raises(UsageError, match="name"):
        publish(tmp_path / "first" / "export", tmp_path / "first" / "index", store, name)
    assert store.names() == ["good"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


FILES = [f"export/{name}" for name in ("item_vectors.npy", "user_vocabulary.arrow", "histories/items.npy")]
FILES += ["export/tower.safetensors", "export/catalogue.arrow", "index/index.faiss", "index/numbers.npy"]


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", [*FILES, "export/manifest.json", "index/manifest.json"])
def test_refuses_damaged_files(
    damage: Callable[[Path], None], name: str, tmp_path: Path, store: ReleaseStore
) -> None:
    if damage is flip and name.endswith(MANIFEST):
        (tmp_path / "first" / name).write_text("{}")
    else:
        damage(tmp_path / "first" / name)
    if damage is cut and name.endswith(MANIFEST):
        cut(tmp_path / "first" / name)  # the first byte cut was only the line's end
    reason = "manifest" if name.endswith(MANIFEST) else Path(name).name.replace(".", r"\.")
    refused(tmp_path / "first" / "export", tmp_path / "first" / "index", store, reason)


def test_refuses_the_index_of_another_export(tmp_path: Path, store: ReleaseStore) -> None:
    export, _ = write_both(random_export(200, 40, dim=4), tmp_path)
    refused(export, tmp_path / "first" / "index", store, "item vectors of")


def test_refuses_a_missing_export(tmp_path: Path, store: ReleaseStore) -> None:
    refused(tmp_path / "nowhere", tmp_path / "first" / "index", store, "nowhere: got no manifest")


def test_refuses_a_vocabulary_of_another_size(tmp_path: Path, store: ReleaseStore) -> None:
    export, index = write_both(two_groups(), tmp_path)
    about = ExportManifest.read(export).model_dump(exclude={"created", "files"})
    Vocabulary([f"i{n}" for n in range(1, 200)]).save(export / "item_vocabulary.arrow")
    ExportManifest.seal(export, **about)
    refused(export, index, store, "item_vocabulary")


@pytest.mark.parametrize("name", ["item_vectors", "user_vectors", "watched_vectors"])
def test_refuses_vectors_that_are_not_finite(name: str, tmp_path: Path, store: ReleaseStore) -> None:
    export, index = write_both(two_groups(), tmp_path)
    array = np.load(export / f"{name}.npy")
    array[9, 1] = np.nan
    reseal(replace(Export.open(export), **{name: array}), export, index)
    refused(export, index, store, f"{name} in")


def test_refuses_histories_of_items_that_do_not_exist(tmp_path: Path, store: ReleaseStore) -> None:
    export, index = write_both(two_groups(), tmp_path)
    world = Export.open(export)
    items = np.array(world.histories.items)
    items[3] = 201
    reseal(replace(world, histories=replace(world.histories, items=items)), export, index)
    refused(export, index, store, "histories in")


def test_refuses_an_index_that_finds_other_items(tmp_path: Path, store: ReleaseStore) -> None:
    export, index = write_both(two_groups(), tmp_path)
    wrong = FaissIndex.build(vectors(200, 4, seed=1), Kind("Flat"))
    about = IndexManifest.read(index).model_dump(
        exclude={"created", "files", "kind", "space", "effort", "dim", "indexed"}
    )
    world = Export.open(export)
    save_index(wrong, Filters.of(world.catalogue, world.items), Countries({}), index, **about)
    refused(export, index, store, "recall 0.* promised 1.000")


def test_refuses_an_index_of_bad_recall(tmp_path: Path, store: ReleaseStore) -> None:
    world = make_export(vectors(12_000, 32, 0), vectors(40, 32, 1), [[1]] * 40)
    export, index = write_both(world, tmp_path, IndexOptions(flat_below=20_000))
    poor = FaissIndex.build(world.item_vectors, Kind("IVF16,Flat"), {"nprobe": 1})
    about = IndexManifest.read(index).model_dump(
        exclude={"created", "files", "kind", "space", "effort", "dim", "indexed"}
    )
    save_index(poor, Filters.of(world.catalogue, world.items), Countries({}), index, **about)
    refused(export, index, store, "recall 0.* promised 1.000")


def reseal(export: Export, folder: Path, index: Path) -> None:
    """Write an export over another one, and have the index's manifest name its item vectors."""
    about = write_export(export, folder).files["item_vectors.npy"].sha256
    fields = IndexManifest.read(index).model_dump(exclude={"created", "files"})
    IndexManifest.seal(index, **{**fields, "item_vectors_sha256": about})


def test_killed_publications_leave_nothing_readable(tmp_path: Path) -> None:
    export, index = write_both(random_export(10_000, 1000, dim=32), tmp_path)
    store = ReleaseStore(tmp_path / "releases")
    start = time.perf_counter()
    publish(export, index, store, "good")
    seconds = time.perf_counter() - start
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.publisher"])
    left: set[str] = set()
    for share in np.linspace(0.05, 1.5, 12):
        before = set(store.names())
        receiver, sender = processes.Pipe(duplex=False)
        child = processes.Process(target=publish_forever, args=(export, index, store.root, sender))
        child.start()
        receiver.recv()
        time.sleep(share * seconds)
        child.kill()
        child.join()
        left |= {path.name for path in store.root.glob(".*.*/")}
        assert before <= set(store.names())
        for name in {store.current()} | set(store.names()) - before:
            assert open_release(store.path(name)).recommend("u1", 5).candidates
    assert left, "no kill met a publication half way"
    publish(export, index, store, "last")
    assert not list(store.root.glob(".*.*/"))
    assert store.current() == "last"


def test_small_catalogue_and_no_users(tmp_path: Path) -> None:
    world = make_export(vectors(3, 2, 0), np.zeros((1, 2), np.float32), [])
    store, manifest = write_release(world, tmp_path)
    assert manifest.users == 0
    assert len(open_release(store.path(manifest.name)).recommend("any", 9).candidates) == 3


def test_rollback(tmp_path: Path, store: ReleaseStore) -> None:
    publish(tmp_path / "first" / "export", tmp_path / "first" / "index", store, "second")
    assert store.current() == "second"
    store.make_current(store.previous())
    assert store.current() == "good"
    publish(tmp_path / "first" / "export", tmp_path / "first" / "index", store, "third")
    assert store.manifest("third").replaced == store.previous() == "good", "not the one that was left"
    shutil.rmtree(store.path("good"))
    assert store.previous() == "second"


def test_index_built_again_fits_again(tmp_path: Path, store: ReleaseStore) -> None:
    export, index = tmp_path / "first" / "export", tmp_path / "first" / "index"
    build_from_export(export, index, IndexOptions())
    assert publish(export, index, store, "again").name == store.current() == "again"
