"""Runs the API until SIGTERM or Ctrl-C: under uvicorn in this process, or in several that gunicorn forks."""

import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import uvicorn

from serving.app import create_app
from serving.drain import DrainingServer
from serving.guard.browsers import security_headers
from serving.guard.heads import Limits
from serving.guard.protocol import limited
from serving.settings import ServingSettings
from serving.telemetry.logs import Logs, take_over
from watchnext.errors import UsageError

log = logging.getLogger(__name__)


def serve(settings: ServingSettings, announce: Callable[[str], None] = print) -> None:
    """Listen and answer until the process is told to stop; requests under way are finished first.

    Args:
        settings: where to listen, what to answer from.
        announce: called once with the address, `http://127.0.0.1:8000`, when connections are accepted.

    Raises UsageError where the address cannot be listened on, and what `create_app` raises.
    """
    listener = _listen(settings.host, settings.port)
    _allow_open_files()
    try:
        logs = Logs(settings.log_format)
        app = create_app(settings, logs)
        if settings.without_keys:
            log.warning("No keys are asked for: whoever reaches %s may ask and write.", settings.host)
        if settings.workers > 1:
            from serving.workers import serve_with_workers  # noqa: PLC0415  (gunicorn is not for Windows)

            ready = partial(announce, _url(listener))
            serve_with_workers(app, settings, listener, uvicorn_options(settings), ready)
        else:
            _serve_here(uvicorn.Config(app, **uvicorn_options(settings)), listener, announce)
    finally:
        listener.close()


def uvicorn_options(settings: ServingSettings) -> dict[str, Any]:
    """Arguments of `uvicorn.Config` for each process that answers."""
    return {
        "http": limited(Limits()),
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "headers": security_headers(settings.docs),
        "timeout_keep_alive": 5,
        "timeout_graceful_shutdown": settings.drain_seconds,
        "proxy_headers": False,
    }


def _serve_here(config: uvicorn.Config, listener: socket.socket, announce: Callable[[str], None]) -> None:
    take_over()
    server = DrainingServer(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)  # uvicorn raises it again when all is done; then this ends well
    announce(_url(listener))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _allow_open_files() -> None:
    """As many as the system lets this process have: each connection is one, and 1,024 are the usual limit."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  (Windows has none)

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(
            "--host and --port", f"{host}:{port}: {error.strerror}", "Choose another; port 0 is any."
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does not, and answers then take 40 ms
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
