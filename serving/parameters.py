"""Query parameters: their types, and the refusal of those that a route does not have."""

from typing import Annotated, Any, get_origin

from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, StringConstraints

from serving.settings import ServingSettings

ID_BYTES = 256


def _short(id_: str) -> str:
    size = len(id_.encode())
    if size > ID_BYTES:
        raise ValueError(f"Should have at most {ID_BYTES} bytes in UTF-8, not {size}")
    return id_


Id = Annotated[str, StringConstraints(min_length=1, max_length=ID_BYTES), AfterValidator(_short)]
UserId = Annotated[Id, Query(description="As in the watch log.", examples=["u-1042"])]
ItemId = Annotated[Id, Query(description="As in the watch log.", examples=["toy-story"])]


async def only_known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have, and those that come twice where one is asked for."""
    fields = {field.alias: field.field_info.annotation for field in request.scope["route"].dependant.query_params}
    seen: set[str] = set()
    errors: list[dict[str, Any]] = []
    for name, value in request.query_params.multi_items():
        if name not in fields:
            choice = f"use {' and '.join(fields)}" if fields else "this route has none"
            errors.append(wrong(name, value, f"Unknown parameter; {choice}"))
        elif name in seen and get_origin(fields[name]) is not list:
            errors.append(wrong(name, value, "Given twice; give it once"))
        seen.add(name)
    if errors:
        raise RequestValidationError(errors)


def wrong(name: str, value: object, message: str) -> dict[str, Any]:
    """One error of a `RequestValidationError`."""
    return {"type": "extra_forbidden", "loc": ("query", name), "msg": message, "input": value}


def count(settings: ServingSettings) -> Any:
    """What `k` may be."""
    return Query(ge=1, le=settings.max_k, description="How many candidates.", examples=[20])
