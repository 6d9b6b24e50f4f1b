"""Candidates as JSON, fast: what never changes of an item is written once and kept.

Writing 50 candidates with a JSON library costs more than the search behind them; here it is a join of bytes.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from index.candidates import candidates
from watchnext.api.answers import Source
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.histories import Int32

KEPT = 100_000
"""Items whose JSON is kept, some 150 bytes each; when there are more, all are forgotten and learned anew."""


class Fragments:
    """Writes candidates of one release; may be called from several threads at once."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._starts = self._nothing()
        self._kept = 0

    def array(self, numbers: Int32, scores: Float32, sources: Sequence[tuple[Source, int]]) -> bytes:
        """A JSON array of `RecommendedItem`s without `because`.

        Args:
            numbers, scores: [found] items, best first.
            sources: where they come from, see `index.recommender.Found`.
        """
        if not len(numbers):
            return b"[]"
        parts: list[bytes | None] = self._starts.take(numbers).tolist()
        if None in parts:
            parts = self._learn(numbers).take(numbers).tolist()
        texts = orjson.dumps(np.ascontiguousarray(scores), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
        ends: list[bytes] = []
        for source, count in sources:
            ends += [_end(source)] * count
        pieces = [b""] * (3 * len(parts))
        pieces[::3], pieces[1::3], pieces[2::3] = parts, texts, ends  # type: ignore[assignment]
        pieces[-1] = ends[-1][:-1]  # without its comma
        return b"[%b]" % b"".join(pieces)

    def _learn(self, numbers: Int32) -> NDArray[Any]:
        """What is kept, with these items among it."""
        if self._kept > KEPT:
            self._starts, self._kept = self._nothing(), 0
        starts = self._starts
        new = np.unique(numbers[[start is None for start in starts.take(numbers).tolist()]])
        for candidate in candidates(self._export, new, np.zeros(len(new), np.float32)):
            about = orjson.dumps({"item_id": candidate.id, "title": candidate.title})
            starts[candidate.number] = b'%b,"score":' % about[:-1]
        self._kept += len(new)
        return starts

    def _nothing(self) -> NDArray[Any]:
        """[items + 1] nothing kept. An array: a dict that is in no cache takes twice as long to look into."""
        return np.full(len(self._export.items) + 1, None, object)


@lru_cache
def _end(source: Source) -> bytes:
    return b',"source":"%b"},' % source.encode()
