"""The deny list of a folder of releases: ids of items that must not be recommended from any of them, at once.

    STORE/DENIED    a JSON array of ids; replaced by rename

Ids are texts, so that the list outlives releases and may name items that come with a later one. Knows nothing of what
is in a release.
"""

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from watchnext.errors import CorruptError, UsageError
from watchnext.files import stamp, write_atomic

DENIED = "DENIED"
_LOCK = f".{DENIED}.lock"
log = logging.getLogger(__name__)
_IDS = TypeAdapter(tuple[str, ...])
_CURE = "Mend it: it is a JSON array of item ids, [] for none. Until then the items denied last stay denied."


class DenyList:
    """The denied ids as the file says now; all methods may be called from several threads at once.

    Each question costs a `stat`; the file is read where that has changed. A file that cannot be read, or is gone, is
    logged and lifts no denial.

    Args:
        store: the folder of releases. One without a file denies nothing.

    Raises CorruptError where there is a file that cannot be read: then no denied item is known.
    """

    def __init__(self, store: Path) -> None:
        self._path, self._lock, self._told = store / DENIED, threading.Lock(), ""
        self._stamp = stamp(self._path)
        self._ids = read_denied(store)

    def ids(self) -> tuple[str, ...]:
        """The denied ids; the same object until they change."""
        if stamp(self._path) != self._stamp:
            with self._lock:
                self._read_again()
        return self._ids

    def _read_again(self) -> None:
        now = stamp(self._path)  # before reading: what changes meanwhile is read at the next question
        if now == self._stamp:
            return
        try:
            self._ids, self._told = _read(self._path), ""
            log.info("%s denies %d items.", self._path, len(self._ids))
        except CorruptError as error:
            if str(error) != self._told:
                self._told = str(error)
                log.error("%s", error)
            if now is not None and isinstance(error.__cause__, OSError):
                return  # what is in the way may go without a change of the file
        self._stamp = now


def read_denied(store: Path) -> tuple[str, ...]:
    """The denied ids of a folder of releases; none where nothing was ever denied.

    Raises CorruptError where the file cannot be read, or is gone though there was one.
    """
    path = store / DENIED
    if os.path.lexists(path) or _was_written(store):
        return _read(path)
    return ()


def deny(store: Path, ids: Iterable[str]) -> tuple[str, ...]:
    """Add ids to the deny list of a folder of releases. Returns those that were not on it."""
    return _change(store, ids, denied=True)


def lift(store: Path, ids: Iterable[str]) -> tuple[str, ...]:
    """Take ids off the deny list of a folder of releases. Returns those that were on it."""
    return _change(store, ids, denied=False)


def _change(store: Path, ids: Iterable[str], denied: bool) -> tuple[str, ...]:
    """Raises UsageError for an id that is not Unicode or, to be denied, blank; CorruptError for an unreadable list.

    The list then stays.
    """
    asked = dict.fromkeys(ids)
    for id_ in asked:
        if not _is_unicode(id_):
            raise UsageError("item id", ascii(id_), "Give ids in UTF-8.")
        if denied and not id_.strip(" "):
            raise UsageError("item id", repr(id_), "Give an id that is more than spaces.")
    with (store / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = dict.fromkeys(read_denied(store))
        changed = tuple(id_ for id_ in asked if (id_ in before) != denied)
        after = [*before, *changed] if denied else [id_ for id_ in before if id_ not in asked]
        if changed:
            write_atomic(store / DENIED, (json.dumps(after, ensure_ascii=False, indent=1) + "\n").encode())
            if not _was_written(store):
                lock.write("written\n")
    return changed


def _was_written(store: Path) -> bool:
    """Whether there ever was a deny list: the lock then says so."""
    lock = store / _LOCK
    return lock.is_file() and lock.stat().st_size > 0


def _read(path: Path) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(_IDS.validate_json(path.read_bytes(), strict=True)))
    except OSError as error:
        raise CorruptError(str(path), error.strerror, _CURE) from error
    except ValidationError as error:
        raise CorruptError(str(path), error.errors()[0]["msg"], _CURE) from error


def _is_unicode(text: str) -> bool:
    """False for what was made of bytes of another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
