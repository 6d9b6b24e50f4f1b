"""From a corpus to an export: fit with early stopping, fit again on everything if asked, compute all user vectors."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from rich.progress import Progress as ProgressBar

from corpus.corpus import Corpus
from model.assembly import Config, Start, TrainingData
from model.checkpoint import CheckpointStore
from model.fit import Fitted, Hooks, Validate, fit
from model.initial import InitialVectors
from model.warm import WarmStart
from watchnext.config import ModelConfig, RunOptions
from watchnext.export import Export, ExportManifest, user_vectors
from watchnext.features import FeatureSpec
from watchnext.histories import Int64
from watchnext.inputs import UserInputs, user_inputs
from watchnext.item_features import item_bags
from watchnext.split import HoldoutName, Split

FIRST, SECOND = "fit", "refit"
"""Folders of the checkpoints and logs of both fits."""


@dataclass(frozen=True)
class Holdout:
    """Which watches training does not see, and the split that it makes of a corpus."""

    name: HoldoutName
    share: float
    split: Split
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """What to train.

    Args:
        validate: judges an epoch on the validation part; None trains all epochs.
        refit: after early stopping, fit again on all watches for as many epochs as were best. The metrics in the
            export are then those of the first fit.
        hooks: called as the first fit goes.
        warm: what both fits start from; None for the usual random start.
        known: [users + 1] how many of each user's first watches `warm` has learned; None without it.
        initial: vectors that the watched table of both fits starts from, in place of `warm`.
    """

    model: ModelConfig
    training: Config
    holdout: Holdout
    validate: Validate | None
    refit: bool = False
    hooks: Hooks | None = None
    warm: WarmStart | None = None
    known: Int64 | None = None
    initial: InitialVectors | None = None

    @property
    def start(self) -> Start | None:
        """The values and the optimizer's state that training starts with."""
        source = self.warm or self.initial
        return None if source is None else source.state


def train(corpus: Corpus, features: FeatureSpec, plan: Plan, options: RunOptions, bar: ProgressBar) -> Export:
    """Train a model and compute the vectors of all users from their whole histories.

    Checkpoints go to two folders below `options.checkpoints`, one for each fit, and are deleted by `clean`.
    """
    data = training_data(corpus, features, plan)
    fitted = first_fit(data, corpus, plan, options, bar)
    if plan.refit:
        fitted = _refit(data, fitted, corpus, plan, options, bar)
    return _export(corpus, data.inputs, plan, fitted, bar)


def training_data(corpus: Corpus, features: FeatureSpec, plan: Plan) -> TrainingData:
    """What a plan's network is fitted to: the training part of its holdout."""
    inputs = user_inputs(features, corpus.histories, corpus.user_table, corpus.searches)
    return _data(corpus, features, plan, inputs, plan.holdout.split.train)


def _data(corpus: Corpus, features: FeatureSpec, plan: Plan, inputs: UserInputs, ends: Int64) -> TrainingData:
    bags = item_bags(plan.model, corpus.catalogue.table, features.window_end)
    return TrainingData(inputs, ends, len(corpus.items), features, bags, plan.known)


def first_fit(data: TrainingData, corpus: Corpus, plan: Plan, options: RunOptions, bar: ProgressBar) -> Fitted:
    """Fit with early stopping, which is all that a search over settings needs."""
    fingerprint = _fingerprint(corpus, plan)
    return fit(
        data,
        plan.model,
        plan.training,
        _below(options, FIRST),
        bar,
        plan.validate,
        fingerprint,
        plan.hooks,
        plan.start,
    )


def _fingerprint(corpus: Corpus, plan: Plan) -> str:
    holdout = plan.holdout
    warm = f" warm {plan.warm.checksum}" if plan.warm else ""
    initial = f" initial {plan.initial.checksum}" if plan.initial else ""
    return f"{holdout.name} {holdout.share} {holdout.seed} {corpus.manifest.checksum}{warm}{initial}"


def _refit(
    data: TrainingData, fitted: Fitted, corpus: Corpus, plan: Plan, options: RunOptions, bar: ProgressBar
) -> Fitted:
    histories = data.inputs.histories
    features = data.features.with_window(histories.times) if plan.model.reads_times else data.features
    inputs = replace(data.inputs, window_end=features.window_end)
    everything = _data(corpus, features, plan, inputs, histories.lengths)
    training = plan.training.model_copy(update={"epochs": fitted.epochs})
    second, fingerprint = _below(options, SECOND), f"refit {_fingerprint(corpus, plan)}"
    again = fit(everything, plan.model, training, second, bar, None, fingerprint, start=plan.start)
    return replace(again, metrics=fitted.metrics)


def _below(options: RunOptions, name: str) -> RunOptions:
    logs = options.logs / name if options.logs else None
    return options.model_copy(update={"checkpoints": options.checkpoints / name, "logs": logs})


def clean(options: RunOptions) -> None:
    """Delete the checkpoints, once the export is written, and their folder unless something else is in it."""
    for name in (FIRST, SECOND):
        CheckpointStore(options.checkpoints / name, "").clear()
    with suppress(OSError):
        options.checkpoints.rmdir()


def _export(corpus: Corpus, inputs: UserInputs, plan: Plan, fitted: Fitted, bar: ProgressBar) -> Export:
    users = user_vectors(fitted.tower, inputs, partial(bar.track, description="user vectors"))
    manifest = ExportManifest(
        created=corpus.manifest.created,
        files={},
        items=len(corpus.items),
        users=len(corpus.users),
        dim=users.shape[1],
        model=plan.model,
        training=plan.training,
        features=fitted.tower.features,
        holdout="none" if plan.refit else plan.holdout.name,
        holdout_share=plan.holdout.share,
        holdout_seed=plan.holdout.seed,
        epochs=fitted.epochs,
        metrics=fitted.metrics,
    )
    return Export(
        manifest=manifest,
        item_vectors=fitted.item_vectors,
        user_vectors=users,
        watched_vectors=fitted.tower.watched,
        search_vectors=fitted.tower.searched,
        weights=fitted.tower.weights,
        item_counts=fitted.counts,
        items=corpus.items,
        users=corpus.users,
        catalogue=corpus.catalogue,
        user_table=corpus.user_table,
        histories=corpus.histories,
        search_tokens=corpus.search_tokens,
        searches=corpus.searches,
        optimizer=fitted.optimizer,
    )
