"""Made words: every topic has a name and twenty words of its own, every series a name; no two are alike.

A word is a number written in syllables of two letters. Names of topics have two syllables, their words three, names
of series four, so that a word tells what it is.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from watchnext.catalogue import row_numbers

Integers = NDArray[np.integer]

TOPIC, TOPIC_WORD, SERIES = 2, 3, 4
"""Syllables of each kind of word."""
WORDS_PER_TOPIC = 20

_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
_BASE = len(_SYLLABLES)
_FACTOR = 35_431
"""Has no divisor in common with the base, so that multiplication shuffles the numbers of a length."""


def words(numbers: Integers, syllables: int) -> pa.Array:
    """[numbers] their words, as large strings."""
    left = numbers.astype(np.int64) * _FACTOR % _BASE**syllables
    table = pa.array(_SYLLABLES, pa.large_string())
    parts = []
    for _ in range(syllables):
        parts.append(table.take(row_numbers(left % _BASE)))
        left = left // _BASE
    return pc.binary_join_element_wise(*parts, pa.scalar("", pa.large_string()))


def number_of(word: str) -> int:
    """The number that a word writes.

    >>> [number_of(word.as_py()) for word in words(np.array([0, 7, 8_099]), TOPIC)]
    [0, 7, 8099]
    """
    syllables = [word[i : i + 2] for i in range(0, len(word), 2)]
    size: int = _BASE ** len(syllables)
    value = sum(_SYLLABLES.index(syllable) * int(_BASE**i) for i, syllable in enumerate(syllables))
    return value * pow(_FACTOR, -1, size) % size


def topic_words(topics: Integers, which: Integers) -> pa.Array:
    """[topics] of each topic the word number `which`, from 0 to `WORDS_PER_TOPIC` - 1."""
    return words(topics.astype(np.int64) * WORDS_PER_TOPIC + which, TOPIC_WORD)


def meaning(query: str) -> tuple[int, int]:
    """The topic and the series that the words of a query name, each -1 where none does.

    >>> meaning(topic_words(np.array([3]), np.array([5]))[0].as_py())
    (3, -1)
    """
    topic = series = -1
    for word in query.split():
        if len(word) == 2 * SERIES:
            series = number_of(word)
        elif len(word) == 2 * TOPIC_WORD:
            topic = number_of(word) // WORDS_PER_TOPIC
    return topic, series
