"""The commands from an export to recommendations: index, publish, releases, recommend."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import run, run_json
from tests.worlds import two_groups
from watchnext.errors import UsageError
from watchnext.export import write_export
from watchnext.release import ReleaseStore


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
    shown = run("index", work / "export", "--to", tmp_path / "index")
    assert "chosen" in shown
    assert f"watchnext publish {work / 'export'} {tmp_path / 'index'}" in shown


def test_publish(work: Path, tmp_path: Path) -> None:
    facts = run_json("publish", work / "export", work / "index", "--to", tmp_path)
    assert facts["written"] == str(tmp_path / facts["name"])
    assert ReleaseStore(tmp_path).current() == facts["name"]
    assert f"watchnext serve {tmp_path}" in run("publish", work / "export", work / "index", "--to", tmp_path)


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


def test_the_only_release_cannot_be_rolled_back(work: Path, tmp_path: Path) -> None:
    run("publish", work / "export", work / "index", "--to", tmp_path, "--name", "only")
    with pytest.raises(UsageError, match="Publish another one first"):
        run("releases", "rollback", tmp_path)
    with pytest.raises(UsageError, match=r"--name: got ''\. Give a name"):
        run("publish", work / "export", work / "index", "--to", tmp_path, "--name", "")


def test_releases_of_an_empty_folder(tmp_path: Path) -> None:
    assert run_json("releases", "list", tmp_path) == {"releases": []}
    with pytest.raises(UsageError, match="no current release"):
        run("releases", "show", tmp_path)


def test_recommend_to_one_user(work: Path) -> None:
    answer = run_json("recommend", work / "releases", "--user", "u4", "-k", "2")
    assert [row["item_id"] for row in answer["candidates"]] == ["i6", "i8"]
    assert (answer["user_id"], answer["source"]) == ("u4", "model")
    shown = run("recommend", work / "releases", "--user", "nobody", "-k", "2")
    assert "Video 1" in shown
    assert "popular" in shown


def test_recommend_to_all_users(work: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "recommendations.parquet"
    facts = run_json("recommend", work / "releases", "--all", "--to", file, "-k", "3")
    assert (facts["users"], facts["rows"], facts["written"]) == (40, 120, str(file))
    rows = pq.read_table(file).to_pylist()
    assert len(rows) == 120
    assert [(row["item_id"], row["rank"]) for row in rows if row["user_id"] == "u4"] == [
        ("i6", 1),
        ("i8", 2),
        ("i10", 3),
    ]
    assert list(file.parent.iterdir()) == [file]
    assert "recommendations.parquet" in run("recommend", work / "releases", "--all", "--to", file)


def test_recommendations_replace_only_recommendations(work: Path, tmp_path: Path) -> None:
    log, folder, text = tmp_path / "log.parquet", tmp_path / "x.parquet", tmp_path / "log.csv"
    pq.write_table(pa.table({"user": ["u1"], "item": ["i1"]}), log)
    folder.mkdir()
    text.write_text("user,item,time\n")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_text("user,item,time\n")
    before = log.read_bytes()
    for target in (log, folder, text, damaged):
        with pytest.raises(UsageError, match="--to"):
            run("recommend", work / "releases", "--all", "--to", target)
    assert (log.read_bytes(), text.read_text()) == (before, "user,item,time\n")


@pytest.mark.parametrize("words", [[], ["--user", "u1", "--all"], ["--all"], ["--user", "u1", "--to", "x.parquet"]])
def test_recommend_called_wrongly(work: Path, words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"--user and --all|--to"):
        run("recommend", work / "releases", *words)
