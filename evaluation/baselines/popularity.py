"""What is popular: over all time, or lately."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evaluation.baselines.interface import Baseline
from evaluation.baselines.matrix import only, prefix_positions, training_counts
from evaluation.scorers import Popularity
from watchnext.config import Closed
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64

DAY = 24 * 60 * 60


class PopularitySettings(Closed):
    """Popularity has none."""


class MostPopular(Baseline[PopularitySettings]):
    """Items by how often they were watched, the same list for everybody."""

    name = "popularity"
    grid = (PopularitySettings(),)

    def fit(
        self, histories: Histories, ends: Int64, items: int, settings: PopularitySettings, seed: int
    ) -> Popularity:
        """Count the watches."""
        return Popularity(training_counts(histories, ends, items))


class RecentPopularitySettings(Closed):
    """Settings of recent popularity."""

    days: float = Field(30.0, gt=0)
    """How long a watch counts."""
    until: Literal["user", "end"] = "user"
    """Up to when watches count: `user`: the user's own last visible watch; `end`: the last watch trained on."""


@dataclass(frozen=True)
class RecentPopularityScorer:
    """Watch counts of the time before a moment.

    Args:
        watched: [watches] item numbers of all watches trained on, in the order of their times.
        times: [watches] seconds since 1970, never falling.
        window: seconds that a watch counts.
        known: [items + 1] which items training saw.
        by_user: whether the moment is the user's last visible watch, else that of the last watch trained on.
    """

    watched: Int32
    times: Int64
    window: float
    known: NDArray[np.bool_]
    by_user: bool
    histories: Histories

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] how often each item was watched in the window that ends at each user's moment."""
        moments = self._moments(users, ends)
        until = np.searchsorted(self.times, moments, side="right")
        since = np.searchsorted(self.times, moments - self.window, side="right")
        scores = np.empty((len(users), len(self.known)), np.float32)
        counts = np.zeros(len(self.known), np.int64)
        low = high = 0
        for row in np.argsort(moments, kind="stable"):  # the window only moves forwards
            counts += np.bincount(self.watched[high : until[row]], minlength=len(counts))
            counts -= np.bincount(self.watched[low : since[row]], minlength=len(counts))
            low, high = since[row], until[row]
            scores[row] = counts
        return only(scores, self.known)

    def _moments(self, users: Int32, ends: Int64) -> Int64:
        """[users] the time that each user's window ends at; for users without a watch, that of the training."""
        moments = np.full(len(users), self.times[-1])
        if self.by_user:
            seen = ends > 0
            moments[seen] = self.histories.times[self.histories.offsets[users[seen]] + ends[seen] - 1]
        return moments


class RecentPopularity(Baseline[RecentPopularitySettings]):
    """Items by how often they were watched in the last days, before the user's last watch or before training's end.

    Ji, Sun, Zhang and Li, *A Re-visit of the Popularity Baseline in Recommender Systems*, SIGIR 2020. Where all of
    training is shorter than the window, every watch counts, for everybody: so it is in logs of order only, whose
    times are positions in seconds, and the result is popularity.
    """

    name = "recent-popularity"
    grid = tuple(
        RecentPopularitySettings(days=days, until=until) for until in ("user", "end") for days in (30, 1, 7, 90, 365)
    )

    def fit(
        self, histories: Histories, ends: Int64, items: int, settings: RecentPopularitySettings, seed: int
    ) -> RecentPopularityScorer | Popularity:
        """Sort the watches by time. Nothing is random."""
        counts = training_counts(histories, ends, items)
        positions = prefix_positions(histories, np.arange(len(histories), dtype=np.int32), ends)
        order = positions[np.argsort(histories.times[positions], kind="stable")]
        times, window = histories.times[order], settings.days * DAY
        if times[-1] - times[0] < window:
            return Popularity(counts)
        return RecentPopularityScorer(
            histories.items[order], times, window, counts > 0, settings.until == "user", histories
        )
