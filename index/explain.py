"""Why a candidate: the watched items that it is nearest to, or that its score comes from.

Where a user's vector is a linear function of watched vectors (no hidden layer, encoder `mean` or `decay`), so is each
score: with u = sum_j u_j + b over the watches j, the share of a watch in the score of item v is u_j . v / u . v. Else
what counts is the cosine of the two items' vectors.
"""

from typing import NamedTuple

import numpy as np

from index.askers import NO_ITEMS, Asker
from watchnext.encoders import lag_weights
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.histories import Int32
from watchnext.tower import uses_context, uses_example_age, uses_searches

REASONS = 3
"""Watched items that are named for a candidate."""


class Reason(NamedTuple):
    """A watched item that a candidate is near; see `watchnext.api.answers.Because`."""

    item_id: str
    title: str | None
    share: float | None
    similarity: float | None


def explain(export: Export, asker: Asker, numbers: Int32, hidden: Int32 = NO_ITEMS) -> list[list[Reason]]:
    """For each candidate up to `REASONS` of the asker's last watched items, the strongest first.

    Args:
        numbers: [candidates] their item numbers.
        hidden: item numbers that are never named: those denied.
    """
    watched, first = np.unique(asker.recent, return_inverse=True)
    if not len(watched) or not len(numbers):
        return [[] for _ in numbers]
    similarities = _directions(export, numbers) @ _directions(export, watched).T  # [candidates, watched]
    shares, strength = None, similarities
    if is_linear(export):
        by_watch, whole = _parts(export, asker.recent, numbers)
        strength = np.zeros(similarities.shape, np.float32)
        np.add.at(strength.T, first, by_watch.T)  # what speaks against a candidate is negative
        shares = np.divide(strength, whole[:, None], out=np.zeros_like(strength), where=whole[:, None] != 0)
    order = np.argsort(-strength, axis=1, kind="stable")
    shown = ~np.isin(watched, hidden)
    known, has = (np.any(export.item_vectors[n], axis=1) for n in (numbers, watched))
    reasons = []
    for row, best in enumerate(order):
        reasons.append(
            [
                Reason(
                    export.items.id(int(watched[place])),
                    export.catalogue.title(int(watched[place])),
                    None if shares is None else round(float(shares[row, place]), 6),
                    round(float(similarities[row, place]), 6) if known[row] and has[place] else None,
                )
                for place in best[shown[best]][:REASONS].tolist()
                if shares is not None or (known[row] and has[place])
            ]
        )
    return reasons


def is_linear(export: Export) -> bool:
    """Whether user vectors are linear functions of watched vectors, up to their length."""
    config, features = export.manifest.model, export.manifest.features
    reads_more = (uses_context, uses_searches, uses_example_age)
    return (
        not config.tower
        and config.encoder != "attention"
        and not (config.time_gaps or config.output_relu or config.bias)
        and not any(reads(config, features) for reads in reads_more)
    )


def _directions(export: Export, numbers: Int32) -> Float32:
    """[items, dim] item vectors of length 1, or 0."""
    vectors: Float32 = np.asarray(export.item_vectors)[numbers]
    directions: Float32 = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return directions


def _parts(export: Export, recent: Int32, numbers: Int32) -> tuple[Float32, Float32]:
    """[candidates, watches] what each of the last watches adds to the score, and [candidates] the score.

    Both up to the length of the user's vector.
    """
    config, weights = export.manifest.model, export.weights
    by_lag = lag_weights(config, weights)[:, : len(recent)][:, ::-1]
    by_lag = by_lag / by_lag.sum(axis=1, keepdims=True)  # [parts, watches]
    states = by_lag.T[:, :, None] * np.asarray(export.watched_vectors)[recent][:, None]  # [watches, parts, dim]
    vectors = states.reshape(len(recent), -1) @ weights["kernel_out"]
    if config.residual:
        vectors = vectors + np.einsum("p,wpd->wd", weights["residual"], states)
    items = np.asarray(export.item_vectors)[numbers]
    parts = items @ vectors.T
    whole = items @ (vectors.sum(axis=0) + weights["bias_out"])
    return parts, whole
