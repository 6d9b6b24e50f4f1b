"""Several processes that answer on one address: gunicorn forks them, and forks another for one that dies.

The parent opens the release before it forks, so that the processes share its memory; it answers nothing itself and
has no threads.
"""

import gc
import socket
from collections.abc import Callable
from math import ceil
from typing import Any, ClassVar

from fastapi import FastAPI
from gunicorn.app.base import BaseApplication
from uvicorn_worker import UvicornWorker

from serving.settings import ServingSettings


class _Worker(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {}
    """Arguments of `uvicorn.Config`, set before the processes are forked."""


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, app: FastAPI, options: dict[str, Any]) -> None:
        self._app, self._options = app, options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> FastAPI:
        return self._app


def serve_with_workers(
    app: FastAPI,
    settings: ServingSettings,
    uvicorn_options: dict[str, Any],
    announce: Callable[[socket.socket], None],
) -> None:
    """Answer until SIGTERM or Ctrl-C; requests under way are finished first.

    Args:
        app: opened before; each process runs its lifespan.
        uvicorn_options: arguments of `uvicorn.Config` for each process.
        announce: called with the listening socket when the first process is about to answer.
    """
    _Worker.CONFIG_KWARGS = uvicorn_options
    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    def ready(arbiter: Any) -> None:
        gc.collect()
        gc.freeze()  # else the first collection in each process writes into, and so copies, what it shares
        announce(arbiter.LISTENERS[0].sock)

    options = {
        "bind": f"{host}:{settings.port}",
        "workers": settings.workers,
        "worker_class": f"{__name__}.{_Worker.__name__}",
        "preload_app": True,
        "graceful_timeout": ceil(settings.drain_seconds) + 1,  # gunicorn kills those that are left then
        "when_ready": ready,
        "loglevel": "warning",
    }
    _Server(app, options).run()
