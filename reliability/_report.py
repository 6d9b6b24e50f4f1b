"""What a script found out, what of it had to hold, and its end: a table, one line of JSON, the exit code."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


class Report:
    """Collects figures and what must hold."""

    def __init__(self, title: str) -> None:
        self._title = title
        self.figures: dict[str, Any] = {}
        self.broken: list[str] = []
        self.skipped: dict[str, str] = {}

    def must(self, what: str, holds: object, got: object = "") -> None:
        """Note something that must hold, and what was got where it does not."""
        if not holds:
            self.broken.append(f"{what}: {got}" if got != "" else what)

    def worst(self, name: str, value: float) -> None:
        """Note a figure, of several rounds the largest."""
        self.figures[name] = max(value, self.figures.get(name, value))

    def skip(self, what: str, why: str) -> None:
        """Note what could not be tried here."""
        self.skipped[what] = why

    def end(self) -> int:
        """Print all; returns the exit code."""
        table = Table(title=self._title, title_justify="left", show_header=False)
        for name, value in self.figures.items():
            table.add_row(name, f"{value:,.4g}" if isinstance(value, float) else str(value))
        for what, why in self.skipped.items():
            table.add_row(f"[yellow]skipped: {what}", why)
        for broken in self.broken:
            table.add_row("[red]broken", broken)
        Console(stderr=True).print(table)
        sys.stdout.write(json.dumps({**self.figures, "skipped": self.skipped, "broken": self.broken}) + "\n")
        return 1 if self.broken else 0


class Steps:
    """Says what a script is doing, on standard error."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._task = bar, bar.add_task("starting", total=None)

    def __call__(self, what: str) -> None:
        """Name what is being done now."""
        self._bar.update(self._task, description=what)


@contextmanager
def steps() -> Iterator[Steps]:
    """A line on standard error that says what is being done, and since when."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Steps(bar)


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The options that all scripts have."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    return parser
