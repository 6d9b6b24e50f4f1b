"""Errors as application/problem+json (RFC 9457): one shape for all of them, and never a stack trace."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ConfigDict
from starlette.exceptions import HTTPException

from watchnext.config import Closed

MEDIA_TYPE = "application/problem+json"


class ParameterError(Closed):
    """What is wrong with one parameter."""

    parameter: str
    got: str | None
    """What was sent; null where it is missing."""
    problem: str


class Problem(Closed):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "k: Input should be greater than or equal to 1.",
                "errors": [{"parameter": "k", "got": "0", "problem": "Input should be greater than or equal to 1"}],
            }
        },
    )

    type: str = "about:blank"
    """Always `about:blank`: the status says what kind of problem it is."""
    title: str
    """The name of the status."""
    status: int
    """The HTTP status."""
    detail: str
    """What went wrong here, and what to do about it."""
    errors: tuple[ParameterError, ...] = ()
    """Status 422: every parameter that is wrong. Status 404: every one that names what is not there."""


class NotFoundError(Exception):
    """Parameters name what the release does not have."""

    def __init__(self, errors: Sequence[ParameterError]) -> None:
        super().__init__(_told(errors))
        self.errors = errors


class NoReleaseError(Exception):
    """No release is loaded; the argument says why."""


def problem(
    status: int, detail: str, errors: Sequence[ParameterError] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """A problem as a response."""
    title = "Unprocessable Content" if status == 422 else HTTPStatus(status).phrase
    body = Problem(title=title, status=status, detail=detail, errors=tuple(errors))
    return Response(body.model_dump_json(), status, headers, MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's OpenAPI says of some error statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    names = {
        404: "An item is not in the release, or has no vector there.",
        422: "A parameter is missing, unknown or wrong.",
        503: "No release is loaded yet.",
    }
    return {status: {"description": names[status], "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Answer every error of an app as a problem, and describe `Problem` in its OpenAPI."""
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_refused)
    app.exception_handler(NotFoundError)(_not_found)
    app.exception_handler(NoReleaseError)(_not_ready)
    app.exception_handler(Exception)(_failed)
    generate = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            parts = schema.pop("$defs")
            generate()["components"]["schemas"].update(parts | {"Problem": schema})
        return generate()

    app.openapi = described  # type: ignore[method-assign]


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    errors = [
        ParameterError(
            parameter=str(e["loc"][1]),  # of ("query", name), or ("query", name, which of several)
            got=None if e["type"] == "missing" else str(e["input"])[:256],
            problem=e["msg"].removeprefix("Value error, "),
        )
        for e in error.errors()
    ]
    return problem(422, _told(errors), errors)


def _told(errors: Sequence[ParameterError]) -> str:
    return " ".join(f"{e.parameter}: {e.problem}." for e in errors)


async def _refused(request: Request, error: HTTPException) -> Response:
    details = {
        404: f"Nothing is at {request.url.path}; the routes are listed at /docs.",
        405: f"{request.url.path} does not answer {request.method}; use GET.",
    }
    return problem(error.status_code, details.get(error.status_code, str(error.detail)), headers=error.headers)


async def _not_found(_: Request, error: NotFoundError) -> Response:
    return problem(404, str(error), error.errors)


async def _not_ready(_: Request, error: NoReleaseError) -> Response:
    return problem(503, str(error), headers={"Retry-After": "1"})


async def _failed(_: Request, __: Exception) -> Response:
    return problem(500, "Something failed here; the server's log says what.")
