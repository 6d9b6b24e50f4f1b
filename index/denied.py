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
        self._denied = _denied(deny_list.ids(), items)

    def now(self) -> Denied:
        """The denied items. A change of the list is seen at once."""
        ids, denied = self._list.ids(), self._denied
        if ids is not denied.ids:
            self._denied = denied = _denied(ids, self._items)
        return denied


def _denied(ids: tuple[str, ...], items: Vocabulary) -> Denied:
    numbers = items.numbers(ids)
    numbers = numbers[numbers > 0]
    if not len(numbers):
        return Denied(ids, numbers, None)
    allowed = np.ones(len(items) + 1, bool)
    allowed[numbers] = allowed[0] = False
    allowed.flags.writeable = False
    return Denied(ids, numbers, allowed)
