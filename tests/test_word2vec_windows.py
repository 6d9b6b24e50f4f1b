"""Windows hold exactly the pairs of a double loop over the histories, each once, in every mode; subsampling's shares.

Each watch has an item of its own, so that a pair of items says which two watches stand together.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from gensim.models import Word2Vec
from hypothesis import given, settings
from hypothesis import strategies as st

from model.buffers import cut_blocks
from model.word2vec.loss import window_pairs
from model.word2vec.windows import WHOLE, WindowBuilder, Windows, edge_of, keep_shares, length_of, rows_of
from watchnext.config import Word2vecConfig
from watchnext.features import Float32
from watchnext.histories import Histories

Pair = tuple[int, int]


class Log(NamedTuple):
    """Histories of which training sees a beginning."""

    rows: list[list[int]]
    ends: list[int]

    @property
    def seen(self) -> list[list[int]]:
        return [row[:end] for row, end in zip(self.rows, self.ends, strict=True)]

    @property
    def watches(self) -> int:
        return sum(map(len, self.rows))


@st.composite
def logs(draw: st.DrawFn, longest: int = 14, users: int = 9) -> Log:
    lengths = draw(st.lists(st.integers(0, longest), min_size=1, max_size=users))
    first = np.cumsum([1, *lengths]).tolist()
    rows = [list(range(a, a + n)) for a, n in zip(first, lengths, strict=False)]
    return Log(rows, [draw(st.integers(0, n)) for n in lengths])


@contextmanager
def narrow() -> Iterator[None]:
    """Rows of 4 watches, so that short histories are cut, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.word2vec.windows.LENGTH", 4)
        yield


def builder(log: Log, block: int = 1 << 18, keep: Float32 | None = None, **config: object) -> WindowBuilder:
    """A builder with two rows a batch; `block` is how many watches are shuffled together."""
    chosen = Word2vecConfig.checked(config)
    chosen = chosen.model_copy(update={"batch_examples": 2 * length_of(chosen)})
    counts = np.bincount([0, *(i for row in log.seen for i in row)], minlength=log.watches + 1)
    counts[0] = 0
    histories = Histories.of(log.rows)
    made = WindowBuilder.of(histories, np.array([0, *log.ends]), counts, chosen)
    cut = cut_blocks(histories.offsets, block)
    return replace(made, cut=cut, keep=made.keep if keep is None else keep)


def middles(batch: Windows, config: Word2vecConfig) -> list[int]:
    """The watches in the middle of the batch's windows."""
    edge = edge_of(config)
    items = batch.items[:, edge : batch.items.shape[1] - edge].ravel()
    return [int(i) for i in items if i]


def pairs(batch: Windows, config: Word2vecConfig) -> Iterator[Pair]:
    """The items of each pair, that in the middle of its window first."""
    edge = edge_of(config)
    found = window_pairs(batch.history, batch.reach, edge).numpy()
    assert set(np.unique(found)) <= {0, 1}
    for row, i, j in np.argwhere(found > 0).tolist():
        yield int(batch.items[row, edge + i]), int(batch.items[row, j])


def nearby(histories: list[list[int]], reach: dict[int, int]) -> Counter[Pair]:
    """All pairs of a watch and one at most its reach away in the same history, by a double loop."""
    return Counter(
        (given, other)
        for row in histories
        for i, given in enumerate(row)
        for j, other in enumerate(row)
        if i != j and abs(i - j) <= reach[given]
    )


def one_epoch(made: WindowBuilder, number: int = 0) -> tuple[list[int], Counter[Pair], dict[int, int]]:
    """The middles, the pairs and the reach of each watch in an epoch."""
    seen: list[int] = []
    found: Counter[Pair] = Counter()
    reach: dict[int, int] = {}
    edge = edge_of(made.config)
    for batch in made.epoch(number).batches():
        assert batch.items.shape == batch.history.shape == (2, length_of(made.config) + 2 * edge)
        assert batch.reach.shape == (2, length_of(made.config))
        assert ((batch.items > 0) == (batch.history > 0)).all()
        seen += middles(batch, made.config)
        found.update(pairs(batch, made.config))
        own = batch.items[:, edge : edge + batch.reach.shape[1]]
        reach |= dict(zip(own[own > 0].tolist(), batch.reach[own > 0].tolist(), strict=True))
    return seen, found, reach


@settings(max_examples=60)
@given(logs(), st.integers(1, 6), st.booleans(), st.sampled_from([1, 10, 1 << 18]), st.integers(0, 3))
def test_pairs_are_those_of_a_double_loop(log: Log, window: int, dynamic: bool, block: int, epoch: int) -> None:
    with narrow():
        made = builder(log, block, window=window, dynamic_window=dynamic)
        seen, found, reach = one_epoch(made, epoch)
    assert sorted(seen) == [i for row in log.seen for i in row]
    assert all(1 <= r <= window for r in reach.values())
    assert dynamic or set(reach.values()) <= {window}
    assert found == nearby(log.seen, reach)


@settings(max_examples=40)
@given(logs(), st.integers(1, 5), st.lists(st.booleans(), min_size=126, max_size=126), st.integers(0, 9))
def test_windows_reach_over_what_subsampling_leaves_out(log: Log, window: int, kept: list[bool], epoch: int) -> None:
    keep = np.array([0.0, *kept[: log.watches]], np.float32)
    with narrow():
        made = builder(log, keep=keep, window=window, subsampling=0.1)
        seen, found, reach = one_epoch(made, epoch)
    left = [[i for i in row if keep[i]] for row in log.seen]
    assert sorted(seen) == [i for row in left for i in row]
    assert found == nearby(left, reach)


@settings(max_examples=25)
@given(logs(longest=2 * WHOLE + 9, users=5), st.sampled_from([1, 100, 1 << 18]), st.integers(0, 3))
def test_whole_histories_are_paired_or_cut_into_parts_of_the_same_size(log: Log, block: int, epoch: int) -> None:
    seen, found, _ = one_epoch(builder(log, block, window=None), epoch)
    assert sorted(seen) == [i for row in log.seen for i in row]
    assert set(found.values()) <= {1}
    beside = {i: {i} for i in seen}
    for given_, other in found:
        beside[given_].add(other)
    for row in log.seen:
        parts = {frozenset(beside[i]) for i in row}
        assert sorted(i for part in parts for i in part) == row  # disjoint, and none of another history
        sizes = [len(part) for part in parts]
        assert len(parts) == -(-len(row) // WHOLE)
        assert not row or max(sizes) - min(sizes) <= 1


def test_long_histories_are_cut_anew_in_each_epoch_without_regard_to_order() -> None:
    made = builder(Log([list(range(1, 2 * WHOLE + 1))], [2 * WHOLE]), window=None)
    first, second = (set(one_epoch(made, epoch)[1]) for epoch in (0, 1))
    assert len(first) == len(second) == 2 * WHOLE * (WHOLE - 1)
    # Two halves drawn at random: a pair shares one with probability 63 / 127, now and in the next epoch.
    assert len(first & second) / len(first) == pytest.approx(63 / 127, abs=0.1)
    neighbours = [(i, i + 1) in first for i in range(1, 2 * WHOLE)]
    assert np.mean(neighbours) == pytest.approx(63 / 127, abs=0.15)


MANY = Log([list(range(12 * u + 1, 12 * u + 1 + u % 12)) for u in range(40)], [u % 12 for u in range(40)])


def many(**config: object) -> WindowBuilder:
    """A builder of forty users in several blocks."""
    log = MANY._replace(rows=[[i % 50 + 1 for i in row] for row in MANY.rows])
    made = builder(log, 60, keep=np.full(log.watches + 51, 0.7, np.float32), **config)
    assert len(made.cut) > 3
    return made


def equal(one: list[Windows], other: list[Windows]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("window", [3, None])
@pytest.mark.parametrize("subsampling", [0.0, 0.01])
def test_batches_follow_from_seed_epoch_and_position(window: int | None, subsampling: float) -> None:
    config = {"window": window, "subsampling": subsampling}
    made = many(**config)
    whole = list(made.epoch(2).batches())
    assert len(whole) > 3
    for start in range(len(whole) + 2):
        assert equal(list(many(**config).epoch(2).batches(start)), whole[start:])
    assert not equal(list(made.epoch(3).batches()), whole)
    assert not equal(list(many(seed=1, **config).epoch(2).batches()), whole)


@pytest.mark.parametrize("window", [3, None])
def test_as_many_batches_as_expected(window: int | None) -> None:
    log = Log([list(range(40 * u + 1, 40 * u + 41)) for u in range(20)] + [[801], []], [*[32] * 20, 1, 0])
    made = builder(log, window=window)
    assert len(list(made.epoch(0).batches())) == pytest.approx(made.expected, abs=1)
    half = builder(log, window=window, subsampling=1e-9)  # of equal shares, all but few are left out
    assert half.expected == 1


@pytest.mark.parametrize("threshold", [1e-4, 1e-3, 0.02, 0.3, 0.9])
def test_subsampling_keeps_the_shares_that_gensim_keeps(threshold: float) -> None:
    counts = np.array([0, 50_000, 20_000, 7_000, 900, 80, 5, 1])
    reference = Word2Vec(vector_size=1, sample=threshold, min_count=1)
    reference.build_vocab_from_freq({str(i): int(n) for i, n in enumerate(counts) if i}, corpus_count=1)
    expected = [reference.wv.get_vecattr(str(i), "sample_int") / (2**32 - 1) for i in range(1, len(counts))]
    assert keep_shares(counts, threshold)[1:] == pytest.approx(expected, rel=1e-5)


def test_subsampling_of_known_answers() -> None:
    # f = 1/4, t = 1/100: (sqrt(25) + 1) / 25; f = 3/4 = 75 t: (sqrt(75) + 1) / 75; unseen items are kept.
    shares = keep_shares(np.array([0, 25, 75, 0]), 0.01)
    assert shares.tolist() == pytest.approx([1, 0.24, (75**0.5 + 1) / 75, 1])
    assert keep_shares(np.array([9, 25, 75, 0]), 0.0).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("window", [5, None])
def test_watches_are_left_out_in_these_shares_anew_in_each_epoch(window: int | None) -> None:
    row = [1] * 600 + [2] * 300 + [3] * 95 + [4] * 5
    log = Log([row] * 4, [1000] * 4)
    made = replace(builder(log, window=window), config=Word2vecConfig(window=window, subsampling=0.02))
    share = keep_shares(np.bincount(row), 0.02)
    made = replace(made, keep=share)
    epochs = [Counter(i for b in made.epoch(e).batches() for i in middles(b, made.config)) for e in range(5)]
    for item, count in Counter(row).items():
        draws, kept = 20 * count, sum(epoch[item] for epoch in epochs)
        deviation = (draws * share[item] * (1 - share[item])) ** 0.5
        assert abs(kept - draws * share[item]) <= 4 * deviation
    assert len({tuple(sorted(epoch.items())) for epoch in epochs}) > 1
    assert all(epoch[4] == 20 for epoch in epochs)  # rarer than the threshold: f = 0.005


@pytest.mark.parametrize("window", [5, None])
def test_without_subsampling_nothing_is_left_out_whatever_the_shares(window: int | None) -> None:
    log = Log([[1] * 90 + [2] * 3], [93])
    made = builder(log, keep=np.zeros(94, np.float32), window=window)
    assert sum(len(middles(b, made.config)) for b in made.epoch(0).batches()) == 93
    assert rows_of(made.config) == 2
