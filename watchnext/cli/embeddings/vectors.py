"""Questions 2 to 4, about the two vectors of each item in item2vec and word2vec."""

from pathlib import Path
from typing import get_args

import numpy as np

from evaluation.bootstrap import Estimate, estimates
from evaluation.embeddings import Side, kinship, serving, vectors_of
from evaluation.embeddings_report import Facts, Section, difference, estimate, number, plain, table
from evaluation.plots import bars
from evaluation.results import Cell
from evaluation.words import Measure
from watchnext.cli.embeddings.judges import Judges
from watchnext.cli.embeddings.lab import HR, NDCG, K, Lab

SIDES: tuple[Side, ...] = get_args(Side)
MEASURES: tuple[Measure, ...] = get_args(Measure)
SERVED: dict[str, tuple[Side, Side]] = {
    "both": ("input", "output"),
    "only input": ("input", "input"),
    "only output": ("output", "output"),
    "only their average": ("average", "average"),
}
"""What users' vectors are means of and what they are compared with, by what serving keeps."""


def question_2(lab: Lab, judges: Judges) -> Section:
    """Input, output and average as the vectors of items, by the cosine."""
    blocks, facts, groups = [], Facts(), dict[str, dict[str, Estimate]]()
    for corpus in lab.corpora:
        name, cells = lab.name(corpus), {side: _cells(lab, corpus, "input", side, "cosine") for side in SIDES}
        rows, groups[name] = [], {side: lab.estimates(own)[NDCG] for side, own in cells.items()}
        for side, own in cells.items():
            found, kin = lab.estimates(own), _kinships(lab, corpus, side, "cosine")
            minus = None if side == "output" else lab.differences(own, cells["output"])[NDCG]
            near = [estimate(kin[what], 3) for what in ("nearest", "chance")] if kin else ["-", "-"]
            rows.append([side, estimate(found[HR]), estimate(found[NDCG]), difference(minus), *near])
            facts[f"{name}, {side}"] = {**plain(found), **plain(kin or {})}
        header = ["item vectors", "HR@10", "NDCG@10", "NDCG@10 minus output's", "share a category", "chance"]
        title = f"**{name}**, users by the input vectors of their last watches, cosine{lab.means}:"
        blocks += [title, table(header, rows)]
    if lab.words:
        exports, rows, used = [lab.word2vec(seed) for seed in lab.seeds], [], {}
        for side in SIDES:
            judged = judges.judge(exports, side, "cosine")
            rows.append([side, *(estimate(judged.scores[name], 3) for name in judges.names)])
            facts[f"words, {side}"], used = plain(judged.scores), judged.used
        known = ", ".join(f"{count:,} of {name}" for name, count in used.items())
        blocks += [f"**Words**, cosine{lab.means}; known are {known}:", table(["vectors", *judges.names], rows)]
    figures = {"item-vectors": (bars(groups, SIDES, "NDCG@10"), "NDCG@10 by the vectors of items")}
    return Section(2, "Do output vectors serve as item vectors?", blocks, figures, facts)


def _kinships(lab: Lab, corpus: Path, side: Side, measure: Measure) -> dict[str, Estimate] | None:
    """How often the 10 nearest share a category, and chance, as means over items; None where none is known."""
    found = []
    for seed in lab.seeds:
        export = lab.item2vec(corpus, seed)
        categories = export.catalogue.table.column("categories").to_pylist()
        kin = kinship(vectors_of(export, side)[1:], categories[1:], K, measure)
        if kin is None:
            return None
        found.append(kin)
    return estimates({"nearest": np.mean([kin.shares for kin in found], 0), "chance": found[0].chance})


def question_3(lab: Lab, judges: Judges) -> Section:
    """Cosine, dot product and Euclidean distance for all of these vectors."""
    blocks, facts, figures = [], Facts(), {}
    for corpus in lab.corpora:
        name, rows, groups = lab.name(corpus), [], {str(measure): dict[str, Estimate]() for measure in MEASURES}
        for side in SIDES:
            cells = {measure: _cells(lab, corpus, "input", side, measure) for measure in MEASURES}
            for measure, own in cells.items():
                found, kin = lab.estimates(own), _kinships(lab, corpus, side, measure)
                minus = None if measure == "cosine" else lab.differences(own, cells["cosine"])[NDCG]
                near = estimate(kin["nearest"], 3) if kin else "-"
                rows.append([side, measure, estimate(found[HR]), estimate(found[NDCG]), difference(minus), near])
                facts[f"{name}, {side}, {measure}"] = {**plain(found), **plain(kin or {})}
                groups[measure][side] = found[NDCG]
        header = ["item vectors", "measure", "HR@10", "NDCG@10", "NDCG@10 minus cosine's", "share a category"]
        title = f"**{name}**, users by the input vectors of their last watches{lab.means}:"
        blocks += [title, table(header, rows, 2)]
        figures[f"measures-{name}"] = (bars(groups, SIDES, "NDCG@10"), f"NDCG@10 by measure, {name}")
    if lab.words:
        exports, rows = [lab.word2vec(seed) for seed in lab.seeds], []
        for side in SIDES:
            for measure in MEASURES:
                scores = judges.judge(exports, side, measure).scores
                rows.append([side, measure, *(estimate(scores[name], 3) for name in judges.names)])
                facts[f"words, {side}, {measure}"] = plain(scores)
        blocks += [f"**Words**{lab.means}:", table(["vectors", "measure", *judges.names], rows, 2)]
    return Section(3, "Cosine, dot product or Euclidean distance?", blocks, figures, facts)


def question_4(lab: Lab) -> Section:
    """What serving loses with one table, and what it saves."""
    blocks, facts, groups = [], Facts(), dict[str, dict[str, Estimate]]()
    for corpus in lab.corpora:
        name, rows, export = lab.name(corpus), [], lab.item2vec(corpus, 0)
        cells = {kept: _cells(lab, corpus, *sides, "cosine") for kept, sides in SERVED.items()}
        groups[name] = {kept: lab.estimates(own)[NDCG] for kept, own in cells.items()}
        for kept, own in cells.items():
            found = lab.estimates(own)
            minus = None if kept == "both" else lab.differences(own, cells["both"])[NDCG]
            needs = serving(len(export.items), len(export.users), export.manifest.dim, kept != "both")
            sizes = [number(size, 2) for size in needs]
            rows.append([kept, estimate(found[HR]), estimate(found[NDCG]), difference(minus), *sizes])
            facts[f"{name}, {kept}"] = {**plain(found), "megabytes": needs._asdict()}
        header = ["kept", "HR@10", "NDCG@10", "NDCG@10 minus both's", "items, MB", "stored users, MB"]
        title = f"**{name}**, {len(export.items):,} items, {len(export.users):,} users, cosine{lab.means}:"
        blocks += [title, table([*header, "for fresh histories besides, MB"], rows)]
    figures = {"kept": (bars(groups, list(SERVED), "NDCG@10"), "NDCG@10 by what serving keeps")}
    return Section(4, "Must both matrices be kept for serving?", blocks, figures, facts)


def _cells(lab: Lab, corpus: Path, users: Side, items: Side, measure: Measure) -> list[Cell]:
    """Recommendation by some vectors, for each seed."""
    return [lab.scored(corpus, seed, users, items, measure) for seed in lab.seeds]
