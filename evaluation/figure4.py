"""The paper's Figure 4: how probable a model finds a video by the days since its upload.

Covington et al. 2016, section 3.3: without example age a model predicts a video's average popularity over the
training window; with it, it can follow how a video rises and falls after its upload. Arrays in, arrays out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from evaluation.plots import Line, lines
from watchnext.features import Float32
from watchnext.histories import Histories, Int64

Float64 = NDArray[np.float64]
DAY = 86_400


@dataclass(frozen=True)
class Curve:
    """Relative popularity by days since upload: 1 is an item's mean over the moments looked at.

    Args:
        days: [bins] rising.
        value: [bins] NaN where no item was looked at.
    """

    days: Int64
    value: Float64

    @property
    def variation(self) -> float:
        """Standard deviation over the mean: 0 for a flat curve."""
        return float(np.nanstd(self.value) / np.nanmean(self.value))

    def correlation(self, other: "Curve") -> float:
        """Pearson's correlation with another curve over the same days; NaN for a flat one."""
        both = ~np.isnan(self.value) & ~np.isnan(other.value)
        if self.value[both].std() < 1e-9 * abs(self.value[both].mean()):
            return float("nan")
        return float(np.corrcoef(self.value[both], other.value[both])[0, 1])


def by_days_since_upload(popularity: Float64, moments: Int64, uploaded: Float64, days: Int64) -> Curve:
    """Average many items' popularity over time to one curve over the days since their upload.

    Args:
        popularity: [moments, items] any measure of it; each item is divided by its mean over all moments.
        moments: [moments] seconds since 1970, a day apart.
        uploaded: [items] seconds since 1970.
        days: [bins] whole days since upload that the curve is wanted for.
    """
    relative = popularity / np.maximum(popularity.mean(0), 1e-300)
    since = np.floor((moments[:, None] - uploaded) / DAY).astype(np.int64)  # [moments, items]
    bins = since - days[0]
    inside = (bins >= 0) & (bins < len(days))
    count = np.bincount(bins[inside], minlength=len(days))
    total = np.bincount(bins[inside], relative[inside], len(days))
    return Curve(days, np.divide(total, count, out=np.full(len(days), np.nan), where=count > 0))


def probabilities(user_vectors: Iterable[Float32], item_vectors: Float32, items: NDArray[np.integer]) -> Float64:
    """[moments, items] the mean over users of the softmax probability of some items.

    Args:
        user_vectors: for each moment [users, dim].
        item_vectors: [items + 1, dim]; items whose vector is zero do not take part.
        items: numbers of the items that are wanted.
    """
    vectors = item_vectors.copy()
    trained = vectors.any(1)
    place = np.cumsum(trained) - 1
    vectors = vectors[trained]
    found = []
    for users in user_vectors:
        scores = users @ vectors.T
        chances = np.exp(scores - scores.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        found.append(chances.mean(0)[place[items]].astype(np.float64))
    return np.array(found)


def watched(histories: Histories, moments: Int64, items: NDArray[np.integer]) -> Float64:
    """[moments, items] the share of each item in all watches of the day that begins at each moment."""
    day = np.searchsorted(moments, histories.times, side="right") - 1
    inside = (day >= 0) & (histories.times < moments[-1] + DAY)
    size = int(histories.items.max(initial=0)) + 1
    counts = np.bincount(day[inside] * size + histories.items[inside], minlength=len(moments) * size)
    table = counts.reshape(len(moments), size).astype(np.float64)
    shares: Float64 = table[:, items] / np.maximum(table.sum(1, keepdims=True), 1)
    return shares


def plot(curves: Sequence[tuple[str, Curve]]) -> Figure:
    """All curves by days since upload; the first is the truth."""
    return lines(
        [
            Line(name, curve.days.tolist(), curve.value.tolist(), dashed=number == 0)
            for number, (name, curve) in enumerate(curves)
        ],
        "days since upload",
        "relative probability",
    )
