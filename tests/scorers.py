"""A scorer whose scores are given, for tests of ranking and evaluation."""

from dataclasses import dataclass

from watchnext.features import Float32
from watchnext.histories import Int32, Int64


@dataclass
class Fixed:
    """Scores given as a table: [users + 1, items + 1]."""

    table: Float32

    def scores(self, users: Int32, ends: Int64) -> Float32:
        scores: Float32 = self.table[users].copy()
        return scores
