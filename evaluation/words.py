"""How good vectors of words are: by people's judgement of pairs, and by analogies. Knows of arrays only.

Both are as in word2vec's tools and gensim: questions with a word that has no vector are left out and counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from watchnext.features import Float32
from watchnext.histories import Int64

Measure = Literal["cosine", "dot", "euclidean"]
"""How near two vectors are: their cosine, their dot product, or the negative Euclidean distance."""
BLOCK_SCORES = 1 << 23
"""Scores in memory at once: 32 MiB of float32."""
SYNTACTIC = "gram"
"""Sections of syntactic questions begin with this, as in questions-words.txt; the others are semantic."""


@dataclass(frozen=True)
class WordVectors:
    """Words that have a vector; `of` makes one.

    Args:
        rows: the row of each word.
        vectors: [words, dim], none of them zero.
        lower: whether the words are in lower case, and those of questions are put so before they are looked up.
    """

    rows: Mapping[str, int]
    vectors: Float32
    lower: bool

    @classmethod
    def of(
        cls, words: Sequence[str], vectors: Float32, most_frequent: int | None = None, lower: bool = False
    ) -> Self:
        """Vectors by word. A vector of zeros is none.

        Args:
            words: by falling frequency.
            vectors: [words, dim].
            most_frequent: only this many words are known, and only they are possible answers; None: all.
            lower: put everything into lower case; of words that are then the same, the most frequent one counts.
        """
        some = np.flatnonzero(vectors[:most_frequent].any(1))
        first: dict[str, int] = {}
        for place in some.tolist():
            first.setdefault(words[place].lower() if lower else words[place], place)
        return cls({word: row for row, word in enumerate(first)}, np.asarray(vectors[list(first.values())]), lower)

    def find(self, asked: Sequence[Sequence[str]], width: int) -> tuple[Int64, NDArray[np.bool_]]:
        """[questions, width] the rows of the words of each question, [questions] whether all of them are known."""
        rows = [[self.rows.get(word.lower() if self.lower else word, -1) for word in words] for words in asked]
        found: Int64 = np.array(rows, np.int64).reshape(-1, width)
        return found, np.asarray((found >= 0).all(1))


class Similarity(NamedTuple):
    """How well the order of pairs by their vectors is people's order."""

    correlation: float
    """Spearman's rank correlation, from -1 to 1; NaN for fewer than two pairs or where all scores of a side tie."""
    used: int
    """Pairs whose two words are known; the others are left out."""
    pairs: int
    """All pairs."""


class Accuracy(NamedTuple):
    """How many analogies were answered."""

    correct: int
    """Questions whose answer was the right one."""
    used: int
    """Questions whose four words are known; the others are left out."""
    questions: int
    """All questions."""

    @property
    def share(self) -> float:
        """Correct answers of the used questions, from 0 to 1; NaN without any."""
        return self.correct / self.used if self.used else np.nan


@dataclass(frozen=True)
class Analogies:
    """Accuracy on a file of analogies.

    Args:
        sections: in the order of the file.
        groups: `semantic` and `syntactic`; empty where the file has not both.
    """

    total: Accuracy
    groups: dict[str, Accuracy]
    sections: dict[str, Accuracy]


def similarity(
    words: WordVectors, pairs: Sequence[tuple[str, str]], scores: Sequence[float], measure: Measure = "cosine"
) -> Similarity:
    """Spearman's rank correlation of people's scores of pairs with those of the vectors; ties share their mean rank.

    Finkelstein et al. 2002, "Placing search in context" (WordSim-353).

    Args:
        pairs: two words each.
        scores: [pairs] the higher the more similar.

    >>> words = WordVectors.of(["cat", "dog", "car"], np.array([[1, 0], [1, 0.1], [0, 1]], np.float32))
    >>> similarity(words, [("cat", "dog"), ("dog", "car"), ("car", "cat"), ("cat", "cow")], [9, 2, 1, 8])
    Similarity(correlation=1.0, used=3, pairs=4)
    """
    found, known = words.find(pairs, 2)
    vectors = scaled(words.vectors, measure).astype(np.float64)
    one, two = vectors[found[known, 0]], vectors[found[known, 1]]  # [used, dim]
    near = -np.linalg.norm(one - two, axis=1) if measure == "euclidean" else (one * two).sum(1)
    people = np.asarray(scores, np.float64)[known]
    ordered = len(people) > 1 and np.ptp(people) > 0 and np.ptp(near) > 0
    return Similarity(float(spearmanr(people, near).statistic) if ordered else np.nan, len(people), len(pairs))


def analogies(
    words: WordVectors, sections: Mapping[str, Sequence[Sequence[str]]], measure: Measure = "cosine"
) -> Analogies:
    """Accuracy on questions "a is to b as c is to what?" by 3CosAdd.

    The answer is the word whose vector is nearest to b - a + c, other than a, b and c; vectors are scaled to length 1
    first where the measure is the cosine. A tie goes to the more frequent word. Mikolov et al. 2013, "Efficient
    estimation of word representations in vector space" (arXiv 1301.3781), 4.1.

    Args:
        sections: for each name its questions of four words, the last one the right answer.

    >>> words = WordVectors.of(["man", "king", "woman", "queen"], np.array([[1, 0], [1, 1], [2, 0], [2, 1]]) - 3.0)
    >>> analogies(words, {"royal": [("man", "king", "woman", "queen")]}, "euclidean").total
    Accuracy(correct=1, used=1, questions=1)
    """
    asked = [question for questions in sections.values() for question in questions]
    found, known = words.find(asked, 4)
    given, right = found[:, :3], found[:, -1:]
    correct = np.zeros(len(asked), np.bool_)
    if known.any():
        correct[known] = nearest(words.vectors, given[known], measure) == right[known, 0]
        correct &= (given != right).all(1)  # a word of the question is never the answer
    parts, begin = {}, 0
    for name, questions in sections.items():
        part = slice(begin, begin + len(questions))
        parts[name] = Accuracy(int(correct[part].sum()), int(known[part].sum()), len(questions))
        begin += len(questions)
    syntactic = [part for name, part in parts.items() if name.startswith(SYNTACTIC)]
    semantic = [part for name, part in parts.items() if not name.startswith(SYNTACTIC)]
    both = {"semantic": _sum(semantic), "syntactic": _sum(syntactic)} if semantic and syntactic else {}
    return Analogies(_sum(list(parts.values())), both, parts)


def nearest(vectors: Float32, questions: Int64, measure: Measure) -> Int64:
    """[questions] for each the row nearest to b - a + c, the question's own rows left out.

    Args:
        vectors: [words, dim].
        questions: [questions, 3] rows of a, b and c.
    """
    vectors = scaled(vectors, measure)
    taken = offsets(vectors, measure)
    answers = np.empty(len(questions), np.int64)
    block = max(1, BLOCK_SCORES // len(vectors))
    for start in range(0, len(questions), block):
        a, b, c = vectors[questions[start : start + block]].transpose(1, 0, 2)  # [block, dim] each
        scores = (b - a + c) @ vectors.T - taken  # [block, words]
        np.put_along_axis(scores, questions[start : start + block], -np.inf, 1)
        answers[start : start + block] = scores.argmax(1)
    return answers


def scaled(vectors: Float32, measure: Measure) -> Float32:
    """[words, dim] of length 1 for the cosine, where they are not zero; as they are otherwise."""
    if measure != "cosine":
        return vectors
    found: Float32 = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-30))
    return found


def offsets(vectors: Float32, measure: Measure) -> Float32:
    """[words] what is taken off dot products so that they order as the measure does.

    Of the distance |w - v|^2 = |w|^2 - 2 (w v - |v|^2 / 2) only the last term differs between the words v.
    """
    squares: Float32 = (vectors**2).sum(1) / 2
    return squares if measure == "euclidean" else np.zeros_like(squares)


def _sum(parts: Sequence[Accuracy]) -> Accuracy:
    return Accuracy(*(sum(column) for column in zip(*parts, strict=True))) if parts else Accuracy(0, 0, 0)
