"""A few requests a turn of the event loop, and no standing queues: what keeps a server quick that is asked too much.

An answer is computed without a pause, and all that comes in meanwhile waits. If all requests that are ready were
answered before the loop turns, others would be neither counted nor refused for that long, and new connections not
accepted: uvloop accepts one a turn. So requests wait for turns that few share, and between two turns the loop looks
at all sockets.

A queue that comes with a burst and goes is good; one that stands only makes everybody wait (Nichols and Jacobson,
"Controlling Queue Delay", 2012). So it may be long, unless it has not been empty for `STANDING` seconds.
"""

import asyncio
from collections import deque

STANDING = 0.1
"""Seconds that a queue may take to become empty."""
FEW = 16
"""Requests that may wait and still share turns. Where more do, the loop looks at its sockets after each answer:
uvloop accepts one connection a turn, and whoever is to be refused should hear it soon."""
REFUSED_FOR_ONE = 4
"""Refusals that take the time of an answer, about: after so many one more is answered in a turn, so that whoever asks
again at once, against what he is told, does not take all the time there is."""


class Turns:
    """Gives out the turns of one event loop, in the order in which they are asked for.

    Args:
        steady: requests that may wait in a queue that stands: their time to wait is that of as many answers.
        standing: seconds, see above.
        each: requests that get the same turn of the loop, where no more than `FEW` wait.
    """

    def __init__(self, steady: int, standing: float = STANDING, each: int = 1) -> None:
        self._standing, self._steady, self._each = standing, steady, each
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turning = False
        self._since, self._refused = 0.0, 0

    def __len__(self) -> int:
        """How many wait for a turn."""
        return len(self._waiting)

    async def mine(self, now: float) -> bool:
        """Wait for a turn. Returns False, at once, where too many wait in a queue that stands.

        Args:
            now: seconds, monotonic.
        """
        if not self._turning:
            loop = asyncio.get_running_loop()
            self._turning, self._since = True, now
            loop.call_soon(self._next, loop)
            return True
        if len(self._waiting) >= self._steady and now - self._since > self._standing:
            self._refused += 1
            return False
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future
        return True

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        refused, self._refused = self._refused, 0
        together = self._each if len(self._waiting) <= FEW else 1
        left = together + refused // REFUSED_FOR_ONE
        while self._waiting and left:
            future = self._waiting.popleft()
            if not future.done():  # else whoever waited has gone
                future.set_result(None)
                left -= 1
        self._turning = left == 0 or refused > 0  # a queue that is empty since others were refused is not gone
        if self._turning:
            loop.call_soon(self._next, loop)  # after those whose turn it is
