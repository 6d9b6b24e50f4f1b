"""What every request passes: its id, key, rate, admission and deadline; and the short way of GET /recommend.

FastAPI describes all routes and answers all but GET /recommend, which is answered here: its routing, dependencies and
response objects cost more than the search (`python -m benchmarks.serving`). Pure ASGI, no tasks, no copies.

Overload: at most `waiting` requests are admitted at a time, and each further one is told at once to come again.
Admitted ones wait for a turn of the event loop (`serving/guard/turns.py`). A request counts from when its body is
there: who sends slowly takes nobody's place.
"""

import asyncio
import logging
from collections import deque
from time import monotonic, perf_counter

from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.guard.gate import Gate
from serving.guard.turns import Turns
from serving.problems import FAILED, BusyError, KeyRefusedError, TooManyError, as_problem, problem
from serving.recommending import Recommending
from serving.routes.parameters import QueryReader
from serving.routes.recommend import FACTS
from serving.settings import ServingSettings
from serving.telemetry.facts import Facts
from serving.telemetry.metrics import REFUSALS
from serving.telemetry.observer import Observer
from watchnext.api.requests import RecommendQuery

log = logging.getLogger(__name__)
RECOMMEND = "/recommend"
_OPEN = frozenset({"/healthz/live", "/healthz/ready"})
"""Paths that are answered to anybody at any time, and not told of: whoever restarts servers asks them."""
STANDING_SHARE = 4
"""One in so many of `waiting` may wait in a queue that does not go within a moment."""
TOGETHER = 4
"""Requests that get the same turn of the event loop, and so one search (`serving.together`)."""
_WITH_BODIES = frozenset({"POST", "PUT", "PATCH"})
_NO_ANSWER = 499
"""What is counted where a server ends before it has answered, or a client goes; as nginx has it."""
_OVERLOAD, _DEADLINE, _RATE, _KEY = map(REFUSALS.index, ("overload", "deadline", "rate_limit", "key"))


class Front:
    """An ASGI application in front of another.

    Args:
        app: answers all but GET /recommend.
        recommending: answers that.
        query: what GET /recommend may be asked.
        gate: who may ask, and how often.
        observer: is told of each request.
        settings: how many requests may be under way, and how long they may take.
    """

    def __init__(
        self,
        app: ASGIApp,
        recommending: Recommending,
        query: type[RecommendQuery],
        gate: Gate,
        observer: Observer,
        settings: ServingSettings,
    ) -> None:
        self._app, self._recommending, self._query = app, recommending, QueryReader(query)
        self._gate, self._observer = gate, observer
        self._waiting, self._deadline = settings.waiting, settings.deadline_seconds
        self._under_way, self._turns = 0, Turns(max(1, settings.waiting // STANDING_SHARE), each=TOGETHER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; pass on what is none."""
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        facts = scope[FACTS] = Facts(
            request_id=self._observer.ids.of(headers.get(b"x-request-id")),
            traceparent=_text(headers.get(b"traceparent")),
            tracestate=_text(headers.get(b"tracestate")),
            begin=perf_counter(),
        )
        answer = _Answer(send, facts.request_id.encode())
        try:
            facts.key = self._gate.let_in(scope["method"], scope["path"], headers.get(b"authorization"), monotonic())
            if scope["method"] in _WITH_BODIES:
                received = await _received(receive)
                if received is None:
                    return
                receive, facts.begin = received, perf_counter()
            self._under_way += 1
            self._observer.worker.in_flight(self._under_way)
            try:
                await self._admitted(scope, receive, answer, facts)
            finally:
                self._under_way -= 1
                self._observer.worker.in_flight(self._under_way)
        except Exception as error:
            facts.key = facts.key or getattr(error, "key", None)
            await self._failed(error, answer)
        finally:
            self._observer.worker.queued(len(self._turns))
            facts.end = perf_counter()
            status = answer.status or _NO_ANSWER
            self._observer.answered(scope["method"], _route(scope), status, answer.size, facts)

    async def _admitted(self, scope: Scope, receive: Receive, answer: "_Answer", facts: Facts) -> None:
        if self._under_way > self._waiting:
            raise BusyError(f"{self._waiting} requests are under way; ask again in a moment.", _OVERLOAD)
        if not await self._turns.mine(facts.begin):
            raise BusyError("More requests come than can be answered; ask again in a moment.", _OVERLOAD)
        left = self._deadline - (perf_counter() - facts.begin)
        if left < 0:
            raise BusyError(f"Waited longer than {self._deadline:g} s; ask again.", _DEADLINE)
        if scope["path"] == RECOMMEND and scope["method"] == "GET":
            body = await self._recommending.known(self._query.read(scope["query_string"]), facts)
            await answer.json(body, facts.server_timing())
            return
        async with asyncio.timeout(left):
            await self._app(scope, receive, answer)

    async def _failed(self, error: Exception, answer: "_Answer") -> None:
        response = as_problem(error)
        if response is None:
            log.error("A request failed.", exc_info=error)
            response = problem(500, FAILED)
        reason = _reason(error)
        if reason is not None:
            self._observer.worker.refused(reason)
        if not answer.status:
            await answer.whole(response)


class _Answer:
    """What is sent of an answer; adds the request's id, and remembers status and size."""

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send, self._id = send, (b"x-request-id", request_id)
        self.status = self.size = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._id]
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)

    async def json(self, body: bytes, server_timing: bytes) -> None:
        """Send an answer that is well."""
        self.status, self.size = 200, len(body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"server-timing", server_timing),
            self._id,
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def whole(self, response: Response) -> None:
        """Send a response that is made."""
        await self({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await self({"type": "http.response.body", "body": response.body})


async def _received(receive: Receive) -> Receive | None:
    """Wait for the body of a request; what then gives it again, or None where the client has gone."""
    messages: deque[Message] = deque()
    more = True
    while more:
        messages.append(await receive())
        if messages[-1]["type"] == "http.disconnect":
            return None
        more = messages[-1].get("more_body", False)

    async def again() -> Message:
        return messages.popleft() if messages else await receive()

    return again


def _reason(error: Exception) -> int | None:
    """Which of `REFUSALS` an error is."""
    if isinstance(error, BusyError):
        return error.reason
    kinds = {TimeoutError: _DEADLINE, TooManyError: _RATE, KeyRefusedError: _KEY}
    return kinds.get(type(error))


def _route(scope: Scope) -> str:
    """`GET /users/{user_id}/history`; the path as it was sent of a request that was refused before it was routed."""
    route = scope.get("route")
    if route is None and scope["path"] == RECOMMEND:
        return f"{scope['method']} {RECOMMEND}"
    return f"{scope['method']} {scope['raw_path'].decode('latin-1') if route is None else route.path}"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
