"""What a simulated world's folder says about itself."""

from typing import Literal

from simulation.config import WorldConfig
from watchnext.files import Manifest

FORMAT: Literal["watchnext-world-1"] = "watchnext-world-1"


class WorldManifest(Manifest):
    """The manifest of a folder of `watches/`, `searches/`, `items.parquet` and `users.parquet`."""

    format: Literal["watchnext-world-1"] = FORMAT
    config: WorldConfig
    """Everything else follows from it."""
    watches: int
    """Rows of the log."""
    searches: int
    """Searches logged."""
