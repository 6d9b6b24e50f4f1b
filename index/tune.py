"""The least effort with which an index reaches a recall, and how that effort grows where few items are allowed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from index.faiss_index import K_FACTOR, MOST_EF, FaissIndex
from index.kinds import Kind
from index.recall import DEPTH, Sample
from index.trial import Effort, FilteredStep
from watchnext.features import Float32

_FINE = 1.06
"""The search for the least effort ends where two efforts differ by less than this factor."""
_FILTER_QUERIES = 100
_FASTER = 0.9
"""A filtered search has to take less than this share of the time of a scan."""
_ERRORS = 1.64
"""Recall must exceed the target by so many standard errors: other users' is then above it with 95 %."""
_GLANCE = 8
"""Where one query in so many tells that the target is far, the others are not asked."""
_FAR = 5
"""Far is this many standard errors."""


@dataclass(frozen=True)
class Point:
    """An index searched with some effort, and what a sample says of it."""

    index: FaissIndex
    recall: float
    error: float
    microseconds: float

    def reaches(self, target: float) -> bool:
        """Whether a second sample that finds the same will confirm the target."""
        return self.confirmed(self, target)

    def confirmed(self, other: "Point", target: float) -> bool:
        """Whether other users' recall will be at least `target`, too, as far as two samples of one size can tell."""
        both = (self.recall + other.recall) / 2
        error = np.hypot(self.error, other.error) / 2
        return other.recall >= target and bool(both - _ERRORS * error >= target)


def measured(index: FaissIndex, sample: Sample, target: float) -> Point:
    """An index and what a sample says of it; a part of the sample where that is far from the target."""
    recall, error = sample.one_in(_GLANCE).recall(index)
    if abs(recall - target) <= _FAR * error or error == 0:
        recall, error = sample.recall(index)
    return Point(index, recall, error, sample.microseconds(index)[0])


def climb(index: FaissIndex, sample: Sample, target: float, slow: float = float("inf")) -> Iterator[Point]:
    """All efforts that were tried in the search for the cheapest that reaches the target, for each `k_factor`.

    Args:
        slow: microseconds a query; a search that takes more is given up.
    """
    name = index.kind.effort
    for factor in _factors(index.kind):
        if name is None:
            point = measured(index.tuned(Effort(search={K_FACTOR: factor})), sample, target)
            yield point
            if point.reaches(target):
                return
            continue
        wanted, lists = DEPTH * factor, index.kind.lists
        most = lists // 2 or MOST_EF
        least = -(-2 * wanted * lists // len(index)) if lists else wanted  # lists with twice as many items as wanted

        def at(effort: int, factor: int = factor) -> Point:
            return measured(index.tuned(Effort(search={str(name): effort, K_FACTOR: factor})), sample, target)

        yield from bisected(at, min(least, most), most, target, slow)


def bisected(
    at: Callable[[int], Point], least: int, most: int, target: float, slow: float = float("inf")
) -> Iterator[Point]:
    """Points on the way to the least effort that reaches the target; recall must not fall with the effort.

    Doubles the effort from `least` until the target is reached, then halves the gap. Gives up where a query takes
    more than `slow` microseconds.
    """
    low, high = least - 1, least
    while not (point := at(high)).reaches(target):
        yield point
        if high == most or point.microseconds > slow:
            return
        low, high = high, min(2 * high, most)
    yield point
    while high - low > 1 and high > _FINE * low:
        middle = round(np.sqrt(low * high)) if low else high // 2
        middle = min(max(middle, low + 1), high - 1)
        point = at(middle)
        yield point
        low, high = (low, middle) if point.reaches(target) else (middle, high)


def _factors(kind: Kind) -> tuple[int, ...]:
    """How many times the candidates are scored again: the farther FAISS's order is from theirs, the more."""
    if "PQ" in kind.factory or "RaBitQ" in kind.factory or kind.space == "cosine":
        return (2, 4, 8, 16)
    return (1, 2) if kind.factory.endswith("SQ8") else (1,)


def harder(index: FaissIndex) -> FaissIndex:
    """The same index, searched with a twentieth more effort."""
    name = str(index.kind.effort)
    search = index.effort.search
    return index.tuned(Effort(search={**search, name: search[name] * 21 // 20 + 1}))


def filtered_steps(
    index: FaissIndex, queries: Float32, item_vectors: Float32, target: float, seed: int
) -> tuple[tuple[FilteredStep, ...], int]:
    """How hard to search where only 1/2, 1/4, 1/8, ... of the items are allowed, drawn at random.

    It ends with the first share where scoring all allowed items is as fast, or where no effort is enough.

    Returns:
        The steps, and the number of allowed items, with those never trained, up to which they are scored without
        FAISS: those of the last step, or half of the items where there is none.
    """
    rng = np.random.default_rng(seed)
    order = rng.random(len(item_vectors))
    steps: list[FilteredStep] = []
    search, share = index.effort.search, 0.5
    scan = index.tuned(Effort(scan_below=len(item_vectors)))
    while share * len(index) > DEPTH:
        sample = Sample.of(queries[:_FILTER_QUERIES], item_vectors, allowed=order < share)
        point = _enough(index, search, sample, target)
        if point is None:
            break
        fast, slow = sample.microseconds(point.index, scan)
        if fast > _FASTER * slow:
            break
        search = point.index.effort.filtered[0].search
        steps.append(FilteredStep(share=share, search=search, microseconds=fast, scan_microseconds=slow))
        share /= 2
    return tuple(steps), int((steps[-1].share if steps else share) * (len(item_vectors) - 1))


def _enough(index: FaissIndex, search: dict[str, int], sample: Sample, target: float) -> Point | None:
    """The first effort, from `search` on, a half more each time, that reaches the target for a sample."""
    name = index.kind.effort
    while True:
        step = FilteredStep(share=1e-9, search=search, microseconds=0, scan_microseconds=0)
        point = measured(index.tuned(Effort(search=index.effort.search, filtered=(step,))), sample, target)
        if point.recall >= target:
            return point
        most = index.kind.lists or MOST_EF
        if name is None or search[name] >= most:
            return None
        search = {**search, name: min(most, search[name] * 3 // 2 + 1)}
