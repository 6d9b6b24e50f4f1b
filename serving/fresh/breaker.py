"""Asks nothing of a store that has just failed, so that requests do not wait for it one after the other."""

import time
from collections.abc import Callable

from watchnext.errors import StoreUnavailableError


class Breaker:
    """Open for some time after each failure.

    Args:
        seconds: how long nothing is asked.
        clock: seconds that only grow.
    """

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._until = 0.0
        self._last: StoreUnavailableError | None = None

    def check(self) -> None:
        """Raise StoreUnavailableError, about the last failure, while the store is not to be asked."""
        if self._last is not None:
            if self._clock() < self._until:
                last = self._last
                raise StoreUnavailableError(last.argument, f"{last.got}, a moment ago", last.cure)
            self._last = None

    def failed(self, error: StoreUnavailableError) -> StoreUnavailableError:
        """Note a failure; returns it."""
        self._last, self._until = error, self._clock() + self._seconds
        return error
