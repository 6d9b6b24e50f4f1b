"""States of the encoders `mean` and `decay` that one more watch updates, whatever the length of the history.

With z the sum of a part's numerator, decay^j x_j over the last W = `history` watches, one more watch x makes it

    z <- decay z + x - decay^W x_old,    x_old the watch W places before the new one

which is what `watchnext.encoders.encode` computes anew from W watches. The result is the same up to float rounding: a
caller must remember the item numbers of the last W watches of a user, but only the oldest is looked at. Without
x_old, watches beyond the window would keep up to decay^W of the weight: 8 % for a decay of .95 and 50 watches.

Encoder `attention` has no such update: a new watch changes all weights. Nor have time gaps: the last one is open.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchnext.config import ModelConfig
from watchnext.encoders import decays
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Int32, Int64

Float64 = NDArray[np.float64]


class Running(NamedTuple):
    """Sums of some users, in double precision, so that rounding does not add up over thousands of watches."""

    sums: Float64
    """[users, decays, dim] weighted sums of embeddings."""
    last: Int32
    """[users] number of the last watch's item; 0 before the first."""
    watches: Int64
    """[users] watches so far."""


@dataclass(frozen=True)
class RunningEncoder:
    """Updates running sums and makes states of them.

    Args:
        weights: the dense weights by name.
        watched: [items + 1, dim] input embeddings.

    Raises UsageError for a model whose states are not means of embeddings with falling weights.
    """

    config: ModelConfig
    weights: dict[str, Float32]
    watched: Float32

    def __post_init__(self) -> None:
        unable = {"encoder=attention": self.config.encoder == "attention", "time_gaps=true": self.config.time_gaps}
        for setting, found in unable.items():
            if found:
                raise UsageError(
                    "running states", setting, "Compute its states from histories: watchnext.encoders.encode."
                )

    @cached_property
    def _decays(self) -> Float64:
        return decays(self.config, self.weights).astype(np.float64)

    def empty(self, users: int) -> Running:
        """The sums of users without a watch."""
        shape = (users, len(self._decays), self.watched.shape[1])
        return Running(np.zeros(shape), np.zeros(users, np.int32), np.zeros(users, np.int64))

    def add(self, running: Running, items: Int32, oldest: Int32) -> Running:
        """The sums after one more watch of each user.

        Args:
            items: [users] number of the item that was watched; 0, the unknown item, leaves a user's sums as they are.
            oldest: [users] number of the item that was watched `history` watches before; 0 where there is none.
        """
        rates = self._decays[:, None]
        new, old = (self.watched[i].astype(np.float64)[:, None] * (i > 0)[:, None, None] for i in (items, oldest))
        sums = rates * running.sums + new - rates**self.config.history * old
        known = items > 0
        return Running(
            np.where(known[:, None, None], sums, running.sums),
            np.where(known, items, running.last),
            running.watches + known,
        )

    def states(self, running: Running) -> Float32:
        """[users, parts, dim] what the encoder makes of the same histories."""
        lags = np.arange(self.config.history)
        totals = np.concatenate([[np.ones(len(self._decays))], np.cumsum(self._decays ** lags[:, None], 0)])
        means = running.sums / totals[np.minimum(running.watches, self.config.history)][..., None]
        if self.config.encoder == "decay":
            last = self.watched[running.last] * (running.last > 0)[:, None]
            means = np.concatenate([means, last[:, None]], 1)
        state: Float32 = means.astype(np.float32)
        return state
