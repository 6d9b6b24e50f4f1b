"""What building an index measured: of each kind that was tried, and of searches among a share of the items."""

from typing import Annotated

from pydantic import Field

from index.kinds import Kind
from index.spaces import Space
from watchnext.config import Closed

Search = dict[str, Annotated[int, Field(ge=1, le=1 << 20)]]
"""`nprobe` or `efSearch`, and `k_factor`: how many times the candidates asked for are scored again."""


class Trial(Closed):
    """One kind of index with its search parameters, and what was measured for it."""

    kind: str
    """FAISS's name of the index: `Flat`, `IVF512,SQfp16`, `HNSW32`."""
    space: Space = "dot"
    """Where it searches, see `index.spaces`."""
    search: Search
    """How hard it searched."""
    recall_at_50: float
    """Share of the exact 50 best that it found for the user vectors that it was tuned on."""
    recall_error: float
    """Standard error of `recall_at_50`."""
    unseen_recall_at_50: float | None = None
    """The same for user vectors that nothing was tuned on; only of what reached the target."""
    microseconds: float
    """Median CPU time of one query alone."""
    megabytes: float
    """Size of the index, without the item vectors."""
    build_seconds: float = Field(ge=0)
    """Wall time of building it, clustering included."""

    def describe(self) -> str:
        """Kind and parameters as a few words."""
        return described(Kind(self.kind, self.space), self.search)


class FilteredStep(Closed):
    """What a search does where some items are not allowed."""

    share: float = Field(gt=0, le=1)
    """For shares of allowed items down to this one."""
    search: Search
    """Search parameters, as in `Trial`."""
    microseconds: float
    """Median CPU time of one query alone."""
    scan_microseconds: float
    """The same, when all allowed items are scored without FAISS."""


class Effort(Closed):
    """How hard an index searches."""

    search: Search = Field(default_factory=dict)
    """Search parameters, as in `Trial`."""
    filtered: tuple[FilteredStep, ...] = ()
    """The same where only a share of the items is allowed, by falling share."""
    scan_below: int = 0
    """Where no more items are allowed, all of these are scored, without FAISS."""

    def among(self, share: float) -> dict[str, int]:
        """Search parameters where a share of the items is allowed."""
        fitting = (step.search for step in self.filtered if step.share <= share)
        return next(fitting, self.filtered[-1].search if self.filtered else self.search)


def described(kind: Kind, search: dict[str, int]) -> str:
    """A kind with its search parameters: `IVF512,SQfp16 nprobe=25`."""
    return " ".join([kind.describe(), *(f"{name}={value}" for name, value in search.items() if value != 1)])
