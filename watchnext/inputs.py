"""Everything that a tower reads of users, cut at a moment: no later watch and no later search can get in."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from watchnext.features import ContextArrays, FeatureSpec
from watchnext.histories import Histories, Int32, Int64


class TowerInputs(NamedTuple):
    """What `tower.UserTower.user_vectors` takes, for some users."""

    histories: list[Int32]
    """[users] item numbers in time order."""
    context: ContextArrays | None
    """[users] rows; None without a users table."""
    tokens: list[Int32] | None
    """[users] numbers of search tokens in time order; None without searches."""
    example_age: Int64
    """[users] seconds from the moment of asking to the end of the training window, 0 after it."""
    times: list[Int64]
    """[users] seconds since 1970 of the watches in `histories`."""
    asked: Int64
    """[users] seconds since 1970 of the moment of asking."""


@dataclass(frozen=True)
class UserInputs:
    """What is known of all users.

    Args:
        histories: all watches.
        context: [users + 1] rows of features; None without a users table.
        searches: all search tokens in place of items; None without searches.
        window_end: seconds since 1970, see `features.FeatureSpec`.
    """

    histories: Histories
    context: ContextArrays | None = None
    searches: Histories | None = None
    window_end: int = 0

    def at(self, users: Int32, ends: Int64, now: int | None = None) -> TowerInputs:
        """What was known of some users when they came for the watch after their first `ends` ones.

        The moment of asking is the time of that watch; after a whole history it is later than everything. Searches
        count that were made before the moment.

        Args:
            users: [users] user numbers.
            ends: [users] how many of each user's first watches may be looked at.
            now: seconds since 1970, the moment of asking after whole histories; None is the end of the training
                window.
        """
        h = self.histories
        places = h.offsets[users] + ends
        whole = places >= h.offsets[users + 1]
        age = np.zeros(len(users), np.int64)
        moments = h.times[places[~whole]]
        age[~whole] = np.maximum(self.window_end - moments, 0)
        asked = np.full(len(users), self.window_end if now is None else now, np.int64)
        asked[~whole] = moments
        ranges = [
            slice(first, place) for first, place in zip(h.offsets[users].tolist(), places.tolist(), strict=True)
        ]
        return TowerInputs(
            [h.items[range_] for range_ in ranges],
            None if self.context is None else self.context.rows(users),
            None if self.searches is None else self._tokens(self.searches, users, places, whole),
            age,
            [h.times[range_] for range_ in ranges],
            asked,
        )

    def _tokens(self, searches: Histories, users: Int32, places: Int64, whole: np.ndarray) -> list[Int32]:
        found = []
        for user, place, all_ in zip(users.tolist(), places.tolist(), whole.tolist(), strict=True):
            tokens = searches[user]
            if not all_:
                tokens = tokens[: np.searchsorted(searches.times_of(user), self.histories.times[place])]
            found.append(tokens)
        return found

    def token_ends(self) -> Int64:
        """[watches] for every watch, the position in `searches.items` after the user's last token before it."""
        if self.searches is None:
            return np.zeros(len(self.histories.items), np.int64)
        times = np.concatenate([self.searches.times, self.histories.times])
        low, span = int(times.min(initial=0)), int(times.max(initial=0)) - int(times.min(initial=0)) + 1
        asked, made = (
            np.repeat(np.arange(len(h)), h.lengths) * span + (h.times - low) for h in (self.histories, self.searches)
        )
        return np.searchsorted(made, asked).astype(np.int64)


def user_inputs(
    features: FeatureSpec, histories: Histories, users: pa.Table, searches: Histories | None = None
) -> UserInputs:
    """What is known of all users, with the users table (`catalogue.USER_SCHEMA`) encoded."""
    context = features.encode_table(users) if features.has_context else None
    return UserInputs(histories, context, searches, features.window_end)
