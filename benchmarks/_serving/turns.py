"""Servers and a bare search that answer the same users in turns, so that all meet the same moods of the machine."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import faiss
import numpy as np

from benchmarks._serving.load import Driven, drive, get
from benchmarks._serving.process import Server
from benchmarks._serving.world import K
from index.recommender import Recommender
from index.spaces import queries_in
from watchnext.histories import Int64

CLIENTS = 16
_faiss: Any = faiss


class Cost(NamedTuple):
    """Of one round."""

    cpu: float
    """CPU microseconds a request, of all processes that answer."""
    rate: float
    """Answers a second, as many as went."""


Turn = Callable[[Sequence[int]], Cost]


def take_turns(turns: Mapping[str, Turn], users: Int64, rounds: int) -> dict[str, list[Cost]]:
    """The costs of each in every round, after one that warms all up. `users` are asked in another order each time."""
    rng = np.random.default_rng(5)
    costs: dict[str, list[Cost]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        asked = rng.permutation(users).tolist()
        for name, turn in turns.items():
            cost = turn(asked)
            if number:
                costs[name].append(cost)
    return costs


def middle(costs: Sequence[Cost]) -> Cost:
    """Medians of all rounds."""
    return Cost(*(median(values) for values in zip(*costs, strict=True)))


def over(costs: Mapping[str, Sequence[Cost]], name: str, limit: Sequence[str]) -> float:
    """The median over the rounds of the ratio of CPU times: of one to the sum of some others in the same round."""
    sums = [sum(costs[other][round_].cpu for other in limit) for round_ in range(len(costs[name]))]
    return median(cost.cpu / whole for cost, whole in zip(costs[name], sums, strict=True))


def http(server: Server, share: int = 1, clients: int = CLIENTS) -> Turn:
    """A server's turn: a share of the users, asked for by some clients that never pause."""

    def turn(users: Sequence[int]) -> Cost:
        asked = users[: max(len(users) // share, 1)]
        before = server.cpu()
        driven = drive(server.port, requests(asked), clients)
        return Cost((server.cpu() - before) / len(asked) * 1e6, driven.rate)

    return turn


def searching(recommender: Recommender, cores: Sequence[int]) -> Turn:
    """The turn of FAISS alone, in one thread of this process: the tuned index asked for the best k, one by one."""
    index: Any = recommender.index
    vectors = np.asarray(recommender.export.user_vectors)
    bare, choice, space = index._index, index._unfiltered, index.kind.space

    def turn(users: Sequence[int]) -> Cost:
        queries = [queries_in(space, vectors[user][None]) for user in users]
        _faiss.omp_set_num_threads(1)
        with on(cores):
            start, cpu = time.perf_counter(), time.thread_time()
            for query in queries:
                bare.search(query, K, params=choice)
            cpu, seconds = time.thread_time() - cpu, time.perf_counter() - start
        return Cost(cpu / len(queries) * 1e6, len(queries) / seconds)

    return turn


def requests(users: Sequence[int]) -> list[bytes]:
    """What is sent to ask for the best of some users."""
    return [get(f"/recommend?user_id=user-{user}&k={K}") for user in users]


def at_rate(server: Server, users: Sequence[int], due: np.ndarray) -> Driven:
    """A server's latencies under as many clients at a constant rate."""
    return drive(server.port, requests(users), CLIENTS, due)


@contextmanager
def on(cores: Sequence[int]) -> Iterator[None]:
    """Run this process on some cores only, where there is a choice."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
