"""What is seen of requests: counted, logged, traced, and a few of their answers checked. Put together here."""

import re
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from serving.releases import Live
from serving.settings import ServingSettings
from serving.telemetry.checks import Checks
from serving.telemetry.exposition import Metrics
from serving.telemetry.facts import Facts
from serving.telemetry.logs import Logs
from serving.telemetry.metrics import SOURCES, WorkerMetrics
from serving.telemetry.request_log import RequestIds, RequestLog, user_names
from serving.telemetry.tracing import start_tracing, tracing_wanted

if TYPE_CHECKING:
    from serving.telemetry.spans import Tracing

_SOURCES = {source: place for place, source in enumerate(SOURCES)}
_NANOSECONDS = 1e9


class Observer:
    """Made and prepared before processes fork; each then takes a row and starts.

    Args:
        settings: what is written down, and how much is checked.
        logs: where lines go; None writes none about requests.

    Raises UsageError where traces are asked for without the packages that they need.
    """

    def __init__(self, settings: ServingSettings, logs: Logs | None) -> None:
        self._rows = 2 * settings.workers  # while workers are replaced, there are two generations of them
        self._log = None if logs is None else RequestLog(logs, user_names(settings.log_users))
        self._traces, self._every = settings.traces, settings.check_every
        self._tracing: Tracing | None = None
        tracing_wanted(settings.traces)
        self.row = 0
        """Of the shared memory, this process's own."""
        self.metrics: Metrics
        self.worker: WorkerMetrics
        self.ids: RequestIds
        self.checks: Checks

    def prepare(self, routes: Sequence[str]) -> None:
        """Make the shared memory, for the routes of an API, as `GET /recommend`."""
        self.metrics = Metrics.create(self._rows, routes)
        self._places = {route: place for place, route in enumerate(self.metrics.routes)}
        self._patterns = [
            ("[^/]+".join(map(re.escape, re.split(r"{\w+}", route))), place)
            for route, place in self._places.items()
            if "{" in route
        ]

    def start(self) -> None:
        """Begin, in the process that answers."""
        self.worker, self.ids = self.metrics.worker(self.row), RequestIds()
        self.checks = Checks(self.worker, self._every)
        self.checks.start()
        self._tracing = start_tracing(self._traces)

    def swapped(self, before: Live | None, now: Live | None) -> None:
        """Other releases answer, or some were refused and nothing has changed."""
        if now is None or before is now:
            self.worker.swap_refused()
            return
        for part in now.each:
            earlier = None if before is None else before.parts.get(part.variant)
            if earlier is None or earlier.opened is not part.opened or earlier.slot != part.slot:
                self.worker.swapped(part.slot)

    def stop(self) -> None:
        """End threads; spans that wait are sent."""
        self.checks.stop()
        if self._tracing is not None:
            self._tracing.stop()

    def answered(self, method: str, route: str, status: int, size: int, facts: Facts) -> None:
        """A request was answered.

        Args:
            method: of HTTP.
            route: `GET /recommend`; of a request that did not get to its route, the method and the path.
            status: of the answer.
            size: bytes of its body.
            facts: all else.
        """
        place = self._places.get(route)
        if place is None:
            place = self._place(route)
        self.worker.request(place, status, facts.slot, facts.seconds)
        if facts.source is not None:
            self.worker.recommended(_SOURCES[facts.source], facts.slot, facts.vector, facts.search, facts.filter)
        if facts.decile is not None:
            self.worker.scored(facts.slot, facts.decile, monotonic())
        if facts.degraded:
            self.worker.degraded()
        if facts.added is not None:
            self.worker.watches(facts.added, facts.ignored)
        known = self.metrics.routes[place]
        trace = None if self._tracing is None else self._traced(self._tracing, known, status, facts)
        if self._log is not None:
            self._log(
                facts.request_id,
                method,
                known,
                status,
                facts.seconds,
                size,
                user=facts.user_id,
                release=facts.release,
                variant=facts.variant,
                source=facts.source,
                degraded=facts.degraded or None,
                key=facts.key,
                trace=trace,
            )

    def _place(self, path: str) -> int:
        """Of the route that has a path such as `GET /users/ann/history`; the last, `other`, where none has."""
        found = (place for pattern, place in self._patterns if re.fullmatch(pattern, path))
        return next(found, len(self.metrics.routes) - 1)

    def _traced(self, tracing: "Tracing", route: str, status: int, facts: Facts) -> str | None:
        begun, ended = int(facts.begin * _NANOSECONDS), int(facts.end * _NANOSECONDS)
        about = {"watchnext.release": facts.release} if facts.release else None
        return tracing.request(
            route, status, begun, ended, _parts(facts), facts.traceparent, facts.tracestate, attributes=about
        )


def _parts(facts: Facts) -> Iterable[tuple[str, int, int]]:
    """The stages of a recommendation one after the other, ending with the request."""
    end = int(facts.end * _NANOSECONDS)
    start = end - int((facts.vector + facts.filter + facts.search) * _NANOSECONDS)
    if facts.source is None:
        return
    for name in ("vector", "filter", "search"):
        stop = start + int(getattr(facts, name) * _NANOSECONDS)
        yield name, start, stop
        start = stop
