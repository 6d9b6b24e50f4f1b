"""The clients of the serving benchmark: when they send, what they count, what they refuse."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from statistics import median

import numpy as np
import pytest

from benchmarks._serving.load import arrivals, ask, drive, get, poisson
from benchmarks._serving.turns import Cost, middle, over, take_turns

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
SLEEP = 0.02


@contextmanager
def server(parts: Sequence[bytes], sleep: float = 0.0) -> Iterator[int]:
    """Answers each request with some parts, one after the other, on any number of connections."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with connection, suppress(ConnectionResetError):
            while connection.recv(1 << 16):
                time.sleep(sleep)
                for part in parts:
                    connection.sendall(part)
                if not parts:
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_clients_that_never_pause_get_an_answer_to_each_request() -> None:
    with server([HEAD[:20], HEAD[20:] + b"he", b"llo"]) as port:
        driven = drive(port, [get("/a")] * 50, 4)
        assert ask(port, "/") == (200, b"hello")
    assert len(driven.latencies) == 50
    assert 0 < driven.latencies.min() <= driven.latencies.max() <= driven.seconds
    assert driven.rate == pytest.approx(50 / driven.seconds)
    assert driven.quantile(0.5) == pytest.approx(median(driven.latencies) * 1e6)


def test_requests_that_wait_behind_a_slow_one_are_slow() -> None:
    with server([HEAD + b"hello"], SLEEP) as port:
        driven = drive(port, [get("/")] * 5, 1, np.zeros(5))
    assert (driven.latencies >= SLEEP * np.arange(1, 6)).all()


def test_nothing_is_sent_before_its_time() -> None:
    with server([HEAD + b"hello"]) as port:
        driven = drive(port, [get("/")] * 5, 2, 0.02 * np.arange(5.0))
    assert driven.seconds >= 0.08


@pytest.mark.parametrize("parts", [[b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"], []])
def test_what_is_no_answer_ends_the_measurement(parts: list[bytes]) -> None:
    with server(parts) as port, pytest.raises(RuntimeError, match=r"not 200|closes"):
        drive(port, [get("/")] * 3, 2)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert ask(port, "/") == (0, b"")


def test_each_client_sends_at_equal_intervals() -> None:
    due = arrivals(200, 1000, 10, np.random.default_rng(0))
    assert len(due) == 1000
    assert (np.diff(due) >= 0).all()
    np.testing.assert_allclose(due[10:] - due[:-10], 10 / 200)
    assert due[0] < 10 / 200


def test_random_arrivals_have_the_rate() -> None:
    due = poisson(200, 40_000, np.random.default_rng(0))
    gaps = np.diff(due)
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.02)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.03)  # as the exponential distribution has it


def test_all_take_turns_and_the_first_round_warms_up() -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []

    def turn(name: str, cpu: float) -> object:
        def asked(users: Sequence[int]) -> Cost:
            seen.append((name, tuple(users)))
            return Cost(cpu * len(seen), 1.0)

        return asked

    costs = take_turns({"a": turn("a", 1.0), "b": turn("b", 2.0)}, np.arange(5), 2)  # type: ignore[dict-item]
    assert [name for name, _ in seen] == ["a", "b"] * 3
    assert {tuple(sorted(users)) for _, users in seen} == {(0, 1, 2, 3, 4)}
    assert len({users for _, users in seen}) == 3
    assert seen[0][1] == seen[1][1]
    assert [cost.cpu for cost in costs["a"]] == [3, 5]
    assert [cost.cpu for cost in costs["b"]] == [8, 12]
    assert middle(costs["b"]) == (10, 1)
    assert over(costs, "b", ["a"]) == pytest.approx((8 / 3 + 12 / 5) / 2)
    assert over(costs, "b", ["a", "b"]) == pytest.approx((8 / 11 + 12 / 17) / 2)
