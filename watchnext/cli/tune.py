"""`watchnext tune`: better settings for a corpus, found within a time."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table

from watchnext.cli.console import Json, command, out, progress, report
from watchnext.cli.planning import planned
from watchnext.config import RunOptions
from watchnext.errors import UsageError
from watchnext.files import write_atomic
from watchnext.presets import Preset, changed, preset
from watchnext.split import HoldoutName
from watchnext.tuned import TunedSettings

if TYPE_CHECKING:
    from rich.progress import Progress

    from corpus.corpus import Corpus
    from model.tune import Attempt, Search, Tried

SHOWN = 10
"""Trials in the table."""
TOLD = {"settings", "metrics", "epochs", "seconds", "error"}
"""What is told to machines of a trial."""


def tune(
    corpus: Annotated[Path, typer.Argument(help="Folder written by `watchnext ingest`.")] = Path("work/corpus"),
    minutes: Annotated[float, typer.Option(help="How long all trials together may take.")] = 30,
    trials: Annotated[int | None, typer.Option(min=1, help="Also end after so many trials.")] = None,
    to: Annotated[Path, typer.Option(help="Folder for the trials, best.json and trials.svg.")] = Path("work/tune"),
    preset_: Annotated[str, typer.Option("--model", "--preset", help="The preset to start from.")] = "default",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Fix a setting of all trials. Repeatable."),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=a,b,c|low..high",
            help="What to try for a setting: dim=32,64, learning_rate=1e-4..1e-2, tower=128,256+128. Repeatable.",
        ),
    ] = None,
    holdout: Annotated[
        str,
        typer.Option(help="As of `watchnext train`. Only the validation part is looked at, never the test part."),
    ] = "leave-one-out",
    holdout_share: Annotated[
        float, typer.Option(help="`temporal`, `users`: share of watches or users in each held-out part.")
    ] = 0.1,
    holdout_seed: Annotated[int, typer.Option(min=0, help="`users`: what they are drawn by.")] = 0,
    json_: Json = False,
) -> None:
    """Search for better settings: train many, stop the bad ones after few epochs.

    Interrupted at any moment, even with kill -9, the same command goes on; more --minutes go on after the end.
    """
    if minutes <= 0:
        raise UsageError("--minutes", minutes, "Give a number above 0.")
    if holdout == "none":
        raise UsageError("--holdout", "'none', which leaves nothing to judge by", "Choose another holdout.")
    import optuna  # noqa: F401  (a missing extra is told before anything else is done)

    from corpus.corpus import Corpus
    from model.space import space_of
    from model.study import opened
    from model.tune import Search

    base = changed(preset(preset_), set_ or [])
    around = space_of(base, space or [], [setting.partition("=")[0] for setting in set_ or []])
    opened_corpus = Corpus.open(corpus)
    held = cast(HoldoutName, holdout), holdout_share, holdout_seed
    planned(opened_corpus, base, *held)  # what is wrong with the options is told before a folder is made
    checksum = opened_corpus.manifest.checksum
    with (
        opened(to, repr((checksum, held, base.model_dump_json(), around)), base.training.seed) as study,
        progress(not json_) as bar,
    ):
        search = Search(study, around, base, to / "checkpoints")
        _run(search, opened_corpus, held, 60 * minutes, trials, bar)
        tried, best = search.tried(), search.best()
    found = TunedSettings(
        preset=preset_,
        settings=(*(set_ or []), *best.facts.settings),
        metrics=best.facts.metrics,
        holdout=held[0],
        holdout_share=held[1],
        holdout_seed=held[2],
        corpus=checksum,
    )
    found.write(to / "best.json")
    _draw(tried, to / "trials.svg")
    _report(json_, tried, found, corpus, to)


def _run(
    search: "Search",
    corpus: "Corpus",
    held: tuple[HoldoutName, float, int],
    seconds: float,
    most: int | None,
    bar: "Progress",
) -> None:
    from model.fit import METRIC, Hooks
    from model.train import first_fit, training_data

    task = bar.add_task("tuning", total=round(seconds))

    def advance(spent: float) -> None:
        tried = search.tried()
        best = max((t.metric for t in tried if t.facts.metrics), default=None)
        title = f"trial {len(tried) + 1}" + (f", best {METRIC} {best:.4f}" if best is not None else "")
        bar.update(task, description=f"{title}, seconds", completed=round(min(spent, seconds)))

    def train(chosen: Preset, attempt: "Attempt") -> dict[str, float]:
        features, _, plan = planned(corpus, chosen, *held)
        plan = replace(plan, hooks=Hooks(attempt.step, attempt.epoch))
        options = RunOptions(checkpoints=attempt.checkpoints, resume=True)
        return first_fit(training_data(corpus, features, plan), corpus, plan, options, bar).metrics

    search.advance = advance
    search.run(train, seconds, most)


def _draw(tried: "list[Tried]", path: Path) -> None:
    """The metric of every trial and the best so far, by the minutes at which each trial ended."""
    import numpy as np

    from evaluation.plots import Line, lines, svg_file
    from model.fit import METRIC

    judged = [t for t in tried if t.facts.metrics]
    ended = np.cumsum([t.facts.seconds for t in tried])[[bool(t.facts.metrics) for t in tried]] / 60
    metrics = np.array([t.metric for t in judged])
    drawn = [
        Line("best so far", ended, np.maximum.accumulate(metrics)),
        Line("trial", ended, metrics),
        Line("preset", ended[[0, -1]], metrics[[0, 0]], dashed=True),
    ]
    figure = lines(drawn, "minutes", f"{METRIC.upper()}, validation")
    write_atomic(path, svg_file(figure, f"{METRIC} of {len(judged)} trials by time, the best so far and the preset"))


def _report(json_: bool, tried: "list[Tried]", found: TunedSettings, corpus: Path, to: Path) -> None:
    if json_:
        report(
            True,
            "",
            {
                **found.model_dump(),
                "trials": [{"number": t.number, "state": t.state, **t.facts.model_dump(include=TOLD)} for t in tried],
            },
            to,
        )
        return
    from model.fit import METRIC

    table = Table("trial", METRIC, "epochs", "seconds", "", "settings", title="Best trials", title_justify="left")
    for t in sorted((t for t in tried if t.facts.metrics), key=lambda t: -t.metric)[:SHOWN]:
        settings = " ".join(t.facts.settings) or "the preset"
        table.add_row(
            str(t.number), f"{t.metric:.4f}", str(t.facts.epochs), f"{t.facts.seconds:.0f}", t.state, settings
        )
    out.print(table)
    failed = [t for t in tried if t.facts.error]
    if failed:
        out.print(
            f"{len(failed)} of {len(tried)} trials failed, the last with: {failed[-1].facts.error}", soft_wrap=True
        )
    facts = {"trials": len(tried), **found.metrics}
    chosen = {"holdout": found.holdout, "holdout-share": found.holdout_share, "holdout-seed": found.holdout_seed}
    holdout = [word for name, value in chosen.items() for word in (f"--{name}", value)]
    then = command("train", corpus, "--settings", to / "best.json", *holdout)
    report(False, "Tuned", facts, to / "best.json", then)
