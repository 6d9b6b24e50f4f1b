"""The side of the benchmark: start contestants, let them take turns, take medians of ratios.

A ratio is between two figures of the same round, since what else the machine does changes from one to the next.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks._rivals.program import Figures, Task

ROOT = Path(__file__).parents[2]
GIB = 2**30
PROCESS_GIB = 1.0
"""What TensorFlow and a compiled step take without any table."""


@dataclass(frozen=True)
class System:
    """Something that trains.

    Args:
        name: in tables.
        program: module in this package.
        variant: see the program.
        tables: how many times the bytes of one table of embeddings it needs, to know before it starts whether it can
            fit: what was measured with a million items, rounded up.
        most_items: the largest catalogue that it is given, and why.
        python: the interpreter of its environment.
    """

    name: str
    program: str
    variant: str
    tables: float
    most_items: tuple[float, str] = (float("inf"), "")
    python: Path = Path(sys.executable)

    def gib(self, task: Task) -> float:
        """The memory that it needs, about."""
        return PROCESS_GIB + self.tables * task.items * task.dim * 4 / GIB

    def refusal(self, task: Task, limit_gib: float) -> str:
        """Why it is not run on a catalogue, or nothing."""
        if task.items > self.most_items[0]:
            return self.most_items[1]
        needed = self.gib(task)
        return f"needs about {needed:.0f} GiB" if needed > limit_gib else ""


@dataclass
class Entry:
    """What is known of one system on one catalogue."""

    system: System
    task: Task
    skipped: str = ""
    rounds: list[Figures] = field(default_factory=list)

    def median(self, figure: Callable[[Figures], float]) -> float:
        """Over the rounds."""
        return statistics.median(map(figure, self.rounds))

    @property
    def peak_gib(self) -> float:
        """The most memory that its process has held."""
        return self.rounds[-1]["peak_gib"]


class Contestant:
    """A running program."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `stop`)
        module = f"benchmarks._rivals.{entry.system.program}"
        self._process = subprocess.Popen(
            [str(entry.system.python), "-m", module, json.dumps(asdict(entry.task))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def wait_until_ready(self) -> None:
        """Until it has warmed up."""
        self._answer()

    def round(self) -> None:
        """Let it measure a round."""
        assert self._process.stdin  # noqa: S101 (a pipe was asked for)
        if not self.entry.skipped:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            figures = self._answer()
            if figures:
                self.entry.rounds.append(figures)

    def _answer(self) -> Figures:
        assert self._process.stdout  # noqa: S101 (a pipe was asked for)
        line = self._process.stdout.readline()
        if line:
            figures: Figures = json.loads(line)
            return figures
        self.entry.rounds.clear()
        self.entry.skipped = f"ended with exit code {self._process.wait()}: {self._last_words()}"
        return {}

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else "no message"

    def stop(self) -> None:
        """End it by ending its input."""
        self._process.communicate()
        self._errors.close()


def groups(entries: Sequence[Entry], limit_gib: float) -> list[list[Entry]]:
    """Entries that may run side by side: all of them, or each alone where their memory together is too much."""
    if sum(entry.system.gib(entry.task) for entry in entries) <= limit_gib / 2:
        return [list(entries)]
    return [[entry] for entry in entries]


def compete(entries: Sequence[Entry], rounds: int, limit_gib: float, one_by_one: bool = False) -> None:
    """Run all entries that are not skipped, taking turns; figures go into the entries.

    Args:
        entries: who competes.
        rounds: that each measures.
        limit_gib: memory for all.
        one_by_one: whether each becomes ready before the next starts, since that, too, is measured.
    """
    for group in groups([entry for entry in entries if not entry.skipped], limit_gib):
        contestants: list[Contestant] = []
        try:
            for entry in group:
                contestants.append(Contestant(entry))
                if one_by_one:
                    contestants[-1].wait_until_ready()
            for contestant in contestants if not one_by_one else ():
                contestant.wait_until_ready()
            for _ in range(rounds):
                for contestant in contestants:
                    contestant.round()
        finally:
            for contestant in contestants:
                contestant.stop()


def speed(figures: Figures) -> float:
    """Examples a second."""
    return figures["examples"] / figures["seconds"]


def cpu_speed(figures: Figures) -> float:
    """Examples a second of one core."""
    return figures["examples"] / figures["cpu_seconds"]


def ratio(one: Entry, other: Entry, figure: Callable[[Figures], float]) -> float | None:
    """Median over the rounds of a figure of one in proportion to that of another; None where one was skipped."""
    if not one.rounds or not other.rounds:
        return None
    return statistics.median(figure(a) / figure(b) for a, b in zip(one.rounds, other.rounds, strict=True))
