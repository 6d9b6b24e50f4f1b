"""Candidates as JSON, fast: what never changes of an item is written once and kept.

Writing 50 candidates with a JSON library costs more than the search behind them; here it is a join of bytes.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import orjson

from index.candidates import candidates
from watchnext.api.answers import Source
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.histories import Int32

KEPT = 50_000
"""Items whose JSON is kept, some 100 bytes each; when it is full it is emptied."""


class Fragments:
    """Writes candidates of one release; may be called from several threads at once."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._starts: dict[int, bytes] = {}

    def array(self, numbers: Int32, scores: Float32, sources: Sequence[tuple[Source, int]]) -> bytes:
        """A JSON array of `RecommendedItem`s without `because`.

        Args:
            numbers, scores: [found] items, best first.
            sources: where they come from, see `index.recommender.Found`.
        """
        if not len(numbers):
            return b"[]"
        starts, listed = self._starts, numbers.tolist()
        try:
            parts = [starts[number] for number in listed]
        except KeyError:
            starts = self._learn(listed)
            parts = [starts[number] for number in listed]
        texts = orjson.dumps(np.ascontiguousarray(scores), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
        ends = [end for source, count in sources for end in (_end(source),) * count]
        pieces = [b""] * (3 * len(parts))
        pieces[::3], pieces[1::3], pieces[2::3] = parts, texts, ends
        pieces[-1] = ends[-1][:-1]  # without its comma
        return b"[%b]" % b"".join(pieces)

    def _learn(self, numbers: list[int]) -> dict[int, bytes]:
        """What is kept, with these items among it."""
        starts = self._starts if len(self._starts) <= KEPT else {}
        new = np.array([number for number in numbers if number not in starts], np.int32)
        for candidate in candidates(self._export, new, np.zeros(len(new), np.float32)):
            id_, title = orjson.dumps(candidate.id), orjson.dumps(candidate.title)
            starts[candidate.number] = b'{"item_id":%b,"title":%b,"score":' % (id_, title)
        self._starts = starts
        return starts


@lru_cache
def _end(source: Source) -> bytes:
    return b',"source":"%b"},' % source.encode()
