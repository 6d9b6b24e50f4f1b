"""What can go wrong between a client and a server, and which of it may pass when asked again."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from pydantic import ValidationError

from watchnext.api.problems import Problem
from watchnext.errors import WatchnextError

_QUOTED = 200
"""Characters of an answer that is no problem, as a proxy's page, which its error quotes."""


class ClientError(WatchnextError):
    """There is no answer of the kind that was asked for; `argument` is the route."""


class NoAnswerError(ClientError):
    """No connection, one that broke, or none of the time left. What was sent may have got there."""


class BadAnswerError(ClientError):
    """An answer that is not what the route gives: something else listens there, or a server of another version."""


class ProblemError(ClientError):
    """The server answered with an error.

    Args:
        route: what was asked, `GET /recommend`.
        problem: what the server says about it.
        retry_after: seconds after which the server wants to be asked again; None where it says nothing.
    """

    def __init__(self, route: str, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(route, f"{problem.status} {problem.title}", problem.detail)
        self.status, self.problem, self.retry_after = problem.status, problem, retry_after


class UnauthorizedError(ProblemError):
    """401: no key, or an unknown one."""


class ForbiddenError(ProblemError):
    """403: the key may not do this."""


class NotFoundError(ProblemError):
    """404: `problem.errors` names every item that is not there."""


class InvalidError(ProblemError):
    """422: `problem.errors` names every parameter that is wrong."""


class TooManyRequestsError(ProblemError):
    """429: the key asks more often than it may, and the time was too short to wait."""


class UnavailableError(ProblemError):
    """503: no release is loaded, too many ask, or the store of watches fails, and the time was too short to wait."""


PASSING = (NoAnswerError, TooManyRequestsError, UnavailableError)
"""What may be over when the same is asked again."""
_KINDS: dict[int, type[ProblemError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    422: InvalidError,
    429: TooManyRequestsError,
    503: UnavailableError,
}


def problem_error(route: str, status: int, headers: Mapping[str, str], body: bytes) -> ProblemError:
    """The error that an answer with another status than 200 is."""
    try:
        problem = Problem.model_validate_json(body, extra="ignore")
    except ValidationError:
        problem = _made_up(status, body)
    kind = _KINDS.get(status, ProblemError)
    return kind(route, problem.model_copy(update={"status": status}), retry_after(headers.get("retry-after")))


def retry_after(value: str | None) -> float | None:
    """Seconds that a header Retry-After names, as a number or as a date (RFC 9110); None for anything else."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _made_up(status: int, body: bytes) -> Problem:
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Unknown status"
    detail = body[: 4 * _QUOTED].decode(errors="replace")[:_QUOTED].strip()
    return Problem(title=title, status=status, detail=detail or "The answer says no more.")
