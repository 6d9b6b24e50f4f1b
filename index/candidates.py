"""One found item as people and programs see it: its id, its title and its score."""

from typing import NamedTuple

import numpy as np

from watchnext.catalogue import row_numbers
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.histories import Int32


class Candidate(NamedTuple):
    """One found item; what `score` means is said by whoever found it."""

    number: int
    id: str
    title: str | None
    score: float

    def plain(self) -> dict[str, str | float | None]:
        """As answers in JSON have it."""
        return {"item_id": self.id, "title": self.title, "score": self.score}


def candidates(export: Export, numbers: Int32, scores: Float32) -> list[Candidate]:
    """Found items with their ids and titles.

    Args:
        export: has the ids and titles.
        numbers: [found] item numbers; those that are 0, where fewer were found, are left out.
        scores: [found].
    """
    there = numbers > 0
    numbers, scores = numbers[there], scores[there]
    titles = export.catalogue.table.column("title").take(row_numbers(numbers.astype(np.int64))).to_pylist()
    return list(map(Candidate, numbers.tolist(), export.items.ids(numbers), titles, scores.tolist()))
