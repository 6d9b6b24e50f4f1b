"""`watchnext compare`: several models on several data sets and protocols, in one table and one page."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watchnext.cli.console import Json, err, out, report
from watchnext.errors import UsageError, WatchnextError
from watchnext.files import write_atomic
from watchnext.presets import PRESETS, RECOMMENDERS, changed, preset
from watchnext.split import TESTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evaluation.results import ResultStore
    from watchnext.cli.cell import Job


def compare(
    corpora: Annotated[list[Path], typer.Argument(metavar="CORPUS...", help="Folders of `watchnext ingest`.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:SETTING=VALUE...]",
            help="A preset, changed or not (default:dim=32:tower=64), or a baseline. Repeatable; left out: all.",
        ),
    ] = None,
    holdout: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(TESTED)}. Repeatable; left out: leave-one-out.")
    ] = None,
    holdout_share: Annotated[
        float, typer.Option(help="`temporal`, `users`: share of watches or users in each held-out part.")
    ] = 0.1,
    world: Annotated[
        Path | None, typer.Option(help="Folder of the simulated world that the corpora are of: adds the ceiling.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    to: Annotated[Path, typer.Option(help="Folder of the results and of report.html.")] = Path("work/compare"),
    json_: Json = False,
) -> None:
    """Fit and evaluate every model on every corpus under every protocol, each in a process of its own.

    Baselines are tuned on the validation part. Interrupted, the same command goes on with what is missing.
    """
    from evaluation.comparison import comparisons
    from evaluation.report import write_report
    from evaluation.results import ResultStore
    from evaluation.tables import markdown, print_tables

    jobs = _jobs(corpora, model, holdout, holdout_share, world, seed, to, not json_)
    store = ResultStore(to)
    failed = run_cells({f"{j.cell.data}, {j.cell.holdout}: {j.cell.label}": j for j in jobs}, store)
    results = [store.load(job.cell) for job in jobs if store.has(job.cell)]
    compared = comparisons(results, store)
    if results:
        write_report(compared, to / "report.html", "Comparison")
        write_atomic(to / "report.md", markdown(compared).encode())
    if json_:
        rows = [json.loads(result.model_dump_json(exclude={"files"})) for result in results]
        report(True, "", {"results": rows, "failed": failed}, to)
    elif results:
        print_tables(compared, out)
        out.print(f"Written to [bold]{to / 'report.html'}[/bold] and [bold]{to / 'report.md'}[/bold]", soft_wrap=True)
    if failed:
        raise WatchnextError("compare", f"no result for {'; '.join(failed)}", "See the messages above.")


def run_cells(jobs: "Mapping[str, Job]", store: "ResultStore") -> list[str]:
    """Run the cells that have no result yet, each in a process of its own; returns the names of those that fail."""
    failed = []
    for number, (name, job) in enumerate(jobs.items(), 1):
        if not store.has(job.cell):
            err.print(f"{number}/{len(jobs)} {name}", highlight=False)
            command = [sys.executable, "-m", "watchnext.cli.cell"]
            if subprocess.run(command, input=job.model_dump_json(), text=True, check=False).returncode:  # noqa: S603
                failed.append(name)
    return failed


def _jobs(
    corpora: list[Path],
    models: list[str] | None,
    holdouts: list[str] | None,
    share: float,
    world: Path | None,
    seed: int,
    to: Path,
    shown: bool,
) -> "list[Job]":
    from evaluation.baselines import BASELINES
    from evaluation.results import ORACLE
    from simulation.manifest import WorldManifest

    names = [folder.resolve().name for folder in corpora]
    if len(set(names)) < len(names):
        raise UsageError("corpora", f"one folder name twice: {', '.join(names)}", "Give each folder its own name.")
    named = [_model(text, set(BASELINES)) for text in models or [*RECOMMENDERS, *BASELINES]]
    if world:
        WorldManifest.read(world)  # before anything is fitted
        named.append((ORACLE, (str(world),)))
    return [
        make_job(folder, to, held, share, name, settings, seed, shown)
        for folder in corpora
        for held in holdouts or ["leave-one-out"]
        for name, settings in named
    ]


def make_job(
    corpus: Path,
    store: Path,
    holdout: str,
    share: float,
    model: str,
    settings: tuple[str, ...],
    seed: int,
    shown: bool,
) -> "Job":
    """A cell on a corpus, ready to run."""
    from corpus.corpus import CorpusManifest
    from evaluation.results import Cell
    from watchnext.cli.cell import Job

    if holdout not in TESTED:
        raise UsageError("--holdout", repr(holdout), f"Choose from: {', '.join(TESTED)}.")
    cell = Cell(
        data=corpus.resolve().name,
        corpus=CorpusManifest.read(corpus).checksum,
        holdout=holdout,
        holdout_share=share,
        model=model,
        settings=settings,
        configuration=_configuration(model, settings),
        seed=seed,
    )
    return Job(cell=cell, corpus=corpus, store=store, shown=shown)


def _configuration(model: str, settings: tuple[str, ...]) -> str:
    """A checksum of everything that a network is trained with; nothing for others."""
    if model not in PRESETS:
        return ""
    return hashlib.sha256(changed(preset(model), settings).model_dump_json().encode()).hexdigest()[:16]


def _model(text: str, baselines: set[str]) -> tuple[str, tuple[str, ...]]:
    """A preset with changed settings, or a baseline without: its grid is fixed."""
    name, *settings = text.split(":")
    if name in PRESETS:
        changed(preset(name), settings)
        return name, tuple(settings)
    if name not in baselines:
        raise UsageError("--model", repr(name), f"Choose from: {', '.join([*PRESETS, *sorted(baselines)])}.")
    if settings:
        raise UsageError("--model", repr(text), "Baselines are tuned over their grid; give only their name.")
    return name, ()
