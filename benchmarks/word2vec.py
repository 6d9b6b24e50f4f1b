"""Vectors of words: word2vec here and in gensim, how good and how fast.

    python -m benchmarks.word2vec CORPUS --similarity wordsim353.txt --analogies questions-words.txt [--seeds 5]
    python -m benchmarks.word2vec --quick

CORPUS is a folder written by `watchnext ingest --format text`. Both get the same sentences and the same settings:
dimensions, window, negatives, subsampling, noise, epochs. The learning rate and how it is used are each one's own:
those of preset `word2vec`, which `--set` changes for ours (what both have, for both), and gensim's defaults.

Each training is a process of its own; the two take turns, seed by seed. Vectors are judged by the same code. Speed is
in words of the text, before subsampling, times epochs, a CPU second: `whole` of all that the process does from its
start, `steady` of training alone: with gensim `train`, with ours all after the first epoch, for which steps are
compiled. Ratios are medians over seeds; differences are of means, and `worse` is what is below gensim's mean by more
than gensim's standard deviation over seeds.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._rivals.program import Figures
from benchmarks._rivals.words import VECTORS, Text, Vectors, WordTask, train
from corpus.corpus import Corpus
from evaluation.word_files import read_pairs, read_questions
from evaluation.words import WordVectors, analogies, similarity
from watchnext.config import Word2vecConfig
from watchnext.errors import UsageError
from watchnext.presets import changed, preset

AGREED = (
    "dim=100",
    "window=5",
    "dynamic_window=true",
    "negatives=10",
    "noise_exponent=0.75",
    "subsampling=0.001",
    "epochs=5",
)
PROGRAMS = {"ours": "words_ours", "gensim": "words_gensim"}
ARCHITECTURES, LOSSES = ("skipgram", "cbow"), ("negative", "hierarchical")
TOPICS, TOPIC_WORDS = 8, 50
QUICK_LENGTH, QUICK_SENTENCE, QUICK_OFF_TOPIC, QUICK_PAIRS = 100_000, 50, 0.4, 2000


@dataclass
class Method:
    """An architecture with a loss, and what was measured: of each system the figures of each seed."""

    architecture: str
    loss: str
    figures: dict[str, list[Figures]] = field(default_factory=lambda: {name: [] for name in PROGRAMS})

    def values(self, system: str, figure: Callable[[Figures], float]) -> list[float]:
        """[seeds]."""
        return [figure(figures) for figures in self.figures[system]]

    def ratio(self, figure: Callable[[Figures], float]) -> float:
        """Median over seeds of ours in proportion to gensim's."""
        pairs = zip(*(self.values(system, figure) for system in PROGRAMS), strict=True)
        return float(statistics.median(ours / other for ours, other in pairs))


def whole(figures: Figures) -> float:
    """Words a CPU second of the process."""
    return figures["words"] / figures["cpu_seconds"]


def whole_wall(figures: Figures) -> float:
    """Words a second of the process."""
    return figures["words"] / figures["seconds"]


def steady(figures: Figures) -> float:
    """Words a CPU second of training alone."""
    return figures["steady_words"] / figures["steady_cpu_seconds"]


def steady_wall(figures: Figures) -> float:
    """Words a second of training alone."""
    return figures["steady_words"] / figures["steady_seconds"]


SPEEDS = {"whole, CPU": whole, "whole": whole_wall, "steady, CPU": steady, "steady": steady_wall}


def spread(values: Sequence[float]) -> float:
    """The standard deviation of a sample; 0 of a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def comparison(ours: Sequence[float], other: Sequence[float]) -> dict[str, Any]:
    """Means and spreads of both over seeds, the difference of the means, and whether ours is worse beyond spread.

    >>> comparison([1, 1], [2, 4])["worse"], comparison([2, 2], [2, 4])["worse"]
    (True, False)
    """
    means = {name: statistics.fmean(values) for name, values in zip(PROGRAMS, (ours, other), strict=True)}
    spreads = {name: spread(values) for name, values in zip(PROGRAMS, (ours, other), strict=True)}
    difference = means["ours"] - means["gensim"]
    return {"mean": means, "spread": spreads, "difference": difference, "worse": difference < -spreads["gensim"]}


@dataclass(frozen=True)
class Judge:
    """How good vectors are, by the names of files.

    Args:
        words: [words + 1] number 0 is none.
        pairs: pairs of words and people's scores, by file.
        questions: analogies by section, by file.
    """

    words: Sequence[str]
    pairs: dict[str, tuple[list[tuple[str, str]], list[float]]]
    questions: dict[str, dict[str, list[tuple[str, str, str, str]]]]

    @classmethod
    def of(cls, words: Sequence[str], similarity: Sequence[Path], analogies: Sequence[Path]) -> Self:
        """A judge by files as `watchnext evaluate` reads them."""
        pairs = {path.stem: read_pairs(path) for path in similarity}
        return cls(words, pairs, {path.stem: read_questions(path) for path in analogies})

    @property
    def names(self) -> list[str]:
        """Of what is judged."""
        return [*self.pairs, *self.questions]

    def __call__(self, vectors: Vectors) -> dict[str, float]:
        """Spearman's correlations and shares of right answers of [words + 1, dim] vectors."""
        known = WordVectors.of(self.words[1:], vectors[1:], lower=True)
        found = {name: similarity(known, *pairs).correlation for name, pairs in self.pairs.items()}
        return found | {name: analogies(known, asked).total.share for name, asked in self.questions.items()}


def settings(further: Sequence[str], method: Method, seed: int) -> Word2vecConfig:
    """What one is trained with. Raises UsageError where gensim has no such thing."""
    own = [f"architecture={method.architecture}", f"loss={method.loss}", f"seed={seed}"]
    config = changed(preset("word2vec"), [*AGREED, *further, *own]).training
    assert isinstance(config, Word2vecConfig)  # noqa: S101 (of this preset it is)
    if config.window is None:
        raise UsageError("--set window", "'none'", "Give a number: gensim's windows end somewhere.")
    if config.epochs < 2:
        raise UsageError("--set epochs", repr(config.epochs), "Give two at least: the first one compiles.")
    return config


def of_corpus(folder: Path) -> Text:
    """The histories of a corpus as sentences."""
    corpus = Corpus.open(folder)
    words = ["", *corpus.items.all_ids()]
    return Text(np.array(words), np.array(corpus.histories.items), corpus.histories.lengths[1:])


def made_up(length: int = QUICK_LENGTH, seed: int = 0) -> Text:
    """A text in which sentences have topics: most of their words are of it, in each topic by Zipf's law.

    Word number n is of topic (n - 1) % TOPICS.
    """
    rng = np.random.default_rng(seed)
    lengths = np.full(length // QUICK_SENTENCE, QUICK_SENTENCE)
    own = np.repeat(rng.integers(0, TOPICS, len(lengths)), lengths)
    topic = np.where(rng.random(len(own)) < QUICK_OFF_TOPIC, rng.integers(0, TOPICS, len(own)), own)
    share = 1 / np.arange(1, TOPIC_WORDS + 1)
    rank = rng.choice(TOPIC_WORDS, len(own), p=share / share.sum())
    words = ["", *(f"w{number}" for number in range(1, TOPICS * TOPIC_WORDS + 1))]
    return Text(np.array(words), (1 + rank * TOPICS + topic).astype(np.int32), lengths)


def topic_pairs(path: Path) -> Path:
    """Write pairs of words of `made_up`, 1 where both are of one topic, else 0."""
    pairs = np.random.default_rng(1).integers(1, TOPICS * TOPIC_WORDS + 1, (QUICK_PAIRS, 2)).tolist()
    path.write_text("".join(f"w{one} w{other} {int((one - other) % TOPICS == 0)}\n" for one, other in pairs))
    return path


def measure(method: Method, text: Text, further: Sequence[str], seeds: int, threads: int, judge: Judge) -> None:
    """Train and judge both for each seed, taking turns."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.npz"
        text.save(file)
        for seed in range(seeds):
            config = settings(further, method, seed)
            task = WordTask(folder, str(file), config.model_dump(), threads)
            for system, program in PROGRAMS.items():
                figures = train(program, task)
                figures |= {"words": len(text.numbers) * config.epochs}
                method.figures[system].append(figures | judge(np.load(Path(folder) / VECTORS)))


def report(method: Method, names: Sequence[str]) -> dict[str, Any]:
    """All that is known of a method, for the JSON."""
    found: dict[str, Any] = {"architecture": method.architecture, "loss": method.loss, "quality": {}, "speed": {}}
    for name in names:
        found["quality"][name] = comparison(*(method.values(system, itemgetter(name)) for system in PROGRAMS))
    for name, figure in SPEEDS.items():
        medians = {system: round(statistics.median(method.values(system, figure))) for system in PROGRAMS}
        found["speed"][name] = {**medians, "ratio": round(method.ratio(figure), 3)}
    found["peak_gib"] = {system: max(method.values(system, itemgetter("peak_gib"))) for system in PROGRAMS}
    return found


def table(found: Mapping[str, Any], seeds: int) -> Table:
    """One method: a row for each figure."""
    title = f"{found['architecture']}, {found['loss']}: mean ± standard deviation of {seeds} seeds; median speeds"
    shown = Table("", *PROGRAMS, "ours to gensim", "", title=title, title_justify="left")
    for name, values in found["quality"].items():
        cells = [f"{values['mean'][system]:.4f} ± {values['spread'][system]:.4f}" for system in PROGRAMS]
        shown.add_row(name, *cells, f"{values['difference']:+.4f}", "worse" if values["worse"] else "")
    for name, values in found["speed"].items():
        shown.add_row(
            f"words/s, {name}", *(f"{values[system]:,}" for system in PROGRAMS), f"{values['ratio']:.2f}", ""
        )
    shown.add_row("peak memory, GiB", *(f"{found['peak_gib'][system]:.2f}" for system in PROGRAMS), "", "")
    return shown


def main() -> int:
    """Print a table for each method, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?", help="folder written by `watchnext ingest --format text`")
    parser.add_argument("--quick", action="store_true", help="a made-up text, one method: under a minute")
    parser.add_argument("--similarity", type=Path, action="append", default=[], help="file of pairs; repeatable")
    parser.add_argument("--analogies", type=Path, action="append", default=[], help="file of questions; repeatable")
    parser.add_argument("--seeds", type=int, help="trainings of each (default: 5)")
    parser.add_argument("--architecture", choices=ARCHITECTURES, action="append", help="repeatable (default: both)")
    parser.add_argument("--loss", choices=LOSSES, action="append", help="repeatable (default: both)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting; repeatable")
    parser.add_argument("--threads", type=int, default=1, help="of each system (default: 1)")
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        help="the text so many times over, so that starting no longer matters (default: 1)",
    )
    arguments = parser.parse_args()
    if not arguments.quick and arguments.corpus is None:
        parser.error("give a corpus, or --quick")
    seeds = arguments.seeds or (2 if arguments.quick else 5)
    chosen = slice(1 if arguments.quick else None)
    architectures, losses = arguments.architecture or ARCHITECTURES[chosen], arguments.loss or LOSSES[chosen]
    with tempfile.TemporaryDirectory() as folder:
        if arguments.corpus is None:
            arguments.similarity.append(topic_pairs(Path(folder) / "topics.txt"))
        text = made_up() if arguments.corpus is None else of_corpus(arguments.corpus)
        judge = Judge.of(text.words.tolist(), arguments.similarity, arguments.analogies)
    text, console, found = text.repeated(arguments.repeat), Console(), []
    for pair in product(architectures, losses):
        method = Method(*pair)
        measure(method, text, arguments.set, seeds, arguments.threads, judge)
        found.append(report(method, judge.names))
        console.print(table(found[-1], seeds))
    document = {"benchmark": "word2vec", "words": len(text.numbers), "vocabulary": len(text.words) - 1}
    document |= {
        "seeds": seeds,
        "threads": arguments.threads,
        "settings": [*AGREED, *arguments.set],
        "results": found,
    }
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
