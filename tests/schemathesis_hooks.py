"""What the description of the API cannot say, for schemathesis: rules between parameters, and bytes of ids."""

from collections.abc import Iterator
from datetime import datetime
from time import time
from typing import Any

import schemathesis

from watchnext.api.requests import AHEAD

MOST = 100
"""As `max_k` of the server under test."""


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leave out pages beyond the last, times that end before they begin, watches to come, and ids of many bytes."""
    asked = case.body if isinstance(case.body, dict) else case.query or {}
    if case.operation.path == "/recommend" and (_is_beyond(asked) or _ends_first(asked)):
        return False
    if case.operation.path == "/watches" and any(map(_is_to_come, _watches(asked))):
        return False
    return not any(len(text) <= 256 < len(text.encode("utf-8", "replace")) for text in _texts(asked))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _is_beyond(asked: dict[str, Any]) -> bool:
    try:
        return int(asked.get("k", 50)) + int(asked.get("offset", 0)) > MOST
    except (TypeError, ValueError):
        return False


def _ends_first(asked: dict[str, Any]) -> bool:
    try:
        after, before = (_seconds(asked[name]) for name in ("uploaded_after", "uploaded_before"))
    except (KeyError, OverflowError, TypeError, ValueError):
        return False
    return after >= before


def _watches(asked: dict[str, Any]) -> list[Any]:
    watches = asked.get("watches")
    return watches if isinstance(watches, list) else []


def _is_to_come(watch: Any) -> bool:
    try:
        return _seconds(watch["time"]) > time() + AHEAD
    except (KeyError, OverflowError, TypeError, ValueError):
        return False


def _seconds(value: Any) -> int:
    try:
        return int(float(value))
    except ValueError:
        return int(datetime.fromisoformat(value).timestamp())
