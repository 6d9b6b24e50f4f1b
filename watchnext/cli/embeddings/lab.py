"""What the study of embeddings trains and measures, kept on disk, so that an interrupted study goes on.

    TO/results/    `ResultStore`: recommendation, for every user
    TO/measured/   JSON: how training went
    TO/exports/    vectors of item2vec and word2vec

Everything is named by a checksum of all that decides it, presets included, so that nothing outlives a change.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from rich.progress import Progress

from corpus.corpus import Corpus, CorpusManifest
from evaluation.bootstrap import Difference, Estimate, estimates, paired
from evaluation.embeddings import MeasureScorer, Side, fewer_users
from evaluation.embeddings_report import Facts
from evaluation.protocol import Float64, evaluate, test_users
from evaluation.results import Cell, Cost, ResultStore
from evaluation.scorers import Scorer, VectorScorer
from evaluation.training import TrainingCounts
from watchnext.cli.console import err, progress
from watchnext.cli.planning import planned
from watchnext.config import RunOptions
from watchnext.errors import UsageError
from watchnext.export import Export, write_export
from watchnext.files import write_atomic
from watchnext.inputs import UserInputs
from watchnext.presets import Preset, changed, preset
from watchnext.split import HoldoutName, split

if TYPE_CHECKING:
    from evaluation.words import Measure
    from model.train import Plan
    from watchnext.features import FeatureSpec

K = 10
HR, NDCG = f"hr@{K}", f"ndcg@{K}"
HOLDOUT: HoldoutName = "leave-one-out"
SHARE = 0.1
RAW = ("vectors=output", "similarity=dot")
"""With these an export of item2vec or word2vec has both kinds of vectors, as they were learned."""


@dataclass(frozen=True)
class Limits:
    """How much is measured.

    Args:
        seeds: how many models of each kind are trained; results are their means.
        steps: of the networks of question 1.
        users: that are asked at most; None is all.
        epochs: at most so many passes of each model; None is what its preset says.
        quick: whether questions leave out what costs most.
    """

    seeds: int = 1
    steps: int = 800
    users: int | None = None
    epochs: int | None = None
    quick: bool = False

    @classmethod
    def for_a_trial(cls) -> Self:
        """Enough to see whether all goes well, in a minute."""
        return cls(steps=20, users=300, epochs=1, quick=True)


@dataclass(frozen=True)
class Lab:
    """Trains, measures and remembers.

    Args:
        words: the corpus of a text; None without one.
        settings: changes of presets, by their names.
    """

    corpora: Sequence[Path]
    words: Path | None
    to: Path
    limits: Limits
    settings: Mapping[str, Sequence[str]]
    shown: bool

    @property
    def seeds(self) -> range:
        """What models are trained with."""
        return range(self.limits.seeds)

    @property
    def means(self) -> str:
        """What titles of tables say of several seeds."""
        return f", means of {len(self.seeds)} seeds" if len(self.seeds) > 1 else ""

    def name(self, corpus: Path) -> str:
        """What a corpus is called: as its folder."""
        return corpus.resolve().name

    @property
    def store(self) -> ResultStore:
        """Where recommendation is judged."""
        return ResultStore(self.to / "results")

    def check(self) -> None:
        """Raise what is wrong with the folders before anything is trained."""
        for corpus in [*self.corpora, *([self.words] if self.words else [])]:
            CorpusManifest.read(corpus)

    def chosen(self, name: str, settings: Sequence[str], seed: int = 0) -> Preset:
        """A preset with the changes for the whole study, then some more."""
        own = [*self.settings.get(name, ()), *settings, f"seed={seed}"]
        found, most = changed(preset(name), own), self.limits.epochs
        if most is not None and found.training.epochs > most:
            return changed(preset(name), [*own, f"epochs={most}"])
        return found

    def cell(self, corpus: Path, name: str, settings: Sequence[str], seed: int, **further: str) -> Cell:
        """What recommendation by a model is kept under.

        Args:
            further: all else that decides the result.
        """
        decides = [self.chosen(name, settings, seed).model_dump_json(), self.limits.users, sorted(further.items())]
        return Cell(
            data=self.name(corpus),
            corpus=CorpusManifest.read(corpus).checksum,
            holdout=HOLDOUT,
            holdout_share=SHARE,
            model=name,
            settings=tuple(settings),
            configuration=_key(decides),
            seed=seed,
        )

    def once(self, about: object, measure: Callable[[], Facts]) -> Facts:
        """What `measure` gives, or gave before for the same."""
        path = self._path(about)
        if path.is_file():
            known: Facts = json.loads(path.read_bytes())["found"]
            return known
        found = measure()
        write_atomic(path, json.dumps({"about": about, "found": found}, indent=1).encode())
        return found

    def _path(self, about: object) -> Path:
        return self.to / "measured" / f"{_key(about)}.json"

    def network(
        self, corpus: Path, name: str, settings: Sequence[str] = (), seed: int = 0, pretrained: bool = False
    ) -> tuple[Cell, Facts]:
        """Train a model and judge it on the test part.

        Args:
            pretrained: whether its table starts from item2vec's vectors.

        Returns what it is kept under in the store, and how training went: `curve` has the epoch, the CPU seconds
        until then and the best NDCG@10 of validation so far.
        """
        chosen = self.chosen(name, settings, seed)
        first = ("item2vec", self._width(chosen)) if pretrained else None
        further = {"first": self.chosen(*first, seed).model_dump_json()} if first else {}
        cell = self.cell(corpus, name, settings, seed, **further)

        def measure() -> Facts:
            start = self.item2vec(corpus, seed, self._width(chosen)) if pretrained else None
            self.say(f"{cell.data}: {cell.label}" + (", from item2vec's vectors" if start else ""), seed)
            return self._network(cell, corpus, chosen, start)

        return cell, self.judged(cell, measure)

    def judged(self, cell: Cell, measure: Callable[[], Facts]) -> Facts:
        """As `once`, of something that also keeps its recommendations in the store."""
        if not self.store.has(cell):
            self._path(cell.model_dump()).unlink(missing_ok=True)
        return self.once(cell.model_dump(), measure)

    def _width(self, chosen: Preset) -> tuple[str, ...]:
        """What item2vec must be told so that its vectors are as wide as another model's."""
        dim = chosen.model.dim
        return () if self.chosen("item2vec", ()).model.dim == dim else (f"dim={dim}",)

    def _network(self, cell: Cell, folder: Path, chosen: Preset, start: Export | None) -> Facts:
        from model.fit import METRIC, Hooks
        from model.initial import InitialVectors

        corpus = Corpus.open(folder)
        initial = None if start is None else InitialVectors.of(start, corpus.items)
        features, inputs, plan = planned(corpus, chosen, HOLDOUT, SHARE, 0, initial=initial)
        curve: list[tuple[int, float, float]] = []
        begin = time.process_time()
        hooks = Hooks(epoch=lambda n, best: curve.append((n, time.process_time() - begin, best[METRIC])))
        export = self._fitted(corpus, features, replace(plan, hooks=hooks))
        seconds = time.process_time() - begin
        self.judge(cell, corpus, VectorScorer(export.item_vectors, export.tower(), inputs), seconds)
        return {"curve": curve, "cpu_seconds": seconds, "epochs": export.manifest.epochs}

    def _fitted(self, corpus: Corpus, features: "FeatureSpec", plan: "Plan") -> Export:
        from model.train import train

        with tempfile.TemporaryDirectory() as folder, progress(self.shown) as bar:
            return train(corpus, features, plan, RunOptions(checkpoints=Path(folder), checkpoint_minutes=1e6), bar)

    def item2vec(self, corpus: Path, seed: int, settings: Sequence[str] = ()) -> Export:
        """Vectors of both kinds, as they were learned, of the training part.

        Their epochs are those that early stopping chooses with the preset's own vectors and measure.
        """
        _, facts = self.network(corpus, "item2vec", settings, seed)
        return self._vectors(corpus, "item2vec", (*settings, f"epochs={facts['epochs']}"), seed, HOLDOUT)

    def word2vec(self, seed: int, settings: Sequence[str] = ()) -> Export:
        """Vectors of both kinds, as they were learned, of all of the text."""
        if self.words is None:
            raise UsageError("--words", "none", "Name the corpus of a text.")
        return self._vectors(self.words, "word2vec", settings, seed, "none")

    def _vectors(self, folder: Path, name: str, settings: Sequence[str], seed: int, holdout: HoldoutName) -> Export:
        chosen = self.chosen(name, (*settings, *RAW), seed)
        decides = [CorpusManifest.read(folder).checksum, chosen.model_dump_json(), holdout]
        to = self.to / "exports" / f"{name}-{_key(decides)}"
        if not (to / "manifest.json").is_file():
            self.say(f"{self.name(folder)}: both vectors of {' '.join([name, *settings])}", seed)
            corpus = Corpus.open(folder)
            features, _, plan = planned(corpus, chosen, holdout, SHARE, 0)
            write_export(self._fitted(corpus, features, replace(plan, validate=None)), to)
        return Export.open(to)

    def scored(self, corpus: Path, seed: int, users: Side, items: Side, measure: "Measure") -> Cell:
        """Recommend by item2vec's vectors; what it is kept under in the store."""
        further = {"users": users, "items": items, "measure": measure}
        cell = self.cell(corpus, "item2vec", RAW, seed, **further)
        if not self.store.has(cell):
            export = self.item2vec(corpus, seed)
            self.say(f"{cell.data}: users by {users}, items by {items} vectors, {measure}", seed)
            scorer = MeasureScorer.of(export, UserInputs(export.histories), users, items, measure)
            self.judge(cell, Corpus.open(corpus), scorer)
        return cell

    def judge(self, cell: Cell, corpus: Corpus, scorer: Scorer, seconds: float = 0.0) -> None:
        """Rank the test part and keep what was found for each user."""
        cut = split(corpus.histories, HOLDOUT)
        counts = TrainingCounts.of(corpus.histories, cut.train, len(corpus.items))
        cut = replace(cut, test=fewer_users(cut.test, self.limits.users))
        with progress(self.shown) as bar:
            task = bar.add_task("ranking for the test", total=len(test_users(cut)[0]))
            report = evaluate(scorer, corpus.histories, cut, counts, (K,), advance=lambda n: bar.advance(task, n))
        self.store.save(cell, report, Cost(fit_cpu_seconds=seconds, tune_cpu_seconds=seconds, peak_megabytes=0), {})

    def estimates(self, cells: Sequence[Cell]) -> dict[str, Estimate]:
        """HR@10 and NDCG@10 with their standard errors over users.

        Args:
            cells: one for each seed; of each user their mean is taken first.
        """
        return estimates(self._by_user(cells))

    def differences(self, cells: Sequence[Cell], others: Sequence[Cell]) -> dict[str, Difference]:
        """The first minus the others, likewise, in pairs over the same users."""
        return paired(self._by_user(cells), self._by_user(others))

    def _by_user(self, cells: Sequence[Cell]) -> dict[str, Float64]:
        found = [self.store.by_user(cell) for cell in cells]
        return {name: np.mean([one[name] for one in found], 0) for name in (HR, NDCG)}

    def say(self, what: str, seed: int) -> None:
        """Tell on standard error what comes now."""
        if self.shown:
            err.print(f"{what}, seed {seed}", highlight=False, soft_wrap=True)

    @contextmanager
    def counted(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar for a job, which calls what is yielded with how much more is done."""
        with progress(self.shown) as bar:
            yield _advance(bar, what, total)


def _advance(bar: Progress, what: str, total: int) -> Callable[[int], None]:
    task = bar.add_task(what, total=total)
    return lambda more: bar.advance(task, more)


def _key(about: object) -> str:
    """16 hexadecimal digits of what JSON says of something."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
