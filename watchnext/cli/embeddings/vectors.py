"""Questions 2 to 4, about the two vectors of each item in item2vec and word2vec."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from evaluation.bootstrap import Estimate, estimates
from evaluation.embeddings import Side, kinship, serving, vectors_of
from evaluation.embeddings_report import Section, accuracy, correlation, difference, estimate, number, table
from evaluation.plots import bars
from evaluation.word_files import read_pairs, read_questions
from evaluation.words import Accuracy, Measure, Similarity, WordVectors, analogies, similarity
from watchnext.cli.embeddings.lab import HR, NDCG, K, Lab
from watchnext.export import Export
from watchnext.features import Float32

SIDES: tuple[Side, ...] = get_args(Side)
MEASURES: tuple[Measure, ...] = get_args(Measure)
SERVED: dict[str, tuple[Side, Side]] = {
    "both": ("input", "output"),
    "only input": ("input", "input"),
    "only output": ("output", "output"),
    "only their average": ("average", "average"),
}
"""What users' vectors are means of and what they are compared with, by what serving keeps."""
ANALOGIES = "analogies"


class Judged(NamedTuple):
    """How vectors of words do: a correlation for each file, and the share of right answers under `analogies`."""

    scores: dict[str, Estimate]
    used: dict[str, int]
    """Of how many pairs and questions all words are known."""


@dataclass(frozen=True)
class Judges:
    """What vectors of words are judged by."""

    similarity: Sequence[Path]
    analogies: Path | None

    @cached_property
    def pairs(self) -> dict[str, tuple[list[tuple[str, str]], list[float]]]:
        """Pairs of words with people's scores, by the name of their file."""
        return {path.stem: read_pairs(path) for path in self.similarity}

    @cached_property
    def questions(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """Analogies by section; none without a file."""
        return read_questions(self.analogies) if self.analogies else {}

    def read(self) -> None:
        """Read all files now. Raises UsageError for one that is not what it should be."""
        self.names  # noqa: B018

    @property
    def names(self) -> list[str]:
        """Of all scores that are given."""
        return [*self.pairs, *([ANALOGIES] if self.questions else [])]

    def judge(self, exports: Sequence[Export], vectors: Callable[[Export], Float32], measure: Measure) -> Judged:
        """The means of some models, alike but for their seeds."""
        correlations: dict[str, list[Similarity]] = {name: [] for name in self.pairs}
        answers: list[Accuracy] = []
        for export in exports:
            ids = export.items.ids(np.arange(1, len(export.items) + 1))
            words = WordVectors.of(ids, np.asarray(vectors(export))[1:], lower=True)
            for name, pairs in self.pairs.items():
                correlations[name].append(similarity(words, *pairs, measure))
            if self.questions:
                answers.append(analogies(words, self.questions, measure).total)
        scores = {name: correlation(found) for name, found in correlations.items()}
        used = {name: found[0].used for name, found in correlations.items()}
        if answers:
            scores[ANALOGIES], used[ANALOGIES] = accuracy(answers), answers[0].used
        return Judged(scores, used)


def kinships(lab: Lab, corpus: Path, side: Side, measure: Measure) -> dict[str, Estimate] | None:
    """How often the 10 nearest share a category, and chance, as means over items; None where none is known."""
    found = []
    for seed in lab.seeds:
        export = lab.item2vec(corpus, seed)
        categories = export.catalogue.table.column("categories").to_pylist()
        kin = kinship(vectors_of(export, side)[1:], categories[1:], K, measure)
        if kin is None:
            return None
        found.append(kin)
    return estimates({"nearest": np.mean([k.shares for k in found], 0), "chance": found[0].chance})


def question_2(lab: Lab, judges: Judges) -> Section:
    """Input, output and average as the vectors of items, by the cosine."""
    blocks, facts, groups = [], {}, {}
    for corpus in lab.corpora:
        name, cells = corpus.resolve().name, {s: _cells(lab, corpus, "input", s, "cosine") for s in SIDES}
        rows, found = [], {side: lab.estimates(cells[side]) for side in SIDES}
        for side in SIDES:
            minus = None if side == "output" else lab.differences(cells[side], cells["output"])[NDCG]
            kin = kinships(lab, corpus, side, "cosine")
            shown = ["-", "-"] if kin is None else [estimate(kin["nearest"], 3), number(kin["chance"].value, 3)]
            rows.append([side, estimate(found[side][HR]), estimate(found[side][NDCG]), difference(minus), *shown])
            facts[f"{name}, {side}"] = {"recommendation": _plain(found[side]), "kinship": kin and _plain(kin)}
        header = [
            "item vectors",
            "HR@10",
            "NDCG@10",
            "NDCG@10 minus output's",
            "10 nearest share a category",
            "chance",
        ]
        blocks += [f"**{name}**, users by the input vectors of their last watches, cosine:", table(header, rows)]
        groups[name] = {side: found[side][NDCG] for side in SIDES}
    if lab.words:
        text, known = _words(lab, judges, "cosine")
        blocks.append(text)
        facts["words"] = known
    figures = {"item-vectors": (bars(groups, SIDES, "NDCG@10"), "NDCG@10 by the vectors of items")} if groups else {}
    return Section(2, "Do output vectors serve as item vectors?", blocks, figures, facts)


def _words(lab: Lab, judges: Judges, measure: Measure) -> tuple[str, dict[str, dict[str, dict[str, float]]]]:
    exports = [lab.word2vec(seed) for seed in lab.seeds]
    found = {side: judges.judge(exports, lambda e, s=side: vectors_of(e, s), measure) for side in SIDES}
    used = ", ".join(f"{count:,} of {name}" for name, count in found["input"].used.items())
    rows = [[side, *(estimate(judged.scores[name], 3) for name in judges.names)] for side, judged in found.items()]
    text = f"**Words**, {measure}; used were {used}:\n\n" + table(["word vectors", *judges.names], rows)
    return text, {side: _plain(judged.scores) for side, judged in found.items()}


def question_3(lab: Lab, judges: Judges) -> Section:
    """Cosine, dot product and Euclidean distance for all of these vectors."""
    blocks, facts, figures = [], {}, {}
    for corpus in lab.corpora:
        name = corpus.resolve().name
        cells = {(s, m): _cells(lab, corpus, "input", s, m) for s in SIDES for m in MEASURES}
        found = {place: lab.estimates(of) for place, of in cells.items()}
        rows = []
        for side, measure in cells:
            minus = None
            if measure != "cosine":
                minus = lab.differences(cells[side, measure], cells[side, "cosine"])[NDCG]
            kin = kinships(lab, corpus, side, measure)
            scores = found[side, measure]
            shown = "-" if kin is None else estimate(kin["nearest"], 3)
            rows.append([side, measure, estimate(scores[HR]), estimate(scores[NDCG]), difference(minus), shown])
            facts[f"{name}, {side}, {measure}"] = {"recommendation": _plain(scores), "kinship": kin and _plain(kin)}
        header = ["item vectors", "measure", "HR@10", "NDCG@10", "NDCG@10 minus cosine's", "share a category"]
        blocks += [f"**{name}**, users by the input vectors of their last watches:", table(header, rows, 2)]
        groups = {measure: {side: found[side, measure][NDCG] for side in SIDES} for measure in MEASURES}
        figures[f"measures-{name}"] = (bars(groups, SIDES, "NDCG@10"), f"NDCG@10 by measure, {name}")
    if lab.words:
        exports, rows = [lab.word2vec(seed) for seed in lab.seeds], []
        for side in SIDES:
            for measure in MEASURES:
                scores = judges.judge(exports, lambda e, s=side: vectors_of(e, s), measure).scores
                rows.append([side, measure, *(estimate(scores[name], 3) for name in judges.names)])
                facts[f"words, {side}, {measure}"] = _plain(scores)
        blocks += ["**Words**:", table(["word vectors", "measure", *judges.names], rows, 2)]
    return Section(3, "Cosine, dot product or Euclidean distance?", blocks, figures, facts)


def question_4(lab: Lab) -> Section:
    """What serving loses with one table, and what it saves."""
    blocks, facts, groups = [], {}, {}
    for corpus in lab.corpora:
        name, rows = corpus.resolve().name, []
        cells = {kept: _cells(lab, corpus, *sides, "cosine") for kept, sides in SERVED.items()}
        export = lab.item2vec(corpus, 0)
        for kept, own in cells.items():
            found = lab.estimates(own)
            minus = None if kept == "both" else lab.differences(own, cells["both"])[NDCG]
            needs = serving(len(export.items), len(export.users), export.manifest.dim, kept != "both")
            sizes = [number(size, 2) for size in needs]
            rows.append([kept, estimate(found[HR]), estimate(found[NDCG]), difference(minus), *sizes])
            facts[f"{name}, {kept}"] = {"recommendation": _plain(found), "megabytes": needs._asdict()}
            groups.setdefault(name, {})[kept] = found[NDCG]
        header = ["kept", "HR@10", "NDCG@10", "NDCG@10 minus both's", "items, MB", "stored users, MB"]
        title = f"**{name}**, {len(export.items):,} items, {len(export.users):,} users, cosine:"
        blocks += [title, table([*header, "for fresh histories besides, MB"], rows)]
    figures = {"kept": (bars(groups, list(SERVED), "NDCG@10"), "NDCG@10 by what serving keeps")} if groups else {}
    return Section(4, "Must both matrices be kept for serving?", blocks, figures, facts)


def _cells(lab: Lab, corpus: Path, users: Side, items: Side, measure: Measure) -> list:  # type: ignore[type-arg]
    return [lab.scored(corpus, seed, users, items, measure) for seed in lab.seeds]


def _plain(found: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: one._asdict() for name, one in found.items()}
