"""What a warm start saves: one more day trained from the export of the day before, against training anew.

    python -m benchmarks.warm_start [--quick]

Simulated worlds of 60 days. A model is trained on the watches up to day 55. Then come those of day 56, in which there
are new videos and new users, and are trained on anew, with early stopping, and in several ways from the first model
for a few epochs. All models, the first one as it is, too, are asked for what the users that the first one knew watch
in the four days after, all items ranked. Differences are paired by user. Time is the processor's, of training with
its validation and of all user vectors; a busy machine does not stretch it. The last line is JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
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
from evaluation.bootstrap import Float64, paired
from evaluation.protocol import Validator, evaluate
from evaluation.scorers import VectorScorer
from evaluation.training import TrainingCounts
from model.network import Network
from model.train import Holdout, Plan, train
from model.warm import WarmStart, old_numbers
from simulation.clock import START
from simulation.config import WorldConfig
from simulation.write import simulate
from watchnext.config import RunOptions
from watchnext.export import Export, write_export
from watchnext.features import FeatureSpec, Float32
from watchnext.inputs import UserInputs, user_inputs
from watchnext.presets import Preset, changed, preset
from watchnext.split import Ask, Split, split
from watchnext.tower import UserTower

DAY = 86_400
DAYS, FIRST, SECOND = 60, 55, 56
"""Days of the world, and those up to which the first model and the later ones see watches."""
METRICS = ("hr@10", "ndcg@10", "recall@50")
COLD, UNCHANGED, FRESH = "anew", "unchanged", "new and a tenth, fresh optimizer"
WARM = {
    "all watches": ["replay=1", "epochs=2"],
    "new watches only": ["replay=0", "epochs=2"],
    "new and a tenth of the old": ["replay=0.1", "epochs=4"],
    FRESH: ["replay=0.1", "epochs=4"],
}
"""Ways to go on from the first model, with their settings."""
Metrics = dict[str, Float64]


@dataclass(frozen=True)
class World:
    """The corpora of two days, and what the second one asks for."""

    folder: Path
    first: Corpus
    second: Corpus

    @classmethod
    def make(cls, folder: Path, seed: int, quick: bool) -> "World":
        """Simulate a world and ingest it up to each day."""
        size = (500, 600, 40_000) if quick else (3_000, 8_000, 400_000)
        config = WorldConfig(seed=seed, items=size[0], users=size[1], watches=size[2], days=DAYS, topics=20)
        simulate(config.without("searches"), folder / "world", 1)
        return cls(folder, corpus_until(folder, FIRST), corpus_until(folder, DAYS))

    @property
    def cut(self) -> Split:
        """Train on what was watched up to the second day but each user's last, which validates; test on the rest."""
        histories = self.second.histories
        seen = histories.before(START + SECOND * DAY)
        known = np.maximum(seen - 1, 0)
        return Split(known, Ask(known, seen), Ask(seen, np.where(seen > 0, histories.lengths, seen)))


def corpus_until(folder: Path, day: int) -> Corpus:
    """The corpus of all watches before the end of a day."""
    made, to = folder / "world", folder / f"day-{day}"
    watches = ds.dataset(made / "watches").to_table()
    to.mkdir()
    pq.write_table(watches.filter(ds.field("time") < START + day * DAY), to / "log.parquet")
    logs = (str(to / "log.parquet"),)
    options = IngestOptions(logs=logs, users=made / "users.parquet", items=made / "items.parquet", to=to / "corpus")
    return ingest(options)


@dataclass
class Model:
    """What one way to train took and got right, over all worlds."""

    seconds: float = 0
    epochs: list[int] = field(default_factory=list)
    metrics: list[Metrics] = field(default_factory=list)

    def pooled(self) -> Metrics:
        """The metrics of each old user of all worlds."""
        return {name: np.concatenate([one[name] for one in self.metrics]) for name in METRICS}


def trained(
    corpus: Corpus, cut: Split, chosen: Preset, folder: Path, warm: Path | None = None
) -> tuple[Export, float]:
    """Train; the export and the processor seconds."""
    features, inputs = features_of(corpus, cut)
    validate = Validator(inputs, cut, chosen.training.validation_users, 0)
    start = None if warm is None else WarmStart.open(warm, corpus.items, None)
    known = None if start is None else start.known(corpus.users, corpus.histories)
    plan = Plan(chosen.model, chosen.training, Holdout("last", 0.1, cut), validate, warm=start, known=known)
    begun = time.process_time()
    with Progress(disable=True) as bar:
        export = train(corpus, features, plan, RunOptions(checkpoints=folder, optimizer_state=True), bar)
    return export, time.process_time() - begun


def features_of(corpus: Corpus, cut: Split) -> tuple[FeatureSpec, UserInputs]:
    """What is known of users."""
    features = FeatureSpec.fit(corpus.user_table, 0, corpus.histories.until(cut.train).times)
    return features, user_inputs(features, corpus.histories, corpus.user_table)


def unchanged(world: World, chosen: Preset, folder: Path) -> Metrics:
    """The metrics of the first model as it is, for the users and items of the second day."""
    features, _ = features_of(world.second, world.cut)
    network = Network(chosen.model, features, len(world.second.items), 0)
    start = WarmStart.open(folder, world.second.items, None)
    network.set_arrays(start.arrays(network))
    vectors, known = network.item_vectors(), old_numbers(world.second.items, world.first.items)
    vectors[start.export.item_counts[known] == 0] = 0
    return judged(world, vectors, network.tower())


def judged(world: World, item_vectors: Float32, tower: UserTower) -> Metrics:
    """The metrics of each user that the first model knew."""
    histories = world.second.histories
    counts = TrainingCounts.of(histories, world.cut.train, len(world.second.items))
    inputs = user_inputs(tower.features, histories, world.second.user_table)
    report = evaluate(VectorScorer(item_vectors, tower, inputs), histories, world.cut, counts)
    old = histories.before(START + FIRST * DAY)[report.users] > 1
    return {name: report.metrics[name][old] for name in METRICS}


def run(world: World, chosen: Preset, models: dict[str, Model]) -> None:
    """Train in one world in all ways, and add what was found."""
    first, folder = world.first, world.folder
    old, _ = trained(first, split(first.histories, "last"), chosen, folder / "first-checkpoints")
    write_export(old, folder / "old")
    write_export(replace(old, optimizer=None), folder / FRESH)
    models[UNCHANGED].metrics.append(unchanged(world, chosen, folder / "old"))
    for name, model in models.items():
        if name != UNCHANGED:
            start = None if name == COLD else folder / (FRESH if name == FRESH else "old")
            settings = changed(chosen, WARM.get(name, []))
            export, seconds = trained(world.second, world.cut, settings, folder / f"{name} checkpoints", start)
            model.seconds += seconds
            model.epochs.append(export.manifest.epochs)
            model.metrics.append(judged(world, export.item_vectors, export.tower()))


def facts(models: dict[str, Model]) -> dict[str, dict[str, float]]:
    """By model: seconds, their ratio to training anew, best epochs, metrics and their paired relative differences."""
    cold = models[COLD].pooled()
    found: dict[str, dict[str, float]] = {}
    for name, model in models.items():
        pooled = model.pooled()
        found[name] = {"cpu_seconds": model.seconds, "time_ratio": model.seconds / models[COLD].seconds}
        found[name] |= {"best_epoch": float(np.mean(model.epochs))} if model.epochs else {}
        for metric, difference in paired(pooled, cold).items():
            mean = cold[metric].mean()
            found[name][metric] = float(pooled[metric].mean())
            parts = {"change": difference.value, "low": difference.low, "high": difference.high}
            found[name] |= {f"{part}_{metric}": value / mean for part, value in parts.items()}
    return found


def shown(found: dict[str, dict[str, float]], users: int) -> Table:
    """A row for each model; differences in percent with their 95 % intervals."""
    title = f"One more day, {users:,} old users; differences to training anew"
    table = Table("", "CPU s", "ratio", "NDCG@10", *(name.upper() for name in METRICS), title=title)
    for name, row in found.items():
        changes = (f"{row[f'change_{m}']:+.1%} [{row[f'low_{m}']:+.1%}, {row[f'high_{m}']:+.1%}]" for m in METRICS)
        table.add_row(
            name, f"{row['cpu_seconds']:.1f}", f"{row['time_ratio']:.3f}", f"{row['ndcg@10']:.4f}", *changes
        )
    return table


def main() -> None:
    """Measure, print a table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small world, under a minute")
    parser.add_argument("--worlds", type=int, default=1, help="how many worlds (default: 1)")
    arguments = parser.parse_args()
    chosen = changed(preset("default"), ["dim=32", "tower=64", "epochs=20"] if arguments.quick else [])
    models = {name: Model() for name in (COLD, UNCHANGED, *WARM)}
    for seed in range(1 if arguments.quick else arguments.worlds):
        with tempfile.TemporaryDirectory() as folder:
            run(World.make(Path(folder), seed, arguments.quick), chosen, models)
    found, users = facts(models), len(models[COLD].pooled()[METRICS[0]])
    Console(width=120).print(shown(found, users))
    sys.stdout.write(json.dumps({"old_users": users, "models": found}) + "\n")


if __name__ == "__main__":
    main()
