"""Ctrl-C where it does no harm: between two steps, not in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, told at a moment when the state is whole."""


class Interrupt:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self._pressed = False

    def check(self) -> None:
        """Raise Interrupted if it was."""
        if self._pressed:
            raise Interrupted

    def press(self, number: int, frame: FrameType | None) -> None:
        """A handler of SIGINT: the first is kept for `check`, the second raises KeyboardInterrupt at once."""
        if self._pressed:
            signal.default_int_handler(number, frame)
        self._pressed = True


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Keep SIGINT for `Interrupt.check`; outside of the main thread, which alone gets it, nothing changes."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt.press)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
