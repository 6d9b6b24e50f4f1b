"""`watchnext train`: a corpus in, an export out."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from watchnext.cli.console import Json, err, progress, report
from watchnext.config import RunOptions, Word2vecConfig
from watchnext.errors import TrainingError, UsageError
from watchnext.presets import PRESETS, Preset, changed, preset
from watchnext.split import TESTED, HoldoutName, Split
from watchnext.tuned import TunedSettings

if TYPE_CHECKING:
    from corpus.corpus import Corpus
    from model.initial import InitialVectors
    from model.train import Plan
    from model.warm import WarmStart
    from watchnext.features import FeatureSpec
    from watchnext.histories import Int64
    from watchnext.inputs import UserInputs

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
    then = f"watchnext evaluate {to}" if holdout in TESTED and not refit else f"watchnext index {to}"
    if _is_text(corpus):
        then = f"watchnext similar WORD --of {to}"
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


def planned(
    corpus: "Corpus",
    chosen: Preset,
    holdout: str,
    share: float,
    seed: int,
    refit: bool = False,
    warm: "WarmStart | None" = None,
    initial: "InitialVectors | None" = None,
) -> "tuple[FeatureSpec, UserInputs, Plan]":
    """What training on a corpus needs: its features, what is known of its users, and the plan with its validation."""
    if holdout not in get_args(HoldoutName):
        raise UsageError("--holdout", repr(holdout), f"Choose one of: {', '.join(get_args(HoldoutName))}.")
    if refit and holdout == "none":
        raise UsageError("--refit", "--holdout none", "Leave one out: everything is trained on already.")
    from evaluation.protocol import Validator
    from model.train import Holdout, Plan
    from watchnext.features import FeatureSpec
    from watchnext.inputs import user_inputs
    from watchnext.split import asked_last, split

    name = cast(HoldoutName, holdout)
    cut = split(corpus.histories, name, share, seed)
    known, training = None, chosen.training
    if warm is not None and not isinstance(training, Word2vecConfig):
        known = warm.known(corpus.users, corpus.histories)
        cut = _unseen(cut, name, known, training.replay)
    if initial is not None:
        cut = _unlearned(cut, name, initial.learned(corpus.users, corpus.histories), "--init-from")
    tokens = len(corpus.search_tokens) if corpus.search_tokens else 0
    times = corpus.histories.until(cut.train).times if chosen.model.reads_times else None
    features = FeatureSpec.fit(corpus.user_table, tokens, times)
    histories = asked_last(corpus.histories, cut, name, seed)
    inputs = user_inputs(features, histories, corpus.user_table, corpus.searches)
    validate = None if name == "none" else Validator(inputs, cut, training.validation_users, training.seed)
    held = Holdout(name, share, cut, seed)
    plan = Plan(chosen.model, training, held, validate, refit, warm=warm, known=known, initial=initial)
    return features, inputs, plan


def _unseen(cut: Split, name: HoldoutName, known: "Int64", replay: float) -> Split:
    """The split of a warm start, see `_unlearned`. Raises TrainingError, too, if nothing new is left to train on."""
    if replay < 1 and not new_watches(cut.train, known):
        raise TrainingError(
            "corpus",
            f"no watch that the earlier export has not learned, beside those that --holdout {name} holds back",
            "Ingest newer watches, or learn all of them again with --replay 1.",
        )
    return _unlearned(cut, name, known, "--warm-from")


def _unlearned(cut: Split, name: HoldoutName, known: "Int64", option: str) -> Split:
    """Validate only on what the export that an option names has not learned.

    Args:
        known: [users + 1] how many of each user's first watches it has learned.

    Raises UsageError if it has learned of the test or all of validation.
    """
    learned = int((cut.test.anything & (cut.test.given < known)).sum())
    if learned:
        raise UsageError(
            option,
            f"an export that has learned watches of {learned} users which --holdout {name} holds back for the test",
            "Train that one with the same --holdout, too, or use --holdout last.",
        )
    valid = cut.valid.unless(known)
    if name != "none" and not valid.anything.any():
        raise UsageError(
            option,
            f"an export that has learned every watch that --holdout {name} validates on",
            "Train that one with the same --holdout, too, or use --holdout last.",
        )
    return replace(cut, valid=valid)


def new_watches(ends: "Int64", known: "Int64") -> int:
    """How many of the watches `[0, ends)` of all users are not among the first `known` ones."""
    return int((ends - known).clip(0).sum())
