"""What FAISS is asked for, in tests that count searches."""

from typing import Any

import pytest

from index.faiss_index import FaissIndex
from watchnext.features import Float32
from watchnext.histories import Int32


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """From now on, for each search: how many candidates are fetched, and whether among some of the items only."""
    asked: list[tuple[int, bool]] = []
    propose = FaissIndex._propose

    def counted(self: FaissIndex, queries: Float32, fetch: int, choice: Any) -> Int32:
        asked.append((fetch, choice is not None and choice.sel is not None))
        return propose(self, queries, fetch, choice)

    monkeypatch.setattr(FaissIndex, "_propose", counted)
    return asked
