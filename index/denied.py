"""What the deny list means for one release: ids become item numbers and a mask, once for each change of the list."""

from typing import NamedTuple

import numpy as np

from index.interface import Bool
from watchnext.denied import DenyList
from watchnext.histories import Int32
from watchnext.vocabulary import Vocabulary


class Denied(NamedTuple):
    """The denied items of a release at one moment."""

    ids: tuple[str, ...]
    """All that the list names."""
    known: dict[str, int]
    """Their numbers, 0 for those that the release does not have."""
    numbers: Int32
    """[denied] those of them that the release has."""
    allowed: Bool | None
    """[items + 1] all other items, read-only; None where `numbers` is empty."""


class DeniedItems:
    """The denied items of a release as the list says now; all methods may be called from several threads at once.

    Args:
        deny_list: of the release's store.
        items: the ids of the release's items.
    """

    def __init__(self, deny_list: DenyList, items: Vocabulary) -> None:
        self._list, self._items = deny_list, items
        self._denied = _denied(deny_list.ids(), items, {})

    def now(self) -> Denied:
        """The denied items. A change of the list is seen at once."""
        ids, denied = self._list.ids(), self._denied
        if ids is not denied.ids:
            self._denied = denied = _denied(ids, self._items, denied.known)
        return denied


def _denied(ids: tuple[str, ...], items: Vocabulary, before: dict[str, int]) -> Denied:
    new = [id_ for id_ in ids if id_ not in before]  # a list may be long, and a request waits
    found = dict(zip(new, items.numbers(new).tolist(), strict=True))
    known = {id_: before[id_] if id_ in before else found[id_] for id_ in ids}
    numbers = np.array([number for number in known.values() if number], np.int32)
    if not len(numbers):
        return Denied(ids, known, numbers, None)
    allowed = np.ones(len(items) + 1, bool)
    allowed[numbers] = allowed[0] = False
    allowed.flags.writeable = False
    return Denied(ids, known, numbers, allowed)
