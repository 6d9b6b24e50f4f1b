"""The releases that answer now, and the thread that swaps them when others are published, split or rolled back.

A release is opened beside those that answer, checked and warmed; then one reference is replaced. Requests under way
finish on what they began with, which goes when the last of them has. Whatever cannot be opened is logged, and all
stays as it is; it is tried again when CURRENT, VARIANTS or DENIED change, and after a while, as a disk or a network
may have failed.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import NamedTuple

from serving.opened import Opened
from serving.problems import NoReleaseError
from watchnext.denied import DENIED, read_denied
from watchnext.errors import WatchnextError
from watchnext.files import Stamp, stamp
from watchnext.release import CURRENT, ReleaseStore
from watchnext.variants import CURRENT_VARIANT, VARIANTS, Variants, read_variants

log = logging.getLogger(__name__)
OVERRIDE = "override"
"""What the variant is called where a request names its release."""
_SOON, _LATER = 10.0, 600.0
"""Seconds until what was refused is tried again, the first time and at the most; they double in between."""
_FIRST_LOOK = 50.0
"""Seconds that a process waits at its start for a release newer than the one it was forked with."""
_NICE = 10
"""How far the thread that opens releases stands back behind those that answer."""


class Part(NamedTuple):
    """One release that answers."""

    variant: str
    """Under which name: `current`, or the release's."""
    slot: int
    """Its number in this process's metrics."""
    opened: Opened


class Live(NamedTuple):
    """What answers at one moment."""

    variants: Variants
    parts: Mapping[str, Part]
    """By variant, in the order of the split; then the shadow, by the name of its release.

    A variant that cannot be opened has the part of another one.
    """

    def of(self, user_id: str) -> Part:
        """What answers a user."""
        return self.parts[self.variants.of(user_id)]

    def named(self, release: str) -> Part | None:
        """A release by its name; None where it is not open."""
        return next((part for part in self.parts.values() if part.opened.manifest.name == release), None)

    @property
    def releases(self) -> tuple[Variants, dict[str, tuple[str, str]]]:
        """What tells one from another: the split, and for each variant which one answers and from what."""
        return self.variants, {v: (part.variant, part.opened.manifest.name) for v, part in self.parts.items()}

    @property
    def each(self) -> list[Part]:
        """All parts, each once."""
        return list({part.variant: part for part in self.parts.values()}.values())

    def placed(self, slots: "Slots") -> "Live":
        """The same with other slots."""
        each = dict(zip((part.variant for part in self.each), slots([p.variant for p in self.each]), strict=True))
        return self._replace(parts={v: part._replace(slot=each[part.variant]) for v, part in self.parts.items()})

    @property
    def shadow(self) -> Part | None:
        """The release that is asked, too, and not shown."""
        return None if self.variants.shadow is None else self.parts[self.variants.shadow]

    @property
    def main(self) -> Opened:
        """The first variant's release, which answers what does not depend on a user."""
        return self.parts[next(iter(self.variants.split))].opened


Swapped = Callable[[Live | None, Live | None], None]
Slots = Callable[[Sequence[str]], Sequence[int]]
"""Gives variants their slots."""


class LiveReleases:
    """Keeps a folder of releases open as it says which of them answer.

    Args:
        store: where releases lie.
        poll_seconds: how often CURRENT and VARIANTS are looked at.
    """

    def __init__(self, store: ReleaseStore, poll_seconds: float) -> None:
        self._store, self._poll_seconds = store, poll_seconds
        self._swapped: Swapped = lambda _, __: None
        self._slots: Slots = lambda names: range(len(names))
        self._live: Live | None = None
        self._reason = "The release is being loaded; ask again in a moment."
        self._seen: list[Stamp] = []
        self._answering: tuple[Variants, dict[str, str]] | None = None
        self._told, self._pause, self._again = "", 0.0, 0.0
        self._stopped, self._looked = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def live(self) -> Live:
        """What answers now. Raises NoReleaseError while nothing does."""
        if self._live is None:
            raise NoReleaseError(self._reason)
        return self._live

    @property
    def parts(self) -> Iterable[Part]:
        """All releases that answer now; none while nothing does."""
        return () if self._live is None else self._live.each

    def look(self) -> None:
        """Open what CURRENT and VARIANTS name, if that has changed, and swap; never raises for a bad release."""
        stamps = [stamp(self._store.root / name) for name in (CURRENT, VARIANTS, DENIED)]
        if stamps == self._seen and (not self._pause or monotonic() < self._again):
            return
        self._seen = stamps
        try:
            read_denied(self._store.root)
            variants = read_variants(self._store.root)
            wanted = variants, self._releases_of(variants)
            left_out = None
            if wanted != self._answering:
                left_out = self._swap(*wanted)
                self._answering = wanted if left_out is None else None
            if left_out is None:
                self._told, self._pause = "", 0.0
            else:
                self._refuse(left_out, "Left out, until it can be opened: %s")
        except Exception as error:  # whatever it is, what answers goes on
            self._refuse(error, "No release to answer from: %s" if self._live is None else "All stays as it is: %s")

    def start(self, swapped: Swapped = lambda _, __: None, slots: Slots | None = None) -> None:
        """Look again and again, in a thread.

        Args:
            swapped: called after each swap with what answered before, if anything did, and what does now; after a
                refusal both are the same.
            slots: gives variants their numbers in metrics; None counts them.
        """
        forked, self._swapped, self._slots = self._live is not None, swapped, slots or self._slots
        if self._live is not None:
            self._live = self._live.placed(self._slots)
            swapped(None, self._live)
        self._thread = threading.Thread(target=self._run, name="releases", daemon=True)
        self._thread.start()
        if forked and not self._looked.wait(_FIRST_LOOK):  # what the process forked from opened may be old
            log.warning("Answering from %s until the current release is open.", self.live.main.manifest.name)

    def stop(self) -> None:
        """End the thread, once a release that it is just opening is open."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)  # Linux: of this thread alone
        while not self._stopped.is_set():
            self.look()
            self._looked.set()
            self._stopped.wait(self._poll_seconds)

    def _releases_of(self, variants: Variants) -> dict[str, str]:
        """The names of releases by variant."""
        current = self._store.current()
        names = [*variants.split, *([variants.shadow] if variants.shadow is not None else [])]
        return {name: current if name == CURRENT_VARIANT else name for name in names}

    def _swap(self, variants: Variants, wanted: dict[str, str]) -> Exception | None:
        """Answer from what can be opened; returns why something else is left out.

        Raises where that is the current release, or nothing of the split can be opened.
        """
        opened, errors = self._opened(dict.fromkeys(wanted.values()))
        there = {variant: opened[name] for variant, name in wanted.items() if name in opened}
        main = CURRENT_VARIANT if CURRENT_VARIANT in variants.split else next(filter(there.get, variants.split), "")
        if main not in there:
            raise errors.get(wanted.get(main, ""), next(iter(errors.values())))
        if variants.shadow not in there:
            variants = variants.model_copy(update={"shadow": None})
        parts = {variant: Part(variant, 0, one) for variant, one in there.items()}
        parts = {v: parts.get(v, parts[main]) for v in wanted if v in there or v in variants.split}
        earlier, now = self._live, Live(variants, parts).placed(self._slots)
        if earlier is None or now.releases != earlier.releases:
            self._live = now
            shown = [part for part in now.each if part.variant in variants.split]
            told = ", ".join(f"{part.variant} ({part.opened.manifest.name})" for part in shown)
            log.info("Answering from %s%s.", told, f", in the shadow {variants.shadow}" if variants.shadow else "")
            self._swapped(earlier, now)
        return next(iter(errors.values()), None)

    def _opened(self, names: Iterable[str]) -> tuple[dict[str, Opened], dict[str, Exception]]:
        """Releases by name, those that answer already as they are; and why others cannot be opened."""
        opened = {part.opened.manifest.name: part.opened for part in self.parts}
        errors: dict[str, Exception] = {}
        for name in names:
            if name not in opened:
                try:
                    with _alone(self._store):
                        opened[name] = Opened.open(self._store, name)
                except Exception as error:
                    errors[name] = error
        return opened, errors

    def _refuse(self, error: Exception, what: str) -> None:
        """Tell why something does not answer, once, and try it again later."""
        self._pause = min(max(_SOON, 2 * self._pause), _LATER)
        self._again = monotonic() + self._pause
        why = str(error) or type(error).__name__
        if why != self._told:
            unforeseen = None if isinstance(error, WatchnextError | OSError) else error
            log.warning(what, why, exc_info=unforeseen)
            self._told, self._reason = why, "No release can be opened; the server's log says why."
            self._swapped(self._live, self._live)


@contextmanager
def _alone(store: ReleaseStore) -> Iterator[None]:
    """Let one process of a host open a release at a time, so that the others have the processors to answer."""
    folder = os.open(store.root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
