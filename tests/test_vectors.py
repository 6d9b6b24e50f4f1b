"""Vectors from elsewhere as exports: means of last watches worked out by hand, through index, publish and serve."""

from pathlib import Path

import numpy as np
import pytest

from corpus.corpus import Corpus
from serving.app import create_app
from tests.commands import run, run_json
from tests.servers import running, settings, wait_ready
from tests.worlds import random_export, two_groups, write_release
from watchnext.config import ModelConfig
from watchnext.errors import CorruptError, UsageError
from watchnext.export import Export, write_export
from watchnext.linear import NoLog, linear_export
from watchnext.vocabulary import Vocabulary
from watchnext.word2vec_format import read_vectors, write_vectors

FILE = {"z": (5, 5), "a": (1, 0), "b": (0, 1), "c": (1, 1), "d": (2, 0)}
"""The corpus has not watched z, and the file does not know x."""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a corpus `c` and a file `v.txt`."""
    (tmp_path / "log.txt").write_text("ann a b c\nbob c d\neve x\n")
    run("ingest", tmp_path / "log.txt", "--format", "sequences", "--to", tmp_path / "c")
    write_vectors(tmp_path / "v.txt", list(FILE), np.array(list(FILE.values()), np.float32), binary=False)
    return tmp_path


def by_id(vocabulary: Vocabulary, vectors: np.ndarray) -> dict[str, list[float]]:
    return {vocabulary.id(n): vectors[n].tolist() for n in range(1, len(vocabulary) + 1)}


def publish(folder: Path) -> None:
    run("index", folder / "e", "--to", folder / "i")
    run("publish", folder / "e", folder / "i", "--to", folder / "r")


def test_read_for_a_corpus(work: Path) -> None:
    facts = run_json("vectors", "read", work / "v.txt", "--corpus", work / "c", "--to", work / "e", "--last", "2")
    assert facts == {
        "items": 5,
        "items_with_vector": 4,
        "vectors_of_other_ids": 1,
        "users": 3,
        "dimensions": 2,
        "written": str(work / "e"),
    }
    export, corpus = Export.open(work / "e"), Corpus.open(work / "c")
    known = {"a": [1, 0], "b": [0, 1], "c": [1, 1], "d": [2, 0], "x": [0, 0]}
    assert by_id(export.items, export.item_vectors) == known == by_id(export.items, export.watched_vectors)
    assert by_id(export.users, export.user_vectors) == {"ann": [0.5, 1], "bob": [1.5, 0.5], "eve": [0, 0]}
    assert not export.item_vectors[0].any()
    assert not export.user_vectors[0].any()
    assert export.item_counts.tolist() == corpus.item_counts.tolist()
    assert (export.manifest.epochs, export.manifest.holdout, export.manifest.metrics) == (0, "none", {})
    history = [export.items.numbers(["x", "d", "b"])]
    assert export.tower().user_vectors(history).tolist() == [[1, 0.5]]


def test_read_serves(work: Path) -> None:
    run("vectors", "read", work / "v.txt", "--corpus", work / "c", "--to", work / "e", "--last", "2")
    publish(work)
    with running(create_app(settings(work / "r"))) as client:
        wait_ready(client)
        answer = client.get("/recommend", params={"user_id": "bob", "k": 3}).json()
    assert answer["source"] == "stored"
    near, popular = answer["candidates"][:2], answer["candidates"][2:]
    assert [(c["item_id"], c["score"]) for c in near] == [("a", 1.5), ("b", 0.5)]
    assert [(c["item_id"], c["source"]) for c in popular] == [("x", "popular")]  # it has no vector
    assert run_json("recommend", work / "r", "--user", "eve")["source"] == "popular"


def test_read_without_a_corpus(work: Path) -> None:
    assert run_json("vectors", "read", work / "v.txt", "--to", work / "e")["items"] == 5
    export = Export.open(work / "e")
    assert by_id(export.items, export.item_vectors) == {id_: list(vector) for id_, vector in FILE.items()}
    assert (export.items.id(1), len(export.users)) == ("z", 0)
    publish(work)
    assert run_json("recommend", work / "r", "--user", "ann", "-k", "2")["candidates"][0]["item_id"] == "z"
    assert run_json("vectors", "write", work / "r", "--to", work / "again.txt")["vectors"] == 5
    assert (work / "again.txt").read_bytes() == (work / "v.txt").read_bytes()


def test_read_refuses(work: Path) -> None:
    run("vectors", "read", work / "v.txt", "--to", work / "e")
    (work / "log.txt").write_text("ann q r\n")
    run("ingest", work / "log.txt", "--format", "sequences", "--to", work / "other")
    refused: tuple[tuple[list[str | Path], str], ...] = (
        (["--corpus", work / "other", "--to", work / "e"], "2 items .* has none: its first id is 'z'"),
        (["--to", work / "c"], "did not write"),
        (["--spaces", "_", "--to", work / "e"], "together with --corpus"),
        (["--corpus", work / "e", "--to", work / "f"], "watchnext ingest"),
    )
    for words, named in refused:
        with pytest.raises(UsageError, match=named):
            run("vectors", "read", work / "v.txt", *words)
    with pytest.raises(CorruptError, match="when read as binary"):
        run("vectors", "read", work / "v.txt", "--binary", "--to", work / "e")


def test_spaces_in_ids_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,time\nu,Toy Story,1\nu,Heat,2\nv,Heat,3\n")
    run("ingest", tmp_path / "log.csv", "--to", tmp_path / "c")
    (tmp_path / "v.vec").write_text("2 2\nToy_Story 1 2\nHeat 3 4\n")
    words = ("vectors", "read", tmp_path / "v.vec", "--corpus", tmp_path / "c", "--to", tmp_path / "e")
    assert run_json(*words)["items_with_vector"] == 1
    assert run_json(*words, "--spaces", "_")["items_with_vector"] == 2
    export = Export.open(tmp_path / "e")
    assert by_id(export.items, export.item_vectors) == {"Heat": [3, 4], "Toy Story": [1, 2]}
    with pytest.raises(UsageError, match=r"'Toy Story'.*--spaces _"):
        run("vectors", "write", tmp_path / "e", "--to", tmp_path / "w.txt")
    run("vectors", "write", tmp_path / "e", "--to", tmp_path / "w.txt", "--spaces", "_")
    assert (tmp_path / "w.txt").read_text() == "2 2\nHeat 3 4\nToy_Story 1 2\n"


@pytest.mark.parametrize(
    ("name", "words", "format_"),
    [
        ("v.bin", [], "binary"),
        ("v.bin.gz", [], "binary"),
        ("v.txt.gz", [], "text"),
        ("v.vec", [], "text"),
        ("v.txt", ["--binary"], "binary"),
        ("v", ["--text"], "text"),
    ],
)
def test_write(tmp_path: Path, name: str, words: list[str], format_: str) -> None:
    export = random_export(30, 20, dim=3)
    write_export(export, tmp_path / "e")
    facts = run_json("vectors", "write", tmp_path / "e", "--to", tmp_path / name, *words)
    assert facts == {
        "vectors": 30,
        "dimensions": 3,
        "without_vector": 0,
        "format": format_,
        "written": str(tmp_path / name),
    }
    found = read_vectors(tmp_path / name)
    assert found.ids == [f"i{n}" for n in range(1, 31)]
    assert np.array_equal(found.vectors, export.item_vectors[1:])
    run("vectors", "write", tmp_path / "e", "--to", tmp_path / name, "--which", "user", *words)
    assert np.array_equal(read_vectors(tmp_path / name).vectors, export.user_vectors[1:])
    with pytest.raises(UsageError, match=r"watched, of which .* has no vector"):
        run("vectors", "write", tmp_path / "e", "--to", tmp_path / name, "--which", "watched", *words)


def test_items_without_a_vector_are_left_out(tmp_path: Path) -> None:
    world = two_groups()
    write_release(world, tmp_path)
    assert run_json("vectors", "write", tmp_path / "releases", "--to", tmp_path / "v.bin")["without_vector"] == 1
    found = read_vectors(tmp_path / "v.bin")
    assert found.ids == [f"i{n}" for n in range(1, 200)]
    assert np.array_equal(found.vectors, world.item_vectors[1:200])
    with pytest.raises(UsageError, match=r"ends in \.bin, \.txt, \.vec"):
        run("vectors", "write", tmp_path / "releases", "--to", tmp_path / "v.gz")
    with pytest.raises(UsageError, match="item, watched, user"):
        run("vectors", "write", tmp_path / "releases", "--to", tmp_path / "v.bin", "--which", "all")


def test_decayed_means_of_untied_vectors(work: Path) -> None:
    log = Corpus.open(work / "c")
    rows = {"a": [1, 0], "b": [0, 4], "c": [8, 1]}
    watched = np.zeros((6, 2), np.float32)
    watched[log.items.numbers(list(rows))] = list(rows.values())
    model = ModelConfig.linear(2, history=3, decay=0.5, tied=False)
    export = linear_export(log, model, 2 * watched, watched)
    ann = (np.array([8, 1]) + 0.5 * np.array([0, 4]) + 0.25 * np.array([1, 0])) / 1.75
    assert export.user_vectors[export.users.number("ann")] == pytest.approx(ann)
    assert np.array_equal(export.item_vectors, 2 * watched)
    about = write_export(export, work / "e")
    assert (about.epochs, about.metrics, about.holdout, about.model.tied) == (0, {}, "none", False)
    assert Export.open(work / "e").item_counts.tolist() == np.bincount(log.histories.items, minlength=6).tolist()


def test_impossible_means() -> None:
    for history, decay, named in ((0, None, "--history"), (5, 1.5, "--decays")):
        with pytest.raises(UsageError, match=named):
            ModelConfig.linear(4, history, decay)


def test_items_of_which_only_ids_are_known() -> None:
    log = NoLog(Vocabulary(["a", "b"]))
    export = linear_export(log, ModelConfig.linear(3, 5), np.ones((3, 3), np.float32), np.ones((3, 3), np.float32))
    assert export.user_vectors.tolist() == [[0, 0, 0]]
    assert (len(export.catalogue), export.item_counts.tolist()) == (2, [0, 0, 0])
