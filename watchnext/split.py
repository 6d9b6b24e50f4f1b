"""Where each user's history is cut into a part to train on, a part to validate on and a part to test on.

Everything is a prefix: no cut can let a later watch into an earlier part. Training and evaluation share this module,
so that an export can say which watches its model has not seen.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from watchnext.errors import UsageError
from watchnext.histories import Histories, Int64

HoldoutName = Literal["leave-one-out", "temporal", "last", "none"]


@dataclass(frozen=True)
class Split:
    """Three positions in every history: [users + 1] each.

    Train on `[0, train)`; validation asks for `[train, valid)` given `[0, train)`; the test asks for `[valid, test)`
    given `[0, valid)`.
    """

    train: Int64
    valid: Int64
    test: Int64


def split(histories: Histories, holdout: HoldoutName, share: float = 0.1) -> Split:
    """Cut all histories by a named rule.

    Args:
        holdout: `leave-one-out` keeps the last watch of each user for the test and the one before for validation
            (users with fewer than 3 watches are only trained on); `temporal` does it by one global time: the last
            `share` of all watches are the test, the `share` before it validation; `last` holds back one watch a
            user for validation and nothing for a test; `none` trains on everything.
        share: `temporal` only, between 0 and 0.5.
    """
    n = histories.lengths
    if holdout == "leave-one-out":
        cut = n >= 3
        return Split(n - 2 * cut, n - cut, n)
    if holdout == "last":
        return Split(n - (n >= 2), n, n)
    if holdout == "none":
        return Split(n, n, n)
    if not 0 < share < 0.5:
        raise UsageError("holdout share", share, "Give a number above 0 and below 0.5.")
    return _temporal(histories, share)


def _temporal(histories: Histories, share: float) -> Split:
    if not len(histories.times):
        return Split(histories.lengths, histories.lengths, histories.lengths)
    quantiles = np.quantile(histories.times, [1 - 2 * share, 1 - share], method="higher")
    train, valid = (_watches_before(histories, cut) for cut in quantiles)
    return Split(train, valid, histories.lengths)


def _watches_before(histories: Histories, time: int) -> Int64:
    """[users + 1] how many watches each user has strictly before `time`."""
    before = np.concatenate([[0], np.cumsum(histories.times < time)])
    counts: Int64 = before[histories.offsets[1:]] - before[histories.offsets[:-1]]
    return counts
