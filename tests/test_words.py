"""Vectors of words against known answers, gensim, and counting by hand."""

from itertools import permutations
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from gensim.models import KeyedVectors

from evaluation.word_files import read_pairs, read_questions
from evaluation.words import Measure, WordVectors, analogies, similarity
from tests.commands import run, run_json
from tests.worlds import make_export
from watchnext.errors import UsageError
from watchnext.export import write_export
from watchnext.features import Float32
from watchnext.vocabulary import Vocabulary

GRID = ["man", "king", "prince", "woman", "queen", "princess", "filler"]
"""Sex is one axis and rank another, except for the last word."""
GRID_VECTORS = np.array(
    [[1, 0, 0, 5], [1, 1, 0, 5], [1, 0, 1, 5], [-1, 0, 0, 5], [-1, 1, 0, 5], [-1, 0, 1, 5], [0, 5, 5, 5]], np.float32
)


def random_words(words: int = 60, dim: int = 5) -> tuple[list[str], Float32]:
    made = np.random.default_rng(3).normal(size=(words, dim)).astype(np.float32)
    return [f"w{n}" for n in range(words)], made * np.arange(1, words + 1, dtype=np.float32)[:, None]


def gensim_vectors(words: list[str], made: Float32) -> KeyedVectors:
    keyed = KeyedVectors(made.shape[1])
    keyed.add_vectors(words, made)
    return keyed


@pytest.mark.parametrize("most_frequent", [None, 40])
def test_similarity_is_that_of_gensim(tmp_path: Path, most_frequent: int | None) -> None:
    words, made = random_words()
    rng = np.random.default_rng(1)
    pairs = [(f"W{a}", f"w{b}") for a, b in rng.integers(0, 65, (200, 2))]  # some are unknown
    scores = rng.integers(0, 6, 200).astype(float).tolist()  # many tie
    file = tmp_path / "pairs.tsv"
    file.write_text("\n".join(f"{a}\t{b}\t{score}" for (a, b), score in zip(pairs, scores, strict=True)))
    _, theirs, unknown = gensim_vectors(words, made).evaluate_word_pairs(file, restrict_vocab=most_frequent)
    found = similarity(WordVectors.of(words, made, most_frequent, lower=True), *read_pairs(file))
    assert found.correlation == pytest.approx(theirs.statistic, abs=1e-6)
    assert found.used == pytest.approx(200 * (1 - unknown / 100))
    assert 50 < found.used < 200


@pytest.mark.parametrize("most_frequent", [None, 40])
def test_analogies_are_those_of_gensim(tmp_path: Path, most_frequent: int | None) -> None:
    words, made = random_words()
    rng = np.random.default_rng(2)
    made[30:60] = made[:30] + made[59] / 60 + rng.normal(0, 0.1, (30, 5))  # so that some are answered
    asked = [(f"w{a}", f"w{a + 30}", f"W{b}", f"w{b + 30}") for a, b in permutations(range(32), 2)]
    file = tmp_path / "questions.txt"
    lines = [f"{' '.join(question)}\n" for question in asked]
    file.write_text(": odd\n" + "".join(lines[::2]) + ": gram even\n" + "".join(lines[1::2]))
    _, theirs = gensim_vectors(words, made).evaluate_word_analogies(file, restrict_vocab=most_frequent or 10**6)
    found = analogies(WordVectors.of(words, made, most_frequent, lower=True), read_questions(file))
    sections = {section["section"]: section for section in theirs}
    for name, ours in {**found.sections, "Total accuracy": found.total}.items():
        correct, wrong = len(sections[name]["correct"]), len(sections[name]["incorrect"])
        assert (ours.correct, ours.used) == (correct, correct + wrong)
    assert 20 < found.total.correct < found.total.used < found.total.questions == 32 * 31
    assert found.groups == {"semantic": found.sections["odd"], "syntactic": found.sections["gram even"]}


@pytest.mark.parametrize("measure", get_args(Measure))
@pytest.mark.parametrize("block", [1, 1000])
def test_every_measure_answers_as_word_by_word(measure: Measure, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.words.BLOCK_SCORES", block)
    words, made = random_words(20)

    def near(a: Float32, b: Float32) -> float:
        if measure == "euclidean":
            return -float(np.linalg.norm(a - b))
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) if measure == "cosine" else 1))

    used = made / np.linalg.norm(made, axis=1, keepdims=True) if measure == "cosine" else made
    questions = [rows for rows in permutations(range(20), 3) if sum(rows) % 7 == 0]
    right = [
        max(set(range(20)) - {a, b, c}, key=lambda w: near(used[b] - used[a] + used[c], made[w]))
        for a, b, c in questions
    ]
    asked = [[f"w{row}" for row in (*rows, answer)] for rows, answer in zip(questions, right, strict=True)]
    assert analogies(WordVectors.of(words, made), {"all": asked}, measure).total.share == 1
    one, two = np.triu_indices(20, 1)
    scores = [near(made[a], made[b]) for a, b in zip(one, two, strict=True)]
    pairs = [(words[a], words[b]) for a, b in zip(one, two, strict=True)]
    assert similarity(WordVectors.of(words, made), pairs, scores, measure).correlation == pytest.approx(1)


def test_analogies_on_a_grid() -> None:
    words = WordVectors.of(GRID, GRID_VECTORS)
    sections = {
        "sex": [("man", "woman", "king", "queen"), ("man", "woman", "prince", "princess")],
        "wrong": [("man", "woman", "king", "princess")],
        "empty": [],
        "unknown": [("man", "woman", "duke", "duchess"), ("man", "king", "woman", "queen")],
        "in the question": [("man", "king", "woman", "woman")],
    }
    found = analogies(words, sections)
    assert [tuple(part) for part in found.sections.values()] == [
        (2, 2, 2),
        (0, 1, 1),
        (0, 0, 0),
        (1, 1, 2),
        (0, 1, 1),
    ]
    assert tuple(found.total) == (3, 5, 6)
    assert found.total.share == 0.6
    assert np.isnan(found.sections["empty"].share)
    assert found.groups == {}


def test_a_word_of_the_question_is_no_answer_even_when_there_is_no_other() -> None:
    words = WordVectors.of(["a", "b", "c"], np.eye(3, dtype=np.float32))
    assert tuple(analogies(words, {"s": [("a", "b", "c", "a"), ("b", "a", "c", "a")]}).total) == (0, 2, 2)


def test_a_tie_goes_to_the_more_frequent_word() -> None:
    vectors = np.array([[0, 1], [1, 1], [0, 3], [1, 3], [1, 3]], np.float32)
    words = WordVectors.of(["a", "b", "c", "often", "rarely"], vectors)
    for right, share in (("often", 1), ("rarely", 0)):
        assert analogies(words, {"s": [("a", "b", "c", right)]}, "euclidean").total.share == share


def test_tied_pairs_share_their_mean_rank() -> None:
    words = WordVectors.of(["x", "a", "b", "c"], np.array([[1, 0], [1, 0], [2, 0], [3, 0]], np.float32))
    pairs = [("x", "a"), ("x", "b"), ("x", "c")]
    # Ranks 1.5, 1.5, 3 against 1, 2, 3: Pearson's correlation of these is .75 / sqrt(.75).
    assert similarity(words, pairs, [1, 1, 7], "dot").correlation == pytest.approx(np.sqrt(0.75))
    assert np.isnan(similarity(words, pairs, [1, 2, 3], "cosine").correlation)  # all cosines are 1
    assert np.isnan(similarity(words, pairs, [2, 2, 2], "dot").correlation)
    one = similarity(words, [("x", "a"), ("x", "never")], [1, 2])
    assert np.isnan(one.correlation)
    assert (one.used, one.pairs) == (1, 2)


def test_lower_case_keeps_the_most_frequent_word_and_zero_is_no_vector() -> None:
    vectors = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    words = WordVectors.of(["us", "Us", "US", "we"], vectors, lower=True)
    assert words.rows == {"us": 0, "we": 1}
    assert words.vectors.tolist() == [[1, 0], [1, 1]]
    assert WordVectors.of(["us", "Us", "US", "we"], vectors, most_frequent=3).rows == {"Us": 0, "US": 1}


def test_files_with_comments_blank_lines_and_any_blanks(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("\ufeff# people\n\ncat  dog\t7.5\r\n")
    assert read_pairs(file) == ([("cat", "dog")], [7.5])
    file.write_text(": one two\n a b c d \n:three\n: one two\ne f g h\n")
    assert read_questions(file) == {"one two": [("a", "b", "c", "d"), ("e", "f", "g", "h")], "three": []}


@pytest.mark.parametrize(
    ("text", "got"),
    [
        (b"a b 1\nc d\n", "line 2: got 'c d'"),
        (b"a b 1\n\nc d 1 2\n", "line 3: got 'c d 1 2'"),
        (b"Word1 Word2 Score\n", "line 1: got 'Word1 Word2 Score'"),
        (b"a b nan\n", "line 1: got 'a b nan'"),
        (b"# nothing\n", "got no pair"),
        (b"a \xff 1\n", "not UTF-8"),
    ],
)
def test_bad_pairs_are_named(text: bytes, got: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_bytes(text)
    with pytest.raises(UsageError, match=got):
        read_pairs(tmp_path / "pairs.txt")


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("a b c d\n", "line 1: got a question before"),
        (": s\na b c\n", "line 2: got 'a b c'"),
        (": s\na b c d e\n", "line 2: got 'a b c d e'"),
        (": s\n", "got no question"),
        ("", "got no question"),
    ],
)
def test_bad_questions_are_named(text: str, got: str, tmp_path: Path) -> None:
    (tmp_path / "questions.txt").write_text(text)
    with pytest.raises(UsageError, match=got):
        read_questions(tmp_path / "questions.txt")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Items whose vectors are the grid, and whose watched vectors tell nothing."""
    rows = np.concatenate([np.zeros((1, 4), np.float32), GRID_VECTORS])
    made = make_export(rows, np.zeros((2, 4), np.float32), [[1, 2, 3]])
    watched = np.ones_like(rows)
    watched[0] = 0
    object.__setattr__(made, "items", Vocabulary(GRID))
    object.__setattr__(made, "watched_vectors", watched)
    write_export(made, tmp_path / "export")
    (tmp_path / "questions.txt").write_text(
        ": royal\nMan Woman King Queen\nman woman duke duchess\n: gram1-young\nman woman prince queen\n"
    )
    (tmp_path / "pairs.txt").write_text("man king 9\nman prince 8\nman queen 2\nman dog 1\n")
    return tmp_path / "export"


def test_the_command_judges_vectors_without_a_holdout(export: Path) -> None:
    pairs, questions = export.with_name("pairs.txt"), export.with_name("questions.txt")
    found = run_json("evaluate", export, "--similarity", pairs, "--analogies", questions)
    assert (found["words"], found["vectors"], found["measure"]) == (7, "item", "cosine")
    # The cosines with man are 26 / sqrt(26 * 27) twice and 24 / sqrt(26 * 27).
    assert found["similarity"][str(pairs)] == {"correlation": pytest.approx(np.sqrt(0.75)), "used": 3, "pairs": 4}
    answers = found["analogies"][str(questions)]
    royal, young = answers["sections"].values()
    assert royal == {"accuracy": 1, "correct": 1, "used": 1, "questions": 2} == answers["groups"]["semantic"]
    assert young == {"accuracy": 0, "correct": 0, "used": 1, "questions": 1} == answers["groups"]["syntactic"]
    assert answers["total"] == {"accuracy": 0.5, "correct": 1, "used": 2, "questions": 3}
    shown = run("evaluate", export, "--similarity", pairs, "--analogies", questions)
    assert "gram1-young" in shown
    assert "0.8660" in shown


def test_the_command_takes_other_vectors_fewer_words_and_case_seriously(export: Path) -> None:
    pairs, questions = export.with_name("pairs.txt"), export.with_name("questions.txt")
    watched = run_json("evaluate", export, "--similarity", pairs, "--vectors", "watched")
    assert watched["similarity"][str(pairs)]["correlation"] is None  # all tie
    assert "-" in run("evaluate", export, "--similarity", pairs, "--vectors", "watched")
    exact = run_json("evaluate", export, "--analogies", questions, "--match-case")
    assert exact["analogies"][str(questions)]["total"]["used"] == 1
    few = run_json("evaluate", export, "--similarity", pairs, "--most-frequent", "3", "--measure", "euclidean")
    assert few["similarity"][str(pairs)]["used"] == 2


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        (("--vectors", "item"), "--vectors"),
        (("--match-case",), "--match-case"),
        (("--similarity", "pairs.txt", "-k", "3"), "-k"),
        (("--similarity", "pairs.txt", "--by", "activity"), "--by"),
        (("--similarity", "pairs.txt", "--vectors", "user"), "--vectors"),
        (("--similarity", "pairs.txt", "--measure", "l1"), "--measure"),
        (("--similarity", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_impossible_options_are_named(
    export: Path, words: tuple[str, ...], argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(export.parent)
    with pytest.raises(UsageError) as error:
        run("evaluate", export, *words)
    assert error.value.argument == argument
