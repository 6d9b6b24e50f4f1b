"""What a warm start saves: one more day trained from the export of the day before, against training anew.

    python -m benchmarks.warm_start [--quick]

A simulated world of 60 days. A model is trained on the watches up to day 55. Then, with those of day 56 too, in which
there are new videos and new users: once anew, with early stopping, and once from the first model for a few epochs.
Both are asked for the next watch after day 56 of the users that the first model knew, all items ranked. The
differences are paired by user. Time is the processor's, which a busy machine does not stretch. The last line is JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from corpus.corpus import Corpus
from corpus.ingest import ingest
from corpus.options import IngestOptions
from evaluation.bootstrap import paired
from evaluation.protocol import Report, Validator, evaluate
from evaluation.scorers import VectorScorer
from evaluation.training import TrainingCounts
from model.train import Holdout, Plan, train
from model.warm import WarmStart, old_numbers
from simulation.clock import START
from simulation.config import WorldConfig
from simulation.write import simulate
from watchnext.config import Preset, RunOptions, changed, preset
from watchnext.export import Export, write_export
from watchnext.features import FeatureSpec
from watchnext.inputs import user_inputs
from watchnext.split import Ask, Split

DAY = 86_400
DAYS, FIRST, SECOND = 60, 55, 56
"""Days of the world, and those up to which the first model and the second one see watches."""
METRICS = ("hr@10", "ndcg@10", "recall@50")


@dataclass(frozen=True)
class Trained:
    """A model, the processor seconds that it took, and what it got right."""

    export: Export
    seconds: float
    report: Report


def world(folder: Path, quick: bool) -> Path:
    """Write a world of 60 days; returns its folder."""
    size = (500, 600, 40_000) if quick else (3_000, 4_000, 300_000)
    config = WorldConfig(items=size[0], users=size[1], watches=size[2], days=DAYS, topics=20).without("searches")
    simulate(config, folder / "world", 1)
    return folder / "world"


def corpus_until(made: Path, day: int, to: Path) -> Corpus:
    """The corpus of all watches before the end of a day."""
    watches = ds.dataset(made / "watches").to_table()
    to.mkdir()
    pq.write_table(watches.filter(ds.field("time") < START + day * DAY), to / "log.parquet")
    logs = (str(to / "log.parquet"),)
    options = IngestOptions(logs=logs, users=made / "users.parquet", items=made / "items.parquet", to=to / "corpus")
    return ingest(options)


def cut_at(corpus: Corpus, day: int) -> Split:
    """Train on what was watched before the end of a day but each user's last, which validates; test on the next."""
    histories = corpus.histories
    before = np.concatenate([[0], np.cumsum(histories.times < START + day * DAY)])
    seen = before[histories.offsets[1:]] - before[histories.offsets[:-1]]
    known = np.maximum(seen - 1, 0)
    asked = np.where(seen > 0, np.minimum(seen + 1, histories.lengths), seen)
    return Split(known, Ask(known, seen), Ask(seen, asked))


def trained(corpus: Corpus, day: int, chosen: Preset, folder: Path, warm: Path | None = None) -> Trained:
    """Train on everything up to a day, and rank for the day after."""
    cut = cut_at(corpus, day)
    features = FeatureSpec.fit(corpus.user_table, 0, corpus.histories.until(cut.train).times)
    inputs = user_inputs(features, corpus.histories, corpus.user_table)
    validate = Validator(inputs, cut, chosen.training.validation_users, 0)
    start = None if warm is None else WarmStart.open(warm, corpus.items, None)
    plan = Plan(chosen.model, chosen.training, Holdout("last", 0.1, cut), validate, warm=start)
    begun = time.process_time()
    with Progress(disable=True) as bar:
        export = train(corpus, features, plan, RunOptions(checkpoints=folder), bar)
    seconds = time.process_time() - begun
    counts = TrainingCounts.of(corpus.histories, cut.train, len(corpus.items))
    scorer = VectorScorer(export.item_vectors, export.tower(), inputs)
    return Trained(export, seconds, evaluate(scorer, corpus.histories, cut, counts))


def study(folder: Path, quick: bool, epochs: int) -> dict[str, float]:
    """Train three times; the facts to print."""
    made, chosen = world(folder, quick), preset("default")
    if quick:
        chosen = changed(chosen, ["dim=32", "tower=64", "epochs=30"])
    first, second = (corpus_until(made, day, folder / f"day-{day}") for day in (FIRST + 1, DAYS))
    old = trained(first, FIRST, chosen, folder / "old-checkpoints")
    write_export(old.export, folder / "old")
    cold = trained(second, SECOND, chosen, folder / "cold-checkpoints")
    few = changed(chosen, [f"epochs={epochs}"])
    warm = trained(second, SECOND, few, folder / "warm-checkpoints", folder / "old")
    seen = cut_at(first, FIRST).valid.until
    known = seen[first.users.numbers(second.users.ids(cold.report.users))] > 0
    counts = old.export.item_counts[old_numbers(second.items, first.items)]
    differences = paired(
        {name: warm.report.metrics[name][known] for name in METRICS},
        {name: cold.report.metrics[name][known] for name in METRICS},
    )
    facts: dict[str, float] = {
        "old_users": int(known.sum()),
        "new_items": int(((counts == 0) & (warm.export.item_counts > 0)).sum()),
        "cold_epochs": cold.export.manifest.epochs,
        "warm_epochs": warm.export.manifest.epochs,
        "cold_cpu_seconds": cold.seconds,
        "warm_cpu_seconds": warm.seconds,
        "time_ratio": warm.seconds / cold.seconds,
    }
    for name, difference in differences.items():
        facts[f"cold_{name}"] = float(cold.report.metrics[name][known].mean())
        facts[f"difference_{name}"] = difference.value
        facts[f"low_{name}"], facts[f"high_{name}"] = difference.low, difference.high
    return facts


def main() -> None:
    """Measure, print a table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small world, under a minute")
    parser.add_argument("--epochs", type=int, default=2, help="of the warm start (default: 2)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        facts = study(Path(folder), arguments.quick, arguments.epochs)
    table = Table("", "", title="Warm start", show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,.4g}")
    Console().print(table)
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
