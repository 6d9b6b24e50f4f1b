"""An iterator that is worked off by another thread, a few elements ahead."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


def prefetch(source: Iterator[T], depth: int = 4) -> Iterator[T]:
    """Yield what `source` yields, computed up to `depth` elements ahead by a thread.

    An exception of the source is raised here. When the consumer stops early, the thread ends.
    """
    ready: queue.Queue[object] = queue.Queue(depth)
    stopped = threading.Event()

    def put(element: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put(element, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for element in source:
                if not put(element):
                    return
            put(_END)
        except BaseException as error:
            put(_Failed(error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (element := ready.get()) is not _END:
            if isinstance(element, _Failed):
                raise element.error
            yield element  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
