"""What the numbered slots of variants are called: by each process in a row of its own, which all processes read.

Processes hear of another split one after the other, and one that takes a killed one's row goes on with its counts. So
a slot means something within its row only, and counts of several rows are added up by name. There are no locks: a row
is written by its own process.
"""

import mmap
from collections.abc import Sequence

_NAME_BYTES = 255
"""Of a name, which is that of a folder."""
_WIDTH = 1 + _NAME_BYTES
"""A byte for the length, 0 for a free slot, and the name in UTF-8."""


class SlotNames:
    """The names of all rows; make it before the fork.

    Args:
        rows: how many processes may write at once.
        slots: of each row.
    """

    def __init__(self, rows: int, slots: int) -> None:
        self._slots = slots
        self._memory = mmap.mmap(-1, rows * slots * _WIDTH)  # anonymous and shared with forked processes

    def of(self, row: int) -> list[str]:
        """[slots] their names in a row; empty where they are free."""
        return [self._name(row * self._slots + slot) for slot in range(self._slots)]

    def claim(self, row: int, names: Sequence[str]) -> tuple[list[int], list[int]]:
        """Slots for some different names, no more than there are slots, in this process's row.

        A name keeps its slot. Others get free ones, and then those of names that are not among `names`, whose counts
        the caller has to forget.

        Returns:
            The slots of the names, and those that were another's.
        """
        held = self.of(row)
        free = [slot for slot, name in enumerate(held) if not name]
        free += [slot for slot, name in enumerate(held) if name and name not in names]
        slots = {name: held.index(name) if name in held else free.pop(0) for name in names}
        taken = [slot for name, slot in slots.items() if held[slot] and held[slot] != name]
        return list(slots.values()), taken

    def write(self, row: int, slot: int, name: str) -> None:
        """Call a slot of this process's row so."""
        start, text = (row * self._slots + slot) * _WIDTH, name.encode()[:_NAME_BYTES]
        self._memory[start] = 0  # nobody reads half a name
        self._memory[start + 1 : start + 1 + len(text)] = text
        self._memory[start] = len(text)

    def _name(self, place: int) -> str:
        start = place * _WIDTH
        return self._memory[start + 1 : start + 1 + self._memory[start]].decode(errors="replace")
