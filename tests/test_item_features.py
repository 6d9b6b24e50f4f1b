"""Features of items: what is read of the items table, and that it gives vectors to items that nobody has watched."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress

from model.assembly import TrainingData
from model.fit import Fitted, fit
from model.item_features import TouchedFeatures, composed
from watchnext.catalogue import ITEM_SCHEMA
from watchnext.config import ModelConfig, RunOptions, TrainingConfig
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs
from watchnext.item_features import DAY, ItemBags, item_bags
from watchnext.vocabulary import Vocabulary

KINDS = ("categories", "title", "uploaded")
NOW = int(datetime(2026, 1, 10, tzinfo=UTC).timestamp())


def table(*rows: tuple[str | None, list[str] | None, int | None]) -> pa.Table:
    """An items table with its row 0."""
    columns = zip((None, None, None), *rows, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, ITEM_SCHEMA, strict=True)], ITEM_SCHEMA
    )


def features_of(bags: ItemBags | None, item: int) -> dict[str, float]:
    assert bags is not None
    pairs = bags.of(np.array([item]))
    return dict(zip(bags.vocabulary.ids(pairs.feature), pairs.weight.tolist(), strict=True))


MOVIES = table(
    ("The Godfather, 1972", ["crime", "drama"], None),
    ("GODFATHER", ["drama"], NOW - 4 * DAY),
    (None, None, NOW - 6 * DAY),
    ("drama: the Drama", ["crime", "western"], NOW + DAY),
    ("--", [], NOW),
)


def test_features_by_hand() -> None:
    bags = item_bags(ModelConfig(item_features=KINDS), MOVIES, NOW)
    features = [features_of(bags, item) for item in range(6)]
    half = pytest.approx(0.5)
    assert features == [
        {},
        {"categories:crime": half, "categories:drama": half, "title:godfather": half, "title:the": half},
        {"categories:drama": 1, "title:godfather": 1, "uploaded:3": 1},
        {"uploaded:3": 1},
        {"categories:crime": 1, "title:the": 1, "uploaded:1": 1},
        {"uploaded:1": 1},
    ], "what only one item has is left out, 4 and 6 days are between the same powers of two, the future is today"


def test_the_most_shared_features_are_kept() -> None:
    items = table(*((None, ["a", *others], None) for others in (["c"], ["b", "c"], ["b"], [])))
    bags = item_bags(ModelConfig(item_features=("categories",), most_item_features=2), items, NOW)
    assert bags is not None
    assert bags.vocabulary.ids([1, 2]) == ["categories:a", "categories:b"]
    assert len(bags.vocabulary) == 2


def test_every_kind_is_a_switch() -> None:
    items = table(("a b", ["x"], 5), ("b a", ["x"], 5))
    texts = {kind: set(features_of(item_bags(ModelConfig(item_features=(kind,)), items, NOW), 1)) for kind in KINDS}
    assert texts == {"categories": {"categories:x"}, "title": {"title:a", "title:b"}, "uploaded": {"uploaded:15"}}
    assert item_bags(ModelConfig(item_features=()), items, NOW) is None


@pytest.mark.parametrize("items", [table((None, None, None), (None, [], None)), table(("a", ["x"], 5))])
def test_nothing_is_read_where_items_have_nothing_in_common(items: pa.Table) -> None:
    assert item_bags(ModelConfig(item_features=KINDS), items, NOW) is None


@given(
    lists=st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=12),
    asked=st.lists(st.integers(0, 12), max_size=20),
    seed=st.integers(0, 100),
)
def test_sums_are_sums(lists: list[list[int]], asked: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    bags = ItemBags(
        np.cumsum([0, 0, *map(len, lists)]),
        np.array([f for one in lists for f in one], np.int32),
        rng.random(sum(map(len, lists)), np.float32),
        Vocabulary(list("123456789")),
    )
    embeddings = rng.standard_normal((10, 3), np.float32)
    items = np.array([0, *(i for i in asked if i <= len(lists))], np.int32)
    expected = np.zeros((len(items), 3))
    for row, item in enumerate(items.tolist()):
        for place in range(int(bags.offsets[item]), int(bags.offsets[item + 1])):
            expected[row] += embeddings[bags.feature[place]] * bags.weight[place]
    np.testing.assert_allclose(bags.sums(embeddings, items), expected, atol=1e-6)
    touched = TouchedFeatures.of(bags, items)
    own = np.ones((len(items), 3), np.float32)
    np.testing.assert_allclose(composed(own, embeddings[touched.rows], touched), 1 + expected, atol=1e-6)


GROUPS, SIZE, USERS = 4, 8, 160
"""Every user watches items of one category only; the last item of each is watched by nobody."""


def fit_on_groups(folder: Path, model: ModelConfig, **changes: object) -> Fitted:
    rng = np.random.default_rng(1)
    rows = [(rng.permutation(SIZE - 1) + SIZE * (user % GROUPS) + 1).tolist() for user in range(USERS)]
    histories = Histories.of(rows)
    categories = table(*((None, [f"group {item // SIZE}"], None) for item in range(GROUPS * SIZE)))
    data = TrainingData(
        UserInputs(histories),
        histories.lengths,
        GROUPS * SIZE,
        FeatureSpec(),
        item_bags(model, categories, 0),
    )
    training = TrainingConfig(
        negatives=20, batch_examples=128, learning_rate=0.02, dropout=0, averaged=0, epochs=8
    ).model_copy(update=changes)
    with Progress(disable=True) as bar:
        return fit(data, model, training, RunOptions(checkpoints=folder, progress=False), bar)


NEW = np.arange(1, GROUPS + 1) * SIZE
"""The items that nobody has watched, a group each."""


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"similarity": "dot"}, {"bias": True}])
def test_a_new_item_is_found_by_its_category(tmp_path: Path, changes: dict[str, object]) -> None:
    model = ModelConfig(dim=16, tower=(32,), history=8, item_features=("categories",)).model_copy(update=changes)
    fitted = fit_on_groups(tmp_path, model)
    users = fitted.tower.user_vectors([np.array([SIZE * group + 2, SIZE * group + 5]) for group in range(GROUPS)])
    scores = users @ fitted.item_vectors.T
    assert scores[:, NEW].argmax(1).tolist() == list(range(GROUPS))
    for group in range(GROUPS):
        inside = slice(SIZE * group + 1, SIZE * (group + 1) + 1)
        others = np.delete(scores[group], np.r_[0, inside])
        assert scores[group, NEW[group]] > others.max(), "a new item of the group is above every item of the others"


def test_a_new_item_in_a_history_says_what_its_category_says(tmp_path: Path) -> None:
    model = ModelConfig(dim=16, tower=(32,), history=8, item_features=("categories",), similarity="dot")
    fitted = fit_on_groups(tmp_path, model)
    scores = fitted.tower.user_vectors([np.array([item]) for item in NEW]) @ fitted.item_vectors.T
    best = (scores[:, 1:].argmax(1)) // SIZE
    assert best.tolist() == list(range(GROUPS))


def test_without_features_a_new_item_has_no_vector(tmp_path: Path) -> None:
    fitted = fit_on_groups(tmp_path, ModelConfig(dim=16, tower=(32,), history=8, tied=False, item_features=()))
    assert not fitted.item_vectors[NEW].any()
    assert not fitted.tower.watched[NEW].any()
    assert fitted.item_vectors[NEW - 1].any(axis=1).all()


def test_hierarchical_softmax_reads_features_of_watched_items(tmp_path: Path) -> None:
    model = ModelConfig(dim=16, tower=(32,), history=8, item_features=("categories",), tied=False)
    fitted = fit_on_groups(tmp_path, model, loss="hierarchical")
    assert not fitted.item_vectors[NEW].any(), "they are in no tree"
    assert fitted.tower.watched[NEW].any(axis=1).all()


def test_pairs_are_in_the_order_of_items() -> None:
    bags = item_bags(ModelConfig(item_features=KINDS), MOVIES, NOW)
    assert bags is not None
    rows = bags.of(np.array([2, 1, 2])).row.tolist()
    assert rows == sorted(rows)
    assert set(rows) == {0, 1, 2}
    assert all(low <= high for low, high in pairwise(bags.offsets.tolist()))
