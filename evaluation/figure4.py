"""The paper's Figure 4: how probable a model finds a video by the days since its upload.

Covington et al. 2016, section 3.3: without example age a model predicts a video's average popularity over the
training window; with it, it can follow how a video rises and falls after its upload. Arrays in, arrays out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from evaluation.plots import Line, lines
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64

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
        """Pearson's correlation with another curve over the same days; 0 for one that is flat to a thousandth."""
        both = ~np.isnan(self.value) & ~np.isnan(other.value)
        if self.value[both].std() < 1e-3 * abs(self.value[both].mean()):
            return 0.0
        return float(np.corrcoef(self.value[both], other.value[both])[0, 1])


@dataclass(frozen=True)
class Videos:
    """What is looked at, and when.

    Args:
        items: [videos] item numbers.
        uploaded: [videos] seconds since 1970.
        moments: [moments] seconds since 1970, a day apart.
        days: [bins] whole days since upload that curves are wanted for.
    """

    items: Int32
    uploaded: Float64
    moments: Int64
    days: Int64

    def days_since_upload(self) -> Float64:
        """[moments, videos] how old each video is at each moment."""
        return (self.moments[:, None] - self.uploaded) / DAY

    def curve(self, popularity: Float64) -> Curve:
        """Average the videos' popularity over time to one curve over the days since their upload.

        Args:
            popularity: [moments, videos] any measure of it; each video is divided by its mean over all moments.
        """
        relative = popularity / np.maximum(popularity.mean(0), 1e-300)
        bins = np.floor(self.days_since_upload()).astype(np.int64) - self.days[0]
        inside = (bins >= 0) & (bins < len(self.days))
        count = np.bincount(bins[inside], minlength=len(self.days))
        total = np.bincount(bins[inside], relative[inside], len(self.days))
        return Curve(self.days, np.divide(total, count, out=np.full(len(self.days), np.nan), where=count > 0))


def sizes(scale: int) -> list[str]:
    """The paper's three layers, divided by a scale, as settings of the preset `youtube2016`.

    >>> sizes(4)
    ['dim=64', 'tower=256,128']
    """
    widths = [max(1, width // scale) for width in (1024, 512, 256)]
    return [f"dim={widths[-1]}", f"tower={widths[0]},{widths[1]}"]


def probabilities(user_vectors: Iterable[Float32], item_vectors: Float32, items: Int32) -> Float64:
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


def watched(histories: Histories, moments: Int64, items: Int32) -> Float64:
    """[moments, items] the share of each item in all watches of the day that begins at each moment."""
    day = np.searchsorted(moments, histories.times, side="right") - 1
    inside = (day >= 0) & (histories.times < moments[-1] + DAY)
    size = int(histories.items.max(initial=0)) + 1
    counts = np.bincount(day[inside] * size + histories.items[inside], minlength=len(moments) * size)
    table = counts.reshape(len(moments), size).astype(np.float64)
    shares: Float64 = table[:, items] / np.maximum(table.sum(1, keepdims=True), 1)
    return shares


def facts(curves: Mapping[str, Curve]) -> dict[str, dict[str, float]]:
    """How much each curve varies, and how it correlates with the first, which is the truth if that is known."""
    truth, true = next(iter(curves.items()))
    return {
        name: {"variation": curve.variation, f"correlation with {truth}": curve.correlation(true)}
        for name, curve in curves.items()
    }


def markdown(found: Mapping[str, Mapping[str, float]], videos: Videos) -> str:
    """The facts as a table."""
    columns = list(next(iter(found.values())))
    rows = [["curve", *columns], ["---", *("---:" for _ in columns)]]
    rows += [[name, *(f"{value:.3f}" for value in row.values())] for name, row in found.items()]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{table}\n\n{len(videos.items):,} videos, {len(videos.moments)} days\n"


def plot(curves: Mapping[str, Curve]) -> Figure:
    """All curves by days since upload; the first is dashed."""
    return lines(
        [
            Line(name, curve.days.tolist(), curve.value.tolist(), dashed=number == 0)
            for number, (name, curve) in enumerate(curves.items())
        ],
        "days since upload",
        "relative probability",
    )
