"""`watchnext study`: the paper's two figures on a log of one's own, or on the simulated world."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from watchnext.cli.compare import make_job, run_cells
from watchnext.cli.console import Json, out, progress, report
from watchnext.cli.embeddings import embeddings
from watchnext.config import RunOptions
from watchnext.errors import UsageError, WatchnextError
from watchnext.files import write_atomic
from watchnext.presets import changed, preset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from corpus.corpus import Corpus
    from evaluation.figure4 import Curve, Videos
    from watchnext.export import Export
    from watchnext.features import Float32

study = typer.Typer(name="study", help="Reproduce figures of the paper; answer questions.", no_args_is_help=True)
study.command()(embeddings)

PRESET = "youtube2016"
CorpusFolder = Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder written by `watchnext ingest`.")]
Scale = Annotated[int, typer.Option(min=1, max=256, help="The paper's widths are divided by this.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of every model. Repeatable.")
]
Seed = Annotated[int, typer.Option(min=0, help="Everything random follows from it.")]


@study.command()
def figure6(
    corpus: CorpusFolder,
    to: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("work/figure6"),
    scale: Scale = 4,
    depths: Annotated[int, typer.Option(min=1, max=4, help="The greatest depth of the tower.")] = 4,
    holdout: Annotated[str, typer.Option(help="How watches are held back.")] = "temporal-next",
    set_: Settings = None,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """MAP by features (watches, searches, example age, demographics) and by depth of the tower.

    Interrupted, the same command goes on with what is missing.
    """
    from evaluation import figure6 as figure
    from evaluation.results import ResultStore

    _refuse(set_, figure.settings("all features", depths, scale))
    jobs = {
        (name, depth): make_job(
            corpus,
            to,
            holdout,
            0.1,
            PRESET,
            (*figure.settings(name, depth, scale), *(set_ or [])),
            seed,
            shown=not json_,
        )
        for name in figure.FEATURES
        for depth in range(depths + 1)
    }
    store = ResultStore(to)
    failed = run_cells({f"{name}, depth {depth}": job for (name, depth), job in jobs.items()}, store)
    if failed:
        raise WatchnextError("figure6", f"no result for {'; '.join(failed)}", "See the messages above.")
    grid = {point: store.load(job.cell) for point, job in jobs.items()}
    steps = {
        name: store.difference(jobs[name, depths].cell, jobs[before, depths].cell)[figure.METRIC]
        for before, name in pairwise(figure.FEATURES)
    }
    maps = {f"{name}, depth {d}": r.metrics[figure.METRIC]._asdict() for (name, d), r in grid.items()}
    facts = {"map": maps, "gains": {name: step._asdict() for name, step in steps.items()}}
    _write(figure.plot(grid), figure.markdown(grid, steps), facts, to / "figure6", "MAP by depth of the tower", json_)


@study.command()
def figure4(
    corpus: CorpusFolder,
    world: Annotated[
        Path | None, typer.Option(help="Folder of the simulated world that the corpus is of, for the true curve.")
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("work/figure4"),
    scale: Scale = 4,
    first: Annotated[int, typer.Option(help="First day since upload that is shown; negative is before.")] = -10,
    last: Annotated[int, typer.Option(help="Last day since upload that is shown.")] = 30,
    users: Annotated[int, typer.Option(min=1, help="Users whose predictions are averaged.")] = 500,
    set_: Settings = None,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """How probable a video is by days since its upload, with and without example age, beside the true curve."""
    from corpus.corpus import Corpus
    from evaluation import figure4 as figure

    _refuse(set_, [*figure.sizes(scale), "example_age=", "seed="])
    opened = Corpus.open(corpus)
    videos = _videos(opened, corpus, first, last)
    curves = {"log": videos.curve(figure.watched(opened.histories, videos.moments, videos.items))}
    if world:
        curves = {"truth": _true_curve(world, videos), **curves}
    for name, switch in (("without example age", "false"), ("with example age", "true")):
        settings = [*figure.sizes(scale), f"example_age={switch}", f"seed={seed}", *(set_ or [])]
        export = _trained(corpus, to / name.split()[0], settings, not json_)
        vectors = _at_moments(export, videos.moments.tolist(), users, seed, not json_)
        curves[name] = videos.curve(figure.probabilities(vectors, np.asarray(export.item_vectors), videos.items))
    facts = figure.facts(curves)
    text = figure.markdown(facts, videos)
    _write(figure.plot(curves), text, facts, to / "figure4", "Probability by days since upload", json_)


def _refuse(given: list[str] | None, own: "Iterable[str]") -> None:
    """Settings that the study itself chooses: with them its lines would not be what they are called."""
    names = {setting.partition("=")[0] for setting in own}
    for setting in given or []:
        if setting.partition("=")[0] in names:
            raise UsageError("--set", repr(setting), f"The study chooses {', '.join(sorted(names))} itself.")


def _videos(corpus: "Corpus", folder: Path, first: int, last: int) -> "Videos":
    """The watched videos that have all days from `first` to `last` after their upload within the log."""
    from evaluation.figure4 import DAY, Videos

    uploaded = corpus.catalogue.uploaded()
    if uploaded is None:
        raise UsageError(str(folder), "a corpus without upload times", "Ingest it with --items and upload times.")
    begin, end = corpus.manifest.first_time, corpus.manifest.last_time
    moments = np.arange(begin, end - DAY + 1, DAY)
    inside = (uploaded >= begin - first * DAY) & (uploaded <= end - last * DAY) & (corpus.item_counts > 0)
    if first >= last or len(moments) < 2 or not inside.any():
        got = f"{first} and {last}, which no video has all within the log"
        raise UsageError("--first and --last", got, "Choose fewer days.")
    items = np.flatnonzero(inside).astype(np.int32)
    return Videos(items, uploaded[items], moments, np.arange(first, last + 1))


def _true_curve(world: Path, videos: "Videos") -> "Curve":
    from simulation.world import World

    since = videos.days_since_upload()
    weights = np.where(since >= 0, World.open(world).freshness(np.maximum(since, 0)), 0.0)
    return videos.curve(weights)


def _trained(corpus: Path, to: Path, settings: list[str], shown: bool) -> "Export":
    """The export in `to` if it is of these settings, else a new one there."""
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


def _at_moments(export: "Export", moments: list[int], users: int, seed: int, shown: bool) -> "Iterator[Float32]":
    """For each moment [users, dim] vectors of the same users with the same histories, told that it is then."""
    inputs, tower, lengths = export.inputs(), export.tower(), export.histories.lengths
    known, rng = np.flatnonzero(lengths > 1), np.random.default_rng(seed)
    drawn = np.sort(rng.choice(known, min(users, len(known)), replace=False)).astype(np.int32)
    asked = inputs.at(drawn, rng.integers(1, lengths[drawn]))
    with progress(shown) as bar:
        for moment in bar.track(moments, description="predicting"):
            age = np.full(len(drawn), max(0, inputs.window_end - moment), np.int64)
            yield tower.user_vectors(*asked._replace(example_age=age))


def _write(figure: "Figure", text: str, facts: dict[str, Any], to: Path, description: str, json_: bool) -> None:
    """Write the plot and its table beside each other, and print the table, or the facts as JSON."""
    from evaluation.plots import svg_file

    write_atomic(to.with_suffix(".svg"), svg_file(figure, description))
    write_atomic(to.with_suffix(".md"), text.encode())
    if json_:
        report(True, "", facts, to.parent)
        return
    out.print(text, highlight=False)
    out.print(f"Written to [bold]{to}.svg[/bold] and [bold]{to}.md[/bold]", soft_wrap=True)
