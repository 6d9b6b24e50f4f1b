"""How a server is run: what it answers from, where it listens, how much may be asked, who may ask."""

from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from serving.guard.browsers import check_origin
from serving.telemetry.logs import LogFormat
from serving.telemetry.request_log import UserNames
from watchnext.config import Closed
from watchnext.errors import UsageError


class ServingSettings(Closed):
    """Settings of a server: of all its processes."""

    releases: Path
    """Folder of releases; the current one answers, or those that its file VARIANTS names."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is all of them."""
    port: int = Field(8000, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one, which is printed."""
    workers: int = Field(1, ge=1, le=64)
    """Processes that answer. One is enough for some thousand answers a second."""
    fresh: str | None = None
    """Where fresh watches are kept: a file, or the URL of a Redis or Valkey; None keeps none."""
    keys: Path | None = None
    """File of API keys; None asks for none, see `without_keys`."""
    without_keys: bool = False
    """Answer whoever asks. Must be said, and is for addresses that only this machine reaches."""
    open_to_all: bool = False
    """Allow `without_keys` on an address that others reach."""
    default_k: int = Field(50, ge=1)
    """Candidates of an answer where the request names no number."""
    max_k: int = Field(1000, ge=1)
    """Most candidates that a request may ask for, those left out by `offset` included."""
    waiting: int = Field(128, ge=1)
    """Requests that may be under way in a process at a time; further ones are answered 503 at once."""
    deadline_seconds: float = Field(2.0, gt=0)
    """How long a request may take; then it is answered 503."""
    poll_seconds: float = Field(1.0, gt=0)
    """How often a process looks for another release."""
    requests_per_second: float | None = Field(None, gt=0)
    """How often a key may ask that has no rate of its own; None does not limit these."""
    docs: bool = False
    """Whether /docs and /openapi.json describe the API, to whoever asks."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may ask, `https://example.org`; none may by default."""
    log_format: LogFormat = "json"
    """`json`: lines for machines. `text`: for people."""
    log_users: UserNames = "hash"
    """How lines name users: by a hash, plain, or not at all."""
    traces: str | None = None
    """Address of an OpenTelemetry collector; None takes it from the environment."""
    check_every: int = Field(1000, ge=0)
    """One answer of so many is searched again exactly, for the metric of recall; 0 is none."""
    shadow_every: int = Field(10, ge=1)
    """One answer of so many is compared with that of a shadow release, where there is one."""
    drain_seconds: int = Field(10, ge=1)
    """After SIGTERM, how long requests under way may take."""

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            check_origin(origin)
        return origins

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        if self.default_k > self.max_k:
            raise UsageError("--default-k", self.default_k, f"Give at most --max-k, {self.max_k}.")
        return self

    @field_validator("traces")
    @classmethod
    def _is_an_address(cls, traces: str | None) -> str | None:
        if traces is not None and not traces.startswith(("http://", "https://")):
            raise UsageError("--traces", traces, "Give an address such as http://localhost:4318.")
        return traces

    @model_validator(mode="after")
    def _rates_are_of_keys(self) -> Self:
        if self.requests_per_second is not None and self.keys is None:
            raise UsageError("--rate", self.requests_per_second, "It limits what a key may ask: give --keys, too.")
        return self

    @model_validator(mode="after")
    def _somebody_may_ask(self) -> Self:
        if (self.keys is None) != self.without_keys:
            got = "both a file and none" if self.keys else "none"
            raise UsageError("--keys", got, "Give a file made by `watchnext keys create`, or --without-keys alone.")
        if self.without_keys and not self.open_to_all and not is_loopback(self.host):
            cure = "Give --keys, listen on 127.0.0.1, or say --open-to-all."
            raise UsageError("--without-keys", f"--host {self.host}, which others may reach", cure)
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name counts as one that others reach, but for localhost."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
