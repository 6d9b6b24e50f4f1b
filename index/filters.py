"""Which items may be found: categories, upload times and lists of ids, combined into one mask for a request.

The files lie in the folder `filters` of an index; see `index.bitmaps`. Knows nothing of vectors and users.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from index.bitmaps import Categories, UploadTimes
from index.interface import Bool
from watchnext.catalogue import Catalogue
from watchnext.config import Closed
from watchnext.errors import UsageError
from watchnext.vocabulary import Vocabulary

FILTERS = "filters"
_NAMED = 5
"""Categories that an error names at most."""
_COMPARED = 1000
"""So many categories, the most frequent, are compared with an unknown one letter by letter."""
_NONE = "Give `watchnext ingest` an items table that has them."
Seconds = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class ItemFilter(Closed):
    """What a request wants of items; an item must meet all that is given."""

    categories: tuple[str, ...] = ()
    """In any of these; none asks for nothing."""
    uploaded_after: Seconds | None = None
    """Uploaded then or later, in seconds since 1970, UTC. Items of unknown time are out."""
    uploaded_before: Seconds | None = None
    """Uploaded earlier, in seconds since 1970, UTC. Items of unknown time are out."""
    only: tuple[str, ...] | None = None
    """Ids of the only items wanted. Those that no item has are ignored, so that none may be left."""
    without: tuple[str, ...] = ()
    """Ids of items that are not wanted. Those that no item has are ignored."""

    @model_validator(mode="after")
    def _times_in_order(self) -> Self:
        after, before = self.uploaded_after, self.uploaded_before
        if after is not None and before is not None and after >= before:
            raise UsageError("uploaded_after", f"{after}, and {before} as uploaded_before", "Give an earlier one.")
        return self


class Filters:
    """Makes masks of what requests want; all methods may be called from several threads at once.

    Args:
        items: the ids of the items.
        categories: the items of each category.
        uploads: the items by upload time.
    """

    def __init__(self, items: Vocabulary, categories: Categories, uploads: UploadTimes) -> None:
        self._items, self._categories, self._uploads = items, categories, uploads

    @classmethod
    def of(cls, catalogue: Catalogue, items: Vocabulary) -> Self:
        """Prepare what is known about items."""
        categories, uploaded = (_whole(catalogue.table.column(name)) for name in ("categories", "uploaded"))
        return cls(items, Categories.of(categories), UploadTimes.of(uploaded))

    def save(self, folder: Path) -> None:
        """Write the files into the folder of an index."""
        (folder / FILTERS).mkdir()
        self._categories.save(folder / FILTERS)
        self._uploads.save(folder / FILTERS)

    @classmethod
    def open(cls, folder: Path, items: Vocabulary) -> Self:
        """Memory-map what `save` wrote; the caller has compared checksums.

        Raises CorruptError where a file is missing or cut, or the files do not fit together or to the items.
        """
        inside = folder / FILTERS
        return cls(items, Categories.open(inside, len(items)), UploadTimes.open(inside, len(items)))

    def mask(self, wanted: ItemFilter) -> Bool | None:
        """[items + 1] which items a request wants; row 0 is False. None where it asks for nothing.

        Raises UsageError for a category that no item has, and for a range of upload times where none is known.
        """
        if wanted == ItemFilter():
            return None
        masks = []
        if wanted.categories:
            masks.append(self._categories.mask([self._row(name) for name in wanted.categories]))
        if wanted.uploaded_after is not None or wanted.uploaded_before is not None:
            if not len(self._uploads.times):
                raise UsageError("a range of upload times", "no item of known upload time", _NONE)
            masks.append(self._uploads.mask(wanted.uploaded_after, wanted.uploaded_before))
        mask = masks.pop() if masks else np.ones(len(self._items) + 1, bool)
        for other in masks:
            mask &= other
        if wanted.only is not None:
            numbers = self._items.numbers(wanted.only)
            kept, mask = numbers[mask[numbers]], np.zeros_like(mask)
            mask[kept] = True
        mask[self._items.numbers(wanted.without)] = False
        mask[0] = False
        return mask

    def _row(self, name: str) -> int:
        row = self._categories.rows.get(name)
        if row is None:
            raise UsageError("category", repr(name), _near(name, self._categories.names))
        return row


def _near(name: str, names: list[str]) -> str:
    """What to do about a category that no item has: others that have it inside, or are written alike."""
    if not names:
        return f"No item has a category. {_NONE}"
    column = pa.array(names, pa.large_string())
    near = column.filter(pc.match_substring(column, name, ignore_case=True)).slice(0, _NAMED).to_pylist()
    if not near:
        frequent = {other.lower(): other for other in reversed(names[:_COMPARED])}
        near = [frequent[other] for other in get_close_matches(name.lower(), frequent, _NAMED)]
    return f"Give one that items have, like {', '.join(map(repr, near or names[:_NAMED]))}."


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return pa.concat_arrays(column.chunks)
