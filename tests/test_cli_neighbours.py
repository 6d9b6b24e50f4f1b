"""`watchnext similar` and `watchnext analogy`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.commands import run, run_json
from tests.worlds import make_export, write_release
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.cli.analogy import parse
from watchnext.errors import UsageError
from watchnext.vocabulary import Vocabulary

SPAIN, FRANCE, CAPITAL, LARGE = np.eye(4)
PLACES = {
    "Spain": SPAIN,
    "France": FRANCE,
    "Madrid": SPAIN + CAPITAL,
    "Paris": FRANCE + CAPITAL,
    "Lyon": FRANCE + 0.5 * LARGE,
    "New York": LARGE,
    "Stratford - upon - Avon": -CAPITAL,
    "Nowhere": 0 * LARGE,
}
"""Items p1 to p8; their watched vectors are the same in reverse order."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export and a release of it."""
    rows = np.array([0 * LARGE, *PLACES.values()], np.float32)
    export = make_export(rows, np.ones((2, 4), np.float32), [[1]])
    titles = pa.array([None, *(f"{title} (1995)" for title in PLACES)], pa.large_string())
    table = export.catalogue.table.set_column(0, ITEM_SCHEMA.field(0), titles)
    ids = Vocabulary([f"p{n}" for n in range(1, len(PLACES) + 1)])
    watched = np.vstack([rows[:1], rows[:0:-1]])
    export = replace(export, items=ids, catalogue=Catalogue(table), watched_vectors=watched)
    folder = tmp_path_factory.mktemp("work")
    write_release(export, folder, "one")
    return folder


def test_similar(work: Path) -> None:
    answer = run_json("similar", "France", "--of", work / "releases", "--k", "2")
    assert answer == {
        "item_id": "p2",
        "title": "France (1995)",
        "measure": "cosine",
        "vectors": "item",
        "candidates": [
            {"item_id": "p5", "title": "Lyon (1995)", "score": pytest.approx(1 / np.sqrt(1.25))},
            {"item_id": "p4", "title": "Paris (1995)", "score": pytest.approx(1 / np.sqrt(2))},
        ],
    }


@pytest.mark.parametrize("folder", ["export", "releases", "releases/one"])
def test_an_export_a_release_or_a_folder_of_releases(work: Path, folder: str) -> None:
    shown = run("similar", "p2", "--of", work / folder, "-k", "1")
    assert "Similar to France (1995)" in shown
    assert [cell.strip() for cell in shown.splitlines()[4].split("│")[1:-1]] == ["1", "p5", "Lyon (1995)", "0.8944"]
    assert "Paris" not in shown


def test_measure_and_vectors(work: Path) -> None:
    near = "--of", work / "export", "--measure", "euclidean"
    answer = run_json("similar", "new york", *near)
    assert [c["item_id"] for c in answer["candidates"]][:2] == ["p5", "p1"]  # at sqrt(1.25) and sqrt(2)
    assert [c["score"] for c in answer["candidates"]][:2] == pytest.approx([np.sqrt(1.25), np.sqrt(2)])
    assert "distance" in run("similar", "new york", *near)
    watched = run_json("similar", "p8", "--of", work / "export", "--vectors", "watched", "-k", "1")
    assert [c["item_id"] for c in watched["candidates"]] == ["p6"]  # Spain's vector has Madrid's beside it


@pytest.mark.parametrize(
    "words",
    [
        ["Madrid", "-", "Spain", "+", "France"],
        ["Madrid - Spain + France"],
        ["p3", "-", "p1", "+", "p2"],
        ["Madrid (1995)", "-", "Spain", "+", "france (1995)"],
    ],
)
def test_analogy(work: Path, words: list[str]) -> None:
    answer = run_json("analogy", *words, "--of", work / "releases", "-k", "1")
    assert [c["title"] for c in answer["candidates"]] == ["Paris (1995)"]
    assert [place["item_id"] for place in answer["positive"]] == ["p3", "p2"]
    assert [place["title"] for place in answer["negative"]] == ["Spain (1995)"]
    shown = run("analogy", *words, "--of", work / "releases", "-k", "1")
    assert "Madrid (1995) - Spain (1995) + France (1995)" in shown
    assert "Paris (1995)" in shown


def test_terms_of_several_words(work: Path) -> None:
    answer = run_json("analogy", "New", "York", "+", "Stratford - upon - Avon", "--of", work / "export")
    assert [place["item_id"] for place in answer["positive"]] == ["p6", "p7"]
    assert answer["negative"] == []


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        (["a"], [("+", "a")]),
        (["a  -  b"], [("+", "a"), ("-", "b")]),
        (["a-b", "+", "C++"], [("+", "a-b"), ("+", "C++")]),
        (["a - b", "+", "c d", "e"], [("+", "a - b"), ("+", "c d e")]),
        (["New York", "-", "USA"], [("+", "New York"), ("-", "USA")]),
        (["New", "York - USA"], [("+", "New York"), ("-", "USA")]),
    ],
)
def test_parses(words: list[str], terms: list[tuple[str, str]]) -> None:
    assert parse(words) == terms


@pytest.mark.parametrize(
    "words", [["-", "a"], ["+ a"], ["a", "-"], ["a +"], ["a", "-", "-", "b"], ["a + - b"], [" "]]
)
def test_refuses_what_is_no_sum(words: list[str], work: Path) -> None:
    with pytest.raises(UsageError, match=r"terms: got .*Madrid - Spain \+ France"):
        parse(words)
    with pytest.raises(UsageError, match="terms"):
        run("analogy", *words, "--of", work / "export")


def test_called_wrongly(work: Path, tmp_path: Path) -> None:
    of = "--of", work / "export"
    with pytest.raises(UsageError, match=r"--measure: got 'l2'\. Choose one of: cosine, dot, euclidean"):
        run("similar", "p1", *of, "--measure", "l2")
    with pytest.raises(UsageError, match=r"--vectors: got 'user'\. Choose one of: item, watched"):
        run("analogy", "p1", *of, "--vectors", "user")
    with pytest.raises(UsageError, match=r"item: got 'a', which names 5 items\..*p1 \(Spain \(1995\)\)"):
        run("similar", "a", *of)
    with pytest.raises(UsageError, match="'Rome', which names no item"):
        run("analogy", "Rome", "-", "Spain", *of)
    with pytest.raises(UsageError, match=r"item 'p8': got no vector"):
        run("similar", "Nowhere", *of)
    with pytest.raises(UsageError, match="cancel"):
        run("analogy", "p1", "-", "p1", *of)
    with pytest.raises(UsageError, match=r"no manifest\.json"):
        run("similar", "p1", "--of", tmp_path)
