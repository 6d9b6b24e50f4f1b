"""Several processes that answer on one address: gunicorn forks them, and forks another for one that dies.

The parent opens the release before it forks, so that the processes share its memory; it answers nothing itself and
has no threads.
"""

import gc
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from serving.app import Api
from serving.drain import DrainingServer
from serving.settings import ServingSettings
from serving.telemetry.logs import take_over

_STUCK_SECONDS = 60
"""A process whose event loop does not turn for so long is killed, and another forked."""


class Worker(UvicornWorker):  # type: ignore[misc]
    """Runs uvicorn in a forked process."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {}
    """Arguments of `uvicorn.Config`, set before the processes are forked."""

    async def _serve(self) -> None:
        """As the base class does, with a server that ends without losing requests."""
        self.config.app = self.wsgi
        server = DrainingServer(config=self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, app: Api, options: dict[str, Any]) -> None:
        self._app, self._options = app, options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Api:
        return self._app


def serve_with_workers(
    app: Api,
    settings: ServingSettings,
    listener: socket.socket,
    uvicorn_options: dict[str, Any],
    announce: Callable[[], None],
) -> None:
    """Answer until SIGTERM or Ctrl-C; requests under way are finished first.

    Args:
        app: each process runs its lifespan.
        uvicorn_options: arguments of `uvicorn.Config` for each process.
        announce: called when connections are accepted.
    """
    Worker.CONFIG_KWARGS = uvicorn_options
    app.releases.look()

    def ready(_: Any) -> None:
        take_over()
        gc.collect()
        gc.freeze()  # else the first collection in each process writes into, and so copies, what it shares
        announce()

    def choose_row(arbiter: Any, worker: Any) -> None:
        taken = {other.row for other in arbiter.WORKERS.values()}
        worker.row = next(row for row in range(2 * settings.workers) if row not in taken)

    def take_row(_: Any, worker: Any) -> None:
        take_over()
        app.observer.row = worker.row

    options = {
        "bind": f"fd://{os.dup(listener.fileno())}",
        "workers": settings.workers,
        "worker_class": f"{__name__}.{Worker.__name__}",
        "preload_app": True,
        "timeout": _STUCK_SECONDS,
        "graceful_timeout": settings.drain_seconds + 2,  # then gunicorn kills what has not ended by itself
        "loglevel": "warning",
        "control_socket_disable": True,
        "when_ready": ready,
        "pre_fork": choose_row,
        "post_fork": take_row,
        "post_worker_init": lambda _: take_over(),
    }
    _Server(app, options).run()
