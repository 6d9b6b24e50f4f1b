"""How commands talk: tables and progress for people on standard error and output, JSON for machines."""

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of tables, for machines.")]


@contextmanager
def progress(shown: bool = True) -> Iterator[Progress]:
    """A progress display on standard error, which standard output's JSON or tables never mix with."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not shown) as bar:
        yield bar


@contextmanager
def stages(shown: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Bars for the stages of a job, which calls what is yielded with (stage, how much is done, how much there is)."""
    with progress(shown) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield advance


@contextmanager
def working(title: str, shown: bool = True) -> Iterator[Callable[[str], None]]:
    """A bar for a job of unknown length, which calls what is yielded with what it is doing."""
    with progress(shown) as bar:
        task = bar.add_task(title, total=None)
        yield lambda what: bar.update(task, description=f"{title}: {what}")


def report(
    json_: bool, title: str, facts: Mapping[str, Any], written: Path | None = None, then: str | None = None
) -> None:
    """Say what a stage did: its facts as a table, where its result went, and the next step; or all as JSON.

    Args:
        then: a whole command, from `command`, or words.
    """
    if json_:
        extra = {"written": str(written)} if written else {}
        sys.stdout.write(json.dumps(_without_nan({**facts, **extra}), default=str, allow_nan=False) + "\n")
        return
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _shown(value))
    out.print(table)
    if written:
        out.print(f"Written to [bold]{escape(str(written))}[/bold]", soft_wrap=True)
    if then:
        out.print(f"Next: [bold]{escape(then)}[/bold]", soft_wrap=True)


def command(*words: object) -> str:
    """A call of `watchnext` as a shell takes it.

    >>> command("train", "my corpus", "--to", "work/export")
    "watchnext train 'my corpus' --to work/export"
    """
    return shlex.join(["watchnext", *map(str, words)])


def _without_nan(value: Any) -> Any:
    """NaN and infinities, which JSON does not have, as None."""
    if isinstance(value, Mapping):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
