"""From a corpus and a configuration to what training needs: the split, the features and the plan."""

from dataclasses import replace
from typing import TYPE_CHECKING, cast, get_args

from watchnext.config import Word2vecConfig
from watchnext.errors import TrainingError, UsageError
from watchnext.presets import Preset
from watchnext.split import HoldoutName, Split

if TYPE_CHECKING:
    from corpus.corpus import Corpus
    from model.initial import InitialVectors
    from model.train import Plan
    from model.warm import WarmStart
    from watchnext.features import FeatureSpec
    from watchnext.histories import Int64
    from watchnext.inputs import UserInputs


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
