"""Time in a simulated world: seconds since 1970, cut into slots of six hours, four to a day."""

from watchnext.histories import Int64

START = 1_704_067_200
"""The first logged second: 2024-01-01 00:00 UTC."""
DAY = 86_400
"""Seconds."""
SLOT = 21_600
"""Seconds. A user has at most one session in a slot, and a session ends in the slot in which it begins, so two
watches of a user belong to one session exactly when they are in one slot."""
SLOTS = DAY // SLOT
"""Slots of a day."""


def slot_of(times: Int64) -> Int64:
    """[times] the slot of each second; slot 0 begins at `START`.

    >>> import numpy as np
    >>> slot_of(np.array([START, START + SLOT - 1, START + SLOT])).tolist()
    [0, 0, 1]
    """
    return (times - START) // SLOT
