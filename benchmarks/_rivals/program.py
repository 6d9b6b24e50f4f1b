"""The side of the contestant: read the task, then answer each request with the figures of one round.

Only the standard library and numpy, since contestants run in environments of their own.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, float]


@dataclass(frozen=True)
class Task:
    """What a contestant trains.

    Args:
        items: items in the catalogue.
        variant: which of its networks or optimizers, where a program has several.
        examples: of a batch.
        negatives: of the sampled softmax.
        dim: of embeddings.
        hidden: units of the tower's only hidden layer.
        history: watches before an example that its input holds.
        steps: most steps of a round.
        seconds: a round takes fewer steps when they would take longer than this, but one at least.
    """

    items: int
    variant: str
    examples: int = 4096
    negatives: int = 2000
    dim: int = 64
    hidden: int = 128
    history: int = 50
    steps: int = 10
    seconds: float = 5.0

    @property
    def shapes(self) -> dict[str, int]:
        """What decides about speed, for the report."""
        return {
            "batch_examples": self.examples,
            "negatives": self.negatives,
            "dim": self.dim,
            "hidden": self.hidden,
            "history": self.history,
        }


class Timer:
    """Seconds since it was made, on the clock and of all cores together."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def figures(self) -> Figures:
        """Both, by name."""
        return {"seconds": time.perf_counter() - self._wall, "cpu_seconds": time.process_time() - self._cpu}


def peak_gib() -> float:
    """The most memory that this process has held at once."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux counts a process's memory before it became this program as its own
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 2**20
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def steps_within(task: Task, one_step: float) -> int:
    """How many steps a round has when one takes so many seconds.

    >>> [steps_within(Task(1, "", steps=10, seconds=5.0), seconds) for seconds in (0.1, 1.0, 60.0)]
    [10, 5, 1]
    """
    return max(1, min(task.steps, int(task.seconds / one_step)))


def rounds(task: Task, fit: Callable[[int], int]) -> Callable[[], Figures]:
    """Warm up, find out how many steps a round can have, and give what measures one.

    Args:
        fit: trains so many steps and returns how many examples it trained on.
    """
    fit(1)
    start = time.perf_counter()
    fit(1)
    steps = steps_within(task, time.perf_counter() - start)
    if steps > 1:
        fit(steps)

    def measure() -> Figures:
        timer = Timer()
        size = fit(steps)
        return {"examples": size, **timer.figures(), "steps": steps}

    return measure


def compete(prepare: Callable[[Any], Callable[[], Figures]], kind: type[Task] = Task) -> None:
    """Run the program: the task is its argument, a line on standard input asks for a round.

    Args:
        prepare: makes everything ready, compiles and warms up; what it returns measures one round: `examples` trained
            on, `seconds` and `cpu_seconds` taken, and whatever else the program knows.
        kind: of the task.

    Answers with a line of JSON each. What libraries print goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    measure = prepare(kind(**json.loads(sys.argv[1])))

    def answer(figures: dict[str, Any]) -> None:
        answers.write(json.dumps({**figures, "peak_gib": peak_gib()}) + "\n")

    answer({})
    for _ in sys.stdin:
        answer(measure())
