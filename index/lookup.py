"""From what a person types to an item number: an id, a title, or a part of one. Machines ask by id only."""

import pyarrow as pa
import pyarrow.compute as pc

from watchnext.errors import UsageError
from watchnext.export import Export

SHOWN = 5
"""Items that an error lists at most."""
_YEAR = r"\s*\(\d{4}\)\s*$"


def find_item(text: str, export: Export) -> int:
    """The number of the item that a text names.

    The first of these that any item meets decides:

    1. its id is the text;
    2. its title is, whatever the case; an item without a title goes by its id;
    3. its title without a year in brackets at the end is: `Heat` for `Heat (1995)`;
    4. its title contains the text.

    Raises UsageError where none does, and where several do; it lists up to five, the most watched first.
    """
    number = export.items.number(text)
    if number:
        return number
    wanted = text.strip().lower()
    if not wanted:
        raise UsageError("item", repr(text), "Give its id or its title.")
    titles = pc.utf8_lower(export.catalogue.table.column("title").slice(1))
    ids = export.items.all_ids()
    names = pc.coalesce(titles, pc.utf8_lower(pa.chunked_array([pa.array(ids, pa.large_string())])))
    stages = (
        pc.equal(names, wanted),
        pc.equal(pc.replace_substring_regex(titles, _YEAR, ""), wanted),
        pc.match_substring(titles, wanted),
    )
    for stage in stages:
        found = _numbers(stage)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError("item", f"{text!r}, which names {len(found):,} items", _choose(found, export))
    near = _numbers(pc.match_substring(names, wanted))
    cure = _choose(near, export) if near else "Give an id, a title, or a part of a title that no other has."
    raise UsageError("item", f"{text!r}, which names no item", cure)


def _numbers(mask: pa.ChunkedArray) -> list[int]:
    """The item numbers, rising, for which `mask` [items] is true; null is not."""
    rows: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return [row + 1 for row in rows]


def _choose(numbers: list[int], export: Export) -> str:
    shown = [f"{export.items.id(n)} ({export.catalogue.title(n) or 'no title'})" for n in numbers[:SHOWN]]
    more = ", ..." if len(numbers) > SHOWN else ""
    return f"Give an id, like one of these: {', '.join(shown)}{more}."
