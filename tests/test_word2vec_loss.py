"""The losses and gradients of word2vec's step against sums over pairs, negatives and paths, in float64 numpy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.huffman import HuffmanTree
from model.optimizer import ADAGRAD_START
from model.sampler import Noise
from model.word2vec.loss import logistic_loss
from model.word2vec.prepare import PreparedWindows, WindowPreparer
from model.word2vec.step import Word2vecTrainer
from model.word2vec.vectors import WordVectors
from model.word2vec.windows import WindowBuilder, Windows, edge_of
from watchnext.config import Word2vecConfig
from watchnext.histories import Histories

Float64 = NDArray[np.float64]
Tables = dict[str, Float64]

ITEMS = 9
HISTORIES = Histories.of([[1, 2, 3, 2, 4], [5], [6, 7, 1, 1, 8, 2, 3, 5, 4, 2, 1], [3, 8]])  # 9 is never watched
COUNTS = np.bincount(HISTORIES.items, minlength=ITEMS + 1)
HIDDEN = {"linear": lambda x: x, "relu": lambda x: np.maximum(x, 0), "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


class Setting:
    """A batch, as it is and as the step takes it, and a trainer with random tables."""

    def __init__(self, **config: object) -> None:
        self.config = Word2vecConfig.checked({"dim": 4, "negatives": 7, "shared_negatives": 5, **config})
        self.tree = HuffmanTree.of(COUNTS) if self.config.loss == "hierarchical" else None
        network = WordVectors(self.config, ITEMS, self.tree)
        rng = np.random.default_rng(1)
        for table in network.tables.values():
            values = rng.normal(size=table.shape)
            values[0] = 0
            table.assign(values)
        network.forget(np.flatnonzero(COUNTS == 0))
        self.trainer = Word2vecTrainer(network, self.config)
        builder = WindowBuilder.of(HISTORIES, HISTORIES.lengths, COUNTS, self.config)
        self.batch: Windows = next(iter(builder.epoch(0).batches()))
        prepare = WindowPreparer(Noise.of(COUNTS, self.config.noise_exponent), self.config, self.tree)
        self.prepared: PreparedWindows = prepare(self.batch, 0, 0)
        self.tables: Tables = {n: v.astype(np.float64) for n, v in network.arrays().items()}

    def values(self, tables: Tables) -> dict[str, Any]:
        """The touched rows of tables, as the step takes them."""
        rows = self.trainer.rows(self.prepared)
        return {name: tf.constant(table[rows[name]], tf.float32) for name, table in tables.items()}

    def windows(self) -> Iterator[tuple[int, list[int]]]:
        """Each watch and those in its window, by a double loop."""
        edge = edge_of(self.config)
        for items, history, reaches in zip(*self.batch, strict=True):
            for i, reach in enumerate(reaches):
                at = i + edge
                near = [
                    j for j in range(len(items)) if j != at and abs(j - at) <= reach and history[j] == history[at]
                ]
                if history[at]:
                    yield int(items[at]), [int(items[j]) for j in near]

    def naive(self, tables: Tables) -> float:
        """The loss by its definition."""
        hidden = HIDDEN[self.config.activation](tables["table/watched"])
        skipgram = self.config.architecture == "skipgram"
        total, count = 0.0, 0
        for item, near in self.windows():
            if skipgram:
                total += sum(self.one(tables, item, other, hidden) for other in near)
                count += len(near)
            elif near:
                total += self.told(tables, hidden[near].mean(0), item)
                count += 1
        assert count > 10
        return total / count

    def one(self, tables: Tables, item: int, other: int, hidden: Float64) -> float:
        """The loss of a pair: of a window's middle and its other watch; by nodes it is the middle that is told."""
        if self.tree is None:
            return self.told(tables, hidden[item], other)
        return self.told(tables, hidden[other], item)

    def told(self, tables: Tables, given: Float64, item: int) -> float:
        """The loss of telling an item from a hidden layer."""
        if self.tree is not None:
            nodes, signs = (part[0] for part in self.tree.paths(np.array([item], np.int32)))
            turns = np.logaddexp(0, -signs * (tables["table/node"][nodes] @ given))
            return float(turns[signs != 0].sum())
        drawn = self.prepared.rows[self.prepared.negative]
        assert len(drawn) == 5
        output = tables["table/item"]
        own = np.logaddexp(0, -given @ output[item])
        return float(own + 7 / 5 * np.logaddexp(0, output[drawn] @ given).sum())


EVERY = pytest.mark.parametrize(
    ("loss", "architecture", "window"),
    [(loss, a, w) for loss in ("negative", "hierarchical") for a in ("skipgram", "cbow") for w in (2, None)],
)


@EVERY
@pytest.mark.parametrize("activation", ["linear", "sigmoid", "relu"])
def test_the_loss_of_a_batch_is_the_sum_of_its_definition(
    loss: str, architecture: str, window: int | None, activation: str
) -> None:
    s = Setting(loss=loss, architecture=architecture, window=window, activation=activation)
    assert float(s.trainer.loss(s.prepared, s.values(s.tables))) == pytest.approx(s.naive(s.tables), rel=1e-5)


@EVERY
def test_the_gradient_is_that_of_the_definition(loss: str, architecture: str, window: int | None) -> None:
    activation = "linear" if window is None else "sigmoid"
    s = Setting(dim=2, loss=loss, architecture=architecture, window=window, activation=activation)
    value, gradients = s.trainer.gradients(s.prepared, s.values(s.tables))
    assert float(value) == pytest.approx(s.naive(s.tables), rel=1e-5)
    rows = s.trainer.rows(s.prepared)
    for name, table in s.tables.items():
        found = np.zeros_like(table)
        np.add.at(found, rows[name], gradients[name].numpy())
        expected = np.zeros_like(table)
        for at in np.ndindex(*table.shape):
            moved = [{**s.tables, name: table.copy()} for _ in range(2)]
            moved[0][name][at] += 1e-3
            moved[1][name][at] -= 1e-3
            expected[at] = (s.naive(moved[0]) - s.naive(moved[1])) / 2e-3
        assert np.abs(expected).max() > 1e-3
        assert found == pytest.approx(expected, abs=2e-6)
        assert not found[0].any()  # padding learns nothing


@pytest.mark.parametrize(("loss", "architecture"), [("negative", "skipgram"), ("hierarchical", "cbow")])
def test_a_step_moves_touched_rows_against_their_gradient_and_no_others(loss: str, architecture: str) -> None:
    s = Setting(loss=loss, architecture=architecture, optimizer="adagrad", learning_rate=0.1, window=2)
    _, gradients = s.trainer.gradients(s.prepared, s.values(s.tables))
    value = float(s.trainer.step(s.prepared))
    assert value == pytest.approx(s.naive(s.tables), rel=1e-5)
    squares = sum(float((g.numpy() ** 2).sum()) for g in gradients.values())
    assert float(s.trainer.gradient_norm) == pytest.approx(squares**0.5, rel=1e-4)
    for name, rows in s.trainer.rows(s.prepared).items():
        expected = s.tables[name].copy()
        gradient = gradients[name].numpy()
        real = rows > 0
        expected[rows[real]] -= (0.1 * gradient / np.sqrt(ADAGRAD_START + gradient**2))[real]
        after = s.trainer.trained[name].numpy()
        assert after == pytest.approx(expected, abs=1e-6)
        assert not after[0].any()
    after = s.trainer.trained["table/watched"].numpy()
    assert np.array_equal(after[9], s.tables["table/watched"][9])


def test_many_shared_negatives_estimate_the_loss_of_negatives_of_their_own() -> None:
    """The expectation over the noise: `negatives` times the mean over all items by their probability."""
    s = Setting(shared_negatives=40_000, negatives=3, window=2)
    watched, output = s.tables["table/watched"], s.tables["table/item"]
    noise = COUNTS[1:] ** 0.75 / (COUNTS[1:] ** 0.75).sum()
    expected = np.mean(
        [
            np.logaddexp(0, -watched[item] @ output[other]) + 3 * noise @ np.logaddexp(0, output[1:] @ watched[item])
            for item, near in s.windows()
            for other in near
        ]
    )
    assert float(s.trainer.loss(s.prepared, s.values(s.tables))) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("start", "end", "steps"), [(0.5, 0.0, 4), (0.1, 1.0, 7), (0.2, 0.25, 10)])
def test_the_rate_falls_in_a_line_to_its_share(start: float, end: float, steps: int) -> None:
    config = Word2vecConfig(dim=2, learning_rate=start, final_rate=end)
    trainer = Word2vecTrainer(WordVectors(config, 3), config, steps)
    found = [float(trainer.rate(tf.constant(float(step)))) for step in (0, steps / 2, steps, steps + 5)]
    assert found == pytest.approx([start, start * (1 + end) / 2, start * end, start * end])


@settings(max_examples=30)
@given(st.sampled_from([(1, 1, 1), (2, 3, 4), (3, 4, 1)]), st.integers(0, 10**6), st.sampled_from([0.1, 1, 30]))
def test_the_logistic_loss_and_its_gradient(shape: tuple[int, int, int], seed: int, scale: float) -> None:
    rows, n, m = shape
    rng = np.random.default_rng(seed)
    given_, other = scale * rng.normal(size=(rows, n, 3)), scale * rng.normal(size=(rows, m, 3))
    weight, sign = rng.random((rows, n, m)), rng.choice([-1.0, 1.0], (rows, n, m))
    inputs = [tf.constant(x, tf.float32) for x in (given_, other)]
    fixed = [tf.constant(x, tf.float32) for x in (weight, sign)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = logistic_loss(*inputs, *fixed)
        thrice = 3 * loss
    by_given, by_other = (g.numpy() for g in tape.gradient(thrice, inputs))
    scores = np.einsum("rnd,rmd->rnm", given_, other)
    assert float(loss) == pytest.approx((weight * np.logaddexp(0, -sign * scores)).sum(), rel=1e-4, abs=1e-5)
    slope = -3 * weight * sign * np.exp(-np.logaddexp(0, sign * scores))
    bound = 1e-4 * scale * 10
    assert by_given == pytest.approx(np.einsum("rnm,rmd->rnd", slope, other), rel=1e-3, abs=bound)
    assert by_other == pytest.approx(np.einsum("rnm,rnd->rmd", slope, given_), rel=1e-3, abs=bound)


def test_the_logistic_loss_of_scores_beyond_the_range_of_exp() -> None:
    one = tf.constant([[200.0]])
    assert float(logistic_loss(one, one, 1.0, 1.0)) == 0
    assert float(logistic_loss(one, one, 0.5, -1.0)) == 20_000
