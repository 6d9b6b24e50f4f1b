"""What a server counts, and how a worker counts it: a few additions to shared cells.

Telling it is `exposition.py`'s. Each cell is added to by one thread: what `WorkerMetrics` has for requests is
for the event loop, what it has for checks is for the thread of `checks.py`.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import get_args

from serving.telemetry.cells import Family, SharedCells
from serving.telemetry.drift import BINS
from serving.telemetry.slots import SlotNames
from watchnext.api.answers import Source
from watchnext.errors import UsageError
from watchnext.variants import MOST_VARIANTS

SECONDS = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the buckets of latencies."""
SOURCES: tuple[str, ...] = get_args(Source)
"""What an answer can be made of; the places are the numbers that `recommended` takes."""
STAGES = ("vector", "search", "filter")
REFUSALS = ("overload", "deadline", "rate_limit", "key")
CHECKS = ("recall", "shadow")
VARIANTS = MOST_VARIANTS + 1
"""Releases that can be told apart at once: live ones and a shadow. Each has a slot, a number from 0."""
NO_VARIANT = VARIANTS
"""The slot of requests that no release answers."""
OTHER = "other"
"""The route of requests that no route answers."""

_CLASSES = ("2xx", "3xx", "4xx", "5xx")
_SLOTS = tuple(map(str, range(VARIANTS)))


def families(routes: Sequence[str]) -> list[Family]:
    """All that is counted, for the given routes; labels `variant` and `shadow` have slots for values."""
    bins = tuple(str(n) for n in range(1, BINS + 1))
    every = {"variant": _SLOTS}
    return [
        Family(
            "requests",
            "Requests answered.",
            "counter",
            {"route": routes, "status": _CLASSES, "variant": (*_SLOTS, "")},
            sparse=True,
        ),
        Family("request_seconds", "From request to answer.", "histogram", {"route": routes}, SECONDS, sparse=True),
        Family("stage_seconds", "Parts of a recommendation.", "histogram", {"stage": STAGES}, SECONDS),
        Family("answers", "Recommendations, by what they were made of.", "counter", {"source": SOURCES, **every}),
        Family("scores", "Best scores, by decile of the reference.", "counter", {**every, "decile": bins}),
        Family("degraded", "Recommendations without fresh watches, as their store did not answer.", "counter"),
        Family("refused", "Requests refused before they were looked at.", "counter", {"reason": REFUSALS}),
        Family("in_flight", "Requests being answered.", "gauge"),
        Family("queued", "Requests waiting to be answered.", "gauge"),
        Family("watches", "Watches posted.", "counter", {"result": ("added", "duplicate")}),
        Family("swaps", "Releases taken over or refused, by each worker.", "counter", {"result": ("ok", "refused")}),
        Family("checked_recall", "Share of the exact best found, by sampled answer.", "summary", every),
        Family("shadow_overlap", "Share of shown items that the shadow has too.", "summary", {"shadow": _SLOTS}),
        Family("checks_dropped", "Checks left out, as too many waited.", "counter", {"check": CHECKS}),
        Family("checks_failed", "Checks that failed; the log says why.", "counter", {"check": CHECKS}),
        Family("score_window", "Which window the marks are of.", "hidden"),
        Family(
            "score_marks",
            "Scores at the beginning of two windows.",
            "hidden",
            {"window": ("old", "new"), **every, "decile": bins},
        ),
    ]


class WorkerMetrics:
    """What one worker process counts. Slots, routes and sources are not checked: this is on the way of each request.

    Args:
        cells: shared by all workers.
        names: of variants by slot, shared, too.
        row: this worker's.
        window_seconds: length of the windows of score drift.
    """

    def __init__(self, cells: SharedCells, names: SlotNames, row: int, window_seconds: float) -> None:
        self._cells = cells.row(row)
        self._shared, self._names, self._row = cells, names, row
        at = cells.starts
        self._requests, self._request_seconds = at["requests"], at["request_seconds"]
        self._stages = tuple(at["stage_seconds"] + n * (len(SECONDS) + 2) for n in range(len(STAGES)))
        self._answers, self._degraded, self._refused = at["answers"], at["degraded"], at["refused"]
        self._in_flight, self._queued = at["in_flight"], at["queued"]
        self._watches, self._swaps = at["watches"], at["swaps"]
        self._recall, self._overlap = at["checked_recall"], at["shadow_overlap"]
        self._dropped, self._failed = at["checks_dropped"], at["checks_failed"]
        self._scores, self._marks, self._window = at["scores"], at["score_marks"], at["score_window"]
        self._window_seconds, self._window_ends = window_seconds, 0.0
        self._cells[self._in_flight] = self._cells[self._queued] = 0  # of a process that had the row and was killed

    def slots(self, variants: Sequence[str]) -> list[int]:
        """The slots of variants and shadow, by name: those they have already, so that their counts go on.

        Names of variants, rather than of their releases, keep a series going when a release is swapped. Where there
        are no free slots, those of earlier variants begin anew. Raises UsageError where there are too many, or two of
        the same name.
        """
        check_names("variants", variants, VARIANTS)
        slots, taken = self._names.claim(self._row, variants)
        for slot in taken:
            self._names.write(self._row, slot, "")
            for label in ("variant", "shadow"):
                self._shared.forget(self._row, label, slot)
        for name, slot in zip(variants, slots, strict=True):
            self._names.write(self._row, slot, name)
        return slots

    def request(self, route: int, status: int, variant: int, seconds: float) -> None:
        """An answered request.

        Args:
            route: its place among the routes; the last is `OTHER`.
            status: 200 to 599.
            variant: slot of the release that answered, or `NO_VARIANT`.
            seconds: from the request to the answer.
        """
        cells = self._cells
        cells[self._requests + (route * 4 + status // 100 - 2) * (VARIANTS + 1) + variant] += 1
        start = self._request_seconds + route * (len(SECONDS) + 2)
        cells[start] += seconds
        cells[start + 1 + bisect_left(SECONDS, seconds)] += 1

    def recommended(self, source: int, variant: int, vector: float, search: float, filtering: float) -> None:
        """A recommendation.

        Args:
            source: its place among `SOURCES`.
            variant: slot of the release.
            vector: seconds for the user's vector.
            search: seconds for the search.
            filtering: seconds for the mask of allowed items.
        """
        cells = self._cells
        cells[self._answers + source * VARIANTS + variant] += 1
        first, second, third = self._stages
        cells[first] += vector
        cells[first + 1 + bisect_left(SECONDS, vector)] += 1
        cells[second] += search
        cells[second + 1 + bisect_left(SECONDS, search)] += 1
        cells[third] += filtering
        cells[third + 1 + bisect_left(SECONDS, filtering)] += 1

    def scored(self, variant: int, decile: int, now: float) -> None:
        """The best score of a recommendation that came from a vector, among all items: filters would shift it.

        Args:
            variant: slot of the release.
            decile: `ScoreReference.bin` of the score, from 0.
            now: `time.monotonic()`, which all processes share.
        """
        if now >= self._window_ends:
            self._turn(now)
        self._cells[self._scores + variant * BINS + decile] += 1

    def swapped(self, variant: int) -> None:
        """Another release answers in a slot from now on. Its drift begins anew, with a reference of its own."""
        cells, scores = self._cells, self._scores + variant * BINS
        cells[self._swaps] += 1
        for mark in (self._marks + variant * BINS, self._marks + (VARIANTS + variant) * BINS):
            cells[mark : mark + BINS] = cells[scores : scores + BINS]

    def swap_refused(self) -> None:
        """Another release was refused; the earlier one goes on."""
        self._cells[self._swaps + 1] += 1

    def degraded(self) -> None:
        """A recommendation had to do without fresh watches."""
        self._cells[self._degraded] += 1

    def refused(self, reason: int) -> None:
        """A request was refused; `reason` is a place among `REFUSALS`. Its answer is counted by `request` too."""
        self._cells[self._refused + reason] += 1

    def in_flight(self, requests: int) -> None:
        """So many requests are being answered now."""
        self._cells[self._in_flight] = requests

    def queued(self, requests: int) -> None:
        """So many requests wait now."""
        self._cells[self._queued] = requests

    def watches(self, added: int, duplicates: int) -> None:
        """Watches were posted."""
        self._cells[self._watches] += added
        self._cells[self._watches + 1] += duplicates

    def recall(self, variant: int, value: float) -> None:
        """The recall of one checked answer, between 0 and 1."""
        self._cells[self._recall + 2 * variant] += value
        self._cells[self._recall + 2 * variant + 1] += 1

    def overlap(self, shadow: int, value: float) -> None:
        """The overlap@k of one answer with a shadow's, between 0 and 1."""
        self._cells[self._overlap + 2 * shadow] += value
        self._cells[self._overlap + 2 * shadow + 1] += 1

    def check_dropped(self, check: int) -> None:
        """A check, by its place among `CHECKS`, was left out."""
        self._cells[self._dropped + check] += 1

    def check_failed(self, check: int) -> None:
        """A check, by its place among `CHECKS`, failed."""
        self._cells[self._failed + check] += 1

    def _turn(self, now: float) -> None:
        """Begin another window: what was the new mark becomes the old one, or none where nobody asked for a while."""
        cells, size = self._cells, VARIANTS * BINS
        window = now // self._window_seconds
        self._window_ends = (window + 1) * self._window_seconds
        passed, cells[self._window] = window - cells[self._window], window
        if passed:  # otherwise the process that had the row before has begun it
            old, new = self._marks, self._marks + size
            scores = cells[self._scores : self._scores + size]
            cells[old : old + size] = cells[new : new + size] if passed == 1 else scores
            cells[new : new + size] = scores


def check_names(argument: str, names: Sequence[str], most: int) -> None:
    """Raise UsageError where names are too many or not different."""
    if len(names) > most or len(set(names)) < len(names):
        raise UsageError(argument, ", ".join(names), f"Give at most {most} different names.")
