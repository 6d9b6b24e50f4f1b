"""Runs the API until SIGTERM or Ctrl-C: under uvicorn in this process, or in several that gunicorn forks."""

import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn

from serving.app import create_app
from serving.releases import LiveReleases
from serving.settings import ServingSettings
from watchnext.errors import UsageError
from watchnext.release import ReleaseStore


def serve(settings: ServingSettings, announce: Callable[[str], None] = print) -> None:
    """Listen and answer until the process is told to stop; requests under way are finished first.

    Args:
        settings: where to listen, what to answer from.
        announce: called once with the address, `http://127.0.0.1:8000`, when connections are accepted.

    Raises UsageError where the address cannot be listened on.
    """
    options: dict[str, Any] = {
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": settings.drain_seconds,
        "ws": "none",
    }
    if settings.workers > 1:
        from serving.workers import serve_with_workers  # noqa: PLC0415  (gunicorn is not for Windows)

        _listen(settings.host, settings.port).close()  # gunicorn would try again and again
        releases = LiveReleases(ReleaseStore(settings.releases), settings.poll_seconds)
        releases.look()
        app = create_app(settings, releases)
        serve_with_workers(app, settings, options, lambda listener: announce(_address(listener)))
        return
    with _listen(settings.host, settings.port) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="info", **options))

        def stop(*_: object) -> None:
            server.should_exit = True

        signal.signal(signal.SIGTERM, stop)  # uvicorn raises it again when all is done; then this ends well
        announce(_address(listener))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


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


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
