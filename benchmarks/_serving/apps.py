"""What the server is compared with, each a server of its own: `python -m benchmarks._serving.apps WHAT RELEASES`.

bare: sends bytes that are made already, with the headers and the size of a recommendation.
searching: the same, after a search by FAISS alone: what the two cost together, where neither finds its own data in
    the processor's caches.
naive: what one would glue together: FastAPI, dicts, FAISS and a pydantic answer; naive-flat: with `IndexFlatIP`.
inline, threads, batches: the parts of our server, with the search in the event loop, in threads, or of all requests
    that came at the same time at once.
ours, fastapi: our server; and with GET /recommend by its FastAPI route.
"""

import argparse
import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks._serving.world import K
from index.recommender import Recommender, open_release
from index.spaces import queries_in
from serving.app import create_app
from serving.fragments import Fragments
from serving.run import uvicorn_options
from serving.settings import ServingSettings
from serving.telemetry.logs import Logs
from serving.together import Together
from watchnext.release import ReleaseStore

THREADS = 2
_TIMING = b"vector;dur=0.010, filter;dur=0.002, search;dur=0.200"
_faiss: Any = faiss


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=[*APPS])
    parser.add_argument("releases", type=Path)
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--http", default="httptools", help="ours: the one that `watchnext serve` uses")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--fresh")
    parser.add_argument("--log", action="store_true", help="write a line for each request of our server")
    asked = parser.parse_args()
    settings = ServingSettings(releases=asked.releases, without_keys=True, fresh=asked.fresh)
    app = create_app(settings, Logs("json")) if asked.log else APPS[asked.what](settings)
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(json.dumps({"address": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
        for _ in range(asked.workers - 1):
            if not os.fork():
                break
        options = uvicorn_options(settings) | {"loop": asked.loop, "interface": "asgi3"}
        if asked.http != "ours":
            options["http"] = asked.http
        uvicorn.Server(uvicorn.Config(app, **options)).run([listener])


def bare(settings: ServingSettings, searching: bool = False) -> ASGIApp:
    """Bytes that are made already: an answer for a user; if wanted, after a search for a user."""
    recommender = _opened(settings)
    users, vectors = recommender.export.users, np.asarray(recommender.export.user_vectors)
    index: Any = recommender.index
    found = recommender.answer(recommender.askers.stored(1), K)
    answer = (
        b'{"user_id":"user-1","release":"%b","variant":"current","source":"stored","degraded":false,"candidates":%b}'
    )
    body = answer % (recommender.release.encode(), Fragments(recommender.export).array(*found))
    headers = _headers(body)
    _faiss.omp_set_num_threads(1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if searching:
                query = queries_in(index.kind.space, vectors[users.number(_user_id(scope))][None])
                index._index.search(query, K, params=index._unfiltered)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return app


class NaiveItem(BaseModel):
    """One candidate."""

    item_id: str
    title: str | None
    score: float
    source: str


class NaiveAnswer(BaseModel):
    """A recommendation."""

    user_id: str
    release: str
    source: str
    candidates: list[NaiveItem]


def naive(settings: ServingSettings, flat: bool = False) -> ASGIApp:
    """Thirty lines: all in memory, more is asked for than wanted, and what was watched is dropped."""
    recommender = _opened(settings)
    export = recommender.export
    ours: Any = recommender.index
    vectors, histories = np.array(export.user_vectors), export.histories
    item_ids, titles = ["", *export.items.all_ids()], export.catalogue.table.column("title").to_pylist()
    rows = {user: number for number, user in enumerate(export.users.all_ids(), 1)}
    index, search = ours._index, ours._unfiltered
    asked_in = partial(queries_in, "dot" if flat else ours.kind.space)
    if flat:
        index, search = _faiss.IndexFlatIP(ours.dim), None
        index.add(np.ascontiguousarray(export.item_vectors))
    _faiss.omp_set_num_threads(1)
    app = FastAPI()

    @app.get("/recommend")
    def recommend(user_id: str, k: int = K) -> NaiveAnswer:
        row = rows[user_id]
        watched = set(histories[row].tolist())
        scores, numbers = index.search(asked_in(vectors[row][None]), k + len(watched), params=search)
        pairs = zip(numbers[0].tolist(), scores[0].tolist(), strict=True)
        kept = [(number, score) for number, score in pairs if number > 0 and number not in watched][:k]
        found = [
            NaiveItem(item_id=item_ids[number], title=titles[number], score=score, source="stored")
            for number, score in kept
        ]
        return NaiveAnswer(user_id=user_id, release=recommender.release, source="stored", candidates=found)

    return app


Way = Callable[[Recommender, Fragments, int], Awaitable[bytes]]


def in_the_loop(settings: ServingSettings) -> ASGIApp:
    """The search where the request is read."""

    async def way(recommender: Recommender, fragments: Fragments, user: int) -> bytes:
        return _answered(recommender, fragments, user)

    return _minimal(settings, way)


def in_threads(settings: ServingSettings) -> ASGIApp:
    """The search in one of some threads."""
    threads = ThreadPoolExecutor(THREADS)

    async def way(recommender: Recommender, fragments: Fragments, user: int) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(threads, _answered, recommender, fragments, user)

    return _minimal(settings, way)


def in_batches(settings: ServingSettings) -> ASGIApp:
    """One search for all requests that the event loop has read in one turn."""
    together = Together()

    async def way(recommender: Recommender, fragments: Fragments, user: int) -> bytes:
        searched = await together.search(recommender, recommender.askers.stored(user), K)
        return fragments.array(*searched.found)

    return _minimal(settings, way)


def through_fastapi(settings: ServingSettings) -> ASGIApp:
    """Our application without the short way of GET /recommend."""
    app: Any = create_app(settings)
    return app.behind  # type: ignore[no-any-return]


def _minimal(settings: ServingSettings, way: Way) -> ASGIApp:
    recommender = _opened(settings)
    fragments, users = Fragments(recommender.export), recommender.export.users

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await way(recommender, fragments, users.number(_user_id(scope)))
        await send({"type": "http.response.start", "status": 200, "headers": _headers(body)})
        await send({"type": "http.response.body", "body": body})

    return app


def _user_id(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    return query.decode().partition("&")[0].partition("=")[2]


def _answered(recommender: Recommender, fragments: Fragments, user: int) -> bytes:
    return fragments.array(*recommender.answer(recommender.askers.stored(user), K))


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"server-timing", _TIMING),
        (b"x-request-id", b"0123456789abcdef"),
    ]


def _opened(settings: ServingSettings) -> Recommender:
    store = ReleaseStore(settings.releases)
    return open_release(store.path(store.current()), verify=False)


APPS: dict[str, Callable[[ServingSettings], ASGIApp]] = {
    "bare": bare,
    "searching": lambda settings: bare(settings, searching=True),
    "naive": naive,
    "naive-flat": lambda settings: naive(settings, flat=True),
    "inline": in_the_loop,
    "threads": in_threads,
    "batches": in_batches,
    "ours": create_app,
    "fastapi": through_fastapi,
}


if __name__ == "__main__":
    main()
