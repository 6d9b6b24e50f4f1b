"""One cell of a comparison, in a process of its own, so that its CPU time and memory are nobody else's.

python -m watchnext.cli.cell < job.json
"""

import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.results import ORACLE, Cell, Cost, ResultStore
from watchnext.cli.console import progress
from watchnext.cli.failures import explained
from watchnext.config import Closed, RunOptions
from watchnext.presets import PRESETS, changed, preset

if TYPE_CHECKING:
    from corpus.corpus import Corpus
    from evaluation.scorers import Scorer
    from watchnext.histories import Histories
    from watchnext.split import Split

KS = (10, 20, 50)
METRIC = "ndcg@10"
"""What baselines are tuned for on the validation part, as early stopping is."""


class Job(Closed):
    """What to run, and where its result goes."""

    cell: Cell
    corpus: Path
    store: Path
    shown: bool = True


class Fitted:
    """A scorer, what was chosen for it, and the CPU seconds that fitting and choosing took."""

    def __init__(self, scorer: "Scorer", chosen: dict[str, str], fit: float, tune: float) -> None:
        self.scorer, self.chosen, self.fit, self.tune = scorer, chosen, fit, tune


def run(job: Job) -> None:
    """Fit the cell's model, evaluate it on the test part, write the result."""
    from corpus.corpus import Corpus
    from evaluation.protocol import evaluate, test_users
    from evaluation.training import TrainingCounts
    from watchnext.split import asked_last, split

    cell, corpus = job.cell, Corpus.open(job.corpus)
    cut = split(corpus.histories, cell.holdout, cell.holdout_share, cell.seed)
    histories = asked_last(corpus.histories, cut, cell.holdout, cell.seed)
    fitted = _fit(job, corpus, histories, cut)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    with progress(job.shown) as bar:
        task = bar.add_task("ranking for the test", total=len(test_users(cut)[0]))
        report = evaluate(
            fitted.scorer,
            histories,
            cut,
            TrainingCounts.of(histories, cut.train, len(corpus.items)),
            KS,
            corpus.catalogue.uploaded(),
            lambda n: bar.advance(task, n),
        )
    cost = Cost(fit_cpu_seconds=fitted.fit, tune_cpu_seconds=fitted.tune, peak_megabytes=peak)
    ResultStore(job.store).save(cell, report, cost, fitted.chosen)


def _fit(job: Job, corpus: "Corpus", histories: "Histories", cut: "Split") -> Fitted:
    if job.cell.model == ORACLE:
        return _oracle(Path(job.cell.settings[0]), corpus, histories)
    if job.cell.model in PRESETS:
        return _network(job, corpus)
    return _baseline(job, histories, cut, len(corpus.items))


def _network(job: Job, corpus: "Corpus") -> Fitted:
    from evaluation.scorers import VectorScorer
    from model.train import clean, train
    from watchnext.cli.planning import planned

    cell = job.cell
    chosen = changed(preset(cell.model), [*cell.settings, f"seed={cell.seed}"])
    start = time.process_time()
    features, inputs, plan = planned(corpus, chosen, cell.holdout, cell.holdout_share, cell.seed)
    options = RunOptions(checkpoints=job.store / f".{cell.key}.checkpoints", resume=True)
    with progress(job.shown) as bar:
        export = train(corpus, features, plan, options, bar)
    seconds = time.process_time() - start
    clean(options)
    scorer = VectorScorer(export.item_vectors, export.tower(), inputs)
    return Fitted(scorer, {"epochs": str(export.manifest.epochs)}, seconds, seconds)


def _baseline(job: Job, histories: "Histories", cut: "Split", items: int) -> Fitted:
    from evaluation.baselines import BASELINES, tune
    from evaluation.protocol import Validator
    from watchnext.inputs import UserInputs

    cell, baseline = job.cell, BASELINES[job.cell.model]
    limit = preset("default").training.validation_users
    validator = Validator(UserInputs(histories), cut, limit, cell.seed)
    start = time.process_time()
    with progress(job.shown) as bar:
        task = bar.add_task(f"tuning {cell.model}", total=None)
        tuned = tune(
            baseline,
            histories,
            cut.train,
            items,
            lambda scorer: validator.judge(scorer)[METRIC],
            lambda done, total: bar.update(task, completed=done, total=total),
            cell.seed,
        )
    middle = time.process_time()
    scorer = baseline.fit(histories, cut.train, items, tuned.settings, cell.seed)
    end = time.process_time()
    chosen = {name: str(value) for name, value in tuned.settings.model_dump().items()}
    return Fitted(scorer, chosen, end - middle, end - start)


def _oracle(folder: Path, corpus: "Corpus", histories: "Histories") -> Fitted:
    import pyarrow.dataset as ds

    from simulation.truth import Oracle
    from simulation.world import World

    world = World.open(folder)
    searches = ds.dataset(folder / "searches").to_table() if world.config.searches and corpus.searches else None
    return Fitted(Oracle(world, histories, corpus.items, corpus.users, searches), {}, 0.0, 0.0)


def main() -> None:
    """Run the job on standard input; exit code 1 or 2 and a message where it fails."""
    with explained():
        run(Job.model_validate_json(sys.stdin.read()))


if __name__ == "__main__":
    main()
