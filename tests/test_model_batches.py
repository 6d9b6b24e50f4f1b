"""Packing: every position's input is exactly the prefix before its label, and nothing beyond the cut is read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.batches import Batch, BatchBuilder, pack, row_length
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.histories import Histories


def builder(
    rows: list[list[int]], ends: list[int], *, history: int, cap: int | None = None, order: str = "given"
) -> BatchBuilder:
    model = ModelConfig(history=history)
    training = TrainingConfig.checked(
        {"batch_examples": 2 * row_length(model), "examples_per_user": cap, "order": order}
    )
    return BatchBuilder.of(Histories.of(rows), np.array([0, *ends]), model, training)


def seen_by(batch: Batch, window: int) -> list[tuple[int, int, tuple[int, ...]]]:
    """(user, label, the last `window` watches of the same segment up to the position) for each example."""
    found = []
    for example in np.flatnonzero(batch.weight):
        t, row = divmod(int(batch.position[example]), batch.watched.shape[1])
        before = batch.watched[t + 1 - batch.depth[t, row] : t + 1, row].tolist()
        found.append((int(batch.user[example]), int(batch.label[example]), tuple(before[-window:])))
    return found


histories = st.lists(st.lists(st.integers(1, 50), max_size=400), min_size=1, max_size=6)


@settings(max_examples=40)
@given(histories, st.integers(1, 70), st.data())
def test_every_example_sees_exactly_the_prefix_before_its_label(
    rows: list[list[int]], window: int, data: st.DataObject
) -> None:
    ends = [data.draw(st.integers(0, len(row))) for row in rows]
    epoch = builder(rows, ends, history=window).epoch(3)
    got = sorted(example for batch in epoch.batches() for example in seen_by(batch, window))
    wanted = sorted(
        (user, row[p], tuple(row[max(0, p - window) : p]))
        for user, (row, end) in enumerate(zip(rows, ends, strict=True), start=1)
        for p in range(1, end)
    )
    assert got == wanted


@settings(max_examples=20)
@given(histories, st.integers(1, 5))
def test_the_cap_keeps_at_most_so_many_examples_of_a_user_and_all_of_shorter_histories(
    rows: list[list[int]], cap: int
) -> None:
    epoch = builder(rows, [len(r) for r in rows], history=10, cap=cap).epoch(0)
    counts = np.zeros(len(rows) + 1, int)
    for batch in epoch.batches():
        np.add.at(counts, batch.user[batch.weight > 0], 1)
    assert counts[1:].tolist() == [min(cap, max(len(r) - 1, 0)) for r in rows]


@settings(max_examples=20)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=5), st.data())
def test_shuffled_histories_stay_within_what_may_be_seen(lengths: list[int], data: st.DataObject) -> None:
    rows = [list(range(1, n + 1)) for n in lengths]
    ends = [data.draw(st.integers(0, n)) for n in lengths]
    epoch = builder(rows, ends, history=40, order="random").epoch(1)
    examples = [example for batch in epoch.batches() for example in seen_by(batch, 40)]
    labels: dict[int, list[int]] = {}
    for user, label, seen in examples:
        assert label not in seen
        assert {label, *seen} <= set(rows[user - 1][: ends[user - 1]])
        labels.setdefault(user, []).append(label)
    assert all(len(set(found)) == len(found) == ends[user - 1] - 1 for user, found in labels.items())
    if max(ends) > 30:
        assert any(seen[-1] != label - 1 for _, label, seen in examples)


def test_epochs_differ_and_each_can_be_made_again() -> None:
    rows = [[i, i + 1, i + 2] for i in range(1, 200)]
    made = builder(rows, [3] * len(rows), history=5)
    first, again, second = (np.stack([b.watched for b in made.epoch(number).batches()]) for number in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_batches_from_the_middle_are_those_of_the_whole_epoch() -> None:
    rows = [list(range(1, 100)) for _ in range(9)]
    epoch = builder(rows, [99] * 9, history=5).epoch(0)
    assert len(epoch) > 3
    for whole, rest in zip(list(epoch.batches())[2:], epoch.batches(2), strict=True):
        assert np.array_equal(whole.label, rest.label)


@given(st.lists(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=60))
def test_packed_pieces_never_overlap_nor_leave_their_row_nor_overfill_a_batch(pieces: list[tuple[int, int]]) -> None:
    sizes, examples = np.array(pieces, np.int64).reshape(-1, 2).T
    slots = pack(sizes, examples, (3, 30, 40))
    taken: set[tuple[int, int, int]] = set()
    for b, r, c, size in zip(*(part.tolist() for part in slots), sizes.tolist(), strict=True):
        cells = {(b, r, c + i) for i in range(size)}
        assert r < 3
        assert c + size <= 30
        assert not cells & taken
        taken |= cells
    assert np.all(np.bincount(slots.batch, examples) <= 40)
    assert np.all(np.diff(slots.batch) >= 0)


@pytest.mark.parametrize("cap", [None, 10])
def test_batches_are_full_of_examples_with_and_without_a_cap(cap: int | None) -> None:
    rows = [list(range(1, 2 + n % 90)) for n in range(500)]
    epoch = builder(rows, [len(r) for r in rows], history=10, cap=cap).epoch(0)
    filled = [float(batch.weight.mean()) for batch in epoch.batches()]
    assert np.mean(filled[:-1]) > 0.8


@pytest.mark.parametrize("rows", [[[]], [[5]], [[], [7]]])
def test_histories_without_an_example_make_no_batch(rows: list[list[int]]) -> None:
    made = builder(rows, [len(r) for r in rows], history=5)
    assert made.examples == 0
    assert len(made.epoch(0)) == 0
