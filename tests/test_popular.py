"""The most watched items, of all and of those that are allowed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.popular import MostWatched


@given(data=st.data(), items=st.integers(1, 400), k=st.integers(1, 6))
def test_equals_a_plain_sort(data: st.DataObject, items: int, k: int) -> None:
    counts = np.array([0, *data.draw(st.lists(st.integers(0, 9), min_size=items, max_size=items))])
    exclude = data.draw(st.lists(st.integers(1, items), max_size=5))
    share = data.draw(st.sampled_from([0, 1, 10, 50, 100, None]))
    allowed = None
    if share is not None:
        allowed = np.random.default_rng(data.draw(st.integers(0, 99))).random(items + 1) * 100 < share
        allowed[0] = False
    left = [n for n in range(1, items + 1) if n not in exclude and (allowed is None or allowed[n])]
    wanted = sorted(left, key=lambda n: (-counts[n], n))[:k]
    scores, numbers = MostWatched(counts).search(k, np.array(exclude, np.int32), allowed)
    assert numbers.tolist() == wanted
    assert scores.tolist() == pytest.approx([counts[n] / max(1, counts.sum()) for n in wanted])


def test_few_allowed_far_down() -> None:
    counts = np.arange(10_000, -1, -1)  # item n has 10,000 - n watches
    counts[0] = 0
    allowed = np.zeros(10_001, bool)
    allowed[[9000, 7000, 8000, 9999]] = True
    _, numbers = MostWatched(counts).search(2, np.array([7000, 3], np.int32), allowed)
    assert numbers.tolist() == [8000, 9000]
