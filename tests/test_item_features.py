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

from model.fit import Fitted, TrainingData, fit
from model.item_features import TouchedFeatures, composed
from watchnext.catalogue import ITEM_SCHEMA
from watchnext.config import ModelConfig, RunOptions, TrainingConfig
from watchnext.errors import UsageError
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs
from watchnext.item_features import DAY, ItemBags, item_bags

KINDS = ("categories", "title", "uploaded")
NOW = int(datetime(2026, 1, 10, tzinfo=UTC).timestamp())


def table(*rows: tuple[str | None, list[str] | None, int | None]) -> pa.Table:
    """An items table with its row 0."""
    columns = zip((None, None, None), *rows, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, ITEM_SCHEMA, strict=True)], ITEM_SCHEMA
    )


def features_of(bags: ItemBags, item: int) -> dict[int, float]:
    pairs = bags.of(np.array([item]))
    return dict(zip(pairs.feature.tolist(), pairs.weight.tolist(), strict=True))


def test_features_by_hand() -> None:
    items = table(
        ("The Godfather, 1972", ["crime", "drama"], None),
        ("GODFATHER", ["drama"], NOW - 4 * DAY),
        (None, None, NOW - 6 * DAY),
        ("drama", [], NOW + DAY),
        ("--", None, None),
    )
    bags = item_bags(ModelConfig(item_features=KINDS), items, NOW)
    assert bags is not None
    one, two, three, four = (features_of(bags, item) for item in (1, 2, 3, 4))
    assert sorted(one.values()) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.5, 0.5])
    assert sorted(two.values()) == [1, 1, 1]
    assert len(one.keys() & two.keys()) == 2, "a word in any case and a category in common"
    assert three.keys() <= two.keys(), "4 and 6 days are between the same powers of two"
    assert not four.keys() & (one.keys() | two.keys()), "a word is no category, the future is today"
    assert not features_of(bags, 5)
    assert not features_of(bags, 0)


def test_every_kind_is_a_switch() -> None:
    items = table(("a b", ["x"], 5))
    sizes = {kind: item_bags(ModelConfig(item_features=(kind,)), items, NOW) for kind in KINDS}
    assert {kind: len(bags.feature) if bags else 0 for kind, bags in sizes.items()} == dict(
        zip(KINDS, (1, 2, 1), strict=True)
    )
    assert item_bags(ModelConfig(), items, NOW) is None


def test_what_is_known_of_no_item_is_refused() -> None:
    with pytest.raises(UsageError, match="title, which is known of no item"):
        item_bags(ModelConfig(item_features=("categories", "title")), table((None, ["x"], 5)), NOW)


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
        9,
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
    fitted = fit_on_groups(tmp_path, ModelConfig(dim=16, tower=(32,), history=8, tied=False))
    assert not fitted.item_vectors[NEW].any()
    assert not fitted.tower.watched[NEW].any()
    assert fitted.item_vectors[NEW - 1].any(axis=1).all()


def test_hierarchical_softmax_reads_features_of_watched_items(tmp_path: Path) -> None:
    model = ModelConfig(dim=16, tower=(32,), history=8, item_features=("categories",), tied=False)
    fitted = fit_on_groups(tmp_path, model, loss="hierarchical")
    assert not fitted.item_vectors[NEW].any(), "they are in no tree"
    assert fitted.tower.watched[NEW].any(axis=1).all()


def test_pairs_are_in_the_order_of_items() -> None:
    bags = item_bags(ModelConfig(item_features=KINDS), table(("a b", ["x"], 5), ("c", ["y", "z"], 6)), NOW)
    assert bags is not None
    rows = bags.of(np.array([2, 1, 2])).row.tolist()
    assert rows == sorted(rows)
    assert all(low <= high for low, high in pairwise(bags.offsets.tolist()))
