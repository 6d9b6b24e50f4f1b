"""The part of `watchnext evaluate` that judges vectors of words: by similarity of pairs and by analogies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from watchnext.cli.console import out, report
from watchnext.cli.neighbours import chosen
from watchnext.errors import UsageError

if TYPE_CHECKING:
    from evaluation.words import Accuracy
    from watchnext.export import Export


@dataclass(frozen=True)
class WordOptions:
    """What to judge and how; `None` is the default of an option that was not given.

    Args:
        similarity: files of pairs with people's scores.
        analogies: files of analogies.
        vectors: the export's `item` vectors or its `watched` ones.
        measure: cosine, dot or euclidean.
        most_frequent: only so many words are known and may be answers.
        match_case: whether Paris and paris are two words.
    """

    similarity: tuple[Path, ...]
    analogies: tuple[Path, ...]
    vectors: str | None
    measure: str | None
    most_frequent: int | None
    match_case: bool

    @property
    def wanted(self) -> bool:
        """Whether there is a file to judge by. Raises UsageError for options that need one and have none."""
        if self.similarity or self.analogies:
            return True
        own = {
            "--vectors": self.vectors,
            "--measure": self.measure,
            "--most-frequent": self.most_frequent,
            "--match-case": self.match_case,
        }
        for option, value in own.items():
            if value not in (None, False):
                raise UsageError(option, "neither --similarity nor --analogies beside it", "Name a file of words.")
        return False


def evaluate(export: Path, options: WordOptions, others: Mapping[str, object], json_: bool) -> None:
    """Judge an export's vectors and say how good they are.

    Raises UsageError where `others`, options of another kind of evaluation by name, are given, too.
    """
    for option, value in others.items():
        if value:
            raise UsageError(option, "--similarity or --analogies beside it", "Leave one of them out.")
    facts = run(export, options)
    if json_:
        report(True, "", facts)
    else:
        show(facts)


def run(folder: Path, options: WordOptions) -> dict[str, Any]:
    """Judge an export's vectors; returns the figures."""
    from evaluation import words
    from evaluation.word_files import read_pairs, read_questions
    from watchnext.export import Export

    measure, of = chosen(options.measure or "cosine", options.vectors or "item")
    pairs = {str(path): read_pairs(path) for path in options.similarity}
    questions = {str(path): read_questions(path) for path in options.analogies}
    known_words = _words(Export.open(folder), of, options)
    similarities = {name: words.similarity(known_words, *found, measure) for name, found in pairs.items()}
    for name, result in similarities.items():
        if not result.used:
            got = f"{name}, of whose {result.pairs:,} pairs none has two words with vectors"
            raise UsageError("--similarity", got, "Judge an export of words: train --model word2vec on a text.")
    answers = {name: words.analogies(known_words, found, measure) for name, found in questions.items()}
    return {
        "vectors": of,
        "measure": measure,
        "words": len(known_words.vectors),
        "similarity": {name: found._asdict() for name, found in similarities.items()},
        "analogies": {
            name: {
                "total": _plain(found.total),
                "groups": {group: _plain(part) for group, part in found.groups.items()},
                "sections": {section: _plain(part) for section, part in found.sections.items()},
            }
            for name, found in answers.items()
        },
    }


def _words(export: "Export", of: str, options: WordOptions) -> Any:
    from evaluation.words import WordVectors

    ids = export.items.all_ids()
    vectors = export.item_vectors if of == "item" else export.watched_vectors
    return WordVectors.of(ids, vectors[1:], options.most_frequent, not options.match_case)


def _plain(part: "Accuracy") -> dict[str, float]:
    return {"accuracy": part.share, **part._asdict()}


def show(facts: dict[str, Any]) -> None:
    """Print what `run` found."""
    if facts["similarity"]:
        title = "Spearman's rank correlation with people's scores"
        table = Table("pairs of", "correlation", "used", "of", title=title, title_justify="left")
        for name, found in facts["similarity"].items():
            table.add_row(Path(name).name, _number(found["correlation"]), f"{found['used']:,}", f"{found['pairs']:,}")
        out.print(table)
    for name, found in facts["analogies"].items():
        title = f"Analogies answered: {Path(name).name}"
        table = Table("section", "accuracy", "correct", "used", "of", title=title, title_justify="left")
        for section, part in {**found["sections"], **found["groups"], "total": found["total"]}.items():
            counts = (f"{part[column]:,}" for column in ("correct", "used", "questions"))
            table.add_row(section, _number(part["accuracy"]), *counts)
        out.print(table)
    out.print(f"{facts['words']:,} words, {facts['vectors']} vectors, {facts['measure']}")


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"
