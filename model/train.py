"""From a corpus to an export: fit with early stopping, fit again on everything if asked, compute all user vectors."""

import shutil
from dataclasses import dataclass

import numpy as np
from rich.progress import Progress as ProgressBar

from corpus.corpus import Corpus
from model.fit import Fitted, TrainingData, Validate, fit
from watchnext.config import ModelConfig, RunOptions, TrainingConfig
from watchnext.export import Export, ExportManifest
from watchnext.features import ContextArrays, FeatureSpec, Float32
from watchnext.histories import Histories
from watchnext.split import HoldoutName, Split
from watchnext.tower import UserTower

USER_BLOCK = 1024


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
    """

    model: ModelConfig
    training: TrainingConfig
    holdout: Holdout
    validate: Validate | None
    refit: bool = False


def train(corpus: Corpus, features: FeatureSpec, plan: Plan, options: RunOptions, bar: ProgressBar) -> Export:
    """Train a model and compute the vectors of all users from their whole histories.

    Checkpoints go to two folders below `options.checkpoints`, one for each fit, and are deleted by `clean`.
    """
    context = None if features.empty else features.encode_table(corpus.user_table)
    split, histories = plan.holdout.split, corpus.histories
    data = TrainingData(histories, split.train, len(corpus.items), features, context)
    fingerprint = (
        f"{plan.holdout.name} {plan.holdout.share} {plan.holdout.seed} {sorted(corpus.manifest.files.items())}"
    )
    first = options.model_copy(update={"checkpoints": options.checkpoints / "fit"})
    fitted = fit(data, plan.model, plan.training, first, bar, plan.validate, fingerprint)
    if plan.refit:
        fitted = _refit(data, fitted, plan, options, bar, fingerprint)
    return _export(corpus, features, context, plan, fitted, bar)


def _refit(
    data: TrainingData, fitted: Fitted, plan: Plan, options: RunOptions, bar: ProgressBar, fingerprint: str
) -> Fitted:
    everything = TrainingData(data.histories, data.histories.lengths, data.items, data.features, data.context)
    training = plan.training.model_copy(update={"epochs": fitted.epochs})
    second = options.model_copy(update={"checkpoints": options.checkpoints / "refit"})
    again = fit(everything, plan.model, training, second, bar, None, f"refit {fingerprint}")
    return Fitted(again.item_vectors, again.tower, again.epochs, fitted.metrics, again.counts)


def clean(options: RunOptions) -> None:
    """Delete the checkpoints, once the export is written."""
    shutil.rmtree(options.checkpoints, ignore_errors=True)


def _export(
    corpus: Corpus, features: FeatureSpec, context: ContextArrays | None, plan: Plan, fitted: Fitted, bar: ProgressBar
) -> Export:
    users = user_vectors(fitted.tower, corpus.histories, context, bar)
    manifest = ExportManifest(
        created=corpus.manifest.created,
        files={},
        items=len(corpus.items),
        users=len(corpus.users),
        dim=users.shape[1],
        model=plan.model,
        training=plan.training,
        features=features,
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
        tower=fitted.tower.weights,
        item_counts=fitted.counts,
        items=corpus.items,
        users=corpus.users,
        catalogue=corpus.catalogue,
        user_table=corpus.user_table,
        histories=corpus.histories,
    )


def user_vectors(tower: UserTower, histories: Histories, context: ContextArrays | None, bar: ProgressBar) -> Float32:
    """[users + 1, dim] the vector of every user from the whole history; row 0 for an empty one."""
    parts = []
    starts = range(0, len(histories), USER_BLOCK)
    for start in bar.track(starts, description="user vectors"):
        block = np.arange(start, min(start + USER_BLOCK, len(histories)), dtype=np.int32)
        rows = None if context is None else context.rows(block)
        parts.append(tower.user_vectors([histories[u] for u in block.tolist()], rows))
    return np.concatenate(parts)
