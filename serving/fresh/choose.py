"""Which store a URL or a path means. Redis is imported only where it is asked for."""

from pathlib import Path
from types import ModuleType

from serving.fresh.sqlite import SqliteStore, SqliteUpkeep
from serving.fresh.store import FreshStore, Upkeep
from watchnext.errors import UsageError

SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")


def open_store(where: str | Path) -> FreshStore:
    """The store at a path (SQLite, made where there is none) or a URL (Redis, which may be down as yet).

    Raises UsageError for a URL of another kind, a file that is something else, or a missing package;
    CorruptError for a damaged file, StoreUnavailableError for one that cannot be written.
    """
    return _redis().RedisStore(str(where)) if _is_url(where) else SqliteStore(Path(where))


def open_upkeep(where: str | Path) -> Upkeep:
    """The same for the command line; a file must be there."""
    return _redis().RedisUpkeep(str(where)) if _is_url(where) else SqliteUpkeep(Path(where))


def _is_url(where: str | Path) -> bool:
    if isinstance(where, Path) or "://" not in where:
        return False
    if where.split("://")[0] not in SCHEMES:
        choice = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise UsageError("store", f"the URL {where.split('://')[0]}://...", f"Give a path, or one of {choice}.")
    return True


def _redis() -> ModuleType:
    try:
        from serving.fresh import redis  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise UsageError("package redis", "none", "Install it: pip install 'watchnext[redis]'.") from error
    return redis
