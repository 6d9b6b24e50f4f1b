"""The token bucket: the same decisions as a slow exact one, and bounded memory."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.guard.limits import RateLimiter

TICK = Fraction(1, 64)
keys = st.sampled_from(["a", "b", "c"])
rates = st.sampled_from([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 32.0])
events = st.lists(st.tuples(keys, st.integers(0, 200)), max_size=60)


class Bucket:
    """A bucket that counts tokens in fractions."""

    def __init__(self, rate: float) -> None:
        self.rate = Fraction(rate)
        self.room = max(Fraction(1), 2 * self.rate)
        self.tokens, self.time = self.room, Fraction(0)

    def take(self, now: Fraction) -> Fraction:
        self.tokens = min(self.room, self.tokens + self.rate * (now - self.time))
        self.time = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return Fraction(0)


@given(rates=st.fixed_dictionaries(dict.fromkeys("abc", rates)), events=events, workers=st.sampled_from([1, 2, 4]))
def test_the_same_as_a_slow_exact_bucket(
    rates: dict[str, float], events: list[tuple[str, int]], workers: int
) -> None:
    limiter = RateLimiter(None, workers)
    slow = {key: Bucket(rate / workers) for key, rate in rates.items()}
    now = Fraction(0)
    for key, ticks in events:
        now += ticks * TICK
        assert limiter.take(key, rates[key], float(now)) == slow[key].take(now)


@given(rate=st.floats(1e-3, 1e4), start=st.floats(0, 1e7), asks=st.integers(1, 60))
def test_after_the_wait_there_is_a_token(rate: float, start: float, asks: int) -> None:
    limiter, now = RateLimiter(rate), start
    for _ in range(asks):
        wait = limiter.take("a", None, now)
        if wait:
            now += wait
            assert limiter.take("a", None, now) == 0


def test_by_hand() -> None:
    limiter = RateLimiter(2.0)
    assert [limiter.take("a", None, 10.0) for _ in range(6)] == [0, 0, 0, 0, 0.5, 0.5]
    assert limiter.take("b", None, 10.0) == 0
    assert [limiter.take("a", None, 10.5) for _ in range(2)] == [0, 0.5]
    assert [limiter.take("a", None, 99.0) for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert [limiter.take("c", 0.25, 10.0) for _ in range(2)] == [0, 4]


def test_no_rate_is_no_limit() -> None:
    limiter = RateLimiter(None)
    assert {limiter.take("a", None, 0.0) for _ in range(1000)} == {0}
    assert len(limiter) == 0


def test_memory_is_bounded_and_who_lacks_most_is_remembered() -> None:
    limiter = RateLimiter(1.0, most_keys=100)
    for _ in range(2):
        limiter.take("greedy", None, 0.0)
    for n in range(10_000):
        limiter.take(str(n), None, n * 1e-6)
        assert len(limiter) <= 100
    assert limiter.take("greedy", None, 0.5) == pytest.approx(0.5)


def test_full_buckets_are_forgotten_first() -> None:
    limiter = RateLimiter(1.0, most_keys=4)
    for key in "abcd":
        limiter.take(key, None, 0.0)
    limiter.take("e", None, 10.0)
    assert len(limiter) == 1
