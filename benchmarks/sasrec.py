"""Accuracy against CPU seconds: training here and SASRec by RecTools (torch), in one picture.

    python -m benchmarks.sasrec CORPUS [--epochs 30] [--to work/sasrec]
    python -m benchmarks.sasrec --quick

CORPUS is a folder written by `watchnext ingest`. Of each user the last watch is the test and the one before it
validation; all items are ranked, by the same code for all. After each epoch a model is judged; the CPU seconds are
those of training alone, without start and judging. Each stops when validation has not risen for some epochs, SASRec
also after some minutes. It has an environment of its own below `work/`, made when it is missing; it is several GiB
large.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks._rivals.contest import ROOT
from benchmarks._rivals.environment import environment
from benchmarks._rivals.judged import METRICS, Judge
from benchmarks._rivals.world import make
from corpus.corpus import Corpus
from corpus.ingest import ingest
from corpus.options import IngestOptions
from evaluation.plots import Line, lines, svg_file
from model.assembly import TrainingData
from model.fit import METRIC, fit
from watchnext.cli.planning import planned
from watchnext.config import RunOptions
from watchnext.features import Float32
from watchnext.histories import Histories, Int64
from watchnext.presets import Preset, changed, preset
from watchnext.split import HoldoutName, Split, split
from watchnext.tower import UserTower

HOLDOUT: HoldoutName = "leave-one-out"
SASREC = {"n_factors": 64, "n_blocks": 2, "n_heads": 4, "session_max_len": 50, "batch_size": 128}
"""RecTools' own settings, except for vectors as long and histories as long as ours."""
LOSSES: dict[str, dict[str, Any]] = {
    "SASRec, softmax": {"loss": "softmax"},
    "SASRec, BCE": {"loss": "BCE", "n_negatives": 1},
}
"""RecTools' own loss, over all items, and that of the paper, with one negative a watch."""

Curve = list[dict[str, float]]
"""After each epoch: `epoch`, `cpu_seconds`, and the metrics of both parts."""


def ours(corpus: Corpus, chosen: Preset, judge: Judge, folder: Path) -> Curve:
    """Train as `watchnext train` does, and judge after each epoch."""
    features, inputs, plan = planned(corpus, chosen, HOLDOUT, 0.1, 0)
    data = TrainingData(inputs, plan.holdout.split.train, len(corpus.items), features)
    curve: Curve = []
    start, judging = time.process_time(), 0.0

    def validate(item_vectors: Float32, tower: UserTower) -> dict[str, float]:
        nonlocal judging
        stopped = time.process_time()
        metrics = judge.of_vectors(item_vectors, tower)
        curve.append({"epoch": len(curve) + 1, "cpu_seconds": stopped - start - judging, **metrics})
        judging += time.process_time() - stopped
        return {METRIC: metrics[f"valid {METRIC}"]}

    options = RunOptions(checkpoints=folder / "checkpoints")
    with Progress(disable=True) as bar:
        fit(data, chosen.model, chosen.training, options, bar, validate)
    return curve


def sasrec(python: Path, corpus: Corpus, cut: Split, judge: Judge, folder: Path, settings: dict[str, Any]) -> Curve:
    """Train SASRec in its environment, judge the lists it leaves, end it when validation no longer rises."""
    asked = cut.valid.anything
    write(corpus.histories, cut.train, folder / "train.npz")
    write(corpus.histories, np.where(asked, cut.valid.given, 0), folder / "valid.npz")
    write(corpus.histories, np.where(asked, cut.test.given, 0), folder / "test.npz")
    patience, late = settings.pop("patience"), time.monotonic() + 60 * settings.pop("minutes")
    command = [str(python), "-m", "benchmarks._rivals.sasrec", str(folder), json.dumps(settings)]
    curve: Curve = []
    with (folder / "sasrec.log").open("w") as log:
        env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # threads that wait in a loop would count as work
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, env=env)
        try:
            for line in process.stdout or ():
                after = json.loads(line)
                path = folder / f"lists-{after['epoch']}.npz"
                with np.load(path) as lists:
                    curve.append({**after, **judge.of_lists(dict(lists))})
                path.unlink()
                if len(curve) - best(curve)["epoch"] >= patience or time.monotonic() > late:
                    process.terminate()
        finally:
            process.kill()
            process.wait()
    if not curve:
        raise RuntimeError(f"SASRec did not train: {(folder / 'sasrec.log').read_text()[-2000:]}")
    return curve


def write(histories: Histories, ends: Int64, path: Path) -> None:
    """The first `ends` watches of each user as three columns."""
    seen = histories.until(ends)
    user = np.repeat(np.arange(len(ends)), ends)
    np.savez(path, user=user, item=seen.items, place=np.arange(len(user)))


def best(curve: Curve) -> dict[str, float]:
    """The epoch that validation chooses."""
    return max(curve, key=lambda after: after[f"valid {METRIC}"])


def until(curve: Curve, accuracy: float) -> float | None:
    """CPU seconds until validation first reached an accuracy; None where it never did.

    >>> curve = [{"cpu_seconds": 2.0, "valid ndcg@10": 0.01}, {"cpu_seconds": 4.0, "valid ndcg@10": 0.03}]
    >>> until(curve, 0.02), until(curve, 0.04)
    (4.0, None)
    """
    return next((after["cpu_seconds"] for after in curve if after[f"valid {METRIC}"] >= accuracy), None)


def picture(curves: dict[str, Curve], to: Path) -> None:
    """NDCG@10 of the test part against CPU seconds, on a logarithmic axis."""
    series = [
        Line(name, [after["cpu_seconds"] for after in curve], [after[f"test {METRIC}"] for after in curve])
        for name, curve in curves.items()
    ]
    figure = lines(series, "CPU seconds of training", "NDCG@10 of the test part", log=True)
    to.write_bytes(svg_file(figure, "NDCG@10 of the test part after each epoch against the CPU seconds of training"))


def table(curves: dict[str, Curve]) -> Table:
    """One row a model: its best epoch."""
    shown = Table("", "best epoch", "CPU s", *(f"test {name}" for name in METRICS))
    for name, curve in curves.items():
        chosen = best(curve)
        metrics = (f"{chosen[f'test {metric}']:.4f}" for metric in METRICS)
        shown.add_row(name, f"{chosen['epoch']:.0f}", f"{chosen['cpu_seconds']:.1f}", *metrics)
    return shown


def equal_accuracy(one: Curve, other: Curve) -> dict[str, float | None]:
    """CPU seconds of both until validation reached the best that the weaker of them ever does, and their ratio."""
    accuracy = min(best(curve)[f"valid {METRIC}"] for curve in (one, other))
    a, b = until(one, accuracy), until(other, accuracy)
    return {"accuracy": accuracy, "ours_seconds": a, "sasrec_seconds": b, "ratio": b / a if a and b else None}


def example(folder: Path) -> Path:
    """A small corpus, to try the benchmark itself: popularity is all that it holds."""
    world = make(500, users=300)
    users = np.repeat(np.arange(len(world.lengths)), world.lengths)
    watches = {"user": users, "item": world.items, "time": np.arange(len(users))}
    pq.write_table(pa.table({name: pa.array(values) for name, values in watches.items()}), folder / "log.parquet")
    ingest(IngestOptions(logs=(str(folder / "log.parquet"),), to=folder / "corpus"))
    return folder / "corpus"


def run(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Curve]]:
    """Both curves, one after the other, so that neither disturbs the other."""
    corpus = Corpus.open(arguments.corpus or example(folder))
    chosen = changed(preset("default"), [f"epochs={arguments.epochs}", f"patience={arguments.patience}"])
    cut = split(corpus.histories, HOLDOUT)
    _, inputs, _ = planned(corpus, chosen, HOLDOUT, 0.1, 0)
    judge = Judge(corpus, cut, inputs, arguments.users)
    yield "watchnext", ours(corpus, chosen, judge, folder)
    if arguments.quick:
        return
    settings = {
        **SASREC,
        "users": len(corpus.users),
        "epochs": arguments.sasrec_epochs,
        "seed": 0,
        "patience": arguments.patience,
        "minutes": arguments.minutes,
    }
    for name, loss in LOSSES.items():
        yield name, sasrec(environment("benchmark-sasrec"), corpus, cut, judge, folder, {**settings, **loss})


def main() -> int:
    """Print a table, draw the picture, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?", help="folder written by `watchnext ingest`")
    parser.add_argument("--quick", action="store_true", help="ours alone on a made-up corpus: under a minute")
    parser.add_argument("--epochs", type=int, help="ours: at most so many (default: 60)")
    parser.add_argument("--sasrec-epochs", type=int, default=60, help="SASRec: at most so many (default: 60)")
    parser.add_argument(
        "--patience", type=int, default=5, help="stop after so many epochs without a rise (default: 5)"
    )
    parser.add_argument(
        "--minutes", type=float, default=60, help="stop SASRec after the first epoch that ends later (default: 60)"
    )
    parser.add_argument("--users", type=int, default=10**9, help="judge at most so many users (default: all)")
    parser.add_argument("--to", type=Path, default=ROOT / "work" / "sasrec", help="folder for the picture")
    arguments = parser.parse_args()
    if not arguments.quick and arguments.corpus is None:
        parser.error("give a corpus, or --quick")
    arguments.epochs = arguments.epochs or (3 if arguments.quick else 60)
    with tempfile.TemporaryDirectory() as folder:
        curves = dict(run(arguments, Path(folder)))
    Console().print(table(curves))
    arguments.to.mkdir(parents=True, exist_ok=True)
    picture(curves, arguments.to / "accuracy-by-cpu-seconds.svg")
    mine, *others = curves
    equal = {name: equal_accuracy(curves[mine], curves[name]) for name in others}
    document = {"benchmark": "sasrec", "settings": SASREC, "equal": equal, "curves": curves}
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
