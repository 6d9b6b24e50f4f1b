"""item2vec: skip-gram with negative sampling over histories, with gensim."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evaluation.baselines.interface import Baseline, baseline_library
from evaluation.baselines.matrix import only, refuse_empty
from watchnext.config import Closed
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64

PIECE = 10_000
"""gensim cuts a sentence off after this many words; longer histories are given to it in pieces."""


class Item2vecTraining(Closed):
    """How item vectors are trained."""

    order: Literal["time", "shuffled"] = "time"
    """Histories in time order, or shuffled anew in every epoch: then a window is a random part of the history, which
    stands for the whole history as the window (Barkan and Koenigstein found no difference)."""
    window: int = Field(5, ge=1)
    """An item's context is up to this many watches before and after it: a number from 1 to this, drawn each time."""
    dim: int = Field(64, ge=1)
    """Dimensions of the vectors."""
    epochs: int = Field(20, ge=1)
    """Passes over all histories."""
    negatives: int = Field(15, ge=1)
    """Negatives for each pair of items."""
    noise_exponent: float = 0.75
    """Negatives are drawn from (watch count of the item)^this."""
    subsampling: float = Field(0.0, ge=0)
    """Watches of items with a larger share of all watches than this are left out at random; 0 keeps all."""
    learning_rate: float = Field(0.025, gt=0)
    """At the start; falls linearly to 0.0001."""


class Item2vecSettings(Closed):
    """Settings of item2vec: how vectors are trained and how they are used."""

    training: Item2vecTraining = Item2vecTraining()
    """How item vectors are trained."""
    last: int = Field(5, ge=1)
    """The user vector is the mean over this many last watches."""
    scored_by: Literal["input", "output"] = "output"
    """What the user vector, a mean of input vectors, is compared with: `output` vectors by the dot product, which is
    what training raises for watches of one window, or `input` vectors by the cosine, as the paper compares items."""


@dataclass(frozen=True)
class Item2vecScorer:
    """Dot products of the mean of the last watched items' vectors with item vectors.

    Args:
        watched_vectors: [items + 1, dim] of watched items; zero where training never saw the item.
        item_vectors: [items + 1, dim] of scored items.
        known: [items + 1] which items training saw.
        last: how many watches the mean is over.
    """

    watched_vectors: Float32
    item_vectors: Float32
    known: NDArray[np.bool_]
    last: int
    histories: Histories

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] dot products."""
        vectors = np.zeros((len(users), self.item_vectors.shape[1]), np.float32)
        for row, (user, end) in enumerate(zip(users.tolist(), ends.tolist(), strict=True)):
            if end > 0:
                vectors[row] = self.watched_vectors[self.histories[user][max(0, end - self.last) : end]].mean(0)
        return only(vectors @ self.item_vectors.T, self.known)


class Item2vec(Baseline[Item2vecSettings]):
    """Word2vec with items as words and histories as sentences.

    Barkan and Koenigstein, *Item2vec: Neural Item Embedding for Collaborative Filtering*, MLSP 2016.
    """

    name = "gensim-item2vec"
    grid = tuple(
        Item2vecSettings(training=training, last=last, scored_by=scored_by)
        for training in (Item2vecTraining(), Item2vecTraining(order="shuffled"))
        for scored_by, lasts in (("output", (5, 1, 3, 10)), ("input", (5, 1)))
        for last in lasts
    )

    def fit(
        self, histories: Histories, ends: Int64, items: int, settings: Item2vecSettings, seed: int
    ) -> Item2vecScorer:
        """Train with gensim, in one thread, so that a seed gives one result."""
        return next(self.fit_each(histories, ends, items, [settings], seed))

    def fit_each(
        self, histories: Histories, ends: Int64, items: int, grid: Sequence[Item2vecSettings], seed: int
    ) -> Iterator[Item2vecScorer]:
        """Settings with the same training, when they stand side by side, share the vectors."""
        refuse_empty(ends)
        for training, group in groupby(grid, lambda settings: settings.training):
            inputs, outputs, known = _train(histories, ends, items, training, seed)
            for settings in group:
                if settings.scored_by == "output":
                    yield Item2vecScorer(inputs, outputs, known, settings.last, histories)
                else:
                    unit = inputs / np.maximum(np.linalg.norm(inputs, axis=1, keepdims=True), 1e-12)
                    yield Item2vecScorer(unit, unit, known, settings.last, histories)


def _train(
    histories: Histories, ends: Int64, items: int, training: Item2vecTraining, seed: int
) -> tuple[Float32, Float32, NDArray[np.bool_]]:
    """[items + 1, dim] input vectors, [items + 1, dim] output vectors, [items + 1] which items have them."""
    model: Any = baseline_library("gensim.models.word2vec").Word2Vec(
        _Sentences(histories, ends, training.order == "shuffled", seed),
        sg=1,
        min_count=1,
        vector_size=training.dim,
        window=training.window,
        epochs=training.epochs,
        negative=training.negatives,
        ns_exponent=training.noise_exponent,
        sample=training.subsampling,
        alpha=training.learning_rate,
        seed=seed,
        hashfxn=lambda word: crc32(word.encode()),
        workers=1,
    )
    numbers = np.array([int(word) for word in model.wv.index_to_key])
    inputs = np.zeros((items + 1, training.dim), np.float32)
    outputs = np.zeros_like(inputs)
    inputs[numbers], outputs[numbers] = model.wv.vectors, model.syn1neg
    known = np.zeros(items + 1, np.bool_)
    known[numbers] = True
    return inputs, outputs, known


class _Sentences:
    """The first `ends` watches of each user as lists of words, again and again."""

    def __init__(self, histories: Histories, ends: Int64, shuffled: bool, seed: int) -> None:
        self.histories, self.ends, self.shuffled = histories, ends, shuffled
        self.rng = np.random.default_rng([seed, 5])

    def __iter__(self) -> Iterator[list[str]]:
        for user in np.flatnonzero(self.ends).tolist():
            history = self.histories[user][: self.ends[user]]
            if self.shuffled:
                history = self.rng.permutation(history)
            words = [str(item) for item in history.tolist()]
            for start in range(0, len(words), PIECE):
                yield words[start : start + PIECE]
