"""Why a candidate: shares of a linear score that are known by hand, and cosines where it is not linear."""

from dataclasses import replace

import numpy as np
import pytest

from index.askers import Askers
from index.explain import explain, is_linear
from tests.worlds import mean_world
from watchnext.config import ModelConfig
from watchnext.export import Export

VECTORS = np.array([[0, 0], [2, 0], [0, 1], [3, 4], [0, 0], [1, -1]], np.float32)


def export(*watches: int, decay: float | None = None, similarity: str = "dot") -> Export:
    own = [(item, time) for time, item in enumerate(watches)]
    return mean_world(VECTORS, {"u": own}, decay=decay, similarity=similarity)


def shares(made: Export, candidate: int) -> dict[str, float | None]:
    (reasons,) = explain(made, Askers(made).stored(1), np.array([candidate], np.int32))
    return {reason.item_id: reason.share for reason in reasons}


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_shares_of_a_mean(similarity: str) -> None:
    # u = ((2, 0) + (0, 1)) / 2; u . (3, 4) = 3 + 2
    assert shares(export(1, 2, similarity=similarity), 3) == pytest.approx({"i1": 0.6, "i2": 0.4})


def test_an_item_watched_twice_has_one_share() -> None:
    # u = ((2, 0) + (0, 1) + (2, 0)) / 3; u . (3, 4) = (6 + 4 + 6) / 3
    assert shares(export(1, 2, 1), 3) == pytest.approx({"i1": 0.75, "i2": 0.25})


def test_shares_of_decaying_weights_and_the_last_watch() -> None:
    made = export(1, 2, decay=0.5)
    # weights 1/3 and 2/3: u = (2/3, 2/3); u . (3, 4) = 2 + 8/3
    assert shares(made, 3) == pytest.approx({"i1": 3 / 7, "i2": 4 / 7})


def test_shares_may_be_negative() -> None:
    # u = (1, .5); u . (1, -1) = 1 - .5
    assert shares(export(1, 2), 5) == pytest.approx({"i1": 2.0, "i2": -1.0})


def test_what_speaks_for_a_candidate_comes_first_even_where_its_score_is_negative() -> None:
    # u = ((0, 1) + (2, 0) + (0, 1)) / 3 = (2, 2) / 3 ... of item 6: (1, -2): u . v = -2/3; i1 adds 2/3, i2 -4/3
    vectors = np.vstack([VECTORS, [[1, -2]]]).astype(np.float32)
    made = mean_world(vectors, {"u": [(2, 0), (1, 1), (2, 2)]})
    (reasons,) = explain(made, Askers(made).stored(1), np.array([6], np.int32))
    assert [(reason.item_id, reason.share) for reason in reasons] == [("i1", -1.0), ("i2", 2.0)]


def test_similarities_and_titles() -> None:
    made = export(1, 2, 4)
    (reasons,) = explain(made, Askers(made).stored(1), np.array([3], np.int32))
    found = {reason.item_id: (reason.title, reason.similarity) for reason in reasons}
    assert found == {"i1": (None, pytest.approx(0.6)), "i2": (None, pytest.approx(0.8)), "i4": (None, None)}


def test_without_linearity_the_nearest_come_first() -> None:
    made = export(1, 2, 5, 3)
    made = replace(made, manifest=made.manifest.model_copy(update={"model": ModelConfig(dim=2)}))
    assert not is_linear(made)
    (reasons,) = explain(made, Askers(made).stored(1), np.array([3], np.int32))
    assert [(r.item_id, r.share) for r in reasons] == [("i3", None), ("i2", None), ("i1", None)]


def test_what_is_denied_is_not_named() -> None:
    made = export(1, 2, 5)
    hidden = np.array([2, 4], np.int32)
    (reasons,) = explain(made, Askers(made).stored(1), np.array([3], np.int32), hidden)
    assert [reason.item_id for reason in reasons] == ["i1", "i5"]


def test_nobody_and_nothing() -> None:
    made = export(1, 2)
    assert explain(made, Askers(made).stored(0), np.array([3, 1], np.int32)) == [[], []]
    assert explain(made, Askers(made).stored(1), np.zeros(0, np.int32)) == []
