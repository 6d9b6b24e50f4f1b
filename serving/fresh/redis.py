"""Fresh watches in Redis or Valkey, for several hosts. Durable as far as the server is (docs/serving.md).

All keys begin with `{watchnext}:`, in a Redis cluster they lie on one node:

user:ID     a sorted set with the user's watches, by time
events      a set of all event ids
erased      a hash, user id -> time of the erasure
arrivals    how many watches ever came

A watch is a member `0000000000000007` (which arrival it was, so that those of one time are in order), `003` and the
item id, `005` and the event id (each with its length in bytes), and the fraction. Each change is one script, which
Redis runs with nothing between.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Container, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from redis import Redis
from redis.asyncio import ConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from serving.fresh.breaker import Breaker
from serving.fresh.store import MOST, MOST_TOLD, NOTHING, Fresh, Learned, Watch, check, check_id
from watchnext.errors import StoreUnavailableError, UsageError

log = logging.getLogger(__name__)
_USER, _EVENTS, _ERASED, _ARRIVALS = (
    b"{watchnext}:" + name for name in (b"user:", b"events", b"erased", b"arrivals")
)
_ARRIVAL = 16
_CONNECTIONS = 8
"""Of a process, for reading, and as many for writing: the event loop keeps no more busy."""
_PAGE_ROWS = 5000

_OF = """
local found = redis.call('ZRANGE', KEYS[1], ARGV[2], -1, 'WITHSCORES')
local items, sizes, times = {}, {}, {}
for i = 1, #found, 2 do
    local size = tonumber(string.sub(found[i], 17, 19))
    items[#items + 1] = string.sub(found[i], 20, 19 + size)
    sizes[#sizes + 1] = size
    times[#times + 1] = found[i + 1]
end
local erased = redis.call('HGET', KEYS[2], ARGV[1])
return {table.concat(items), table.concat(sizes, ' '), table.concat(times, ' '), erased}
"""  # three texts, since the client takes long for many
_ADD = """
local new = 0
for i = 1, #ARGV, 5 do
    local erased = redis.call('HGET', KEYS[2], ARGV[i + 1])
    local late = erased and tonumber(ARGV[i + 2]) <= tonumber(erased)
    if not late and redis.call('SADD', KEYS[1], ARGV[i + 3]) == 1 then
        local arrival = string.format('%016d', redis.call('INCR', KEYS[3]))
        redis.call('ZADD', KEYS[3 + tonumber(ARGV[i])], ARGV[i + 2], arrival .. ARGV[i + 4])
        new = new + 1
    end
end
return new
"""
_FORGET = """
local function forget(members)
    for _, member in ipairs(members) do
        local from = 20 + tonumber(string.sub(member, 17, 19))
        local size = tonumber(string.sub(member, from, from + 2))
        redis.call('SREM', KEYS[2], string.sub(member, from + 3, from + 2 + size))
    end
    return #members
end
"""
_ERASE = f"""{_FORGET}
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
local erased = redis.call('HGET', KEYS[3], ARGV[1])
local gone = forget(redis.call('ZRANGE', KEYS[1], 0, -1))
redis.call('DEL', KEYS[1])
local time = math.max(tonumber(ARGV[2]), tonumber(last or ARGV[2]), tonumber(erased or ARGV[2]))
redis.call('HSET', KEYS[3], ARGV[1], string.format('%.0f', time))
return gone
"""
_PRUNE = f"""{_FORGET}
local gone = forget(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
return gone
"""
_DROP = f"""{_FORGET}
local gone = 0
for _, member in ipairs(ARGV) do
    if redis.call('ZREM', KEYS[1], member) == 1 then gone = gone + forget({{member}}) end
end
return gone
"""


class Turns:
    """How many may ask at the same time, and whether it makes sense."""

    def __init__(self) -> None:
        self.free, self.breaker = asyncio.Semaphore(_CONNECTIONS), Breaker()


class RedisStore:
    """A `FreshStore`. Connections are made when they are needed, in the process that needs them.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, or the same for Valkey.
        read_seconds: how long connecting, and then asking for a user, may take.
        write_seconds: the same for adding and erasing, which may wait for the server's disk.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        url: str,
        read_seconds: float = 0.05,
        write_seconds: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._about, self._clock = _without_password(url), clock
        self._reads, self._writes = _client(url, read_seconds), _client(url, write_seconds)
        self._of = self._reads.register_script(_OF)
        self._add, self._erase = self._writes.register_script(_ADD), self._writes.register_script(_ERASE)
        self._reading, self._writing = Turns(), Turns()
        self._knows_durability = False

    async def of(self, user_id: str) -> Fresh:
        """What is known of a user."""
        return _fresh(*await self._last(user_id, MOST))

    async def history(self, user_id: str) -> Fresh:
        """The same of a long history, taken apart in a thread."""
        return await asyncio.to_thread(_fresh, *await self._last(user_id, MOST_TOLD))

    async def add(self, watches: Sequence[Watch]) -> int:
        """Keep watches; returns how many were new."""
        check(watches)
        users: dict[str, int] = {}
        values: list[bytes | int] = []
        for watch in watches:
            key = users.setdefault(watch.user_id, len(users) + 1)
            values += [key, watch.user_id.encode(), watch.time, watch.event_id.encode(), _body(watch)]
        async with self._asking(self._writing):
            await self._warn_of_loss()
            keys = [_EVENTS, _ERASED, _ARRIVALS, *(_USER + user.encode() for user in users)]
            return int(await self._add(keys, values))

    async def erase(self, user_id: str) -> int:
        """Forget all watches of a user."""
        check_id("user id", user_id)
        user = user_id.encode()
        async with self._asking(self._writing):
            return int(await self._erase([_USER + user, _EVENTS, _ERASED], [user, int(self._clock())]))

    async def size(self) -> int:
        """How many watches there are."""
        async with self._asking(self._reading):
            return int(await self._reads.scard(_EVENTS))

    async def close(self) -> None:
        """End the connections."""
        await self._reads.aclose()
        await self._writes.aclose()

    async def _last(self, user_id: str, most: int) -> list[Any]:
        """What `_OF` returns."""
        user = _encoded(user_id)
        async with self._asking(self._reading):
            found: list[Any] = await self._of([_USER + user, _ERASED], [user, -most])
        return found

    @asynccontextmanager
    async def _asking(self, turns: "Turns") -> AsyncIterator[None]:
        async with turns.free:
            turns.breaker.check()  # those who waited know what happened to those before them
            try:
                yield
            except (RedisError, OSError) as error:
                raise turns.breaker.failed(_unavailable(self._about, error)) from error

    async def _warn_of_loss(self) -> None:
        """Log once if the server writes no append-only file: what it acknowledges is then lost with its memory."""
        if self._knows_durability:
            return
        self._knows_durability = True
        try:
            enabled = (await self._writes.info("persistence")).get("aof_enabled")
        except RedisConnectionError:
            self._knows_durability = False
            raise
        except RedisError:  # not allowed to ask
            return
        if not enabled:
            log.warning("%s has no append-only file: set appendonly yes, or watches may get lost.", self._about)


class RedisUpkeep:
    """An `Upkeep`."""

    def __init__(self, url: str) -> None:
        self._about = _without_password(url)
        self._redis = _parsed(Redis.from_url, url, socket_timeout=10, socket_connect_timeout=2)
        self._prune, self._drop = map(self._redis.register_script, (_PRUNE, _DROP))

    def watches(self) -> Iterator[Watch]:
        """All watches, by user."""
        with _explained(self._about):
            for key in self._users():
                for _, watch in self._members(key):
                    yield watch

    def erased(self) -> Iterator[tuple[str, int]]:
        """All users that were ever erased."""
        with _explained(self._about):
            found = dict(self._redis.hscan_iter(_ERASED, count=1000))
        yield from ((user.decode(), int(at)) for user, at in sorted(found.items()))

    def prune(self, before: int, learned: Container[Learned] | None = None) -> int:
        """Forget watches from before a time, all or those that were learned."""
        with _explained(self._about):
            if learned is None:
                return sum(int(self._prune([key, _EVENTS], [f"({before}"])) for key in self._users())
            gone = 0
            for key in self._users():
                members = [
                    member
                    for member, watch in self._members(key)
                    if watch.time < before and (watch.user_id, watch.item_id, watch.time) in learned
                ]
                for start in range(0, len(members), _PAGE_ROWS):
                    gone += int(self._drop([key, _EVENTS], members[start : start + _PAGE_ROWS]))
            return gone

    def close(self) -> None:
        """End the connections."""
        self._redis.close()

    def _users(self) -> list[bytes]:
        return sorted(set(self._redis.scan_iter(_USER + b"*", count=1000)))

    def _members(self, key: bytes) -> Iterator[tuple[bytes, Watch]]:
        """The watches of a user, and what Redis has for each."""
        user, first = key[len(_USER) :].decode(), 0
        while rows := self._redis.zrange(key, first, first + _PAGE_ROWS - 1, withscores=True):
            for member, at in rows:
                item, rest = _cut(member[_ARRIVAL:])
                event, fraction = _cut(rest)
                watch = Watch(event.decode(), user, item.decode(), int(at), float(fraction) if fraction else None)
                yield member, watch
            first += _PAGE_ROWS


def _client(url: str, seconds: float) -> AsyncRedis:
    """Tries once more on another connection when one has broken, since a server's restart breaks them all."""
    retry = AsyncRetry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return AsyncRedis.from_pool(_parsed(ConnectionPool.from_url, url, retry=retry, **limits))


def _parsed(make: Callable[..., Any], url: str, **options: Any) -> Any:
    scheme, rest = url.split("://", 1)
    try:
        return make(f"{scheme.replace('valkey', 'redis')}://{rest}", **options)
    except ValueError as error:
        raise UsageError(f"store {_without_password(url)}", error, "Give redis://host:port/database.") from error


def _without_password(url: str) -> str:
    """For messages: what follows the last @ before the path, without options."""
    scheme, rest = url.split("?", 1)[0].split("://", 1)
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _encoded(id_: str) -> bytes:
    try:
        return id_.encode()
    except UnicodeEncodeError as error:
        raise UsageError("user id", ascii(id_), "Give ids in UTF-8.") from error


def _body(watch: Watch) -> bytes:
    item, event = watch.item_id.encode(), watch.event_id.encode()
    fraction = b"" if watch.fraction is None else repr(float(watch.fraction)).encode()
    return b"%03d%b%03d%b%b" % (len(item), item, len(event), event, fraction)


def _fresh(items: bytes, sizes: bytes, times: bytes, erased: bytes | None) -> Fresh:
    """From what `_OF` returns."""
    if not items and erased is None:
        return NOTHING
    watches, start = [], 0
    for size, at in zip(sizes.split(), times.split(), strict=True):
        end = start + int(size)
        watches.append((items[start:end].decode(), int(at)))
        start = end
    return Fresh(tuple(watches), None if erased is None else int(erased))


def _cut(text: bytes) -> tuple[bytes, bytes]:
    """What has its length before it, and what follows it."""
    end = 3 + int(text[:3])
    return text[3:end], text[end:]


def _unavailable(about: str, error: Exception) -> StoreUnavailableError:
    cure = "See whether the server runs, can be reached and has memory; it is asked again in a second."
    return StoreUnavailableError(f"store {about}", f"{type(error).__name__}: {error}", cure)


@contextmanager
def _explained(about: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise _unavailable(about, error) from error
