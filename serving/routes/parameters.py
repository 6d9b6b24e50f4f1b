"""Query parameters: read into a model, and refused where a route does not have them or takes them once."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from serving.settings import ServingSettings
from watchnext.api.requests import MOST_ITEMS, Id

Model = TypeVar("Model", bound=BaseModel)
ItemId = Annotated[Id, Query(description="As in the watch log.", examples=["toy-story"])]
_MOST = 2 * MOST_ITEMS
"""Parameters of a query."""


class QueryReader(Generic[Model]):
    """Reads a query string into a model, as FastAPI does, but without all that FastAPI prepares for a route."""

    def __init__(self, model: type[Model]) -> None:
        self._model = model
        self._many = {name: _is_many(field.annotation) for name, field in model.model_fields.items()}

    def read(self, query: bytes) -> Model:
        """The model. Raises RequestValidationError naming every parameter that is wrong."""
        values: dict[str, Any] = {}
        errors: list[dict[str, Any]] = []
        try:
            pairs = _pairs(query.decode("latin-1"))
        except ValueError:
            raise RequestValidationError([wrong("query", "...", f"Has more than {_MOST} parameters")]) from None
        for name, value in pairs:
            many = self._many.get(name)
            if many is None:
                errors.append(_unknown(name, value, self._many))
            elif many:
                values.setdefault(name, []).append(value)
            elif name in values:
                errors.append(_twice(name, value))
            else:
                values[name] = value
        try:
            read = self._model.model_validate(values)
        except ValidationError as error:
            errors += [{**one, "loc": ("query", one["loc"][0])} for one in error.errors(include_url=False)]
        if errors:
            raise RequestValidationError(errors)
        return read


def _pairs(query: str) -> list[tuple[str, str]]:
    """Names and values, as `parse_qsl` gives them, which takes thrice as long. Raises ValueError for too many."""
    if "%" in query or "+" in query or query.count("&") >= _MOST:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST)
    parts = (part.partition("=") for part in query.split("&") if part)
    return [(name, value) for name, _, value in parts]


async def only_known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have, and those that come twice where one is asked for."""
    fields = _fields(request.scope["route"].dependant.query_params)
    seen: set[str] = set()
    errors: list[dict[str, Any]] = []
    for name, value in request.query_params.multi_items():
        if name not in fields:
            errors.append(_unknown(name, value, fields))
        elif name in seen and not _is_many(fields[name]):
            errors.append(_twice(name, value))
        seen.add(name)
    if errors:
        raise RequestValidationError(errors)


def _fields(parameters: Sequence[Any]) -> dict[str, Any]:
    """Annotations by name; of a parameter that is a model, those of its fields."""
    fields: dict[str, Any] = {}
    for parameter in parameters:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields |= {name: field.annotation for name, field in annotation.model_fields.items()}
        else:
            fields[parameter.alias] = annotation
    return fields


def wrong(name: str, value: object, message: str) -> dict[str, Any]:
    """One error of a `RequestValidationError`."""
    return {"type": "extra_forbidden", "loc": ("query", name), "msg": message, "input": value}


def count(settings: ServingSettings) -> Any:
    """What `k` may be."""
    return Query(ge=1, le=settings.max_k, description="How many candidates.", examples=[20])


def _is_many(annotation: Any) -> bool:
    return get_origin(annotation) in {list, tuple} or any(map(_is_many, get_args(annotation)))


def _unknown(name: str, value: str, fields: dict[str, Any]) -> dict[str, Any]:
    return wrong(name, value, f"Unknown parameter; this route has {', '.join(fields)}" if fields else _NONE)


def _twice(name: str, value: str) -> dict[str, Any]:
    return wrong(name, value, "Given twice; give it once")


_NONE = "Unknown parameter; this route has none"
