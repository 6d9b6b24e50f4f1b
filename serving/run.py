"""Runs the API under uvicorn, in this process, until SIGTERM or Ctrl-C."""

import signal
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from serving.app import create_app
from serving.settings import ServingSettings
from watchnext.errors import UsageError


def serve(settings: ServingSettings, announce: Callable[[str], None] = print) -> None:
    """Listen and answer until the process is told to stop; requests under way are finished first.

    Args:
        settings: where to listen, what to answer from.
        announce: called once with the address, `http://127.0.0.1:8000`, when connections are accepted.

    Raises UsageError where the address cannot be listened on.
    """
    with _listen(settings.host, settings.port) as listener:
        config = uvicorn.Config(
            create_app(settings), log_level="info", access_log=False, timeout_graceful_shutdown=10
        )
        server = uvicorn.Server(config)

        def stop(*_: object) -> None:
            server.should_exit = True

        signal.signal(signal.SIGTERM, stop)  # uvicorn raises it again when all is done; then this ends well
        announce(_address(listener))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            "--host and --port", f"{host}:{port}: {error.strerror}", "Choose another; port 0 is any."
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does not, and answers then take 40 ms
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
