"""How a server is run: which releases it answers from, where it listens, how much may be asked."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from watchnext.config import Closed
from watchnext.errors import UsageError


class ServingSettings(Closed):
    """Settings of one server process."""

    releases: Path
    """Folder of releases; the current one answers."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is all of them."""
    port: int = Field(8000, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one, which is printed."""
    default_k: int = Field(50, ge=1)
    """Candidates of an answer where the request names no number."""
    max_k: int = Field(1000, ge=1)
    """Most candidates that a request may ask for."""
    retry_seconds: float = Field(1, gt=0)
    """Where no release can be opened at the start, how often to look for one."""

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        if self.default_k > self.max_k:
            raise UsageError("--default-k", self.default_k, f"Give at most --max-k, {self.max_k}.")
        return self
