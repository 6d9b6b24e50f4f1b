"""What all tests share."""

import logging
import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # the first call of a test often imports a library
settings.load_profile("unhurried")

# In a background job of a shell SIGINT is ignored, which child processes inherit; tests that interrupt them need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """What `Logs` sets up for the process is undone."""
    root = logging.getLogger()
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "gunicorn.error", "gunicorn.access")
    loggers = [(log, list(log.handlers), log.propagate) for log in map(logging.getLogger, names)]
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    for log, own, propagate in loggers:
        log.handlers, log.propagate = own, propagate
    logging.captureWarnings(False)
    structlog.reset_defaults()
