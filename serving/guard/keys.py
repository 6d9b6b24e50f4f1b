"""Who asks: the key that a request's `Authorization` header holds, looked up in a file of hashes (`key_file`).

Knows nothing of what a scope opens: that is the gate's.
"""

import hmac
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from serving.guard.key_file import KEY_PATTERN, Scope, StoredKey, read_keys
from watchnext.errors import WatchnextError
from watchnext.files import stamp

LOOK_SECONDS = 1.0
_CACHED = 1024
_HEADER = re.compile(rf"(?i:bearer) +({KEY_PATTERN})".encode())
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was found valid."""

    id: str
    """May be logged."""
    name: str
    """Whose it is."""
    scopes: frozenset[str]
    """All that it may be used for: `admin` has been spelled out to all scopes."""
    rate: float | None
    """Requests a second; None is the server's default."""


class KeyRing:
    """The keys of a file as it says now.

    The file is looked at once in `LOOK_SECONDS` at most, and read where its `stat` has changed: a new or revoked key
    holds within that time, in every process. A file that cannot be read, or is gone, is logged once and changes
    nothing.

    **What takes the same time, and what does not.** A key is checked by one SHA-256 and one `hmac.compare_digest` of
    32 bytes, whether its id is known (then with that key's hash) or not (then with a hash that no key has), so that
    time says nothing about a secret. A header that is not in the form of a key is refused sooner; its form is what
    the sender knows. Whether an id is known is no secret either: ids stand in logs. A header that was found valid is
    remembered, so that the next request with it costs one look into a dict: that tells only who already has a valid
    key, as the answer does, and a dict compares bytes only where a hash of them with a random seed is equal.

    Args:
        path: of the file.
        clock: seconds, monotonic.

    Raises UsageError where there is no file, CorruptError where it cannot be read: then no key is known.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._nobody = sha256(b"nobody's key").digest(), None
        self._stamp, self._next_look, self._told = stamp(path), clock() + LOOK_SECONDS, ""
        self._take(read_keys(path))

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, authorization: bytes | None) -> Key | None:
        """The key of a request, None where it has no valid one.

        Args:
            authorization: the value of the header `Authorization`, `Bearer wn_...`; None where there is none.
        """
        if self._clock() >= self._next_look:
            self._look()
        if authorization is None:
            return None
        known = self._found.get(authorization)
        return known if known is not None else self._check(authorization)

    def _check(self, authorization: bytes) -> Key | None:
        match = _HEADER.fullmatch(authorization)
        if match is None:
            return None
        expected, key = self._keys.get(match[2], self._nobody)
        if not hmac.compare_digest(sha256(match[1]).digest(), expected) or key is None:
            return None
        if len(self._found) >= _CACHED:
            self._found.clear()
        self._found[authorization] = key
        return key

    def _look(self) -> None:
        self._next_look = self._clock() + LOOK_SECONDS
        now = stamp(self._path)  # before reading: what changes meanwhile is read at the next look
        if now == self._stamp:
            return
        try:
            self._take(read_keys(self._path))
            self._stamp, self._told = now, ""
            log.info("%s has %d keys.", self._path, len(self))
        except WatchnextError as error:  # read again at the next look: it may be the system that failed
            if str(error) != self._told:
                log.error("%s The keys read last stay valid.", error)
            self._told = str(error)

    def _take(self, stored: dict[str, StoredKey]) -> None:
        self._keys: dict[bytes, tuple[bytes, Key | None]] = {
            id_.encode(): (bytes.fromhex(key.sha256), _key(id_, key)) for id_, key in stored.items()
        }
        self._found: dict[bytes, Key] = {}


def _key(id_: str, stored: StoredKey) -> Key:
    scopes = tuple(Scope) if Scope.ADMIN in stored.scopes else stored.scopes
    return Key(id_, stored.name, frozenset(scope.value for scope in scopes), stored.requests_per_second)
