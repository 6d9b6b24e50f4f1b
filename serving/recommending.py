"""From what is asked to the bytes of an answer: variant, vector, filter, search, JSON. Knows requests, not HTTP."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, time

import numpy as np
import orjson

from index.askers import Asker, News
from index.explain import explain
from index.filters import ItemFilter
from index.interface import Bool
from index.recommender import Found
from serving.facts import Facts
from serving.fresh.store import NOTHING, Fresh, FreshStore
from serving.opened import Opened
from serving.problems import WrongError
from serving.releases import OVERRIDE, Live, LiveReleases
from serving.settings import ServingSettings
from watchnext.api.requests import RecommendQuery, RecommendRequest, Wanted, seconds
from watchnext.errors import StoreUnavailableError, UsageError
from watchnext.features import UserContext

_THREADS = 4
"""That filtered and explained answers are made in, which take milliseconds; all others are made at once."""


class Recommending:
    """Answers GET and POST /recommend.

    Args:
        releases: what answers.
        store: fresh watches; None where there are none.
        settings: how much may be asked, and how long it may take.
    """

    def __init__(self, releases: LiveReleases, store: FreshStore | None, settings: ServingSettings) -> None:
        self._releases, self._store = releases, store
        self._max_k, self._deadline = settings.max_k, settings.deadline_seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="filtered")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    async def known(self, asked: RecommendQuery, facts: Facts) -> bytes:
        """The JSON of the answer for somebody with an id."""
        user_id = facts.user_id = asked.user_id
        live = self._releases.live
        variant, opened = self._choose(live, user_id, asked)
        start = perf_counter()
        fresh = await self._fresh(user_id, facts)
        context = None
        if asked.country is not None or asked.device is not None:
            context = UserContext(asked.country, asked.device)
        asker = opened.askers.ask(user_id, fresh, context, int(time()))
        facts.vector = perf_counter() - start
        return await self._answer(variant, opened, asker, asked, facts)

    async def unknown(self, asked: RecommendRequest, facts: Facts) -> bytes:
        """The JSON of the answer for somebody without an id, who gets a variant by the request's."""
        variant, opened = self._choose(self._releases.live, facts.request_id, asked)
        start = perf_counter()
        asker = opened.recommender.askers.ask(0, _news(opened, asked), int(time()))
        facts.vector = perf_counter() - start
        return await self._answer(variant, opened, asker, asked, facts)

    def _choose(self, live: Live, user_id: str, asked: Wanted) -> tuple[str, Opened]:
        if asked.k + asked.offset > self._max_k:
            where = "k" if not asked.offset else "offset"
            got = asked.offset or asked.k
            raise WrongError(where, got, f"k and offset together may be {self._max_k} at most here")
        if asked.release is None:
            return live.variant_of(user_id)
        opened = live.named(asked.release)
        if opened is None:
            names = ", ".join(dict.fromkeys(one.manifest.name for one in live.opened.values()))
            raise WrongError("release", asked.release, f"Is not loaded here; use one of {names}")
        return OVERRIDE, opened

    async def _fresh(self, user_id: str, facts: Facts) -> Fresh:
        if self._store is None:
            return NOTHING
        try:
            return await self._store.of(user_id)
        except StoreUnavailableError:
            facts.degraded = True
            return NOTHING

    async def _answer(self, variant: str, opened: Opened, asker: Asker, asked: Wanted, facts: Facts) -> bytes:
        facts.variant, facts.release = variant, opened.manifest.name
        if asked.exclude:
            numbers = opened.recommender.export.items.numbers(asked.exclude)
            asker = asker._replace(watched=np.concatenate([asker.watched, numbers[numbers > 0]]))
        if asked.categories or asked.uploaded_after or asked.uploaded_before or asked.explain:
            async with asyncio.timeout(self._deadline):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, _made, opened, asker, asked, facts)
        return _made(opened, asker, asked, facts)


def _made(opened: Opened, asker: Asker, asked: Wanted, facts: Facts) -> bytes:
    """The JSON of a `RecommendAnswer`."""
    start = perf_counter()
    allowed = _allowed(opened, asked)
    filtered = perf_counter()
    found = opened.recommender.answer(asker, asked.k + asked.offset, allowed)
    page = _page(found, asked.offset) if asked.offset else found
    facts.filter, facts.search = filtered - start, perf_counter() - filtered
    facts.source = found.sources[0][0] if found.sources else asker.source
    candidates = _explained(opened, asker, page) if asked.explain else opened.fragments.array(*page)
    return b'{"user_id":%b,"release":%b,"variant":%b,"source":"%b","degraded":%b,"candidates":%b}' % (
        orjson.dumps(facts.user_id),
        orjson.dumps(facts.release),
        orjson.dumps(facts.variant),
        facts.source.encode(),
        b"true" if facts.degraded else b"false",
        candidates,
    )


def _allowed(opened: Opened, asked: Wanted) -> Bool | None:
    """[items + 1] what may be found. Raises WrongError for a category or a time that no item has."""
    if not (asked.categories or asked.uploaded_after or asked.uploaded_before):
        return opened.recommender.allowed()
    after, before = (None if t is None else seconds(t) for t in (asked.uploaded_after, asked.uploaded_before))
    try:
        wanted = ItemFilter(categories=asked.categories, uploaded_after=after, uploaded_before=before)
        return opened.recommender.allowed(wanted)
    except UsageError as error:
        name = "categories" if error.argument == "category" else "uploaded_after" if after else "uploaded_before"
        raise WrongError(name, error.got, error.cure.removesuffix(".")) from error


def _page(found: Found, offset: int) -> Found:
    """What is left of what was found after the first `offset`."""
    sources, skipped = [], offset
    for source, count in found.sources:
        left = max(0, count - skipped)
        skipped -= count - left
        sources.append((source, left))
    return Found(found.numbers[offset:], found.scores[offset:], sources)


def _explained(opened: Opened, asker: Asker, found: Found) -> bytes:
    because = explain(opened.recommender.export, asker, found.numbers)
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
