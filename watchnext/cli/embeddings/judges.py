"""What vectors of words are judged by: people's scores of pairs, and analogies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from evaluation.bootstrap import Estimate
from evaluation.embeddings import Side, vectors_of
from evaluation.embeddings_report import accuracy, correlation
from evaluation.word_files import read_pairs, read_questions
from evaluation.words import Accuracy, Measure, Similarity, WordVectors, analogies, similarity
from watchnext.errors import UsageError
from watchnext.export import Export

ANALOGIES = "analogies"


class Judged(NamedTuple):
    """How vectors of words do, by the name of the file of pairs, or `analogies`."""

    scores: dict[str, Estimate]
    """Rank correlations and the share of right answers."""
    used: dict[str, int]
    """How many pairs and questions there are of words that are all known."""


@dataclass(frozen=True)
class Judges:
    """Files of pairs with people's scores, by name, and analogies by section, which may be none."""

    pairs: Mapping[str, tuple[list[tuple[str, str]], list[float]]]
    questions: Mapping[str, Sequence[Sequence[str]]]

    @classmethod
    def read(cls, pairs: Sequence[Path], questions: Path | None) -> Self:
        """Read the files. Raises UsageError for one that is not what it should be."""
        names = [path.stem for path in pairs]
        if ANALOGIES in names or len(set(names)) < len(names):
            raise UsageError("--similarity", f"files named {', '.join(names)}", "Give each a name of its own.")
        read = {path.stem: read_pairs(path) for path in pairs}
        return cls(read, read_questions(questions) if questions else {})

    @property
    def names(self) -> list[str]:
        """Of all that `judge` finds."""
        return [*self.pairs, *([ANALOGIES] if self.questions else [])]

    def judge(self, exports: Sequence[Export], side: Side, measure: Measure) -> Judged:
        """The means over some models that are alike but for their seeds; `side` are the vectors that are judged."""
        correlations: dict[str, list[Similarity]] = {name: [] for name in self.pairs}
        answers: list[Accuracy] = []
        for export in exports:
            ids = export.items.all_ids()
            words = WordVectors.of(ids, vectors_of(export, side)[1:], lower=True)
            for name, pairs in self.pairs.items():
                correlations[name].append(similarity(words, *pairs, measure))
            if self.questions:
                answers.append(analogies(words, self.questions, measure).total)
        scores = {name: correlation(found) for name, found in correlations.items()}
        used = {name: found[0].used for name, found in correlations.items()}
        if answers:
            scores[ANALOGIES], used[ANALOGIES] = accuracy(answers), answers[0].used
        return Judged(scores, used)
