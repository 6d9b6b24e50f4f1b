"""What was chosen for serving against what was not: where to search, how to write JSON, what to read HTTP with."""

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks._serving.process import started
from benchmarks._serving.turns import http, middle, take_turns
from benchmarks._serving.world import K
from index.candidates import candidates
from index.recommender import Found, Recommender
from serving.fragments import Fragments
from watchnext.api.answers import RecommendAnswer
from watchnext.histories import Int64
from watchnext.release import ReleaseStore

SERVERS: dict[str, tuple[str, ...]] = {
    "search in the loop": ("inline",),
    "search in two threads": ("threads",),
    "one search of what came together": ("batches",),
    "ours": ("ours", "--http", "ours"),
    "ours, asyncio": ("ours", "--http", "ours", "--loop", "asyncio"),
    "ours, uvicorn's httptools": ("ours",),
    "ours, uvicorn's h11": ("ours", "--http", "h11"),
    "ours, through FastAPI's route": ("fastapi", "--http", "ours"),
    "ours, with fresh watches": ("ours", "--http", "ours", "--fresh", "FRESH"),
    "ours, with log lines": ("ours", "--http", "ours", "--log"),
}
"""Arguments of `benchmarks._serving.apps` after the folder of releases, but the first, which comes before it."""


def study(store: ReleaseStore, recommender: Recommender, users: Int64, rounds: int) -> dict[str, Any]:
    """Measure all of it, print, and return CPU microseconds."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        turns = {}
        for name, (what, *more) in SERVERS.items():
            arguments = [str(Path(folder) / "fresh.sqlite") if one == "FRESH" else one for one in more]
            command = ("benchmarks._serving.apps", what, str(store.root), *arguments)
            turns[name] = http(stack.enter_context(started(command, "/recommend?user_id=user-1")))
        costs = take_turns(turns, users, rounds)
    figures: dict[str, Any] = {}
    for name, each in costs.items():
        cost = middle(each)
        figures[name] = cost._asdict()
        print(f"{name:36}{cost.cpu:8.0f} CPU µs a request{cost.rate:10,.0f} a second", flush=True)
    for name, microseconds in encoders(recommender, users).items():
        figures[name] = microseconds
        print(f"{name:36}{microseconds:8.1f} CPU µs an answer")
    return figures


def encoders(recommender: Recommender, users: Int64) -> dict[str, float]:
    """CPU microseconds to write 50 candidates as JSON, by several ways."""
    found = [recommender.answer(recommender.askers.stored(user), K) for user in users[:1000].tolist()]
    kept = Fragments(recommender.export)
    return {
        "JSON: items seen for the first time": _microseconds(lambda one: kept.array(*one), found, 1),
        "JSON: join of kept parts": _microseconds(lambda one: kept.array(*one), found),
        "JSON: orjson of dicts": _microseconds(lambda one: orjson.dumps(_dicts(recommender, one)), found),
        "JSON: pydantic": _microseconds(lambda one: _pydantic(recommender, one), found),
    }


def _dicts(recommender: Recommender, found: Found) -> list[dict[str, Any]]:
    source = found.sources[0][0]
    return [{**one.plain(), "source": source} for one in candidates(recommender.export, found.numbers, found.scores)]


def _pydantic(recommender: Recommender, found: Found) -> bytes:
    answer = RecommendAnswer(
        user_id="user-1",
        release=recommender.release,
        variant="current",
        source=found.sources[0][0],
        degraded=False,
        candidates=_dicts(recommender, found),
    )
    return answer.model_dump_json().encode()


def _microseconds(write: Callable[[Found], bytes], found: list[Found], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        for one in found:
            write(one)
        times.append(time.thread_time() - start)
    return median(times) / len(found) * 1e6
