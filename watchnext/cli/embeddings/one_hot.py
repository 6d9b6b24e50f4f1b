"""Question 1: what one-hot inputs cost a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from corpus.corpus import Corpus
from evaluation.embeddings import first_layer, first_reached
from evaluation.embeddings_report import Facts, Section, difference, estimate, number, table
from evaluation.plots import Line, lines
from evaluation.results import Cell
from evaluation.scorers import VectorScorer
from watchnext.cli.embeddings.lab import HOLDOUT, NDCG, SHARE, Lab
from watchnext.cli.planning import planned

if TYPE_CHECKING:
    from model.fit import Validate
    from model.one_hot import Arm
    from watchnext.config import TrainingConfig

NAMES: "dict[Arm, str]" = {"one-hot": "one-hot, dense", "rows": "one-hot, read by rows", "embeddings": "embeddings"}
PLAIN = (
    *("encoder=mean", "tower=128,64", "residual=false", "tied=false", "context=false", "searches=false"),
    *("item_features=", "time_gaps=false", "example_age=false", "bias=false", "dropout=0", "validation_users=1000"),
)
"""The network: a mean of watches and two hidden layers, nothing beside."""
VALIDATIONS, LEAST = 20, 10
"""So many times, and after so many steps at least, a run is validated."""
REACHED = 0.95
"""Asked is when a network reaches this share of the NDCG@10 that all of them reach."""
Run = tuple[Cell, Facts]


def question_1(lab: Lab) -> Section:
    """One-hot inputs, dense and by rows, beside embeddings."""
    blocks, facts, figures = [], Facts(), {}
    for corpus in lab.corpora:
        name, runs = lab.name(corpus), {arm: [_run(lab, corpus, arm, seed) for seed in lab.seeds] for arm in NAMES}
        targets = [REACHED * min(max(_ndcg(runs[arm][seed])) for arm in NAMES) for seed in lab.seeds]
        rows = []
        for arm, own in runs.items():
            row, facts[f"{name}, {arm}"] = _row(lab, own, targets, None if arm == "one-hot" else runs["one-hot"])
            rows.append([NAMES[arm], *row])
        items, target = runs["one-hot"][0][1]["layer"]["items"], float(np.mean(targets))
        header = ["first layer", "its weights", "updated a step", "with a gradient", "MB", "CPU ms a step"]
        header += ["steps until reached", "CPU s until reached", "test NDCG@10", "minus one-hot's"]
        title = f"**{name}**, {items:,} items; reached is an NDCG@10 of {target:.4f} in validation{lab.means}:"
        blocks += [title, table(header, rows)]
        drawn = [_line(NAMES[arm], own) for arm, own in runs.items()]
        axes = "CPU seconds of training", "NDCG@10 in validation"
        figures[name] = (lines(drawn, *axes, log=True), f"NDCG@10 by CPU seconds, {name}")
    return Section(1, "What do one-hot inputs cost?", blocks, figures, facts)


def _row(
    lab: Lab, runs: Sequence[Run], targets: Sequence[float], others: Sequence[Run] | None
) -> tuple[list[str], Facts]:
    """Cells of the table, and the facts in them."""
    cells, found = [cell for cell, _ in runs], [facts for _, facts in runs]
    reached = [_when(run, target) for run, target in zip(runs, targets, strict=True)]
    steps, seconds = (float(np.mean(column)) for column in zip(*reached, strict=True))
    ends = [facts["points"][-1] for facts in found]
    step = float(np.mean([1000 * spent / (count - 1) for count, spent, _ in ends]))
    layer, tested = first_layer(**found[0]["layer"]), lab.estimates(cells)[NDCG]
    minus = None if others is None else lab.differences(cells, [cell for cell, _ in others])[NDCG]
    counted = [
        number(layer.weights),
        f"{layer.updated:.1%}",
        f"{layer.with_gradient:.1%}",
        number(layer.megabytes, 1),
    ]
    row = [*counted, number(step, 1), number(steps), number(seconds, 1), estimate(tested), difference(minus)]
    timed = {"ms_per_step": step, "steps": steps, "cpu_seconds": seconds}
    return row, {**layer._asdict(), **timed, NDCG: tested._asdict(), "points": [facts["points"] for facts in found]}


def _run(lab: Lab, folder: Path, arm: "Arm", seed: int) -> Run:
    """Train one of the networks and judge its best weights; `points` are those of `model.one_hot_run`."""
    steps = lab.limits.steps
    cell = lab.cell(folder, "default", PLAIN, seed, arm=arm, steps=str(steps))

    def measure() -> Facts:
        from model.one_hot_run import learn
        from model.train import training_data

        lab.say(f"{cell.data}: {NAMES[arm]}", seed)
        corpus, chosen = Corpus.open(folder), lab.chosen("default", PLAIN, seed)
        features, inputs, plan = planned(corpus, chosen, HOLDOUT, SHARE, 0)
        training, validate = cast("TrainingConfig", chosen.training), cast("Validate", plan.validate)
        data = training_data(corpus, features, plan)
        every = max(LEAST, steps // VALIDATIONS)
        with lab.counted(NAMES[arm], steps) as advance:
            run = learn(data, chosen.model, training, arm, steps, every, validate, advance)
        lab.judge(cell, corpus, VectorScorer(run.item_vectors, run.tower, inputs), run.points[-1].cpu_seconds)
        layer = {"arm": arm, "items": data.items, "touched": run.touched}
        layer |= {"width": chosen.model.tower[0], "dim": chosen.model.dim}
        return {"points": run.points, "layer": layer | {"examples": run.examples, "positions": run.positions}}

    return cell, lab.judged(cell, measure)


def _ndcg(run: Run) -> list[float]:
    return [ndcg for _, _, ndcg in run[1]["points"]]


def _when(run: Run, target: float) -> tuple[int, float]:
    """Steps and CPU seconds until an accuracy is reached that every run reaches."""
    steps, seconds, _ = run[1]["points"][first_reached(_ndcg(run), target) or 0]
    return steps, seconds


def _line(name: str, runs: Sequence[Run]) -> Line:
    points = np.mean([facts["points"] for _, facts in runs], 0)  # [points, 3]
    return Line(name, points[:, 1], points[:, 2])
