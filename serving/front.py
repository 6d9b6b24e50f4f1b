"""What every request passes: request id, key, admission, deadline; and the short way of GET /recommend.

FastAPI describes all routes and answers all but GET /recommend, which is answered here: its routing, dependencies and
response objects cost more than the search (`python -m benchmarks.serving`). Pure ASGI, no tasks, no copies.

Overload: at most `waiting` requests are admitted at a time, and each further one is told at once to come again. An
admitted request first lets the event loop turn once, so that those that came at the same time are counted before the
first is worked on.
"""

import asyncio
import logging
from time import perf_counter

from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.facts import Facts
from serving.parameters import QueryReader
from serving.problems import FAILED, BusyError, as_problem, problem
from serving.recommend import FACTS
from serving.recommending import Recommending
from serving.settings import ServingSettings
from watchnext.api.requests import RecommendQuery

log = logging.getLogger(__name__)
_OPEN = frozenset({"/healthz/live", "/healthz/ready"})
"""Paths that are always answered: whoever restarts servers asks them."""


class Front:
    """An ASGI application in front of another.

    Args:
        app: answers all but GET /recommend.
        recommending: answers that.
        query: what GET /recommend may be asked.
        settings: how many requests may be under way, and how long they may take.
    """

    def __init__(
        self,
        app: ASGIApp,
        recommending: Recommending,
        query: type[RecommendQuery],
        settings: ServingSettings,
    ) -> None:
        self._app, self._recommending, self._query = app, recommending, QueryReader(query)
        self._waiting, self._deadline = settings.waiting, settings.deadline_seconds
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; pass on what is none."""
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        facts = scope[FACTS] = Facts()
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        self._under_way += 1
        try:
            if self._under_way > self._waiting:
                raise BusyError(f"{self._waiting} requests are under way; ask again in a moment.")
            await asyncio.sleep(0)
            if perf_counter() - start > self._deadline:
                raise BusyError(f"Waited longer than {self._deadline:g} s.")
            await self._answer(scope, receive, sending, facts)
        except Exception as error:
            response = as_problem(error)
            if response is None:
                log.exception("A request failed.")
                response = problem(500, FAILED)
            if not started:
                await _respond(response, send)
        finally:
            self._under_way -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send, facts: Facts) -> None:
        if scope["path"] != "/recommend" or scope["method"] != "GET":
            async with asyncio.timeout(self._deadline):
                await self._app(scope, receive, send)
            return
        body = await self._recommending.known(self._query.read(scope["query_string"]), facts)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"server-timing", facts.server_timing()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _respond(response: Response, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body})
