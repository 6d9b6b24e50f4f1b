"""From what is asked to the bytes of an answer: variant, vector, filter, search, JSON. Knows requests, not HTTP."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, time
from typing import NamedTuple

import numpy as np
import orjson

from index.askers import Asker, News
from index.explain import explain
from index.filters import ItemFilter
from index.interface import Bool
from index.recommender import Found
from serving.fresh.store import NOTHING, Fresh, FreshStore
from serving.opened import Opened
from serving.problems import NotFoundError, WrongError
from serving.releases import OVERRIDE, Live, LiveReleases, Part
from serving.settings import ServingSettings
from serving.telemetry.facts import Facts
from serving.telemetry.observer import Observer
from serving.together import Searched, Together
from watchnext.api.problems import ParameterError
from watchnext.api.requests import RecommendQuery, RecommendRequest, Wanted, seconds
from watchnext.errors import StoreUnavailableError, UsageError
from watchnext.features import UserContext

log = logging.getLogger(__name__)
_THREADS = 4
"""That filtered and explained answers are made in, which take milliseconds; others are searched for together."""


class Made(NamedTuple):
    """An answer and how it was found."""

    body: bytes
    found: Found
    allowed: Bool | None


Who = Callable[[Opened], Asker]
"""Finds whoever asks in a release."""


class Recommending:
    """Answers GET and POST /recommend.

    Args:
        releases: what answers.
        store: fresh watches; None where there are none.
        settings: how much may be asked, and how long it may take.
        observer: has a few answers checked.
    """

    def __init__(
        self, releases: LiveReleases, store: FreshStore | None, settings: ServingSettings, observer: Observer
    ) -> None:
        self._releases, self._store, self._observer = releases, store, observer
        self._max_k, self._deadline = settings.max_k, settings.deadline_seconds
        self._shadow_every, self._since_shadow = settings.shadow_every, 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="filtered")
        self._together = Together()
        self._degraded = False

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    async def known(self, asked: RecommendQuery, facts: Facts) -> bytes:
        """The JSON of the answer for somebody with an id."""
        user_id = facts.user_id = asked.user_id
        live = self._releases.live
        part = self._part(live, user_id, asked)
        start = perf_counter()
        fresh = await self._fresh(user_id, facts)
        context = None
        if asked.country is not None or asked.device is not None:
            context = UserContext(asked.country, asked.device)

        def who(opened: Opened) -> Asker:
            return opened.askers.ask(user_id, fresh, context, int(time()))

        asker = who(part.opened)
        facts.vector = perf_counter() - start
        return await self._answer(live, part, asker, asked, facts, who)

    async def unknown(self, asked: RecommendRequest, facts: Facts) -> bytes:
        """The JSON of the answer for somebody without an id, who gets a variant by the request's."""
        live = self._releases.live
        part = self._part(live, facts.request_id, asked)

        def who(opened: Opened) -> Asker:
            return opened.recommender.askers.ask(0, _news(opened, asked), int(time()))

        start = perf_counter()
        asker = who(part.opened)
        facts.vector = perf_counter() - start
        return await self._answer(live, part, asker, asked, facts, who)

    def _part(self, live: Live, user_id: str, asked: Wanted) -> Part:
        if asked.k + asked.offset > self._max_k:
            where, got = ("offset", asked.offset) if asked.offset else ("k", asked.k)
            raise WrongError(where, got, f"k and offset together may be {self._max_k} at most here")
        if asked.release is None:
            return live.of(user_id)
        part = live.named(asked.release)
        if part is None:
            names = ", ".join(dict.fromkeys(one.opened.manifest.name for one in live.parts.values()))
            raise _missing("release", asked.release, f"Is not loaded here; use one of {names}")
        return part._replace(variant=OVERRIDE)

    async def _fresh(self, user_id: str, facts: Facts) -> Fresh:
        if self._store is None:
            return NOTHING
        try:
            fresh = await self._store.of(user_id)
        except StoreUnavailableError as error:
            if not self._degraded:
                log.warning("Answers go on without fresh watches: %s", error)
            self._degraded = facts.degraded = True
            return NOTHING
        if self._degraded:
            self._degraded = False
            log.info("Fresh watches are there again.")
        return fresh

    async def _answer(self, live: Live, part: Part, asker: Asker, asked: Wanted, facts: Facts, who: Who) -> bytes:
        opened = part.opened
        facts.variant, facts.slot, facts.release = part.variant, part.slot, opened.manifest.name
        if asked.exclude:
            asker = _excluding(opened, asker, asked)
        if is_filtered(asked) or asked.explain:
            async with asyncio.timeout(self._deadline - (perf_counter() - facts.begin)):
                loop = asyncio.get_running_loop()
                made = await loop.run_in_executor(self._threads, _made, opened, asker, asked, facts)
        else:
            searched = await self._together.search(opened.recommender, asker, asked.k + asked.offset)
            made = _written(opened, asker, asked, facts, searched)
        self._check(live.shadow, part, asker, asked, made, who)
        return made.body

    def _check(self, shadow: Part | None, part: Part, asker: Asker, asked: Wanted, made: Made, who: Who) -> None:
        """Have an answer looked at closer, if it is its turn; see `serving.telemetry.checks`."""
        checks, recommender, k = self._observer.checks, part.opened.recommender, asked.k + asked.offset
        if asker.vector is not None and checks.due():
            near = sum(count for source, count in made.found.sources if source == asker.source)
            found = made.found.numbers[:near]
            checks.recall(part.slot, recommender, asker.vector, k, asker.watched, made.allowed, found)
        if shadow is None or shadow.opened is part.opened:
            return
        self._since_shadow = (self._since_shadow + 1) % self._shadow_every
        if self._since_shadow == 0:
            shown, other = recommender.export.items.ids(made.found.numbers), shadow.opened
            checks.shadow(shadow.slot, k, shown, lambda: _ids(other, who(other), asked))


def is_filtered(asked: Wanted) -> bool:
    """Whether items are chosen by what they are."""
    return bool(asked.categories) or asked.uploaded_after is not None or asked.uploaded_before is not None


def _excluding(opened: Opened, asker: Asker, asked: Wanted) -> Asker:
    """Whoever asks, as if they had watched what they do not want."""
    numbers = opened.recommender.export.items.numbers(asked.exclude)
    return asker._replace(watched=np.concatenate([asker.watched, numbers[numbers > 0]]))


def _ids(opened: Opened, asker: Asker, asked: Wanted) -> list[str]:
    """Ids of what a release answers; none where it does not know what is asked for."""
    try:
        allowed = _allowed(opened, asked)
    except (NotFoundError, WrongError):
        return []
    found = opened.recommender.answer(_excluding(opened, asker, asked), asked.k + asked.offset, allowed)
    return opened.recommender.export.items.ids(found.numbers)


def _made(opened: Opened, asker: Asker, asked: Wanted, facts: Facts) -> Made:
    """An answer that is searched for alone."""
    start = perf_counter()
    allowed = _allowed(opened, asked)
    filtered = perf_counter()
    found = opened.recommender.answer(asker, asked.k + asked.offset, allowed)
    searched = Searched(found, allowed, filtered - start, perf_counter() - filtered)
    return _written(opened, asker, asked, facts, searched)


def _written(opened: Opened, asker: Asker, asked: Wanted, facts: Facts, searched: Searched) -> Made:
    """The JSON of a `RecommendAnswer`."""
    found, facts.filter, facts.search = searched.found, searched.filter, searched.search
    page = _page(found, asked.offset) if asked.offset else found
    facts.source = found.sources[0][0] if found.sources else asker.source
    if asker.vector is not None and opened.reference is not None and len(found.scores) and not is_filtered(asked):
        facts.decile = opened.reference.bin(found.scores.item(0))
    candidates = _explained(opened, asker, page) if asked.explain else opened.fragments.array(*page)
    body = b'{"user_id":%b,"release":%b,"variant":%b,"source":"%b","degraded":%b,"candidates":%b}' % (
        orjson.dumps(facts.user_id),
        orjson.dumps(facts.release),
        orjson.dumps(facts.variant),
        facts.source.encode(),
        b"true" if facts.degraded else b"false",
        candidates,
    )
    return Made(body, found, searched.allowed)


def _allowed(opened: Opened, asked: Wanted) -> Bool | None:
    """[items + 1] what may be found.

    Raises NotFoundError for a category that no item has, WrongError for times where no item has any.
    """
    if not is_filtered(asked):
        return opened.recommender.allowed()
    after, before = (None if t is None else seconds(t) for t in (asked.uploaded_after, asked.uploaded_before))
    try:
        wanted = ItemFilter(categories=asked.categories, uploaded_after=after, uploaded_before=before)
        return opened.recommender.allowed(wanted)
    except UsageError as error:
        if error.argument == "category":
            raise _missing("categories", error.got, error.cure.removesuffix(".")) from error
        bound = "uploaded_before" if after is None else "uploaded_after"
        raise WrongError(bound, error.got, error.cure.removesuffix(".")) from error


def _missing(parameter: str, got: object, problem: str) -> NotFoundError:
    return NotFoundError([ParameterError(parameter=parameter, got=str(got), problem=problem)])


def _page(found: Found, offset: int) -> Found:
    """What is left of what was found after the first `offset`."""
    sources, skipped = [], offset
    for source, count in found.sources:
        left = max(0, count - skipped)
        skipped -= count - left
        sources.append((source, left))
    return Found(found.numbers[offset:], found.scores[offset:], sources)


def _explained(opened: Opened, asker: Asker, found: Found) -> bytes:
    because = explain(opened.recommender.export, asker, found.numbers, opened.recommender.denied_numbers())
    rows = orjson.loads(opened.fragments.array(*found))
    reasons = [[one._asdict() for one in reason] for reason in because]
    return orjson.dumps([{**row, "because": reason} for row, reason in zip(rows, reasons, strict=True)])


def _news(opened: Opened, asked: RecommendRequest) -> News:
    """What a request brings, by item numbers; a watch without a time counts as of the time of the next."""
    now = int(time())
    times: list[int] = []
    for watch in reversed(asked.history):
        now = now if watch.time is None else seconds(watch.time)
        times.append(now)
    numbers = opened.recommender.export.items.numbers([watch.item_id for watch in asked.history])
    in_order = np.array(times[::-1], np.int64)
    order = np.argsort(in_order, kind="stable")
    return News(
        items=numbers[order],
        times=in_order[order],
        searches=asked.searches,
        context=UserContext(**asked.context.model_dump()),
    )
