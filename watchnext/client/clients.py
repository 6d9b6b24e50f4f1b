"""`Client` and `AsyncClient`: the calls as methods, over two transports that differ in `await` alone."""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from random import random
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, get_args

import httpx
from pydantic import BaseModel

from watchnext.client import calls
from watchnext.client.calls import Call
from watchnext.client.errors import PASSING, NoAnswerError, problem_error
from watchnext.client.retries import Patience
from watchnext.errors import UsageError

P = ParamSpec("P")
Answer = TypeVar("Answer", bound=BaseModel)
Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)
Method = TypeVar("Method")
_KEPT_SECONDS = 4.0
"""How long a connection without requests is kept: less than the 5 s after which the server ends it."""


def _method(call: Callable[P, Call[Answer]]) -> "Callable[Concatenate[Client, P], Answer]":
    @wraps(call)
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return client._answer(call(*args, **kwargs))

    return _described(method, call)


def _coroutine(
    call: Callable[P, Call[Answer]],
) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Answer]]":
    @wraps(call)
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await client._answer(call(*args, **kwargs))

    return _described(method, call)


def _described(method: Method, call: Callable[..., Any]) -> Method:
    """The method, for `help`: with self, and with the answer in place of the call."""
    signature = inspect.signature(call)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    (answer,) = get_args(signature.return_annotation)
    shown = signature.replace(parameters=[own, *signature.parameters.values()], return_annotation=answer)
    vars(method)["__signature__"] = shown
    return method


class _Asking(Generic[Http]):
    """What both clients have."""

    def __init__(
        self,
        http: type[Http],
        url: str,
        key: str | None,
        timeout: float,
        connections: int,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError("url", repr(url), "Give scheme, host and port: http://127.0.0.1:8000.")
        if key is not None and not (key.isascii() and key.isprintable()):
            raise UsageError("key", "what no key is made of", "Give the line that `watchnext keys create` printed.")
        if not timeout > 0:
            raise UsageError("timeout", timeout, "Give seconds, more than 0.")
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_KEPT_SECONDS
        )
        headers = {"accept": "application/json"} if key is None else {"authorization": f"Bearer {key}"}
        try:
            self._http: Http = http(base_url=url, headers=headers, limits=limits)
        except httpx.InvalidURL as error:
            raise UsageError("url", repr(url), f"Give scheme, host and port: {error}.") from error
        self._timeout = timeout
        self._clock, self._random = time.monotonic, random

    def _patience(self) -> Patience:
        return Patience(self._timeout, self._clock, self._random)

    def _request(self, call: Call[Any], seconds: float) -> httpx.Request:
        headers = None if call.body is None else {"content-type": "application/json"}
        try:
            return self._http.build_request(
                call.method, call.target, content=call.body, headers=headers, timeout=max(seconds, 0.001)
            )
        except httpx.InvalidURL as error:
            raise UsageError(call.route, error, "Ask for less at once.") from error


class Client(_Asking[httpx.Client]):
    """Asks a server of watchnext. May be used by several threads at once; keeps connections until it is closed.

    Every call may be made twice without harm, so all are made again after broken connections, 503 and 429, with waits
    that grow (`retries.Patience`). Other errors are raised at once, as `errors.ProblemError`.

    Args:
        url: where the server is, `http://127.0.0.1:8000`.
        key: API key, from `watchnext keys create`; None where the server asks for none.
        timeout: seconds that a call may take, with all its attempts and waits. Where an answer trickles in, each wait
            for its next bytes may take as long again; `AsyncClient` has no such exception.
        connections: most connections at a time; further calls wait for one.

    Raises UsageError for impossible values.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout: float = 5.0, connections: int = 100) -> None:
        super().__init__(httpx.Client, url, key, timeout, connections)
        self._sleep = time.sleep

    recommend = _method(calls.recommend)
    recommend_to = _method(calls.recommend_to)
    add_watches = _method(calls.add_watches)
    watched = _method(calls.watched)
    history = _method(calls.history)
    erase = _method(calls.erase)
    similar = _method(calls.similar)
    analogy = _method(calls.analogy)
    releases = _method(calls.releases)
    current_release = _method(calls.current_release)
    ready = _method(calls.ready)

    def _answer(self, call: Call[Answer]) -> Answer:
        patience = self._patience()
        while True:
            try:
                return self._once(call, patience)
            except PASSING as error:
                seconds = patience.wait(error)
            self._sleep(seconds)

    def _once(self, call: Call[Answer], patience: Patience) -> Answer:
        try:
            response = self._http.send(self._request(call, patience.left()), stream=True)
            try:
                body = bytearray()
                for piece in response.iter_bytes():
                    body += piece
                    if patience.left() < 0:
                        raise NoAnswerError(call.route, f"no whole answer within {self._timeout:g} s", _SLOW)
            finally:
                response.close()
        except httpx.RequestError as error:
            raise _no_answer(call, error) from error
        return _read(call, response, bytes(body))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Asking[httpx.AsyncClient]):
    """`Client` for asyncio: the same methods, to be awaited; for one event loop.

    Args:
        url, key, connections: as for `Client`.
        timeout: seconds that a call may take, with all its attempts and waits.

    Raises UsageError for impossible values.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout: float = 5.0, connections: int = 100) -> None:
        super().__init__(httpx.AsyncClient, url, key, timeout, connections)
        self._sleep = asyncio.sleep

    recommend = _coroutine(calls.recommend)
    recommend_to = _coroutine(calls.recommend_to)
    add_watches = _coroutine(calls.add_watches)
    watched = _coroutine(calls.watched)
    history = _coroutine(calls.history)
    erase = _coroutine(calls.erase)
    similar = _coroutine(calls.similar)
    analogy = _coroutine(calls.analogy)
    releases = _coroutine(calls.releases)
    current_release = _coroutine(calls.current_release)
    ready = _coroutine(calls.ready)

    async def _answer(self, call: Call[Answer]) -> Answer:
        patience = self._patience()
        while True:
            try:
                return await self._once(call, patience)
            except PASSING as error:
                seconds = patience.wait(error)
            await self._sleep(seconds)

    async def _once(self, call: Call[Answer], patience: Patience) -> Answer:
        try:
            async with asyncio.timeout(patience.left()):
                response = await self._http.send(self._request(call, patience.left()))
        except TimeoutError as error:
            raise NoAnswerError(call.route, f"no whole answer within {self._timeout:g} s", _SLOW) from error
        except httpx.RequestError as error:
            raise _no_answer(call, error) from error
        return _read(call, response, response.content)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


_SLOW = "Give more time, or look why the server is slow."


def _no_answer(call: Call[Any], error: httpx.RequestError) -> NoAnswerError:
    got = str(error) or type(error).__name__
    return NoAnswerError(
        call.route, got, f"Check that a server answers at {error.request.url.copy_with(raw_path=b'/')}."
    )


def _read(call: Call[Answer], response: httpx.Response, body: bytes) -> Answer:
    if response.status_code != 200:
        raise problem_error(call.route, response.status_code, response.headers, body)
    return call.read(body)
