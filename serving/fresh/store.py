"""What a store of fresh watches does, for those who ask it. Knows none of the stores.

Serving asks `FreshStore`, in the event loop; the command line asks `Upkeep`, which waits.
"""

import math
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple, Protocol

from watchnext.api.requests import ID_BYTES, LATEST
from watchnext.errors import UsageError

MOST = 1000
"""Watches of a user that a recommendation knows: the last ones, as they are read in the event loop."""
MOST_TOLD = 10_000
"""Watches of a user that a history tells of: the last ones."""


class Watch(NamedTuple):
    """One watch, as it is sent.

    Args:
        event_id: the sender's name for it, the same whenever it is sent again.
        time: seconds since 1970.
        fraction: the watched fraction; None where it is not known.
    """

    event_id: str
    user_id: str
    item_id: str
    time: int
    fraction: float | None = None


class Fresh(NamedTuple):
    """What is known of a user beside the release.

    Args:
        watches: (item id, time in seconds since 1970) in time order, ties in the order in which they came; the last
            ones.
        erased: until when the user is erased, in seconds since 1970: what a release knows from before must not be
            used. None for somebody who never was.
    """

    watches: tuple[tuple[str, int], ...] = ()
    erased: int | None = None


NOTHING = Fresh()


class FreshStore(Protocol):
    """Fresh watches, shared by all processes that serve.

    Made before processes fork; opens files, connections and threads after that, when they are first needed. All
    methods raise StoreUnavailableError where the store does not answer in time, and work again when it does, and
    UsageError for an id that is not Unicode.
    """

    async def of(self, user_id: str) -> Fresh:
        """What is known of a user, with the last `MOST` watches; `NOTHING` of one nobody has heard of."""
        ...

    async def history(self, user_id: str) -> Fresh:
        """The same with the last `MOST_TOLD` watches, which takes milliseconds, but not of the event loop."""
        ...

    async def add(self, watches: Sequence[Watch]) -> int:
        """Keep watches, durably when this returns. Returns how many of them were new.

        An event id that is there already is ignored, and so is a watch of an erased user until `Fresh.erased`: a late
        retry does not bring back what was erased. Raises UsageError for watches that `check` refuses.
        """
        ...

    async def erase(self, user_id: str) -> int:
        """Forget all watches of a user, and note that, and until when: now, or the time of the last of them.

        A watch may be from a clock that is ahead. Returns how many watches there were.
        """
        ...

    async def size(self) -> int:
        """How many watches there are, at a cost that does not grow with them."""
        ...

    async def close(self) -> None:
        """End threads and connections; what was added stays."""
        ...


Learned = tuple[str, str, int]
"""A watch as logs have it: user, item and time."""


class Upkeep(Protocol):
    """What is done to a store from the command line, while it serves or not. Raises what `FreshStore` does."""

    def watches(self) -> Iterator[Watch]:
        """All watches, those of a user together and in the order of `Fresh.watches`."""
        ...

    def erased(self) -> Iterator[tuple[str, int]]:
        """All users that were ever erased, each with the time until which they are."""
        ...

    def prune(self, before: int, learned: Container[Learned] | None = None) -> int:
        """Forget watches from before a time in seconds since 1970. Returns how many.

        Args:
            learned: forget these only; None forgets all.
        """
        ...

    def close(self) -> None:
        """End connections."""
        ...


def check(watches: Sequence[Watch]) -> None:
    """Raise UsageError for the first watch that cannot be kept, or that `watchnext ingest` would call malformed."""
    for watch in watches:
        for name, id_ in (("event id", watch.event_id), ("user id", watch.user_id), ("item id", watch.item_id)):
            check_id(name, id_)
        if not -LATEST < watch.time < LATEST:
            raise UsageError("time of a watch", watch.time, "Give seconds since 1970.")
        if watch.fraction is not None and not 0 <= watch.fraction < math.inf:
            raise UsageError("fraction of a watch", watch.fraction, "Give a number from 0, or none.")


def check_id(name: str, id_: str) -> None:
    """Raise UsageError for an id that is blank, too long or not Unicode."""
    try:
        size = len(id_.encode())
    except UnicodeEncodeError as error:
        raise UsageError(name, ascii(id_), "Give ids in UTF-8.") from error
    if size > ID_BYTES:
        raise UsageError(name, f"{size} bytes of UTF-8", f"Give at most {ID_BYTES}.")
    if not id_.strip(" "):
        raise UsageError(name, repr(id_), "Give an id that is more than spaces.")
