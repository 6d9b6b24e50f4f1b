"""One way out for all that a server has to say: its own events, those of uvicorn, gunicorn and others, and warnings.

Everything becomes a line on stderr, of JSON, or of text for people. Requests have `serving/telemetry/request_log.py`.
"""

import logging
import os
from datetime import UTC, datetime
from typing import Literal

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_logger_name
from structlog.typing import EventDict, Processor, WrappedLogger

from serving.telemetry.lines import LineWriter, json_line, plain

LogFormat = Literal["json", "text"]

_OTHERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "gunicorn.error")
_ACCESS = ("uvicorn.access", "gunicorn.access")


class Logs:
    """Where all lines of a server go. Making it sets up structlog, `logging` and `warnings` of this process.

    Workers forked from it inherit it; call `take_over` in them, as gunicorn and its workers set up their own loggers.

    Args:
        log_format: `json`: for machines. `text`: for people, in colours on a terminal.
        level: the least level that is written.
        file: descriptor of an open file; 2 is stderr.
    """

    def __init__(self, log_format: LogFormat = "json", level: int = logging.INFO, file: int = 2) -> None:
        self.log_format = log_format
        self.writer = LineWriter(file)
        self._render = _json if log_format == "json" else _Text(file)
        before: list[Processor] = [
            structlog.stdlib.add_log_level,
            _timestamp,
            structlog.processors.format_exc_info,
            _plain,
        ]
        structlog.configure(
            processors=[*before, self._render],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=lambda *_: self.writer,
            cache_logger_on_first_use=False,
        )
        handler = _Handler(self.writer)
        handler.setFormatter(
            ProcessorFormatter(
                foreign_pre_chain=[add_logger_name, ExtraAdder(), _uncoloured],
                processors=[ProcessorFormatter.remove_processors_meta, *before, self._render_text],
            )
        )
        root = logging.getLogger()
        root.handlers = [handler]
        root.setLevel(level)
        logging.captureWarnings(True)
        take_over()

    def _render_text(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        return self._render(logger, name, event).decode()


def take_over() -> None:
    """Send what uvicorn and gunicorn log through the root logger, and nowhere else.

    After gunicorn's arbiter is made, and in each worker after its fork. uvicorn must be given `log_config=None`.
    Their lines about requests are not written: ours are, and theirs have ids of users in them.
    """
    for name in (*_OTHERS, *_ACCESS):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], name in _OTHERS


class _Handler(logging.Handler):
    """Writes formatted records; they have their line's end already."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self.format(record).encode())
        except Exception:  # such as a message that does not fit its arguments
            self.handleError(record)


def _uncoloured(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's, beside the same without colours
    return event


def _timestamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["timestamp"] = datetime.now(UTC)
    return event


def _plain(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return plain(event)


def _json(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    return json_line({**event, "pid": os.getpid()})


class _Text:
    def __init__(self, file: int) -> None:
        colors = os.isatty(file) and "NO_COLOR" not in os.environ
        self._console = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> bytes:
        event["timestamp"] = f"{event['timestamp']:%Y-%m-%d %H:%M:%S}"
        return (self._console(logger, name, event) + "\n").encode()
