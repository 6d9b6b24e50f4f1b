"""Huffman trees against a reference coder, hierarchical softmax against its definition."""

import heapq
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.hierarchical import hierarchical_softmax, linear_item_vectors, log_probabilities
from model.huffman import HuffmanTree
from model.prepare import touched_paths
from model.word2vec.loss import logistic_loss
from model.word2vec.prepare import RowTurns
from tests.fitting import ITEMS, MODEL, train_on_circle

counts = st.lists(st.integers(0, 1000), min_size=2, max_size=60).filter(lambda c: sum(n > 0 for n in c) >= 1)


def reference_code_length(weights: list[int]) -> int:
    """Bits of a log coded by a Huffman coder: the sum of all weights that are made by joining."""
    heap, total = sorted(weights), 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


@given(counts)
def test_the_code_is_as_short_as_a_reference_coders_and_no_code_begins_another(found: list[int]) -> None:
    watches = np.array([7, *found])
    tree = HuffmanTree.of(watches)
    seen = np.flatnonzero(watches[1:]) + 1
    assert int((tree.lengths * watches)[1:].sum()) == reference_code_length([n for n in found if n])
    assert tree.inner == len(seen) - 1
    paths = tree.paths(seen.astype(np.int32))
    codes = {tuple(s for s in signs if s) for signs in paths.signs.tolist()}
    assert len(codes) == len(seen)
    assert sum(2.0 ** -len(code) for code in codes) == pytest.approx(1)
    assert [len([n for n in nodes if n]) for nodes in paths.nodes.tolist()] == tree.lengths[seen].tolist()


@settings(max_examples=25, deadline=None)
@given(counts, st.integers(0, 10**6))
def test_probabilities_sum_to_1_and_are_those_of_the_loss(found: list[int], seed: int) -> None:
    tree, rng = HuffmanTree.of(np.array([0, *found])), np.random.default_rng(seed)
    nodes = rng.normal(size=(tree.inner + 1, 3)).astype(np.float32)
    users = rng.normal(size=(2, 3)).astype(np.float32)
    everything = log_probabilities(tree, nodes, users)
    assert np.exp(everything.astype(np.float64)).sum(1) == pytest.approx(1, abs=1e-5)
    item = int(rng.choice(np.flatnonzero(found))) + 1
    nodes_of, signs = tree.paths(np.array([item, item], np.int32))
    loss = hierarchical_softmax(tf.constant(users), tf.gather(nodes, nodes_of), tf.constant(signs))
    assert -loss.numpy() == pytest.approx(everything[:, item], rel=1e-4, abs=1e-5)


def test_linear_item_vectors_give_log_p_where_scores_are_small() -> None:
    tree, rng = HuffmanTree.of(np.array([0, 5, 3, 0, 2, 1])), np.random.default_rng(0)
    nodes = 1e-3 * rng.normal(size=(4, 3)).astype(np.float32)
    users = rng.normal(size=(6, 3)).astype(np.float32)
    vectors, bias = linear_item_vectors(tree, nodes)
    approximate = users @ vectors.T + bias.T
    assert approximate[:, [1, 2, 4, 5]] == pytest.approx(
        log_probabilities(tree, nodes, users)[:, [1, 2, 4, 5]], abs=1e-4
    )
    assert not vectors[3].any()
    assert bias[1, 0] == pytest.approx(-math.log(2))


@pytest.mark.parametrize("tied", [True, False])
def test_a_network_learns_the_circle_by_hierarchical_softmax(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    monkeypatch.setattr("model.telemetry.EVERY", 5)
    logs, model = tmp_path / "logs", MODEL.model_copy(update={"tied": tied})
    fitted = train_on_circle(tmp_path / "run", logs=logs, model=model, loss="hierarchical", epochs=20)
    scores = fitted.tower.user_vectors([np.array([4, 5, 6, 7], np.int32)]) @ fitted.item_vectors.T
    assert scores.shape[1] == ITEMS + 1
    assert "item_norm_mean" in (logs / "metrics.jsonl").read_text()
    assert fitted.metrics["ndcg@10"] > 0.5


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=3))
def test_turns_of_a_row_are_those_of_the_ways_to_its_watches(rows: list[list[int]]) -> None:
    tree = HuffmanTree.of(np.array([0, 5, 3, 0, 2, 1]))
    paths, nodes = touched_paths(tree, np.array(rows, np.int32).ravel())
    turns = RowTurns.of(paths, len(rows), len(nodes))
    for row, watches in enumerate(rows):
        used = nodes[turns.nodes[row]][turns.signs[row].any(0)].tolist()
        assert len(used) == len(set(used))
        for watch, item in enumerate(watches):
            expected = tree.paths(np.array([item], np.int32))
            way = {node: sign for node, sign in zip(*(part[0].tolist() for part in expected), strict=True) if sign}
            signs = turns.signs[row, watch].tolist()
            found = {node: sign for node, sign in zip(nodes[turns.nodes[row]].tolist(), signs, strict=True) if sign}
            assert found == way


def test_a_pair_that_stands_for_several_has_the_sum_of_their_losses() -> None:
    given_, node = tf.constant([[0.5, -2.0]]), tf.constant([[1.5, 0.25]])  # their product is 0.25
    found = logistic_loss(given_, node, 3.0, 1 / 3)  # twice to the left, once to the right
    assert float(found) == pytest.approx(2 * np.log1p(np.exp(-0.25)) + np.log1p(np.exp(0.25)))
