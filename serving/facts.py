"""What becomes known of a request while it is answered: for its log line, its metrics and `Server-Timing`."""

from dataclasses import dataclass

from watchnext.api.answers import Source


@dataclass(slots=True)
class Facts:
    """Filled in by whoever answers. Times are seconds."""

    request_id: str = ""
    user_id: str | None = None
    key: str | None = None
    variant: str | None = None
    release: str | None = None
    source: Source | None = None
    degraded: bool = False
    vector: float = 0.0
    """Reading fresh watches and finding the user's vector."""
    filter: float = 0.0
    """Making the mask of items that may be found."""
    search: float = 0.0
    """Searching, and filling up with popular items."""

    def server_timing(self) -> bytes:
        """The header's value, in milliseconds."""
        return b"vector;dur=%.3f, filter;dur=%.3f, search;dur=%.3f" % (
            1e3 * self.vector,
            1e3 * self.filter,
            1e3 * self.search,
        )
