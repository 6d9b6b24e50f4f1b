"""What is exported of word2vec's tables: which vectors, their scale, and users as means by hand; noise and trees."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from gensim.models import Word2Vec
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from model.hierarchical import linear_item_vectors
from model.huffman import HuffmanTree
from model.sampler import Noise
from model.word2vec.prepare import WindowPreparer
from model.word2vec.vectors import WordVectors
from model.word2vec.windows import WindowBuilder
from watchnext.config import ModelConfig, Word2vecConfig
from watchnext.errors import TrainingError
from watchnext.features import Float32
from watchnext.histories import Histories

ITEMS, UNSEEN = 6, 4
COUNTS = np.array([0, 9, 5, 3, 0, 2, 1])


def made(**config: object) -> tuple[WordVectors, Float32, Float32]:
    """Vectors with random tables, and the tables: of inputs, and of outputs or nodes."""
    chosen = Word2vecConfig.checked({"dim": 3, **config})
    tree = HuffmanTree.of(COUNTS) if chosen.loss == "hierarchical" else None
    network, rng = WordVectors(chosen, ITEMS, tree), np.random.default_rng(0)
    for table in network.tables.values():
        table.assign(rng.normal(size=table.shape))
        table.scatter_update(tf.IndexedSlices(tf.zeros([1, 3]), [0]))
    network.forget(np.flatnonzero(COUNTS == 0))
    watched, other = (network.tables[n].numpy() for n in ("watched", "node" if tree else "item"))
    return network, watched, other


@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
def test_vectors_of_items_are_inputs_outputs_or_their_mean(loss: str) -> None:
    network, watched, other = made(loss=loss, vectors="input")
    assert np.array_equal(network.item_vectors(), watched)
    output = other if network.tree is None else linear_item_vectors(network.tree, other)[0]
    assert np.array_equal(made(loss=loss, vectors="output")[0].item_vectors(), output)
    average = made(loss=loss, vectors="average")[0].item_vectors()
    assert average == pytest.approx((output + watched) / 2, abs=1e-6)
    for vectors in (watched, output, average):
        assert np.array_equal(vectors.any(1), COUNTS > 0)


@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
@pytest.mark.parametrize("vectors", ["input", "output", "average"])
def test_cosine_scales_vectors_of_items_and_users_to_length_1(loss: str, vectors: str) -> None:
    plain = made(loss=loss, vectors=vectors)[0].item_vectors()
    network, watched, _ = made(loss=loss, vectors=vectors, similarity="cosine", last=3)
    scaled = network.item_vectors()
    assert np.linalg.norm(scaled, axis=1) == pytest.approx((COUNTS > 0).astype(float))
    assert scaled * np.linalg.norm(plain, axis=1, keepdims=True) == pytest.approx(plain, abs=1e-6)
    assert np.array_equal(network.tower().watched, watched)  # means are of the vectors as they are
    (user,) = network.tower().user_vectors([np.array([1, 2], np.int32)])
    mean = (watched[1] + watched[2]) / 2
    assert user == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_users_are_the_mean_of_the_last_inputs() -> None:
    network, w, _ = made(user="mean", last=3)
    found = network.tower().user_vectors(
        [np.array(h, np.int32) for h in ([5, 1, 2, 3], [6], [1, 1], [2, UNSEEN], [])]
    )
    expected = [(w[1] + w[2] + w[3]) / 3, w[6], w[1], w[2] / 2, np.zeros(3)]
    assert found == pytest.approx(np.array(expected), abs=1e-6)


def test_users_are_the_decayed_mean_of_the_last_inputs() -> None:
    network, w, _ = made(user="decay", decay=0.5, last=3)
    found = network.tower().user_vectors([np.array(h, np.int32) for h in ([5, 1, 2, 3], [6], [1, 2])])
    expected = [(w[1] / 4 + w[2] / 2 + w[3]) / (7 / 4), w[6], (w[1] / 2 + w[2]) / (3 / 2)]
    assert found == pytest.approx(np.array(expected), abs=1e-6)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "linear"])
def test_inputs_are_exported_as_the_hidden_layer_has_them(activation: str) -> None:
    network, w, _ = made(activation=activation, vectors="input")
    known = {"relu": np.maximum(w, 0), "sigmoid": 1 / (1 + np.exp(-w)), "linear": w}
    expected = np.where((COUNTS > 0)[:, None], known[activation], 0)
    assert network.item_vectors() == pytest.approx(expected, abs=1e-6)
    assert network.tower().watched == pytest.approx(expected, abs=1e-6)
    (user,) = network.tower().user_vectors([np.array([1, 3], np.int32)])
    assert user == pytest.approx((expected[1] + expected[3]) / 2, abs=1e-6)


def test_inputs_begin_small_and_outputs_at_zero() -> None:
    network = WordVectors(Word2vecConfig(dim=5, seed=1), 3000)
    start = network.tables["watched"].numpy()
    assert 0.09 < start.max() <= 0.1
    assert -0.1 <= start.min() < -0.09
    assert not network.tables["item"].numpy().any()
    assert not np.array_equal(WordVectors(Word2vecConfig(dim=5), 3000).tables["watched"].numpy(), start)


@pytest.mark.parametrize("vectors", ["input", "output"])
@pytest.mark.parametrize("user", ["mean", "decay"])
def test_the_tower_has_the_shape_of_the_settings(user: str, vectors: str) -> None:
    config = Word2vecConfig.checked({"dim": 7, "user": user, "vectors": vectors, "last": 9, "decay": 0.3})
    model = config.model
    assert (model.dim, model.history, model.tower, model.residual) == (7, 9, (), False)
    assert (model.encoder, model.tied) == (user, vectors == "input")
    assert user == "mean" or model.decays == (0.3,)
    assert ModelConfig.model_validate_json(model.model_dump_json()) == model


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.75, 1.0])
def test_noise_is_drawn_by_powers_of_counts(exponent: float) -> None:
    counts = np.array([5, 1000, 400, 0, 100, 25, 3, 0])  # row 0 is padding
    drawn = Noise.of(counts, exponent).draw(np.random.default_rng(0), 50_000)
    assert drawn.dtype == np.int32
    seen = np.array([1, 2, 4, 5, 6])
    found = np.bincount(drawn, minlength=len(counts))
    assert found[seen].sum() == 50_000
    weights = counts[seen].astype(float) ** exponent
    assert chisquare(found[seen], 50_000 * weights / weights.sum()).pvalue > 0.001
    if exponent == 0:
        assert found[seen] == pytest.approx(10_000, rel=0.05)


def test_unseen_items_are_not_drawn_at_the_edges_of_others_either() -> None:
    class Edges(np.random.Generator):
        def random(self, *args: object, **kwargs: object) -> Any:
            return np.array([0.0, 0.75, np.nextafter(1, 0)])

    drawn = Noise.of(np.array([0, 0, 3, 0, 1, 0]), 1.0).draw(Edges(np.random.PCG64()), 3)
    assert drawn.tolist() == [2, 4, 4]


def test_noise_needs_watches_and_may_be_of_one_item() -> None:
    assert Noise.of(np.array([0, 0, 7]), 0.75).draw(np.random.default_rng(0), 9).tolist() == [2] * 9
    with pytest.raises(TrainingError, match="no watch to train on"):
        Noise.of(np.array([3, 0, 0]), 0.75)


def reference_code_length(weights: list[int]) -> int:
    """Bits of a text by Huffman's code, with two queues (van Leeuwen 1976) in place of a heap."""
    leaves, joined, total = sorted(weights, reverse=True), list[int](), 0
    while len(leaves) + len(joined) > 1:
        least = 0
        for _ in range(2):
            least += leaves.pop() if not joined or (leaves and leaves[-1] <= joined[0]) else joined.pop(0)
        joined.append(least)
        total += least
    return total


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=80).filter(any))
def test_no_code_is_shorter(found: list[int]) -> None:
    tree = HuffmanTree.of(np.array([3, *found]))
    assert int(tree.lengths[1:] @ np.array(found)) == reference_code_length([n for n in found if n])


@settings(max_examples=10)
@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=80))
def test_gensims_code_is_as_long(found: list[int]) -> None:
    reference = Word2Vec(vector_size=1, hs=1, negative=0, min_count=1)
    reference.build_vocab_from_freq({str(i): n for i, n in enumerate(found)}, corpus_count=1)
    bits = sum(n * len(reference.wv.get_vecattr(str(i), "code")) for i, n in enumerate(found))
    tree = HuffmanTree.of(np.array([0, *found]))
    assert int(tree.lengths[1:] @ np.array(found)) == bits


@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
def test_a_prepared_batch_names_the_rows_of_its_items_negatives_and_ways(loss: str) -> None:
    config = Word2vecConfig.checked({"loss": loss, "window": 2, "shared_negatives": 50})
    histories = Histories.of([[1, 2, 5, 3, 1], [6, 1, 2]])
    counts = np.bincount(histories.items, minlength=ITEMS + 1)
    tree = HuffmanTree.of(counts) if loss == "hierarchical" else None
    prepare = WindowPreparer(Noise.of(counts, 0.75), config, tree)
    (batch,) = WindowBuilder.of(histories, histories.lengths, counts, config).epoch(0).batches()
    found = prepare(batch, 3, 4)
    assert np.array_equal(found.rows[found.items], batch.items)
    middle = batch.items[:, 2:-2]
    assert np.array_equal(found.weight, middle > 0)
    nonzero = found.rows[found.rows > 0]
    assert len(set(nonzero.tolist())) == len(nonzero)
    if tree is None:
        negative = found.rows[found.negative]
        assert len(negative) == 50
        assert set(negative.tolist()) <= {1, 2, 3, 5, 6}
        assert np.array_equal(prepare(batch, 3, 4).rows[prepare(batch, 3, 4).negative], negative)
        for other in (prepare(batch, 3, 5), prepare(batch, 2, 4)):
            assert not np.array_equal(other.rows[other.negative], negative)
    else:
        assert found.paths is not None
        assert found.nodes is not None
        assert not len(found.negative)
        expected = tree.paths(middle.ravel())
        assert np.array_equal(found.nodes[found.paths.nodes], expected.nodes)
        assert np.array_equal(found.paths.signs, expected.signs)
