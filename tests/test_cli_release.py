"""The commands from an export to recommendations: index, publish, releases, recommend."""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import run, run_json
from tests.worlds import random_export, two_groups, write_release
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.errors import CorruptError, UsageError
from watchnext.export import write_export
from watchnext.release import EXPORT, ReleaseStore
from watchnext.variants import Variants, read_variants
from watchnext.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export, its index, and the releases `one` and `two`."""
    folder = tmp_path_factory.mktemp("work")
    write_export(two_groups(), folder / "export")
    run("index", folder / "export", "--to", folder / "index")
    for name in ("one", "two"):
        run("publish", folder / "export", folder / "index", "--to", folder / "releases", "--name", name)
    return folder


def test_index(work: Path, tmp_path: Path) -> None:
    facts = run_json("index", work / "export", "--to", tmp_path / "index", "--target-recall", "0.9")
    assert (facts["index"], facts["items_indexed"], facts["items_without_vector"]) == ("Flat", 199, 1)
    assert (facts["target_recall"], facts["recall_at_50"], facts["written"]) == (0.9, 1.0, str(tmp_path / "index"))
    assert facts["trials"][0]["kind"] == "Flat"
    assert facts["fell_back"] is False
    drawn = tmp_path / "index.svg"
    shown = run("index", work / "export", "--to", tmp_path / "index", "--report", drawn)
    assert "chosen" in shown
    assert all(text in drawn.read_text() for text in ("Flat", "target", "recall@50", "CPU time"))
    with pytest.raises(UsageError, match=r"--report.*index\.png.*ends in \.svg"):
        run("index", work / "export", "--to", tmp_path / "index", "--report", tmp_path / "index.png")
    assert f"watchnext publish {work / 'export'} {tmp_path / 'index'}" in shown


def test_publish(work: Path, tmp_path: Path) -> None:
    facts = run_json("publish", work / "export", work / "index", "--to", tmp_path)
    assert facts["written"] == str(tmp_path / facts["name"])
    assert ReleaseStore(tmp_path).current() == facts["name"]
    shown = run("publish", work / "export", work / "index", "--to", tmp_path / "my releases")
    assert f"Next: watchnext serve '{tmp_path / 'my releases'}' --without-keys\n" in shown


def test_releases(work: Path) -> None:
    releases = work / "releases"
    rows = run_json("releases", "list", releases)["releases"]
    assert [(row["name"], row["current"]) for row in rows] == [("one", False), ("two", True)]
    assert "current" in run("releases", "list", releases)
    assert run_json("releases", "show", releases)["name"] == "two"
    assert run_json("releases", "show", releases, "one")["metrics"] == {"recall@50": 0.25}
    assert "recall@50" in run("releases", "show", releases, "one")
    assert run_json("releases", "rollback", releases) == {"current": "one", "before": "two"}
    assert ReleaseStore(releases).current() == "one"
    with pytest.raises(UsageError, match=r"no release older than one\. Name another with --to: two"):
        run("releases", "rollback", releases)
    assert run_json("releases", "rollback", releases, "--to", "two")["current"] == "two"
    vectors = releases / "one" / EXPORT / "item_vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-1])
    with pytest.raises(CorruptError, match="item_vectors"):
        run("releases", "rollback", releases, "--to", "one")
    assert ReleaseStore(releases).current() == "two"


@pytest.fixture
def three(work: Path, tmp_path: Path) -> Path:
    """A folder with the releases `one`, `two` and, current, `three`."""
    for name in ("one", "two", "three"):
        run("publish", work / "export", work / "index", "--to", tmp_path / "releases", "--name", name)
    return tmp_path / "releases"


def test_other_shares_keep_the_shadow_and_another_shadow_the_shares(three: Path) -> None:
    def split(*words: str) -> Variants:
        told = run_json("releases", "split", three, *words)
        assert told == read_variants(three).model_dump()
        return read_variants(three)

    assert split("--shadow", "one") == Variants(shadow="one")
    assert split("current=90", "two=10") == Variants(split={"current": 90, "two": 10}, shadow="one")
    assert split("--shadow", "three") == Variants(split={"current": 90, "two": 10}, shadow="three")
    with pytest.raises(UsageError, match=r"--shadow: got 'three', which is part of the split.*--no-shadow"):
        split("current=1", "three=1")
    assert split() == Variants(split={"current": 90, "two": 10}, shadow="three")
    assert split("--no-shadow") == Variants(split={"current": 90, "two": 10})
    assert split("two=1", "--shadow", "one") == Variants(split={"two": 1}, shadow="one")
    assert split("one=1", "--no-shadow") == Variants(split={"one": 1})
    for words in (["--no-shadow", "--shadow", "one"], ["--no-shadow", "--reset"]):
        with pytest.raises(UsageError, match="beside it"):
            split(*words)


def test_a_broken_split_is_set_anew(three: Path) -> None:
    (three / "VARIANTS").write_text("{")
    with pytest.raises(CorruptError, match=r"VARIANTS.*watchnext releases split, .* --no-shadow"):
        run("releases", "split", three, "two=1")
    assert "VARIANTS" in run_json("releases", "rollback", three)["no_answer_changes"]
    run("releases", "split", three, "two=1", "--no-shadow")
    assert read_variants(three) == Variants(split={"two": 1})


def test_a_rollback_that_changes_nobodys_answers_says_so(three: Path) -> None:
    run("releases", "split", three, "two=1")
    told = run_json("releases", "rollback", three, "--to", "one")
    assert told == {"current": "one", "before": "three", "no_answer_changes": "the split leaves `current` out: two"}
    shown = run("releases", "rollback", three, "--to", "three")
    assert "no answer changes" in shown
    assert f"watchnext releases split {three} --reset" in shown


def test_the_only_release_cannot_be_rolled_back(work: Path, tmp_path: Path) -> None:
    run("publish", work / "export", work / "index", "--to", tmp_path, "--name", "only")
    with pytest.raises(UsageError, match="Publish another one first"):
        run("releases", "rollback", tmp_path)
    with pytest.raises(UsageError, match=r"--name: got ''\. Give a name"):
        run("publish", work / "export", work / "index", "--to", tmp_path, "--name", "")


def test_a_current_release_that_is_gone_is_told_with_the_way_out(work: Path, tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "my releases")
    for name in ("old", "kept", "lost"):
        run("publish", work / "export", work / "index", "--to", store.root, "--name", name)
    shutil.rmtree(store.root / "lost")
    with pytest.raises(CorruptError, match=r"'lost'\. That release is gone") as told:
        store.current()
    way_out = told.value.cure.partition("watchnext ")[2]
    assert run_json(*shlex.split(way_out)) == {"current": "kept", "before": None}
    assert store.current() == "kept"
    for name in ("old", "kept"):
        shutil.rmtree(store.root / name)
    with pytest.raises(CorruptError, match=f"watchnext publish --to '{store.root}'"):
        store.current()


def test_releases_of_an_empty_folder(tmp_path: Path) -> None:
    assert run_json("releases", "list", tmp_path) == {"releases": []}
    assert f"Next: watchnext publish --to {tmp_path}\n" in run("releases", "list", tmp_path)
    with pytest.raises(UsageError, match="no current release"):
        run("releases", "show", tmp_path)


def test_recommend_to_one_user(work: Path) -> None:
    answer = run_json("recommend", work / "releases", "--user", "u4", "-k", "2")
    assert [row["item_id"] for row in answer["candidates"]] == ["i6", "i8"]
    assert (answer["user_id"], answer["source"]) == ("u4", "stored")
    shown = run("recommend", work / "releases", "--user", "nobody", "-k", "2")
    assert "Video 1" in shown
    assert "popular" in shown


def test_recommend_to_all_users(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "recommendations"
    facts = run_json("recommend", work / "releases", "--all", "--to", folder, "-k", "3", "--part-users", "30")
    assert (facts["users"], facts["rows"], facts["files"], facts["written"]) == (40, 120, 2, str(folder))
    rows = pq.read_table(folder).to_pylist()
    assert [(row["item_id"], row["rank"]) for row in rows if row["user_id"] == "u4"] == [
        ("i6", 1),
        ("i8", 2),
        ("i10", 3),
    ]
    assert list(folder.parent.iterdir()) == [folder]
    assert "recommendations" in run("recommend", work / "releases", "--all", "--to", folder)
    assert len(pq.read_table(folder)) == 40 * 20


@pytest.mark.parametrize("words", [[], ["--user", "u1", "--all"], ["--all"], ["--user", "u1", "--to", "x"]])
def test_recommend_called_wrongly(work: Path, words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"--user and --all|--to"):
        run("recommend", work / "releases", *words)


def test_ids_and_titles_are_no_markup(tmp_path: Path) -> None:
    titles = [None, "[red]Heat[/red]", "Casino [/b]"]
    world = replace(
        random_export(2, 1),
        items=Vocabulary(["[bold]a", "b[/]"]),
        catalogue=Catalogue(pa.table([titles, [None] * 3, [None] * 3], schema=ITEM_SCHEMA)),
    )
    store = write_release(world, tmp_path)[0]
    shown = run("recommend", store.root, "--user", "[i]nobody[/x]")
    for text in ("For [i]nobody[/x], from popular", "[bold]a", "b[/]", "[red]Heat[/red]", "Casino [/b]"):
        assert text in shown
