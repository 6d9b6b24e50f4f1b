"""Packing: every position's input is exactly the prefix before its label, and nothing beyond the cut is read."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.batches import Batch, BatchBuilder, row_length
from model.pieces import pack
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.errors import UsageError
from watchnext.histories import Histories

WHOLE = (1 << 18, 16)
"""Watches of a block and blocks of a buffer for logs that are shuffled as a whole."""


def builder(
    rows: list[list[int]],
    ends: list[int],
    *,
    history: int,
    cap: int | None = None,
    order: str = "given",
    blocks: tuple[int, int] = WHOLE,
    known: list[int] | None = None,
    replay: float = 0,
) -> BatchBuilder:
    model = ModelConfig(history=history)
    training = TrainingConfig.checked(
        {"batch_examples": 2 * row_length(model), "examples_per_user": cap, "order": order, "replay": replay}
    )
    before = None if known is None else np.array([0, *known])
    return BatchBuilder.of(Histories.of(rows), np.array([0, *ends]), model, training, *blocks, known=before)


Example = tuple[int, int, tuple[int, ...]]


def seen_by(batch: Batch, window: int) -> list[Example]:
    """(user, label, the last `window` watches of the same segment up to the position) for each example."""
    found = []
    for example in np.flatnonzero(batch.weight):
        t, row = divmod(int(batch.position[example]), batch.watched.shape[1])
        before = batch.watched[t + 1 - batch.depth[t, row] : t + 1, row].tolist()
        found.append((int(batch.user[example]), int(batch.label[example]), tuple(before[-window:])))
    return found


histories = st.lists(st.lists(st.integers(1, 50), max_size=400), min_size=1, max_size=6)
blocks = st.just(WHOLE) | st.tuples(st.sampled_from([1, 20, 300]), st.sampled_from([1, 2, 3]))


@settings(max_examples=60, deadline=None)
@given(histories, st.integers(1, 70), blocks, st.data())
def test_every_example_comes_once_and_sees_exactly_the_prefix_before_its_label(
    rows: list[list[int]], window: int, blocks: tuple[int, int], data: st.DataObject
) -> None:
    ends = [data.draw(st.integers(0, len(row))) for row in rows]
    epoch = builder(rows, ends, history=window, blocks=blocks).epoch(3)
    got = sorted(example for batch in epoch.batches() for example in seen_by(batch, window))
    assert got == wanted(rows, [0] * len(rows), ends, window)


def wanted(rows: list[list[int]], begins: list[int], ends: list[int], window: int) -> list[Example]:
    """All examples whose labels are the watches `[begins, ends)`, sorted."""
    return sorted(
        (user, row[p], tuple(row[max(0, p - window) : p]))
        for user, (row, begin, end) in enumerate(zip(rows, begins, ends, strict=True), start=1)
        for p in range(max(begin, 1), end)
    )


@settings(max_examples=60, deadline=None)
@given(histories, st.integers(1, 70), blocks, st.sampled_from([0, 0.5]), st.data())
def test_every_new_watch_comes_once_with_its_whole_prefix_and_known_ones_only_where_they_are_drawn(
    rows: list[list[int]], window: int, blocks: tuple[int, int], replay: float, data: st.DataObject
) -> None:
    ends = [data.draw(st.integers(0, len(row))) for row in rows]
    known = [data.draw(st.integers(0, len(row))) for row in rows]
    made = builder(rows, ends, history=window, blocks=blocks, known=known, replay=replay)
    got = Counter(example for batch in made.epoch(3).batches() for example in seen_by(batch, window))
    new = Counter(wanted(rows, known, ends, window))
    old = Counter(wanted(rows, [0] * len(rows), list(map(min, known, ends)), window))
    assert not new - got
    assert not (got - new) - (old if replay else Counter())


def test_a_share_of_the_known_watches_is_drawn_anew_each_epoch() -> None:
    rows = [list(range(u, u + 11)) for u in range(400)]
    made = builder(rows, [11] * 400, history=5, known=[11] * 400, replay=0.5)
    drawn = [Counter(e for b in made.epoch(n).batches() for e in seen_by(b, 5)) for n in range(20)]
    assert made.examples == 2000
    assert np.mean([sum(found.values()) for found in drawn]) == pytest.approx(2000, rel=0.05)
    assert drawn[0] != drawn[1]
    assert set().union(*drawn) == set(wanted(rows, [0] * 400, [11] * 400, 5))


def test_replay_of_all_is_as_if_nothing_was_known() -> None:
    rows = [list(range(u, u + 100)) for u in range(1, 10)]
    plain = builder(rows, [99] * 9, history=5)
    replayed = builder(rows, [99] * 9, history=5, known=[50] * 9, replay=1)
    assert all(map(same, plain.epoch(1).batches(), replayed.epoch(1).batches()))


def test_new_watches_are_shuffled_among_themselves_where_the_order_is_drawn() -> None:
    rows = [list(range(1, 61))] * 3
    made = builder(rows, [60] * 3, history=40, order="random", known=[40, 0, 60])
    found: dict[int, list[int]] = {}
    for user, label, seen in (e for b in made.epoch(0).batches() for e in seen_by(b, 40)):
        found.setdefault(user, []).append(label)
        assert label not in seen
    assert sorted(found[1]) == list(range(41, 61)) != found[1]
    assert len(found[2]) == len(set(found[2])) == 59
    assert 3 not in found


@settings(max_examples=40, deadline=None)
@given(histories, st.integers(1, 5), blocks)
def test_the_cap_keeps_at_most_so_many_examples_of_a_user_and_all_of_shorter_histories(
    rows: list[list[int]], cap: int, blocks: tuple[int, int]
) -> None:
    epoch = builder(rows, [len(r) for r in rows], history=10, cap=cap, blocks=blocks).epoch(0)
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


def test_time_gaps_need_the_order_of_the_log() -> None:
    histories, training = Histories.of([[1, 2]]), TrainingConfig(order="random")
    with pytest.raises(UsageError, match="time_gaps"):
        BatchBuilder.of(histories, np.array([0, 2]), ModelConfig(time_gaps=True), training)


def test_epochs_differ_and_each_can_be_made_again() -> None:
    rows = [[i, i + 1, i + 2] for i in range(1, 200)]
    made = builder(rows, [3] * len(rows), history=5)
    first, again, second = (np.stack([b.watched for b in made.epoch(number).batches()]) for number in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("blocks", [WHOLE, (300, 1), (100, 2)])
def test_batches_from_the_middle_are_those_of_the_whole_epoch(blocks: tuple[int, int]) -> None:
    rows = [list(range(u, u + 100)) for u in range(1, 10)]
    made = builder(rows, [99] * 9, history=5, blocks=blocks)
    whole = list(made.epoch(2).batches())
    assert len(made.epoch(2)) == len(whole) > 3
    for start in range(len(whole) + 1):
        rest = list(made.epoch(2).batches(start))
        assert len(rest) == len(whole) - start
        assert all(map(same, rest, whole[start:]))
    assert same(made.epoch(2).batch(3), whole[3])


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Batch._fields)


def test_blocks_come_in_random_order_and_pieces_of_a_buffers_blocks_are_mixed() -> None:
    # 60 users of 10 watches: blocks of 5 users, buffers of 3 blocks, so every 15 users that come are of 3 blocks.
    rows = [list(range(u, u + 10)) for u in range(60)]
    made = builder([[i + 1 for i in row] for row in rows], [10] * 60, history=5, blocks=(50, 3))
    epochs = []
    for number in range(3):
        users = [u for b in made.epoch(number).batches() for u in dict.fromkeys(b.user[b.weight > 0].tolist())]
        assert sorted(users) == list(range(1, 61))
        buffers = [users[i : i + 15] for i in range(0, 60, 15)]
        assert all(len({(u - 1) // 5 for u in buffer}) == 3 for buffer in buffers)
        assert any(buffer != sorted(buffer) for buffer in buffers)
        epochs.append(users)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_log_of_one_buffer_is_permuted_as_a_whole() -> None:
    # Pieces of one position: first-fit packing fills row after row, so that their order can be read off the rows.
    made = builder([[u] * 2 for u in range(1, 300)], [2] * 299, history=5)
    order = [u for b in made.epoch(1).batches() for u in sorted_by_slot(b)]
    assert order == (np.random.default_rng([0, 1, 1]).permutation(299) + 1).tolist()


def sorted_by_slot(batch: Batch) -> list[int]:
    """Users of pieces of one position in the order of packing: row by row, column by column."""
    time, row = np.divmod(batch.position, batch.watched.shape[1])
    real = batch.weight > 0
    users: list[int] = batch.user[real][np.lexsort((time[real], row[real]))].tolist()
    return users


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
