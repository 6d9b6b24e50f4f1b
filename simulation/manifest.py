"""What a simulated world's folder says about itself."""

from typing import ClassVar, Literal

from simulation.config import WorldConfig
from watchnext.files import Manifest


class WorldManifest(Manifest):
    """The manifest of a folder of `watches/`, `searches/`, `items.parquet` and `users.parquet`."""

    made_by: ClassVar[str] = "watchnext simulate"
    format: Literal["watchnext-world-1"] = "watchnext-world-1"
    config: WorldConfig
    """Everything else follows from it."""
    watches: int
    """Rows of the log."""
    searches: int
    """Searches logged."""
