"""`watchnext train`: a corpus in, an export out."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watchnext.cli.console import Json, command, err, progress, report
from watchnext.cli.planning import new_watches, planned
from watchnext.config import RunOptions, Word2vecConfig
from watchnext.errors import UsageError
from watchnext.presets import PRESETS, Preset, changed, preset
from watchnext.split import TESTED, HoldoutName
from watchnext.tuned import TunedSettings

if TYPE_CHECKING:
    from corpus.corpus import Corpus
    from model.train import Plan

MODEL, RUN, EVALUATION = "Model and optimization", "Running", "What is held back"


def train(
    corpus: Annotated[Path, typer.Argument(help="Folder written by `watchnext ingest`.")] = Path("work/corpus"),
    to: Annotated[Path, typer.Option(help="Folder for the export.")] = Path("work/export"),
    preset_: Annotated[
        str, typer.Option("--model", "--preset", help=f"One of: {', '.join(PRESETS)}.", rich_help_panel=MODEL)
    ] = "default",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change a setting of the preset: dim=32, tower=256,128. Repeatable; see `watchnext settings`.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="The best.json of `watchnext tune`: its preset and settings.", rich_help_panel=MODEL),
    ] = None,
    warm_from: Annotated[
        Path | None,
        typer.Option(
            help="An earlier export, release or folder of releases to start from: its items, words, weights and"
            " optimizer's state are kept, what is new starts anew, and only watches that are new are learned.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            help="An export of another model of the same items, as of item2vec, whose watched vectors this model's"
            " start from; everything else starts as usual, and all watches are learned.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    replay: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="With --warm-from: share of the watches learned before that are learned again, drawn anew each"
            " epoch; 0: none, 1: all.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="At most this many passes; early stopping may end before.", rich_help_panel=MODEL),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Everything random follows from it.", rich_help_panel=MODEL)
    ] = None,
    holdout: Annotated[
        str | None,
        typer.Option(
            help="`last`, the default: each user's last watch, for early stopping. With a test part, too, for"
            " `watchnext evaluate`: `leave-one-out`, `temporal` (the latest watches of all; `temporal-next`: the next"
            " of each user), `users` (some users entirely; `users-random`: asked for watches from anywhere in their"
            " histories). `none`, the default for texts: train on everything for all epochs.",
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    holdout_share: Annotated[
        float,
        typer.Option(
            help="`temporal`, `users`: share of watches or users in each held-out part.", rich_help_panel=EVALUATION
        ),
    ] = 0.1,
    holdout_seed: Annotated[
        int, typer.Option(min=0, help="`users`: what they are drawn by.", rich_help_panel=EVALUATION)
    ] = 0,
    refit: Annotated[
        bool,
        typer.Option(
            help="After early stopping, train again on everything for the best number of epochs.",
            rich_help_panel=EVALUATION,
        ),
    ] = False,
    optimizer_state: Annotated[
        bool | None,
        typer.Option(
            "--optimizer-state/--no-optimizer-state",
            help="Keep the optimizer's state in the export, for a later --warm-from; with Adam twice the size of the"
            " tables. Kept unless said otherwise, but for item2vec and word2vec, which cannot go on.",
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with an interrupted run of the same options.", rich_help_panel=RUN)
    ] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints; default: TO.checkpoints.", rich_help_panel=RUN)
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(help="Minutes between checkpoints within an epoch.", rich_help_panel=RUN)
    ] = 5,
    checkpoint_steps: Annotated[
        int | None, typer.Option(help="Also a checkpoint after every so many steps.", rich_help_panel=RUN)
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option(
            help="Folder for logs, in fit/ and refit/: metrics.jsonl and TensorBoard's files; default: TO.logs.",
            rich_help_panel=RUN,
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Train user and item vectors on a corpus.

    Stops by itself when the validation metric no longer rises, and keeps the best epoch. Interrupt it at any moment,
    even with kill -9: --resume goes on from the last checkpoint.
    """
    own = {"epochs": epochs, "seed": seed}
    further = [*(set_ or []), *(f"{name}={value}" for name, value in own.items() if value is not None)]
    chosen = _chosen(preset_, settings, further)
    starts_anew = isinstance(chosen.training, Word2vecConfig)
    if starts_anew:
        _refuse({"--warm-from": warm_from, "--init-from": init_from, "--optimizer-state": optimizer_state or None})
    options = RunOptions.checked(
        {
            "checkpoints": checkpoints or to.with_name(f"{to.name}.checkpoints"),
            "checkpoint_minutes": checkpoint_minutes,
            "checkpoint_steps": checkpoint_steps,
            "logs": logs or to.with_name(f"{to.name}.logs"),
            "optimizer_state": not starts_anew if optimizer_state is None else optimizer_state,
            "resume": resume,
        }
    )
    if replay is not None and warm_from is None:
        raise UsageError(
            "--replay", "no --warm-from beside it", "Name the export that has learned the older watches."
        )
    if init_from is not None and warm_from is not None:
        raise UsageError("--init-from", "--warm-from beside it", "Leave one out: a warm start has all vectors.")
    if resume and not any(options.checkpoints.glob("*/step-*")):
        err.print(f"No checkpoint in {options.checkpoints}: training starts anew.", soft_wrap=True)
    if replay is not None:
        chosen = changed(chosen, [f"replay={replay}"])
    starts, holdout = (warm_from, init_from), holdout or _usual_holdout(corpus)
    facts = run(corpus, to, chosen, holdout, holdout_share, refit, options, not json_, holdout_seed, *starts)
    then = command("evaluate" if holdout in TESTED and not refit else "index", to)
    if _is_text(corpus):
        then = command("similar", _most_frequent(corpus), "--of", to)
    report(json_, "Trained", facts, to, then)


def _chosen(name: str, settings: Path | None, further: list[str]) -> Preset:
    """The configuration that the options ask for; a file of settings brings its own preset."""
    if settings is None:
        return changed(preset(name), further)
    tuned = TunedSettings.read(settings)
    if name not in ("default", tuned.preset):
        raise UsageError("--model", f"{name!r} beside settings for {tuned.preset!r}", "Leave one of the two out.")
    return tuned.chosen(tuple(further))


def _refuse(given: Mapping[str, object]) -> None:
    """Raise UsageError for the first option that is given and of no use to a model that always starts anew."""
    for option, value in given.items():
        if value is not None:
            raise UsageError(option, "a model that always starts anew", "Leave it out, or choose another --model.")


def _usual_holdout(corpus: Path) -> HoldoutName:
    """What is held back where nothing is said: of texts nothing, since nobody asks for the last word of a line."""
    return "none" if _is_text(corpus) else "last"


def _is_text(corpus: Path) -> bool:
    from corpus.corpus import CorpusManifest

    return CorpusManifest.read(corpus).of_text


def _most_frequent(corpus: Path) -> str:
    from corpus.corpus import Corpus

    return Corpus.open(corpus, verify=False).items.id(1)


def run(
    corpus_folder: Path,
    to: Path,
    chosen: Preset,
    holdout: str,
    holdout_share: float,
    refit: bool,
    options: RunOptions,
    shown: bool,
    holdout_seed: int = 0,
    warm_from: Path | None = None,
    init_from: Path | None = None,
) -> dict[str, float | int | str]:
    """Train and write the export; returns the facts to report."""
    from corpus.corpus import Corpus
    from model.initial import InitialVectors
    from model.train import clean
    from model.train import train as train_model
    from model.warm import WarmStart
    from watchnext.export import ExportManifest, write_export

    ExportManifest.check_target(to)
    corpus = Corpus.open(corpus_folder)
    warm = None if warm_from is None else WarmStart.open(warm_from, corpus.items, corpus.search_tokens)
    initial = None if init_from is None else InitialVectors.open(init_from, corpus.items)
    features, _, plan = planned(corpus, chosen, holdout, holdout_share, holdout_seed, refit, warm, initial)
    with progress(shown) as bar:
        export = train_model(corpus, features, plan, options, bar)
    manifest = write_export(export, to)
    clean(options)
    return {
        "users": manifest.users,
        "items": manifest.items,
        "dim": manifest.dim,
        "epochs": manifest.epochs,
        **_warmth(corpus, plan),
        **({} if initial is None else {"initialised_items": initial.items}),
        **manifest.metrics,
    }


def _warmth(corpus: "Corpus", plan: "Plan") -> dict[str, int | str]:
    """What a warm start learned and kept; nothing without one."""
    if plan.warm is None or plan.known is None:
        return {}
    ends = corpus.histories.lengths if plan.refit else plan.holdout.split.train
    return {
        "new_watches": new_watches(ends, plan.known),
        "optimizer": "kept" if plan.warm.keeps_optimizer(plan.training) else "new",
    }
