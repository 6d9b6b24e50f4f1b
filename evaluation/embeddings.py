"""What the study of embeddings measures of vectors, beside recommendation and words: arrays in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from evaluation.words import BLOCK_SCORES, Measure, offsets, scaled
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.histories import Int32, Int64
from watchnext.inputs import UserInputs
from watchnext.split import Ask
from watchnext.tower import UserTower

Float64 = NDArray[np.float64]
Side = Literal["input", "output", "average"]
"""Which of an item's two vectors, or their mean."""
FLOAT = 4
"""Bytes of a float32."""


def vectors_of(export: Export, side: Side) -> Float32:
    """[items + 1, dim] of an export of item2vec or word2vec whose `item_vectors` are the output vectors."""
    given, predicted = np.asarray(export.watched_vectors), np.asarray(export.item_vectors)
    if side == "average":
        return (given + predicted) * np.float32(0.5)
    return given if side == "input" else predicted


@dataclass(frozen=True)
class MeasureScorer:
    """Scores items for users whose vector is a mean of vectors of watched items, by any measure.

        dot        u . v
        cosine     u . v / |v|           |u| is the same for all items of a user
        euclidean  u . v - |v|^2 / 2     as -|u - v|^2 orders them

    Args:
        tower: makes user vectors; `watched` are the vectors that it averages.
        item_vectors: [items + 1, dim]; items whose vector is zero cannot be recommended.
    """

    tower: UserTower
    item_vectors: Float32
    inputs: UserInputs
    measure: Measure

    @classmethod
    def of(cls, export: Export, inputs: UserInputs, users: Side, items: Side, measure: Measure) -> Self:
        """Users from the vectors `users` of what they watched, beside the vectors `items`."""
        tower = replace(export.tower(), watched=vectors_of(export, users))
        return cls(tower, vectors_of(export, items), inputs, measure)

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] see `scorers.Scorer`."""
        vectors, taken, without = self._items
        scores: Float32 = self.tower.user_vectors(*self.inputs.at(users, ends)) @ vectors.T
        scores -= taken
        scores[:, without] = -np.inf
        return scores

    @cached_property
    def _items(self) -> tuple[Float32, Float32, Int64]:
        """Vectors as they are multiplied, what is taken off the products, and the numbers of items without one."""
        vectors = scaled(self.item_vectors, self.measure)
        return vectors, offsets(vectors, self.measure), np.flatnonzero(~self.item_vectors.any(1))


def neighbours(vectors: Float32, k: int, measure: Measure) -> Int64:
    """[items, k] the rows nearest to each row, without itself, in no order.

    >>> neighbours(np.array([[1, 0], [5, 1], [0, 1]], np.float32), 1, "cosine").ravel().tolist()
    [1, 0, 1]
    >>> neighbours(np.array([[1, 0], [5, 1], [0, 1]], np.float32), 1, "euclidean").ravel().tolist()
    [2, 0, 0]
    """
    vectors = scaled(vectors, measure)
    taken, count = offsets(vectors, measure), len(vectors)
    found = np.empty((count, k), np.int64)
    block = max(1, BLOCK_SCORES // max(count, 1))
    for start in range(0, count, block):
        rows = np.arange(start, min(start + block, count))
        scores = vectors[rows] @ vectors.T - taken
        scores[np.arange(len(rows)), rows] = -np.inf
        found[rows] = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return found


class Kinship(NamedTuple):
    """How much near items have in common: [items with a vector and a category] each."""

    shares: Float64
    """The share of the nearest ones that have a category in common with the item."""
    chance: Float64
    """The share of all others that have."""


def kinship(vectors: Float32, categories: Sequence[Sequence[str] | None], k: int, measure: Measure) -> Kinship | None:
    """Whether the `k` nearest items share a category; None unless more than `k` items have a vector and a category.

    Args:
        vectors: [items, dim]; items whose vector is zero are left out.
        categories: [items] of each, None or empty where unknown; such items are left out, too.

    >>> vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    >>> found = kinship(vectors, [["a"], ["a", "b"], ["c"], ["b"]], 1, "cosine")
    >>> found.shares.tolist(), found.chance.round(2).tolist()
    ([1.0, 1.0, 0.0, 0.0], [0.33, 0.67, 0.0, 0.33])
    """
    some = np.flatnonzero(vectors.any(1) & np.array([bool(own) for own in categories]))
    if len(some) <= k:
        return None
    member = _members([categories[place] or () for place in some.tolist()])
    near = neighbours(vectors[some], k, measure)
    shares, chance = np.empty(len(some)), np.empty(len(some))
    for start in range(0, len(some), 1024):
        rows = slice(start, start + 1024)
        common = (member[rows] @ member.T) > 0  # [block, items]
        shares[rows] = np.take_along_axis(common, near[rows], 1).mean(1)
        chance[rows] = (common.sum(1) - 1) / (len(some) - 1)
    return Kinship(shares, chance)


def _members(categories: Sequence[Sequence[str]]) -> Float32:
    """[items, categories] 1 where an item has a category."""
    names = {name: column for column, name in enumerate(sorted({name for own in categories for name in own}))}
    member = np.zeros((len(categories), len(names)), np.float32)
    for row, own in enumerate(categories):
        member[row, [names[name] for name in own]] = 1
    return member


def correlation_error(correlation: float, pairs: int) -> float:
    """The standard error of Spearman's correlation (Bonett and Wright 2000): that of its Fisher transform, back.

    >>> round(correlation_error(0.0, 103), 3), round(correlation_error(0.6, 103), 3)
    (0.1, 0.07)
    """
    if pairs <= 3:
        return float("nan")
    return float((1 - correlation**2) * ((1 + correlation**2 / 2) / (pairs - 3)) ** 0.5)


def share_error(share: float, count: int) -> float:
    """The standard error of a share of `count` independent questions; NaN without any."""
    return float((share * (1 - share) / count) ** 0.5) if count else float("nan")


def first_reached(values: Sequence[float], target: float) -> int | None:
    """The place of the first value that is at least the target; None where there is none.

    >>> first_reached([0.1, 0.3, 0.2], 0.2), first_reached([0.1], 0.2)
    (1, None)
    """
    return next((place for place, value in enumerate(values) if value >= target), None)


class FirstLayer(NamedTuple):
    """What the first layer of a network needs beside its result."""

    weights: int
    """How many there are."""
    updated: float
    """The share of them that a step changes or, at least, reads and writes."""
    with_gradient: float
    """The share of them whose gradient is not zero by construction."""
    megabytes: float
    """2^20 bytes of weights, two moments of Adam for each, the gradient and the batch of inputs."""


def first_layer(
    arm: str, items: int, touched: float, width: int, dim: int, examples: int, positions: int
) -> FirstLayer:
    """Counts what an arm of question 1 needs.

    Args:
        arm: `one-hot`, `rows` or `embeddings`, see `model.one_hot`.
        touched: items that a batch's histories hold.
        width: of the hidden layer.
        dim: of the embeddings.
        examples, positions: of a batch.

    >>> first_layer("one-hot", items=99, touched=10, width=8, dim=2, examples=4, positions=6)[:3]
    (800, 1.0, 0.1)
    >>> first_layer("embeddings", items=99, touched=10, width=8, dim=2, examples=4, positions=6)[:3]
    (216, 0.16666666666666666, 0.16666666666666666)
    """
    rows, columns = items + 1, dim if arm == "embeddings" else width
    kernel = dim * width if arm == "embeddings" else 0
    weights, with_gradient = rows * columns + kernel, touched * columns + kernel
    gradient = weights if arm == "one-hot" else with_gradient
    inputs = examples * rows if arm == "one-hot" else positions
    megabytes = FLOAT * (3 * weights + gradient + inputs) / (1 << 20)
    return FirstLayer(weights, gradient / weights, with_gradient / weights, megabytes)


class Serving(NamedTuple):
    """Megabytes, 2^20 bytes, of the vectors that serving needs."""

    items: float
    """What is searched."""
    stored: float
    """Vectors of all users, one each."""
    fresh: float
    """What a vector for a history that is not stored needs beside what is searched: vectors to average."""


def serving(items: int, users: int, dim: int, one_table: bool) -> Serving:
    """What vectors need, as float32 with their rows 0.

    Args:
        one_table: whether users' vectors are means of the vectors that are searched.

    >>> serving(items=16383, users=32767, dim=64, one_table=False)
    Serving(items=4.0, stored=8.0, fresh=4.0)
    """
    table, stored = (FLOAT * dim * (rows + 1) / (1 << 20) for rows in (items, users))
    return Serving(table, stored, 0.0 if one_table else table)


def fewer_users(ask: Ask, limit: int | None, seed: int = 0) -> Ask:
    """The same of at most `limit` users, drawn by a seed; None keeps all."""
    users = np.flatnonzero(ask.anything & (ask.given > 0))
    if limit is None or len(users) <= limit:
        return ask
    kept = np.random.default_rng([seed, 8]).choice(users, limit, replace=False)
    until = ask.given.copy()
    until[kept] = ask.until[kept]
    return Ask(ask.given, until)
