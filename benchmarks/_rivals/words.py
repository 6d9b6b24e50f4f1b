"""What both sides of `benchmarks.word2vec` share: the text, the task, and one training in a process of its own.

A contestant's process trains once and ends, so that its CPU seconds are those of all that a training takes: start,
imports, reading the text, compilation. Only the standard library and numpy.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks._rivals.program import Figures, peak_gib

ROOT = Path(__file__).parents[2]
VECTORS = "vectors.npy"
"""The file in which a contestant leaves [words + 1, dim] its vectors; zeros for words without any."""

Vectors = NDArray[np.float32]


class Text(NamedTuple):
    """Sentences of words.

    Args:
        words: [words + 1] the words by their numbers; number 0 is no word.
        numbers: [length] the number of each word of the text, one sentence after the other.
        lengths: [sentences] how many of them each sentence has.
    """

    words: NDArray[np.str_]
    numbers: NDArray[np.int32]
    lengths: NDArray[np.int64]

    @classmethod
    def open(cls, path: Path) -> Self:
        """What `save` wrote."""
        with np.load(path) as arrays:
            return cls(*(arrays[name] for name in cls._fields))

    def save(self, path: Path) -> None:
        """Write a file of arrays."""
        np.savez(path, **self._asdict())

    def repeated(self, times: int) -> "Text":
        """The text so many times, one after the other."""
        return Text(self.words, np.tile(self.numbers, times), np.tile(self.lengths, times))

    def sentences(self) -> list[list[str]]:
        """The sentences as lists of words.

        >>> Text(np.array(["", "a", "b"]), np.array([1, 2, 1], np.int32), np.array([1, 2])).sentences()
        [['a'], ['b', 'a']]
        """
        text, ends = self.words[self.numbers].tolist(), np.cumsum(self.lengths).tolist()
        return [text[end - length : end] for end, length in zip(ends, self.lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class WordTask:
    """One training.

    Args:
        folder: where the vectors go.
        text: file of a `Text`.
        settings: all of a `Word2vecConfig`, the seed among them.
        threads: that may compute at once.
    """

    folder: str
    text: str
    settings: dict[str, Any]
    threads: int


def train(program: str, task: WordTask) -> Figures:
    """Start a program of this package, wait until it has trained, and give what it says, and `seconds` of it all.

    Raises RuntimeError with its last words where it fails.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(task.threads))
    # Threads that wait in a loop would count as work.
    env = {**os.environ, **threads, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"benchmarks._rivals.{program}", json.dumps(asdict(task))]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"{program} ended with exit code {done.returncode}: {last}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return {**figures, "seconds": seconds}


def answer(run: Callable[[WordTask], tuple[Vectors, Figures]]) -> None:
    """Run the program: the task is its argument, its answer a line of JSON.

    Args:
        run: trains; returns [words + 1, dim] vectors and `steady_words` that were trained in `steady_cpu_seconds`.
    """
    task = WordTask(**json.loads(sys.argv[1]))
    vectors, figures = run(task)
    cpu = time.process_time()
    np.save(Path(task.folder) / VECTORS, vectors)
    sys.stdout.write(json.dumps({**figures, "cpu_seconds": cpu, "peak_gib": peak_gib()}) + "\n")
