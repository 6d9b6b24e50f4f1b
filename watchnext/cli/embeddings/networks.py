"""Questions 5 and 6, about networks: their hidden layers, and a start from item2vec's vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.bootstrap import Estimate
from evaluation.embeddings import Side, first_reached
from evaluation.embeddings_report import Facts, Section, difference, estimate, number, plain, table
from evaluation.plots import Line, bars, lines
from evaluation.results import Cell
from watchnext.cli.embeddings.judges import Judges
from watchnext.cli.embeddings.lab import HR, NDCG, Lab
from watchnext.config import Activation, Word2vecConfig
from watchnext.presets import preset, text_of

DEEPER = "256,128"
"""The tower beside that of the default."""
ACTIVATIONS: tuple[Activation, ...] = ("relu", "linear", "sigmoid")
Run = tuple[Cell, Facts]
COLUMNS = ("best epoch", "CPU s")


def question_5(lab: Lab, judges: Judges) -> Section:
    """Linear, ReLU and sigmoid hidden layers, in the network and in word2vec."""
    blocks, facts, groups = [], Facts(), {}
    towers = [text_of(preset("default").model.tower), *([] if lab.limits.quick else [DEEPER])]
    for corpus in lab.corpora:
        name = lab.name(corpus)
        text, found, groups[name] = _deep(lab, corpus, towers)
        facts |= found
        text_, found = _shallow(lab, corpus)
        facts |= found
        blocks += [f"**{name}**, the default network{lab.means}:", text, f"**{name}**, item2vec{lab.means}:", text_]
    if lab.words:
        text, found = _of_words(lab, judges)
        facts |= found
        blocks += [f"**Words**, word2vec, cosine{lab.means}:", text]
    names = [f"{activation}, {tower}" for tower in towers for activation in _activations(lab)]
    figures = {"hidden": (bars(groups, names, "NDCG@10"), "NDCG@10 by hidden layers and tower")}
    return Section(5, "Linear, ReLU or sigmoid hidden layers?", blocks, figures, facts)


def _activations(lab: Lab) -> tuple[Activation, ...]:
    return ACTIVATIONS[:2] if lab.limits.quick else ACTIVATIONS


def _deep(lab: Lab, corpus: Path, towers: Sequence[str]) -> tuple[str, Facts, dict[str, Estimate]]:
    """The table of a corpus, its facts, and NDCG@10 by activation and tower."""
    rows, facts, drawn = [], Facts(), {}
    for tower in towers:
        runs = {a: _runs(lab, corpus, "default", _changes(tower, a)) for a in _activations(lab)}
        for activation, own in runs.items():
            row, found = _compared(lab, own, None if activation == "relu" else runs["relu"])
            rows.append([tower, activation, *row])
            facts[f"{lab.name(corpus)}, tower {tower}, {activation}"] = found
            drawn[f"{activation}, {tower}"] = lab.estimates([cell for cell, _ in own])[NDCG]
    header = ["tower", "hidden layers", "HR@10", "NDCG@10", "NDCG@10 minus ReLU's", *COLUMNS]
    return table(header, rows, 2), facts, drawn


def _shallow(lab: Lab, corpus: Path) -> tuple[str, Facts]:
    """The same for the hidden layer of item2vec, the input vectors."""
    rows, facts = [], Facts()
    runs = {a: _runs(lab, corpus, "item2vec", _hidden("item2vec", a)) for a in _activations(lab)}
    for activation, own in runs.items():
        row, found = _compared(lab, own, None if activation == "linear" else runs["linear"])
        rows.append([activation, *row])
        facts[f"{lab.name(corpus)}, item2vec, {activation}"] = found
    return table(["hidden layer", "HR@10", "NDCG@10", "NDCG@10 minus linear's", *COLUMNS], rows), facts


def _of_words(lab: Lab, judges: Judges) -> tuple[str, Facts]:
    """The same for word2vec, by what is judged of words."""
    rows, facts = [], Facts()
    kinds: dict[Side, str] = {"input": "hidden layer", "output": "output"}
    for activation in _activations(lab):
        exports = [lab.word2vec(seed, _hidden("word2vec", activation)) for seed in lab.seeds]
        for side, kind in kinds.items():
            scores, used = judges.judge(exports, side, "cosine")
            known = " / ".join(f"{used[name]:,}" for name in judges.names)
            rows.append([activation, kind, *(estimate(scores[name], 3) for name in judges.names), known])
            facts[f"words, {activation}, {kind}"] = plain(scores)
    return table(["hidden layer", "vectors", *judges.names, "of which known"], rows, 2), facts


def question_6(lab: Lab) -> Section:
    """A start of the default network from item2vec's vectors, beside the random one."""
    blocks, facts, figures = [], Facts(), {}
    for corpus in lab.corpora:
        name, usual = lab.name(corpus), _runs(lab, corpus, "default", ())
        starts = {"random": usual, "item2vec's vectors": _runs(lab, corpus, "default", (), pretrained=True)}
        before = float(np.mean([found["cpu_seconds"] for _, found in _runs(lab, corpus, "item2vec", ())]))
        rows = []
        for start, own in starts.items():
            row, found = _compared(lab, own, None if own is usual else usual)
            until = [_until(run, beside) for run, beside in zip(own, usual, strict=True)]
            epochs, seconds = (_mean(column) for column in zip(*until, strict=True))
            rows.append([start, *row, number(epochs, 1), number(seconds)])
            facts[f"{name}, {start}"] = {**found, "epochs_until": epochs, "cpu_seconds_until": seconds}
        header = ["start", "HR@10", "NDCG@10", "NDCG@10 minus random's", *COLUMNS]
        header += ["epochs until the random start's best", "CPU s until then"]
        title = f"**{name}**; item2vec's own training takes {before:,.0f} CPU s besides{lab.means}:"
        blocks += [title, table(header, rows)]
        drawn = [_line(start, own) for start, own in starts.items()]
        figures[name] = (lines(drawn, "epochs", "best NDCG@10 in validation"), f"NDCG@10 by epochs, {name}")
    return Section(6, "Does a start from item2vec's vectors help?", blocks, figures, facts)


def _runs(lab: Lab, corpus: Path, name: str, settings: Sequence[str], pretrained: bool = False) -> list[Run]:
    return [lab.network(corpus, name, settings, seed, pretrained) for seed in lab.seeds]


def _changes(tower: str, activation: Activation) -> tuple[str, ...]:
    """The changes of the default that give a tower and an activation; none where it has both."""
    usual = preset("default").model
    changes = {"tower": (tower, text_of(usual.tower)), "activation": (activation, usual.activation)}
    return tuple(f"{name}={wanted}" for name, (wanted, has) in changes.items() if wanted != has)


def _hidden(name: str, activation: Activation) -> tuple[str, ...]:
    """Likewise for the hidden layer of a preset of word2vec."""
    usual = preset(name).training
    same = isinstance(usual, Word2vecConfig) and usual.activation == activation
    return () if same else (f"activation={activation}",)


def _compared(lab: Lab, runs: Sequence[Run], others: Sequence[Run] | None) -> tuple[list[str], Facts]:
    """Cells of a row: recommendation, the difference to other runs, epochs and CPU seconds; and the facts in them."""
    cells = [cell for cell, _ in runs]
    found = lab.estimates(cells)
    minus = None if others is None else lab.differences(cells, [cell for cell, _ in others])[NDCG]
    epochs, seconds = (float(np.mean([facts[key] for _, facts in runs])) for key in ("epochs", "cpu_seconds"))
    row = [estimate(found[HR]), estimate(found[NDCG]), difference(minus), number(epochs), number(seconds)]
    told = {"minus": None if minus is None else minus._asdict(), "epochs": epochs, "cpu_seconds": seconds}
    return row, {**plain(found), **told}


def _until(run: Run, usual: Run) -> tuple[float | None, float | None]:
    """Epochs and CPU seconds until the best validation of the usual run was reached; None where it never was."""
    curve, target = run[1]["curve"], usual[1]["curve"][-1][2]
    place = first_reached([best for _, _, best in curve], target)
    return (None, None) if place is None else (curve[place][0], curve[place][1])


def _mean(values: Sequence[float | None]) -> float | None:
    """None as soon as one is: a mean of those that got there would flatter."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _line(name: str, runs: Sequence[Run]) -> Line:
    """The mean of runs, as far as the shortest one goes."""
    shortest = min(len(facts["curve"]) for _, facts in runs)
    curve = np.mean([facts["curve"][:shortest] for _, facts in runs], 0)  # [epochs, 3]
    return Line(name, curve[:, 0], curve[:, 2])
