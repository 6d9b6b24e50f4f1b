"""When to ask again: exponential backoff with full jitter, within a time. Knows no HTTP and does not sleep."""

from collections.abc import Callable

from watchnext.client.errors import ClientError, ProblemError

FIRST_SECONDS, MOST_SECONDS = 0.1, 5.0
"""Longest first wait, and longest wait of all."""


class Patience:
    """How long one question may still take, and how long to wait before the next attempt.

    The n-th wait is uniform between 0 and min(5 s, 0.1 s * 2^(n - 1)): many clients that failed together do not come
    back together (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). Where the server said when
    to come again, that much is added.

    Args:
        seconds: for all attempts and waits together.
        clock: seconds of a monotonic clock.
        random: draws from 0 to 1.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._clock, self._random = clock, random
        self._end = clock() + seconds
        self._longest = FIRST_SECONDS

    def left(self) -> float:
        """Seconds until the time is over; negative afterwards."""
        return self._end - self._clock()

    def wait(self, error: ClientError) -> float:
        """Seconds to wait after an attempt that failed. Raises the error where the time would be over by then."""
        named = error.retry_after if isinstance(error, ProblemError) else None
        seconds = (named or 0.0) + self._random() * self._longest
        if seconds >= self.left():
            raise error
        self._longest = min(2 * self._longest, MOST_SECONDS)
        return seconds
