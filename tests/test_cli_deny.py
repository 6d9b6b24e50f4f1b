"""`watchnext deny`, and what commands answer then; the choice of items of `watchnext recommend`."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tests.commands import run, run_json
from tests.worlds import ITEMS, two_groups, write_release
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.denied import DENIED, read_denied
from watchnext.errors import CorruptError, UsageError

DAY = 86_400


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """The two groups; item n is uploaded n days after 1970 began, and even ones are `even`."""
    times = [None, *(n * DAY for n in range(1, ITEMS + 1))]
    categories = [None, *((["even"] if n % 2 == 0 else ["odd"]) for n in range(1, ITEMS + 1))]
    table = pa.table([[None] * (ITEMS + 1), categories, times], schema=ITEM_SCHEMA)
    return write_release(replace(two_groups(), catalogue=Catalogue(table)), tmp_path, "r1")[0].root


def found(*words: str | Path) -> list[str]:
    return [candidate["item_id"] for candidate in run_json(*words)["candidates"]]


def test_deny_list_and_lift(releases: Path) -> None:
    strange = "two\nlines, ü and [bold]"
    facts = run_json("deny", "i6", strange, "--releases", releases)
    assert facts == {"newly_denied": ["i6", strange], "not_in_the_current_release": [strange], "denied_in_all": 2}
    assert run_json("deny", "i6", "i8", "--releases", releases)["newly_denied"] == ["i8"]
    rows = [{"item_id": id_, "in_release": id_ != strange} for id_ in ("i6", strange, "i8")]
    assert run_json("deny", "--list", "--releases", releases) == {"denied": rows}
    assert "[bold]" in run("deny", "--list", "--releases", releases)
    facts = run_json("deny", "--lift", "i6", "i7", "--releases", releases)
    assert (facts["allowed_again"], facts["denied_in_all"]) == (["i6"], 2)
    assert "[bold]" in run("deny", "--lift", strange, "--releases", releases)
    assert read_denied(releases) == ("i8",)


def test_commands_heed_it(releases: Path) -> None:
    run("deny", "i6", "--releases", releases)
    assert found("recommend", releases, "--user", "u4", "-k", "2") == ["i8", "i10"]
    for of in (releases, releases / "r1"):
        assert found("similar", "i4", "--of", of, "-k", "2") == ["i2", "i8"]
        assert found("analogy", "i2", "+", "i4", "--of", of, "-k", "2") == ["i8", "i10"]
    assert found("similar", "i4", "--of", releases.parent / "export", "-k", "2") == ["i2", "i6"]


def test_a_broken_list_is_an_error(releases: Path) -> None:
    (releases / DENIED).write_text("i6\n")
    commands = (
        ("recommend", releases, "--user", "u4"),
        ("similar", "i4", "--of", releases),
        ("deny", "i6", "--releases", releases),
        ("deny", "--list", "--releases", releases),
    )
    for words in commands:
        with pytest.raises(CorruptError, match="JSON array of item ids"):
            run(*words)
    assert (releases / DENIED).read_text() == "i6\n"


def test_items_are_denied_while_the_current_release_is_gone(releases: Path) -> None:
    (releases / "CURRENT").write_text("lost\n")
    assert run_json("deny", "i6", "--releases", releases)["not_in_the_current_release"] == ["i6"]
    assert read_denied(releases) == ("i6",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "ids: got none"),
        (["--lift"], "ids: got none"),
        (["--list", "i1"], "--list"),
        (["--list", "--lift"], "--list"),
    ],
)
def test_wrong_calls(words: list[str], message: str, releases: Path) -> None:
    with pytest.raises(UsageError, match=message):
        run("deny", *words, "--releases", releases)
    assert not (releases / DENIED).exists()


def test_only_a_folder_of_releases_has_a_list(releases: Path) -> None:
    for folder in (releases.parent, releases.parent / "nowhere", releases / "r1"):
        with pytest.raises(UsageError, match="nothing was published"):
            run("deny", "i1", "--releases", folder)


def test_no_release_may_take_the_lists_name(releases: Path) -> None:
    work = releases.parent
    with pytest.raises(UsageError, match="--name: got 'DENIED'"):
        run("publish", work / "export", work / "index", "--to", releases, "--name", DENIED)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--category", "even"], ["i6", "i8", "i10"]),
        (["--category", "odd", "--only", "i5", "--only", "i6"], ["i5"]),
        (["--category", "odd", "--category", "even"], ["i6", "i8", "i10"]),
        (["--uploaded-after", "1970-01-21"], ["i20", "i22", "i24"]),
        (["--category", "even", "--uploaded-after", "1970-01-21T00:00:01"], ["i22", "i24", "i26"]),
        (["--category", "even", "--uploaded-before", "1970-01-13"], ["i6", "i8", "i10"]),
        (["--category", "even", "--uploaded-after", "19700119", "--uploaded-before", "1970-01-21"], ["i18"]),
        (["--category", "even", "--uploaded-after", "1970-01-22T02:00+02:00"], ["i22", "i24", "i26"]),
        (["--category", "even", "--uploaded-after", str(21 * DAY + 1)], ["i22", "i24", "i26"]),
        (["--uploaded-before", str(6 * DAY), "--category", "even"], []),
        (["--uploaded-before", str(7 * DAY), "--category", "even"], ["i6"]),
        (["--uploaded-before", "-1"], []),
        (["--only", "i10", "--only", "i2", "--only", "i7", "--only", "gone"], ["i10", "i7"]),
        (["--without", "i6", "--without", "i10"], ["i8", "i12", "i14"]),
    ],
)
def test_choice_of_items(words: list[str], expected: list[str], releases: Path) -> None:
    assert found("recommend", releases, "--user", "u4", "-k", "3", *words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--category", "evn"], "category: got 'evn'.*'even'"),
        (["--uploaded-after", "yesterday"], "--uploaded-after: got 'yesterday'.*2024-01-31"),
        (["--uploaded-before", "2024-13-01"], "--uploaded-before"),
        (["--uploaded-after", "²"], "--uploaded-after"),
        (["--uploaded-after", "--1"], "--uploaded-after"),
        (["--uploaded-after", "1970-01-03", "--uploaded-before", "1970-01-02"], "uploaded_after"),
        (["--uploaded-after", "1" + "0" * 30], "--uploaded-after"),
    ],
)
def test_wrong_choices(words: list[str], message: str, releases: Path) -> None:
    with pytest.raises(UsageError, match=message):
        run("recommend", releases, "--user", "u4", *words)


def test_a_choice_is_for_one_user(releases: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--all: got a choice of items"):
        run("recommend", releases, "--all", "--to", tmp_path / "all.parquet", "--category", "even")
