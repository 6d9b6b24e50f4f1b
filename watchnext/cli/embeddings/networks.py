"""Questions 1, 5 and 6, about networks: one-hot inputs, hidden layers, and a start from item2vec's vectors."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from corpus.corpus import Corpus
from evaluation.embeddings import first_layer, first_reached, vectors_of
from evaluation.embeddings_report import Section, difference, estimate, number, table
from evaluation.plots import Line, bars, lines
from evaluation.results import Cell
from evaluation.scorers import VectorScorer
from watchnext.cli.embeddings.lab import HOLDOUT, HR, NDCG, SHARE, Facts, Lab
from watchnext.cli.embeddings.vectors import Judges
from watchnext.cli.train import planned
from watchnext.config import Activation
from watchnext.presets import preset, text_of

ARMS = ("one-hot", "rows", "embeddings")
NAMES = {"one-hot": "one-hot, dense", "rows": "one-hot, read by rows", "embeddings": "embeddings"}
PLAIN = (
    *("encoder=mean", "tower=128,64", "residual=false", "tied=false", "context=false", "searches=false"),
    *("item_features=", "time_gaps=false", "example_age=false", "bias=false", "dropout=0", "validation_users=1000"),
)
"""The network of question 1: a mean of watches, two hidden layers, nothing beside."""
VALIDATIONS = 20
REACHED = 0.95
"""Question 1 asks when a network reaches this share of the NDCG@10 that all of them reach."""
DEEPER = "256,128"
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


def question_1(lab: Lab) -> Section:
    """What one-hot inputs cost."""
    blocks, facts, figures = [], {}, {}
    for corpus in lab.corpora:
        name = corpus.resolve().name
        runs = {arm: [_one_hot(lab, corpus, arm, seed) for seed in lab.seeds] for arm in ARMS}
        targets = [REACHED * min(max(_ndcg(runs[arm][seed][1])) for arm in ARMS) for seed in lab.seeds]
        rows = []
        for arm in ARMS:
            cells, own = [cell for cell, _ in runs[arm]], [found for _, found in runs[arm]]
            reached = [_when(found, target) for found, target in zip(own, targets, strict=True)]
            steps, seconds = (float(np.mean(column)) for column in zip(*reached, strict=True))
            last = np.mean([1000 * found["points"][-1][1] / (found["points"][-1][0] - 1) for found in own])
            layer, tested = first_layer(**own[0]["layer"]), lab.estimates(cells)[NDCG]
            minus = None if arm == "one-hot" else lab.differences(cells, [c for c, _ in runs["one-hot"]])[NDCG]
            shares = [f"{layer.updated:.1%}", f"{layer.with_gradient:.1%}"]
            counted = [number(layer.weights), *shares, number(layer.megabytes, 1)]
            timed = [number(float(last), 1), number(steps), number(seconds, 1)]
            rows.append([NAMES[arm], *counted, *timed, estimate(tested), difference(minus)])
            facts[f"{name}, {arm}"] = {
                "layer": layer._asdict(),
                "ms_per_step": float(last),
                "steps": steps,
                "cpu_seconds": seconds,
                "test": tested._asdict(),
                "points": [found["points"] for found in own],
            }
        about = f"{own[0]['items']:,} items; reached is NDCG@10 {np.mean(targets):.4f} in validation"
        header = ["first layer", "its weights", "updated a step", "with a gradient", "MB", "CPU ms a step"]
        header += ["steps until reached", "CPU s until reached", "test NDCG@10", "minus one-hot's"]
        blocks += [f"**{name}**, {about}:", table(header, rows)]
        drawn = [_line(NAMES[arm], runs[arm]) for arm in ARMS]
        axes = "CPU seconds of training", "NDCG@10 in validation"
        figures[name] = (lines(drawn, *axes, log=True), f"NDCG@10 by CPU seconds, {name}")
    return Section(1, "What do one-hot inputs cost?", blocks, figures, facts)


def _one_hot(lab: Lab, folder: Path, arm: Any, seed: int) -> tuple[Cell, Facts]:
    steps = lab.limits.steps
    cell = lab.cell(folder, "default", PLAIN, seed, arm=arm, steps=str(steps))

    def measure() -> Facts:
        from model.one_hot_run import learn
        from model.train import training_data

        lab.say(f"{cell.data}: {NAMES[arm]}", seed)
        corpus, chosen = Corpus.open(folder), lab.chosen("default", PLAIN, seed)
        features, inputs, plan = planned(corpus, chosen, HOLDOUT, SHARE, 0)
        data = training_data(corpus, features, plan)
        assert plan.validate is not None
        with lab.counted(NAMES[arm], steps) as advance:
            every = max(1, steps // VALIDATIONS)
            run = learn(data, chosen.model, chosen.training, arm, steps, every, plan.validate, advance)
        lab.judge(cell, corpus, VectorScorer(run.item_vectors, run.tower, inputs), run.points[-1].cpu_seconds)
        layer = {
            "arm": arm,
            "items": data.items,
            "touched": run.touched,
            "width": chosen.model.tower[0],
            "dim": chosen.model.dim,
            "examples": run.examples,
            "positions": run.positions,
        }
        return {"points": run.points, "layer": layer, "items": data.items}

    return cell, lab.once(cell.model_dump(), measure)


def _ndcg(found: Facts) -> list[float]:
    return [point[2] for point in found["points"]]


def _when(found: Facts, target: float) -> tuple[float, float]:
    """Steps and CPU seconds until an accuracy is reached."""
    place = first_reached(_ndcg(found), target)
    assert place is not None
    steps, seconds, _ = found["points"][place]
    return steps, seconds


def _line(name: str, runs: Sequence[tuple[Cell, Facts]]) -> Line:
    points = np.mean([found["points"] for _, found in runs], 0)  # [points, 3]
    return Line(name, points[:, 1], points[:, 2])


def question_5(lab: Lab, judges: Judges) -> Section:
    """Linear, ReLU and sigmoid hidden layers, in the network and in word2vec."""
    blocks, facts, groups = [], {}, {}
    usual = preset("default").model
    towers = [text_of(usual.tower), DEEPER]
    for corpus in lab.corpora:
        name, rows, drawn = corpus.resolve().name, [], {}
        for tower in towers:
            trained = {
                a: [lab.network(corpus, "default", _changes(tower, a), seed) for seed in lab.seeds]
                for a in ACTIVATIONS
            }
            for activation, runs in trained.items():
                row, known = _compared(lab, runs, None if activation == "relu" else trained["relu"])
                rows.append([tower, activation, *row])
                facts[f"{name}, tower {tower}, {activation}"] = known
                drawn[f"{activation}, {tower}"] = lab.estimates([cell for cell, _ in runs])[NDCG]
        header = ["tower", "hidden layers", "HR@10", "NDCG@10", "NDCG@10 minus ReLU's", "epochs", "CPU s"]
        blocks += [f"**{name}**, the default network:", table(header, rows, 2)]
        groups[name] = drawn
        rows, trained = (
            [],
            {a: [lab.network(corpus, "item2vec", _hidden(a), s) for s in lab.seeds] for a in ACTIVATIONS},
        )
        for activation, runs in trained.items():
            row, known = _compared(lab, runs, None if activation == "linear" else trained["linear"])
            rows.append([activation, *row])
            facts[f"{name}, item2vec, {activation}"] = known
        header = ["hidden layer", "HR@10", "NDCG@10", "NDCG@10 minus linear's", "epochs", "CPU s"]
        blocks += [f"**{name}**, item2vec:", table(header, rows)]
    if lab.words:
        rows = []
        for activation in ACTIVATIONS:
            exports = [lab.word2vec(seed, _hidden(activation, "word2vec")) for seed in lab.seeds]
            for kind in ("input", "output"):
                of = {"input": "hidden layer", "output": "output vectors"}[kind]
                scores = judges.judge(exports, lambda e, k=kind: vectors_of(e, k), "cosine").scores
                rows.append([activation, of, *(estimate(scores[n], 3) for n in judges.names)])
                facts[f"words, {activation}, {kind}"] = {n: score._asdict() for n, score in scores.items()}
        blocks += ["**Words**, word2vec, cosine:", table(["hidden layer", "word vectors", *judges.names], rows, 2)]
    names = [f"{activation}, {tower}" for tower in towers for activation in ACTIVATIONS]
    figures = {"hidden": (bars(groups, names, "NDCG@10"), "NDCG@10 by hidden layers and tower")} if groups else {}
    return Section(5, "Linear, ReLU or sigmoid hidden layers?", blocks, figures, facts)


def _changes(tower: str, activation: Activation) -> tuple[str, ...]:
    """The changes of the default that give a tower and an activation; none where it has both."""
    usual = preset("default").model
    changes = [f"tower={tower}"] if tower != text_of(usual.tower) else []
    return tuple([*changes, *([f"activation={activation}"] if activation != usual.activation else [])])


def _hidden(activation: Activation, name: str = "item2vec") -> tuple[str, ...]:
    """Likewise for the hidden layer of word2vec."""
    usual = preset(name).training
    return () if getattr(usual, "activation", None) == activation else (f"activation={activation}",)


def _compared(
    lab: Lab, runs: Sequence[tuple[Cell, Facts]], others: Sequence[tuple[Cell, Facts]] | None
) -> tuple[list[str], Facts]:
    """Cells of a row: recommendation, the difference to other runs, epochs and CPU seconds; and the facts in them."""
    cells = [cell for cell, _ in runs]
    found = lab.estimates(cells)
    minus = None if others is None else lab.differences(cells, [cell for cell, _ in others])[NDCG]
    epochs, seconds = (float(np.mean([facts[key] for _, facts in runs])) for key in ("epochs", "cpu_seconds"))
    row = [estimate(found[HR]), estimate(found[NDCG]), difference(minus), number(epochs), number(seconds)]
    plain = {metric: one._asdict() for metric, one in found.items()}
    return row, {**plain, "minus": minus and minus._asdict(), "epochs": epochs, "cpu_seconds": seconds}


def question_6(lab: Lab) -> Section:
    """A start of the default network from item2vec's vectors, beside the random one."""
    blocks, facts, figures = [], {}, {}
    for corpus in lab.corpora:
        name = corpus.resolve().name
        random = [lab.network(corpus, "default", (), seed) for seed in lab.seeds]
        other = [lab.network(corpus, "default", (), seed, pretrained=True) for seed in lab.seeds]
        before = float(np.mean([lab.network(corpus, "item2vec", (), seed)[1]["cpu_seconds"] for seed in lab.seeds]))
        rows, drawn = [], []
        for title, runs, others in (("random", random, None), ("item2vec's vectors", other, random)):
            row, known = _compared(lab, runs, others)
            until = [_until(own, usual) for (_, own), (_, usual) in zip(runs, random, strict=True)]
            epochs, seconds = (_mean(column) for column in zip(*until, strict=True))
            rows.append([title, *row, number(epochs, 1), number(seconds)])
            facts[f"{name}, {title}"] = {**known, "epochs_until": epochs, "cpu_seconds_until": seconds}
            shortest = min(len(own["curve"]) for _, own in runs)
            curve = np.mean([own["curve"][:shortest] for _, own in runs], 0)
            drawn.append(Line(title, curve[:, 0], curve[:, 2]))
        header = ["start", "HR@10", "NDCG@10", "NDCG@10 minus random's", "epochs", "CPU s in all"]
        header += ["epochs until the random start's best", "CPU s until then"]
        blocks += [f"**{name}**; item2vec's own training took {before:,.0f} CPU s more:", table(header, rows)]
        figures[name] = (lines(drawn, "epochs", "best NDCG@10 in validation"), f"NDCG@10 by epochs, {name}")
    return Section(6, "Does a start from item2vec's vectors help?", blocks, figures, facts)


def _until(own: Facts, usual: Facts) -> tuple[float | None, float | None]:
    """Epochs and CPU seconds until the best validation of the usual run was reached; None where it never was."""
    place = first_reached([best for _, _, best in own["curve"]], usual["curve"][-1][2])
    return (None, None) if place is None else (own["curve"][place][0], own["curve"][place][1])


def _mean(values: Sequence[float | None]) -> float | None:
    """None as soon as one is: a mean of those that got there would flatter."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
