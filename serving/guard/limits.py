"""How often a key may ask: a token bucket for each. Knows nothing of HTTP or clocks."""

import heapq


class RateLimiter:
    """Token buckets, each of one float.

    A bucket holds b = max(1, 2 r) tokens, gains r tokens a second and starts full; a request takes one. Kept is when
    it will be full again, t: it then lacks (t - now) r tokens, and a request may go where (t - now) r <= b - 1 (the
    generic cell rate algorithm, ITU-T I.371).

    Each process counts for itself: of W worker processes each allows r / W, so that together they allow r where
    requests are spread evenly. A key whose requests all come over one connection reaches one worker, and gets r / W.

    Args:
        default_rate: requests a second of keys that have no rate of their own; None does not limit these.
        workers: W.
        most_keys: how many buckets are kept. Beyond that, full ones are forgotten, which changes nothing, and then
            those that lack least.
    """

    def __init__(self, default_rate: float | None, workers: int = 1, most_keys: int = 10_000) -> None:
        self._default, self._workers, self._most = default_rate, workers, most_keys
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key_id: str, rate: float | None, now: float) -> float:
        """Take a token out of a key's bucket.

        Args:
            key_id: whose bucket.
            rate: r, requests a second; None is the default.
            now: seconds, of any monotonic clock.

        Returns 0 where there was one, else how many seconds until there is.
        """
        if rate is None:
            rate = self._default
            if rate is None:
                return 0.0
        rate /= self._workers
        allowed = (2 * rate - 1) / rate if rate > 0.5 else 0.0  # seconds that the bucket may lack to full
        lacks = self._full_at.get(key_id, now) - now
        if lacks > allowed + 1e-9:
            return lacks - allowed
        self._full_at[key_id] = now + max(lacks, 0.0) + 1 / rate
        if len(self._full_at) > self._most:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        left = {key_id: full_at for key_id, full_at in self._full_at.items() if full_at > now}
        half = self._most // 2
        if len(left) > half:
            left = dict(heapq.nlargest(half, left.items(), key=lambda entry: entry[1]))
        self._full_at = left
