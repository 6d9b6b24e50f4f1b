"""Reads files of word similarities and analogies. Blank lines are skipped, and comments: lines that begin with #."""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path

from watchnext.errors import UsageError


def read_pairs(path: Path) -> tuple[list[tuple[str, str]], list[float]]:
    """Pairs of words and people's scores, from lines of `word word score`, as WordSim-353, MEN and SimLex-999 are.

    Raises UsageError with the line's number where one is anything else, or where there is none.
    """
    pairs, scores = [], []
    for place, words in _lines(path):
        score = _number(words[2]) if len(words) == 3 else None
        if score is None:
            raise UsageError(place, repr(" ".join(words)), "Write a word, a word and a score, with blanks between.")
        pairs.append((words[0], words[1]))
        scores.append(score)
    if not pairs:
        raise UsageError(str(path), "no pair of words", "Give a file of lines of a word, a word and a score.")
    return pairs, scores


def read_questions(path: Path) -> dict[str, list[tuple[str, str, str, str]]]:
    """Analogies by section, from lines `: section` and, below, lines of four words, as questions-words.txt is.

    Raises UsageError with the line's number where one is anything else, or where there is no question.
    """
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    section: list[tuple[str, str, str, str]] | None = None
    for place, words in _lines(path):
        if words[0].startswith(":"):
            section = sections.setdefault(" ".join(words).removeprefix(":").strip(), [])
            continue
        if section is None:
            raise UsageError(place, "a question before the first section", "Begin with a line `: section`.")
        if len(words) != 4:
            raise UsageError(place, repr(" ".join(words)), "Write four words, or a colon and a section's name.")
        section.append((words[0], words[1], words[2], words[3]))
    if not any(sections.values()):
        raise UsageError(str(path), "no question", "Give a file of lines `: section` and, below, four words a line.")
    return sections


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The words of each line that is not blank or a comment, and where it is."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                words = line.split()
                if words and not words[0].startswith("#"):
                    yield f"{path}, line {number}", words
    except OSError as error:
        raise UsageError(str(path), error.strerror or error, "Name a file that can be read.") from error
    except UnicodeDecodeError as error:
        raise UsageError(str(path), "text that is not UTF-8", "Convert the file to UTF-8.") from error


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
