"""The HTTP API from Python: `Client`, and `AsyncClient` for asyncio. Needs the extra `client`."""

try:
    import httpx  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "watchnext.client: got no package httpx. Install it: pip install 'watchnext[client]'.", name="httpx"
    ) from error

from watchnext.client.clients import AsyncClient, Client
from watchnext.client.errors import (
    BadAnswerError,
    ClientError,
    ForbiddenError,
    InvalidError,
    NoAnswerError,
    NotFoundError,
    ProblemError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)

__all__ = [
    "AsyncClient",
    "BadAnswerError",
    "Client",
    "ClientError",
    "ForbiddenError",
    "InvalidError",
    "NoAnswerError",
    "NotFoundError",
    "ProblemError",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnavailableError",
]
