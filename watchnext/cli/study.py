"""`watchnext study`: the paper's two figures on a log of one's own, or on the simulated world."""

import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from watchnext.cli.compare import make_job, run_cell
from watchnext.cli.console import Json, err, out, progress
from watchnext.config import RunOptions, changed, preset
from watchnext.errors import UsageError, WatchnextError
from watchnext.files import write_atomic

if TYPE_CHECKING:
    from evaluation.figure4 import Curve
    from watchnext.export import Export
    from watchnext.histories import Int64

study = typer.Typer(name="study", help="Reproduce figures of the paper.", no_args_is_help=True)

PRESET = "youtube2016"
Corpus_ = Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder written by `watchnext ingest`.")]
Scale = Annotated[int, typer.Option(min=1, help="The paper's widths are divided by this.")]
Epochs = Annotated[int, typer.Option(min=1, help="At most this many passes.")]
Seed = Annotated[int, typer.Option(min=0, help="Everything random follows from it.")]


@study.command()
def figure6(
    corpus: Corpus_,
    to: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("work/figure6"),
    scale: Scale = 4,
    depths: Annotated[int, typer.Option(min=1, max=4, help="The greatest depth of the tower.")] = 4,
    holdout: Annotated[str, typer.Option(help="How watches are held back.")] = "temporal-next",
    epochs: Epochs = 60,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of all. Repeatable.")
    ] = None,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """MAP by features (watches, searches, example age, demographics) and by depth of the tower.

    Interrupted, the same command goes on with what is missing.
    """
    from evaluation import figure6 as figure
    from evaluation.plots import svg
    from evaluation.results import ResultStore

    store, jobs = ResultStore(to), {}
    for name in figure.FEATURES:
        for depth in range(depths + 1):
            settings = (*figure.settings(name, depth, scale), *(set_ or []), f"epochs={epochs}")
            jobs[name, depth] = make_job(corpus, to, holdout, 0.1, PRESET, settings, seed, shown=not json_)
    for number, ((name, depth), job) in enumerate(jobs.items(), 1):
        if not store.has(job.cell):
            err.print(f"{number}/{len(jobs)} {name}, depth {depth}", highlight=False)
            if not run_cell(job):
                raise WatchnextError("figure 6", f"no result for {name}, depth {depth}", "See the message above.")
    grid = {point: store.load(job.cell) for point, job in jobs.items()}
    names = list(figure.FEATURES)
    steps = {
        name: store.difference(jobs[name, depths].cell, jobs[before, depths].cell)[figure.METRIC]
        for before, name in itertools.pairwise(names)
    }
    text = figure.markdown(grid, steps)
    write_atomic(to / "figure6.svg", svg(figure.plot(grid), "MAP by depth of the tower").encode())
    write_atomic(to / "figure6.md", text.encode())
    figures = {f"{name}, depth {d}": r.metrics[figure.METRIC]._asdict() for (name, d), r in grid.items()}
    _said(json_, text, {"map": figures, "gains": {n: s._asdict() for n, s in steps.items()}}, to, "figure6")


@study.command()
def figure4(
    corpus: Corpus_,
    world: Annotated[
        Path | None, typer.Option(help="Folder of the simulated world that the corpus is of, for the true curve.")
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("work/figure4"),
    scale: Scale = 4,
    epochs: Epochs = 60,
    first: Annotated[int, typer.Option(help="First day since upload that is shown; negative is before.")] = -10,
    last: Annotated[int, typer.Option(help="Last day since upload that is shown.")] = 30,
    users: Annotated[int, typer.Option(min=1, help="Users whose predictions are averaged.")] = 500,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of both. Repeatable.")
    ] = None,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """How probable a video is by days since its upload, with and without example age, beside the true curve."""
    from corpus.corpus import Corpus
    from evaluation import figure4 as figure
    from evaluation.plots import svg

    opened = Corpus.open(corpus)
    uploaded = opened.catalogue.uploaded()
    if uploaded is None:
        raise UsageError(str(corpus), "a corpus without upload times", "Ingest it with --items and upload times.")
    histories, days = opened.histories, np.arange(first, last + 1)
    begin, end = opened.manifest.first_time, opened.manifest.last_time
    moments = np.arange(begin, end - figure.DAY + 1, figure.DAY)
    chosen = np.flatnonzero(
        (uploaded >= begin - first * figure.DAY) & (uploaded <= end - last * figure.DAY) & (opened.item_counts > 0)
    )
    if len(moments) < 2 or not len(chosen):
        raise UsageError(
            "--first and --last", f"no item with all days {first} to {last} in the log", "Choose fewer days."
        )
    empirical = figure.watched(histories, moments, chosen)
    curves = [("log", figure.by_days_since_upload(empirical, moments, uploaded[chosen], days))]
    if world:
        curves.insert(0, ("truth", _true_curve(world, moments, uploaded[chosen], days)))
    for name, switch in (("without example age", "false"), ("with example age", "true")):
        export = _trained(
            corpus,
            to / name.split()[0],
            [f"example_age={switch}", *_sizes(scale, epochs, seed), *(set_ or [])],
            not json_,
        )
        vectors = _at_moments(export, moments, users, seed)
        popularity = figure.probabilities(vectors, np.asarray(export.item_vectors), chosen)
        curves.append((name, figure.by_days_since_upload(popularity, moments, uploaded[chosen], days)))
    write_atomic(to / "figure4.svg", svg(figure.plot(curves), "Probability by days since upload").encode())
    truth = curves[0]
    facts = {
        name: {"variation": curve.variation, f"correlation with {truth[0]}": curve.correlation(truth[1])}
        for name, curve in curves
    }
    lines = [f"| curve | spread over mean | correlation with {truth[0]} |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {' | '.join(f'{v:.3f}' for v in row.values())} |" for name, row in facts.items()]
    text = "\n".join(lines) + f"\n\n{len(chosen):,} videos, {len(moments)} days\n"
    write_atomic(to / "figure4.md", text.encode())
    _said(json_, text, facts, to, "figure4")


def _sizes(scale: int, epochs: int, seed: int) -> list[str]:
    tower = ",".join(str(width // scale) for width in (1024, 512))
    return [f"dim={256 // scale}", f"tower={tower}", f"epochs={epochs}", f"seed={seed}"]


def _true_curve(world: Path, moments: "Int64", uploaded: Any, days: "Int64") -> "Curve":
    from evaluation import figure4 as figure
    from simulation.world import World

    opened = World.open(world)
    since = (moments[:, None] - uploaded) / figure.DAY
    weights = np.where(since >= 0, opened.freshness(np.maximum(since, 0)), 0.0)
    return figure.by_days_since_upload(weights, moments, uploaded, days)


def _trained(corpus: Path, to: Path, settings: list[str], shown: bool) -> "Export":
    """The export in `to` if it is of these settings and this corpus, else a new one there."""
    from watchnext.cli.train import run
    from watchnext.export import Export

    chosen = changed(preset(PRESET), settings)
    if (to / "manifest.json").is_file():
        export = Export.open(to)
        if (export.manifest.model, export.manifest.training) == (chosen.model, chosen.training):
            return export
    options = RunOptions(checkpoints=to.with_name(f"{to.name}.checkpoints"), resume=True)
    run(corpus, to, chosen, "last", 0.1, False, options, shown)
    return Export.open(to)


def _at_moments(export: "Export", moments: "Int64", users: int, seed: int) -> Any:
    """For each moment [users, dim] vectors of the same users, all told that it is then."""
    inputs, tower = export.inputs(), export.tower()
    lengths = export.histories.lengths
    known = np.flatnonzero(lengths > 1)
    drawn = np.sort(np.random.default_rng(seed).choice(known, min(users, len(known)), replace=False)).astype(np.int32)
    ends = np.random.default_rng([seed, 1]).integers(1, lengths[drawn])
    asked = inputs.at(drawn, ends)
    end = export.manifest.features.window_end
    with progress() as bar:
        for moment in bar.track(moments.tolist(), description="predicting"):
            age = np.full(len(drawn), max(0, end - moment), np.int64)
            yield tower.user_vectors(*asked._replace(example_age=age))


def _said(json_: bool, text: str, facts: dict[str, Any], to: Path, name: str) -> None:
    if json_:
        sys.stdout.write(json.dumps({**facts, "written": str(to)}) + "\n")
        return
    out.print(text, highlight=False)
    out.print(f"Written to [bold]{to / name}.svg[/bold] and [bold]{to / name}.md[/bold]", soft_wrap=True)
