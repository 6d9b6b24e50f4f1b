"""Errors as application/problem+json (RFC 9457): one shape for all of them, and never a stack trace."""

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from watchnext.api.problems import ParameterError, Problem

MEDIA_TYPE = "application/problem+json"


class NotFoundError(Exception):
    """Parameters name what the release does not have."""

    def __init__(self, errors: Sequence[ParameterError]) -> None:
        super().__init__(_told(errors))
        self.errors = errors


class NoReleaseError(Exception):
    """No release is loaded; the argument says why."""


class WrongError(Exception):
    """A parameter has a value that the server or the release cannot take."""

    def __init__(self, parameter: str, got: object, problem: str) -> None:
        self.errors = (ParameterError(parameter=parameter, got=str(got)[:256], problem=problem),)
        super().__init__(_told(self.errors))


class BusyError(Exception):
    """Too many ask, it took too long, or something that is needed does not answer.

    Args:
        detail: says which.
        reason: its place among `serving.telemetry.metrics.REFUSALS`; None is none of them.
        retry_seconds: when to ask again.
    """

    def __init__(self, detail: str, reason: int | None = None, retry_seconds: int = 1) -> None:
        super().__init__(detail)
        self.reason, self.retry_seconds = reason, retry_seconds


class KeyRefusedError(Exception):
    """No key, an unknown one, or one that may not do this; `key` is its id where it is known."""

    def __init__(self, status: int, detail: str, key: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.key = status, key


class TooManyError(Exception):
    """A key asks more often than it may; `key` is its id."""

    def __init__(self, retry_seconds: float, key: str) -> None:
        super().__init__("This key asks more often than it may. Wait, or use one made with a higher --rate.")
        self.retry_seconds, self.key = retry_seconds, key


def problem(
    status: int, detail: str, errors: Sequence[ParameterError] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """A problem as a response."""
    title = "Unprocessable Content" if status == 422 else HTTPStatus(status).phrase
    body = Problem(title=title, status=status, detail=detail, errors=tuple(errors))
    content = json.dumps(body.model_dump(), ensure_ascii=False, separators=(",", ":"))
    return Response(content.encode(errors="replace"), status, headers, MEDIA_TYPE)  # what was got may be no Unicode


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's OpenAPI says of some error statuses, and of those that any request may get (`heads.Limits`)."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    names = {
        400: "Not well-formed HTTP, or not UTF-8.",
        401: "No API key, or an unknown one.",
        403: "The API key may not do this.",
        404: "An item, category or release is not there, or an item has no vector.",
        408: "The request did not come to its end in time.",
        413: "The body is too large.",
        415: "Content-Type is not application/json.",
        422: "A parameter is missing, unknown or wrong.",
        429: "The API key asks more often than it may; Retry-After says when to ask again.",
        431: "Address and headers are too large, 16 KiB in all.",
        503: "No release is loaded yet, or too many ask; Retry-After says when to ask again.",
    }
    return {
        status: {"description": names[status], "content": content} for status in sorted({*statuses, 400, 408, 431})
    }


def install(app: FastAPI, keys: bool = False) -> None:
    """Answer every error of an app as a problem; describe `Problem`, and `keys` if there are any, in its OpenAPI."""
    app.router.redirect_slashes = False  # a redirect is no problem, and could not name ids with slashes
    for kind in (*_TOLD, HTTPException, Exception):
        app.exception_handler(kind)(_handle)
    generate = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            parts = schema.pop("$defs")
            generate()["components"]["schemas"].update(parts | {"Problem": schema})
            if keys:
                _describe_keys(generate())
        return generate()

    app.openapi = described  # type: ignore[method-assign]


def _describe_keys(openapi: dict[str, Any]) -> None:
    openapi["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, routes in openapi["paths"].items():
        for route in routes.values():
            route["security"] = [] if path.startswith("/healthz/") else [{"key": []}]


def as_problem(error: Exception) -> Response | None:
    """The answer to an error that is expected; None for others."""
    make = _TOLD.get(type(error))
    return None if make is None else make(error)


FAILED = "Something failed here; the server's log says what."


def _told(errors: Sequence[ParameterError]) -> str:
    return " ".join(f"{e.parameter}: {e.problem}." for e in errors)


def _invalid(error: RequestValidationError) -> Response:
    if isinstance(error.body, bytes):  # FastAPI has not read it as JSON, since it is not said to be
        return problem(415, "A body must be JSON, and say so: send the header Content-Type: application/json.")
    errors = [
        ParameterError(
            parameter=_name(e),
            got=None if e["type"] == "missing" else str(e["input"])[:256],
            problem=e["msg"].removeprefix("Value error, "),
        )
        for e in _first_causes(error.errors())
    ]
    return problem(422, _told(errors), errors)


def _first_causes(errors: Sequence[Any]) -> list[Any]:
    """Errors without those of lists that are too short because of what is wrong with their elements."""
    inside = [e["loc"] for e in errors]
    return [
        e
        for e in errors
        if e["type"] != "too_short"
        or not any(len(loc) > len(e["loc"]) and loc[: len(e["loc"])] == e["loc"] for loc in inside)
    ]


def _name(error: Mapping[str, Any]) -> str:
    """`k` of a query, whichever of several it was; `watches.0.item_id` of a body."""
    place, *path = error["loc"]
    if place != "body" or error["type"] == "json_invalid" or not path:
        return str(path[0] if path and place != "body" else place)
    return ".".join(map(str, path))


_TOLD: dict[type[Exception], Callable[[Any], Response]] = {
    RequestValidationError: _invalid,
    WrongError: lambda error: problem(422, str(error), error.errors),
    NotFoundError: lambda error: problem(404, str(error), error.errors),
    TimeoutError: lambda _: problem(503, "It took too long; ask again.", headers={"Retry-After": "1"}),
    NoReleaseError: lambda error: problem(503, str(error), headers={"Retry-After": "1"}),
    BusyError: lambda error: problem(503, str(error), headers={"Retry-After": str(error.retry_seconds)}),
    KeyRefusedError: lambda error: problem(
        error.status, str(error), headers={"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    ),
    TooManyError: lambda error: problem(
        429, str(error), headers={"Retry-After": str(max(1, ceil(error.retry_seconds)))}
    ),
}


async def _handle(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        path, headers = request.scope["raw_path"].decode("ascii", "replace"), error.headers
        if error.status_code == 405:
            headers = {"Allow": ", ".join(_methods(request))}
        details = {
            404: f"Nothing is at {path}" + ("; the routes are listed at /docs." if request.app.openapi_url else "."),
            405: f"{path} does not answer {request.method}; use {(headers or {}).get('Allow')}.",
        }
        detail = details.get(error.status_code, str(error.detail))
        return problem(error.status_code, detail, headers=headers)
    return as_problem(error) or problem(500, FAILED)


def _methods(request: Request) -> list[str]:
    """What a path answers, by all of its routes."""
    found = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in found for method in route.methods or ()})
