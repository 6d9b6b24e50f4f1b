"""Which item a text names."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from index.lookup import find_item
from tests.worlds import make_export
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.errors import UsageError
from watchnext.export import Export
from watchnext.vocabulary import Vocabulary


def shop(**titles: str | None) -> Export:
    """An export of items by id, the most watched first."""
    export = make_export(np.ones((len(titles) + 1, 2), np.float32), np.ones((2, 2), np.float32), [[1]])
    column = pa.array([None, *titles.values()], pa.large_string())
    table = export.catalogue.table.set_column(0, ITEM_SCHEMA.field(0), column)
    return replace(export, items=Vocabulary(titles), catalogue=Catalogue(table))


FILMS = shop(
    a="Heat (1995)",
    b="Dead Heat (1988)",
    c="Casino",
    d="Casino (1995)",
    e="Solaris (1972)",
    f="Solaris (2002)",
    g="Amélie (2001)",
    h=None,
    i="a",
    casino="Other",
    j="2001 (A Space Odyssey)",
    k="C++ (beginners)",
)


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("a", "a"),  # an id before a title
        ("casino", "casino"),
        ("Casino", "c"),  # a title before one without its year
        ("CASINO (1995)", "d"),
        ("heat", "a"),  # without its year, before the two that contain it
        (" Heat ", "a"),
        ("dead", "b"),
        ("AMÉLIE", "g"),
        ("H", "h"),  # no title: by its id, in any case
        ("2001 (a", "j"),  # no pattern
        ("c++", "k"),
    ],
)
def test_finds(text: str, id_: str) -> None:
    assert FILMS.items.id(find_item(text, FILMS)) == id_


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Solaris",
            r"item: got 'Solaris', which names 2 items\. .*: e \(Solaris \(1972\)\), f \(Solaris \(2002\)\)\.",
        ),
        ("19", r"'19', which names 4 items.*a \(.*b \(.*d \(.*e \(Solaris \(1972\)\)\."),
        ("Ronin", r"'Ronin', which names no item\. Give an id, a title"),
        ("  ", r"item: got '  '\. Give its id or its title\."),
        ("", r"item: got ''"),
    ],
)
def test_asks_back(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_item(text, FILMS)


def test_ids_are_never_guessed_but_shown() -> None:
    words = shop(madrid=None, madrigal=None, spain=None)
    assert find_item("Madrid", words) == 1
    with pytest.raises(UsageError, match=r"'spa', which names no item.*: spain \(no title\)\."):
        find_item("spa", words)


def test_at_most_five_are_listed() -> None:
    many = shop(**{f"n{n}": f"Part {n}" for n in range(1, 9)})
    with pytest.raises(UsageError, match=r"names 8 items.*n5 \(Part 5\), \.\.\.\.$"):
        find_item("part", many)


def test_a_corpus_without_items() -> None:
    with pytest.raises(UsageError, match="no item"):
        find_item("x", shop())
