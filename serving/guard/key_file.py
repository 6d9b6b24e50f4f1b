"""The file of API keys: what it holds, and how keys are made and revoked. Knows nothing of HTTP.

    keys.json    {id: {name, scopes, sha256, created, requests_per_second}}; readable by its owner; replaced by rename

A key is `wn_<id>_<secret>`: 8 letters or digits that may be shown and logged, and 32 random bytes in URL-safe base64.
Of a key the file has its SHA-256 alone. One round of a fast hash suffices, without salt: slow, salted hashes make
guessing expensive where people choose what is hashed, and nobody guesses one of 2^256 equally likely secrets, nor
holds a table of them.
"""

import fcntl
import secrets
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from watchnext.config import Closed
from watchnext.errors import CorruptError, UsageError
from watchnext.files import write_atomic

ID_PATTERN = r"[A-Za-z0-9]{8}"
KEY_PATTERN = rf"wn_({ID_PATTERN})_[A-Za-z0-9_-]{{43}}"
MAX_RATE = 1e6
_CURE = "Mend it, or restore it: it is a JSON object of keys by id, {} for none. `watchnext keys create` writes one."


class Scope(StrEnum):
    """What a key may be used for."""

    READ = "read"
    """Ask for recommendations, items and histories."""
    WRITE = "write"
    """Post watches, erase users; not read."""
    ADMIN = "admin"
    """Everything."""


class StoredKey(Closed):
    """What the file knows of one key; its id stands before it."""

    name: str = Field(min_length=1, max_length=100)
    """Whose it is, for people."""
    scopes: tuple[Scope, ...] = Field(min_length=1)
    """What it may be used for."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the whole key in ASCII, in hexadecimal digits."""
    created: AwareDatetime
    """When it was made, UTC."""
    requests_per_second: float | None = Field(None, gt=0, le=MAX_RATE, allow_inf_nan=False)
    """How many requests it may make; null is the server's default."""


_KEYS = TypeAdapter(dict[Annotated[str, Field(pattern=rf"^{ID_PATTERN}$")], StoredKey])


def read_keys(path: Path) -> dict[str, StoredKey]:
    """The keys of a file, by id.

    Raises UsageError where there is no file, CorruptError where it cannot be read.
    """
    try:
        return _KEYS.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(
            str(path), "no such file", f"Make a key: watchnext keys create --name NAME --file {path}"
        ) from error
    except OSError as error:
        raise CorruptError(str(path), error.strerror, _CURE) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise CorruptError(str(path), f"{where}: {first['msg']}", _CURE) from error


def create_key(path: Path, name: str, scopes: tuple[Scope, ...], rate: float | None = None) -> tuple[str, str]:
    """Add a key to a file, which is made if there is none.

    Args:
        path: of the file.
        name: whose key it is.
        scopes: what it may be used for.
        rate: requests a second; None is the server's default.

    Returns (id, the key): the key can never be read again.

    Raises UsageError for an impossible name or rate, CorruptError where the file cannot be read; it then stays.
    """
    if rate is not None and not 0 < rate <= MAX_RATE:
        raise UsageError("--rate", rate, f"Give requests a second, more than 0 and at most {MAX_RATE:g}.")
    with _changing(path) as keys:
        id_ = next(id_ for id_ in iter(_new_id, "") if id_ not in keys)
        key = f"wn_{id_}_{secrets.token_urlsafe(32)}"
        keys[id_] = StoredKey.checked(
            {
                "name": name,
                "scopes": tuple(dict.fromkeys(scopes)),
                "sha256": sha256(key.encode()).hexdigest(),
                "created": datetime.now(UTC).replace(microsecond=0),
                "requests_per_second": rate,
            }
        )
    return id_, key


def revoke_key(path: Path, id_: str) -> StoredKey:
    """Take a key out of a file. Returns what the file knew of it.

    Raises UsageError where there is no such file or key, CorruptError where the file cannot be read.
    """
    if not path.exists():
        read_keys(path)
    with _changing(path) as keys:
        if id_ not in keys:
            raise UsageError("id", repr(id_), f"Give one of {', '.join(keys) or 'none: the file has no keys'}.")
        return keys.pop(id_)


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, StoredKey]]:
    """Yield the keys to be changed, alone among all processes, and write them when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read_keys(path) if path.exists() else {}
        yield keys
        write_atomic(path, _json(keys), mode=0o600)


def _json(keys: Mapping[str, StoredKey]) -> bytes:
    return _KEYS.dump_json(dict(keys), indent=1) + b"\n"


def _new_id() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(8))
