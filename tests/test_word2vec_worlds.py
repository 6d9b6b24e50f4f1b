"""Worlds with known answers, which every kind of word2vec must find: groups, and walks on a circle.

Everybody watches items of one group, drawn with replacement, so there is nothing to learn but the groups. On the
circle everybody goes on from item to item.
"""

from itertools import product

import numpy as np
import pytest

from model.assembly import TrainingData, assembled
from model.word2vec.vectors import WordVectors
from watchnext.config import Word2vecConfig
from watchnext.features import FeatureSpec, Float32
from watchnext.histories import Histories
from watchnext.inputs import UserInputs

GROUPS, SIZE = 4, 6
"""Item n belongs to group (n - 1) % 4."""
ITEMS = GROUPS * SIZE
QUICK = {"dim": 16, "batch_examples": 64, "negatives": 3, "learning_rate": 0.05, "epochs": 14, "last": 3}


def groups(users: int = 200) -> Histories:
    rng = np.random.default_rng(0)
    return Histories.of([(rng.integers(0, SIZE, 6) * GROUPS + u % GROUPS + 1).tolist() for u in range(users)])


def trained(histories: Histories, **changes: object) -> WordVectors:
    """Train for all epochs."""
    config = Word2vecConfig.checked(QUICK | changes)
    data = TrainingData(UserInputs(histories), histories.lengths, ITEMS, FeatureSpec())
    parts = assembled(data, config.model, config)
    for epoch in range(config.epochs):
        for number, batch in enumerate(parts.builder.epoch(epoch).batches()):
            parts.trainer.step(parts.prepare(batch, epoch, number))
    network = parts.trainer.network
    assert isinstance(network, WordVectors)
    return network


def exported(network: WordVectors, **changes: str) -> WordVectors:
    """The same tables with other settings of what is exported of them."""
    network.config = network.config.model_copy(update=changes)
    return network


def nearest(vectors: Float32, k: int) -> list[list[int]]:
    """[items, k] the items nearest to each by cosine, the nearest first."""
    unit = vectors[1:] / np.linalg.norm(vectors[1:], axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    found: list[list[int]] = (np.argsort(-cosines, axis=1)[:, :k] + 1).tolist()
    return found


def recommended(network: WordVectors, histories: list[list[int]], k: int) -> list[list[int]]:
    """[histories, k] the best items that are not in a history."""
    scores = network.tower().user_vectors([np.array(h, np.int32) for h in histories]) @ network.item_vectors().T
    for row, history in zip(scores, histories, strict=True):
        row[[0, *history]] = -np.inf
    found: list[list[int]] = np.argsort(-scores, axis=1)[:, :k].tolist()
    return found


def share_of_own(found: list[list[int]], group: list[int]) -> float:
    return float(np.mean([(n - 1) % GROUPS == g for row, g in zip(found, group, strict=True) for n in row]))


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
@pytest.mark.parametrize(("window", "dynamic"), [(2, False), (3, True), (None, False)])
def test_groups_are_found(architecture: str, loss: str, window: int | None, dynamic: bool) -> None:
    network = trained(groups(), architecture=architecture, loss=loss, window=window, dynamic_window=dynamic)
    pairs = [[1 + g, 1 + g + GROUPS] for g in range(GROUPS)]
    for vectors, similarity in product(("input", "output", "average"), ("dot", "cosine")):
        exported(network, vectors=vectors, similarity=similarity)
        neighbours = nearest(network.item_vectors(), SIZE - 1)
        assert share_of_own(neighbours, [n % GROUPS for n in range(ITEMS)]) > 0.9, (vectors, similarity)
        for user in ("mean", "decay"):
            found = recommended(exported(network, user=user), pairs, SIZE - 2)
            assert share_of_own(found, [*range(GROUPS)]) > 0.9, (vectors, similarity, user)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_groups_are_found_by_hidden_layers_that_are_not_linear(activation: str) -> None:
    network = trained(groups(), activation=activation, vectors="output", epochs=30)
    pairs = [[1 + g, 1 + g + GROUPS] for g in range(GROUPS)]
    assert share_of_own(recommended(network, pairs, SIZE - 2), [*range(GROUPS)]) == 1
    assert (network.input_vectors() >= 0).all()


def test_subsampling_and_uniform_noise_find_the_groups_of_rare_items_too() -> None:
    """One item of a group of its own is half of all watches."""
    rng = np.random.default_rng(1)
    rows = [groups()[u].tolist() for u in range(1, 201)]
    flooded = [[ITEMS if rng.random() < 0.5 else n for n in row] for row in rows]
    network = trained(Histories.of(flooded), subsampling=0.05, noise_exponent=0.5, vectors="average", epochs=25)
    own = [n % GROUPS for n in range(ITEMS - 1)]
    assert share_of_own(nearest(network.item_vectors()[:-1], SIZE - 2)[: ITEMS - 1], own) > 0.8


def circle(shuffled: bool) -> Histories:
    """Walks of five items on the circle: item n is beside n - 1 and n + 1, the last beside the first."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, ITEMS, 300)
    rows = [[(s + i) % ITEMS + 1 for i in range(5)] for s in starts.tolist()]
    return Histories.of([rng.permutation(row).tolist() for row in rows] if shuffled else rows)


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_whole_history_as_the_window_finds_the_circle_in_any_order(shuffled: bool) -> None:
    network = trained(circle(shuffled), window=None, vectors="average", epochs=20, learning_rate=0.02)
    beside = [{(n - 1) % ITEMS + 1, (n + 1) % ITEMS + 1} for n in range(ITEMS)]
    found = [set(row) == wanted for row, wanted in zip(nearest(network.item_vectors(), 2), beside, strict=True)]
    assert np.mean(found) > 0.9


def test_a_window_of_one_depends_on_the_order() -> None:
    """Items three apart share walks of five but never stand side by side."""
    apart = [[(n + 3) % ITEMS + 1, n % ITEMS + 1] for n in range(ITEMS)]

    def score(shuffled: bool) -> float:
        network = trained(circle(shuffled), window=1, epochs=20, learning_rate=0.02)
        inputs, outputs = network.input_vectors(), network.output_vectors()
        return float(np.mean([inputs[a] @ outputs[b] for a, b in apart]))

    assert score(shuffled=True) > score(shuffled=False) + 1


def test_items_that_training_does_not_see_have_no_vector() -> None:
    histories = groups()
    ends = histories.lengths.copy()
    unseen = (histories.items - 1) // GROUPS == 5  # one item of each group: cut histories before it
    for user in range(1, len(histories)):
        places = np.flatnonzero(unseen[histories.offsets[user] : histories.offsets[user + 1]])
        ends[user] = places[0] if len(places) else ends[user]
    for changes in (
        {"loss": "negative"},
        {"loss": "hierarchical"},
        {"activation": "sigmoid", "similarity": "cosine"},
    ):
        config = Word2vecConfig.checked({**QUICK, **changes})
        data = TrainingData(UserInputs(histories), ends, ITEMS, FeatureSpec())
        parts = assembled(data, config.model, config)
        for number, batch in enumerate(parts.builder.epoch(0).batches()):
            parts.trainer.step(parts.prepare(batch, 0, number))
        network = parts.trainer.network
        assert isinstance(network, WordVectors)
        seen = np.array([False, *((n // GROUPS) != 5 for n in range(ITEMS))])
        assert np.array_equal(parts.counts > 0, seen)
        for vectors in ("input", "output", "average"):
            assert np.array_equal(exported(network, vectors=vectors).item_vectors().any(1), seen)
        assert np.array_equal(network.tower().watched.any(1), seen)
