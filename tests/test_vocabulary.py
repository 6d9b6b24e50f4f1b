"""Vocabularies: ids and numbers are each other's inverse, in memory and after a trip through a file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchnext.errors import CorruptError, UsageError
from watchnext.vocabulary import Vocabulary

# Any text that UTF-8 can write, with some that sort differently in UTF-16 or by locale.
ids = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), unique=True, max_size=40)


@given(ids, st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
def test_numbers_and_ids_are_inverse(known: list[str], other: str) -> None:
    vocabulary = Vocabulary(known)
    assert len(vocabulary) == len(known)
    for number, id_ in enumerate(known, 1):
        assert vocabulary.number(id_) == number
        assert vocabulary.id(number) == id_
    assert vocabulary.numbers(known).tolist() == list(range(1, len(known) + 1))
    assert vocabulary.ids(np.arange(1, len(known) + 1)) == known
    wanted = known.index(other) + 1 if other in known else 0
    assert vocabulary.number(other) == wanted
    assert vocabulary.numbers([other]).tolist() == [wanted]


@pytest.mark.parametrize("asked", [1, 24, 25, 60, 300])
def test_numbers_of_few_and_many_ids(asked: int, tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(1000)
    Vocabulary([f"ü{n}" for n in shuffled]).save(tmp_path / "ids")
    for vocabulary in (Vocabulary([f"ü{n}" for n in shuffled]), Vocabulary.open(tmp_path / "ids")):
        wanted = [*range(1, asked), 1000]
        unknown = ["", "a", "ü", "ü2000", "\U0001f600"]
        ids = [f"ü{shuffled[n - 1]}" for n in wanted] + unknown
        assert vocabulary.numbers(ids).tolist() == wanted + [0] * len(unknown)


@given(known=ids)
def test_a_saved_vocabulary_is_the_same(tmp_path_factory: pytest.TempPathFactory, known: list[str]) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "ids.arrow"
    Vocabulary(known).save(path)
    again = Vocabulary.open(path)
    assert again.ids(np.arange(1, len(again) + 1)) == known
    assert [again.number(id_) for id_ in known] == list(range(1, len(known) + 1))


def test_a_lone_surrogate_from_outside_is_unknown_and_no_error() -> None:
    assert Vocabulary(["a"]).number("\ud800") == 0


def test_repeated_ids_are_refused() -> None:
    with pytest.raises(UsageError, match="one id twice"):
        Vocabulary(["a", "b", "a"])


@pytest.mark.parametrize("number", [0, -1, 3])
def test_numbers_outside_are_refused(number: int) -> None:
    vocabulary = Vocabulary(["a", "b"])
    with pytest.raises(IndexError):
        vocabulary.id(number)
    with pytest.raises(IndexError):
        vocabulary.ids([1, number])


def test_a_cut_file_is_never_half_a_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "ids.arrow"
    Vocabulary([f"id-{i}" for i in range(50)]).save(path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptError):
            Vocabulary.open(path)
