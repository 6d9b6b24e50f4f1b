"""Where each user's history is cut into a part to train on, a part to validate on and a part to test on.

Everything is a prefix of a history: no input holds a watch that comes after one that is asked for. Where a rule asks
for watches from anywhere in a history, `asked_last` moves them to its end. Training and evaluation share this module,
so that an export can say which watches its model has not seen.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchnext.errors import UsageError
from watchnext.histories import Histories, Int64

HoldoutName = Literal["leave-one-out", "temporal", "temporal-next", "users", "users-random", "last", "none"]

TESTED: tuple[HoldoutName, ...] = ("leave-one-out", "temporal", "temporal-next", "users", "users-random")
"""The rules that leave a test part."""

FEWEST_WATCHES = 5
"""The `users` rules only hold back users with at least so many watches."""
INPUT_SHARE = 0.8
"""The `users` rules: the share of a held-out user's watches that the model is given."""


class Ask(NamedTuple):
    """The watches `[given, until)` of each user are asked for, given those before: [users + 1] each."""

    given: Int64
    until: Int64

    @property
    def anything(self) -> NDArray[np.bool_]:
        """[users + 1] whether something is asked of the user."""
        return self.until > self.given

    def unless(self, known: Int64) -> "Ask":
        """Nothing of those users of whom anything that is asked for is among the first `known` watches."""
        return Ask(self.given, np.where(self.given < known, self.given, self.until))


@dataclass(frozen=True)
class Split:
    """What is trained on, and what is asked for in validation and in the test.

    Args:
        train: [users + 1] training may see the watches `[0, train)` of each user.
        valid: asked for while training, to choose epochs and settings.
        test: asked for at the end.
    """

    train: Int64
    valid: Ask
    test: Ask


def split(histories: Histories, holdout: HoldoutName, share: float = 0.1, seed: int = 0) -> Split:
    """Cut all histories by a named rule.

    Args:
        holdout: `leave-one-out` keeps the last watch of each user for the test and the one before for validation
            (users with fewer than 3 watches are only trained on); `temporal` does it by one global time: the last
            `share` of all watches are the test, the `share` before it validation; `temporal-next` is the same, but of
            each user only the next watch is asked for (Covington et al. 2016, 3.4); `users` trains on some users and
            asks others, a `share` of those with 5 watches or more in each part: given the first 80 % of their
            watches, the rest is asked for; `users-random` is the same, but given is a random 80 % of their watches
            (Liang et al. 2018, "Variational autoencoders for collaborative filtering", 4.1), see `asked_last`; `last`
            holds back one watch a user for validation and nothing for a test; `none` trains on everything.
        share: all `temporal` and `users` ones, between 0 and 0.5.
        seed: the `users` ones only, draws them.

    Of these only the `temporal` ones keep the whole training part before all that is asked for. The others keep the
    order within each history, while other users' training watches may be later (Ji et al. 2023, "A critical study
    on data leakage in recommender system offline evaluation").
    """
    n = histories.lengths
    if holdout == "leave-one-out":
        cut = n >= 3
        return _prefixes(n - 2 * cut, n - cut, n)
    if holdout == "last":
        return _prefixes(n - (n >= 2), n, n)
    if holdout == "none":
        return _prefixes(n, n, n)
    if not 0 < share < 0.5:
        raise UsageError("--holdout-share", share, "Give a number above 0 and below 0.5.")
    if holdout in ("users", "users-random"):
        return _users(n, share, seed)
    by_time = _temporal(histories, share)
    return _next_only(by_time) if holdout == "temporal-next" else by_time


def asked_last(histories: Histories, cut: Split, holdout: HoldoutName, seed: int = 0) -> Histories:
    """The histories that a split's prefixes are of: those of the log, but for `users-random`.

    There, a random part of each held-out user's watches moves behind the others; both parts stay in time order. What
    moved is asked for at the time of the user's last watch, so that times never fall.

    Args:
        cut: of these histories, by the rule `holdout`.
        seed: draws what is asked for.
    """
    if holdout != "users-random":
        return histories
    n, given = histories.lengths, np.minimum(cut.valid.given, cut.test.given)
    users = np.flatnonzero(given < n).astype(np.int32)
    row, place = histories.positions(users, np.zeros_like(users, np.int64), n[users])
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    shuffled = np.lexsort((np.random.default_rng([seed, 6]).random(len(row)), row))
    asked = np.zeros(len(row), bool)
    asked[shuffled[rank >= given[users][row]]] = True
    order = np.lexsort((asked, row))
    last = histories.times[histories.offsets[users + 1] - 1][row]
    items, times = np.array(histories.items), np.array(histories.times)
    items[place] = items[place[order]]
    times[place] = np.where(asked[order], last, times[place[order]])
    return Histories(items, times, histories.offsets)


def _prefixes(train: Int64, valid: Int64, test: Int64) -> Split:
    return Split(train, Ask(train, valid), Ask(valid, test))


def _temporal(histories: Histories, share: float) -> Split:
    n = histories.lengths
    if not len(histories.times):
        return _prefixes(n, n, n)
    quantiles = np.quantile(histories.times, [1 - 2 * share, 1 - share], method="higher")
    train, valid = (histories.before(cut) for cut in quantiles)
    return _prefixes(train, valid, n)


def _next_only(cut: Split) -> Split:
    valid, test = (Ask(a.given, np.minimum(a.given + 1, a.until)) for a in (cut.valid, cut.test))
    return Split(cut.train, valid, test)


def _users(n: Int64, share: float, seed: int) -> Split:
    eligible = np.random.default_rng([seed, 5]).permutation(np.flatnonzero(n >= FEWEST_WATCHES))
    part = int(np.ceil(share * len(eligible))) if len(eligible) > 2 else 0
    test, valid = eligible[:part], eligible[part : 2 * part]
    train = n.copy()
    train[eligible[: 2 * part]] = 0
    given = np.clip((INPUT_SHARE * n).astype(np.int64), 1, n - 1)
    return Split(train, _only(valid, given, n), _only(test, given, n))


def _only(users: Int64, given: Int64, until: Int64) -> Ask:
    """Ask nothing of all others."""
    start = until.copy()
    start[users] = given[users]
    return Ask(start, until)
