"""Whether requests are traced with OpenTelemetry. Where they are not, none of its packages is imported."""

import importlib
import os
from typing import TYPE_CHECKING

from watchnext.errors import UsageError

if TYPE_CHECKING:
    from serving.telemetry.spans import Tracing

VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Where OpenTelemetry's own environment has the address of a collector."""


def tracing_wanted(endpoint: str | None) -> bool:
    """Whether traces go anywhere: to `endpoint`, or where the environment says.

    For the parent of workers, so that a missing package is said once. Raises UsageError where traces are asked for
    without the extra `otel`.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    variable = next((name for name in VARIABLES if os.environ.get(name)), None)
    if endpoint is None and variable is None:
        return False
    try:
        importlib.import_module("serving.telemetry.spans")
    except ModuleNotFoundError as error:
        asked = "--traces" if endpoint is not None else variable or ""
        raise UsageError(
            asked, f"no package {error.name}", "Install it: pip install 'watchnext[otel]', or ask for no traces."
        ) from error
    return True


def start_tracing(endpoint: str | None) -> "Tracing | None":
    """The tracing of a worker, started after the fork; None where none is wanted. Raises as `tracing_wanted`."""
    if not tracing_wanted(endpoint):
        return None
    tracing: Tracing = importlib.import_module("serving.telemetry.spans").exporting(endpoint)
    return tracing
