"""What becomes known of a request while it is answered: for its log line, metrics, span and `Server-Timing`."""

from dataclasses import dataclass, field
from time import perf_counter

from serving.telemetry.metrics import NO_VARIANT
from watchnext.api.answers import Source


@dataclass(slots=True)
class Facts:
    """Filled in by whoever answers. Times are seconds, moments those of `time.perf_counter`."""

    request_id: str = ""
    traceparent: str | None = None
    """The header of this name, which says what trace the request is part of."""
    tracestate: str | None = None
    """Its second header."""
    begin: float = field(default_factory=perf_counter)
    end: float = 0.0
    user_id: str | None = None
    key: str | None = None
    """Id of the API key."""
    variant: str | None = None
    slot: int = NO_VARIANT
    """The variant's number in metrics."""
    release: str | None = None
    source: Source | None = None
    decile: int | None = None
    """Where the best score stands among those of the release's users; None where it cannot be compared."""
    degraded: bool = False
    added: int | None = None
    """Watches that were posted and are new; None where none were posted."""
    ignored: int = 0
    """Watches that were posted and there already."""
    vector: float = 0.0
    """Reading fresh watches and finding the user's vector."""
    filter: float = 0.0
    """Making the mask of items that may be found."""
    search: float = 0.0
    """Searching, and filling up with popular items."""

    @property
    def seconds(self) -> float:
        """From the request to its answer."""
        return self.end - self.begin

    def server_timing(self) -> bytes:
        """The header's value, in milliseconds."""
        return b"vector;dur=%.3f, filter;dur=%.3f, search;dur=%.3f" % (
            1e3 * self.vector,
            1e3 * self.filter,
            1e3 * self.search,
        )
