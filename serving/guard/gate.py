"""Who may ask what, and how often: keys, their scopes and their rates."""

from serving.guard.keys import KeyRing
from serving.guard.limits import RateLimiter
from serving.problems import KeyRefusedError, TooManyError

_WRITES = frozenset({("POST", "/watches")})
_ADMIN = frozenset({"/metrics"})
_DOCS = "/docs"
_DESCRIPTION = "/openapi.json"


class Gate:
    """Lets requests in.

    Args:
        keys: those that are known; None lets everybody in.
        limiter: how often each key may ask.
        docs: whether anybody may read the API's description.
    """

    def __init__(self, keys: KeyRing | None, limiter: RateLimiter, docs: bool) -> None:
        self._keys, self._limiter, self._docs = keys, limiter, docs

    def let_in(self, method: str, path: str, authorization: bytes | None, now: float) -> str | None:
        """The id of the key; None where none is asked for.

        Args:
            authorization: the header of this name.
            now: seconds, monotonic.

        Raises KeyRefusedError where the key is missing, unknown or may not do this, TooManyError where it asks too
        often.
        """
        if self._keys is None or (self._docs and (path == _DESCRIPTION or path.startswith(_DOCS))):
            return None
        key = self._keys.find(authorization)
        if key is None:
            what = "This needs a key" if authorization is None else "This key is not known here"
            raise KeyRefusedError(401, f"{what}: send the header Authorization: Bearer wn_....")
        scope = scope_of(method, path)
        if scope not in key.scopes:
            raise KeyRefusedError(403, f"This needs a key of the scope {scope!r}; {key.id} has not.", key.id)
        wait = self._limiter.take(key.id, key.rate, now)
        if wait:
            raise TooManyError(wait, key.id)
        return key.id


def scope_of(method: str, path: str) -> str:
    """What a key must be for."""
    if path in _ADMIN:
        return "admin"
    return "write" if (method, path) in _WRITES or method in {"DELETE", "PUT", "PATCH"} else "read"
