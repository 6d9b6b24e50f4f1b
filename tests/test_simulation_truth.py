"""The true probabilities are those that the log follows, and on worlds built by hand those worked out by hand."""

import numpy as np
import pytest
from scipy.stats import chisquare

from evaluation.scorers import Popularity, Scorer
from simulation.clock import DAY, SLOT, START
from simulation.config import EFFECTS, WorldConfig
from simulation.hashing import Float64
from simulation.ids import ITEM, USER, IdTable
from simulation.items import Items
from simulation.truth import Oracle, probabilities
from simulation.users import Users
from simulation.words import SERIES, topic_words, words
from simulation.world import World
from tests.simulated import Log, log_of, mean_and_error
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Histories, Int32
from watchnext.vocabulary import Vocabulary

TINY = WorldConfig(
    items=120, users=80, watches=6_000, days=30, topics=6, countries=3, catalogue_days=20, drift_days=8
)


def by_hand(**changes: object) -> World:
    """Two users of countries 0 and 1, in a group that only cares for topic 0 and one that only cares for topic 1.

    Topic 0 has items 0 and 1 (a series, international), 2 (made in country 0) and 3 (made in country 1), topic 1 has
    item 4. Weights are 1, 1, 2, 4 and 1; item 3 is uploaded on the second day.
    """
    settings: dict[str, object] = {
        "items": 5,
        "users": 2,
        "watches": 2,
        "topics": 2,
        "series_items": 1,
        "countries": 2,
    }
    settings |= {"freshness": False, "drift": False, "excursions": 0.0, "demographics": False}
    config = WorldConfig.model_validate(settings | changes)
    items = Items(
        cell=np.array([0, 0, 1, 2, 3], np.int32),
        cell_offsets=np.array([0, 2, 3, 4, 5, 5, 5]),
        series=np.array([0, 0, 1, 2, 3], np.int32),
        uploaded=np.array([START - DAY] * 3 + [START + DAY // 2, START - DAY]),
        popularity=np.array([1.0, 1.0, 2.0, 4.0, 1.0]),
        homes=3,
    )
    zero = np.zeros(2, np.int32)
    users = Users(
        country=np.array([0, 1], np.int32),
        device=zero,
        gender=zero,
        age=np.zeros(2, np.float32),
        logged_in=np.ones(2, np.bool_),
        group=np.array([0, 1], np.int32),
        session_chance=np.ones(2, np.float32),
    )
    return World(config, items, users, np.array([[1.0, 0.0], [0.0, 1.0]]))


def asked(
    world: World, user: int, day: int, last: int | None = None, queries: list[str | None] | None = None
) -> list[float]:
    """[items] probabilities for one user at the beginning of a day."""
    before = None if last is None else np.array([last])
    chances = probabilities(world, np.array([user]), np.array([START + day * DAY]), before, queries)
    return list(chances[0])


def test_an_item_is_watched_by_its_weight_once_it_has_been_uploaded() -> None:
    world = by_hand()
    assert asked(world, 0, day=0) == pytest.approx([1 / 4, 1 / 4, 2 / 4, 0, 0])
    assert asked(world, 0, day=1) == pytest.approx([1 / 8, 1 / 8, 2 / 8, 4 / 8, 0])
    assert asked(world, 1, day=1) == pytest.approx([0, 0, 0, 0, 1])


def test_freshness_is_taken_at_noon() -> None:
    world = by_hand(freshness=True)
    old, new = ((1 - np.exp(-((age / 2) ** 2))) / (1 + age / 12) ** 1.2 for age in (2.5, 1.0))
    weights = np.array([old, old, 2 * old, 4 * new, 0])
    assert asked(world, 0, day=1) == pytest.approx(weights / weights.sum())


def test_part_of_the_watches_are_of_the_own_country_where_it_has_anything() -> None:
    world = by_hand(demographics=True)
    everywhere = np.array([1, 1, 2, 4, 0]) / 8
    assert asked(world, 0, day=1) == pytest.approx(0.6 * everywhere + [0, 0, 0.4, 0, 0])
    assert asked(world, 1, day=1) == pytest.approx([0, 0, 0, 0, 1])  # topic 1 has nothing of country 1


def test_a_session_goes_on_with_the_topic_and_the_series() -> None:
    world = by_hand()
    everywhere = np.array([1, 1, 2, 4, 0]) / 8
    own = np.array([0, 0, 0, 0, 1])
    first = 0.9 * (0.7 * everywhere + [0, 0.3, 0, 0, 0]) + 0.1 * own
    assert asked(world, 1, day=1, last=0) == pytest.approx(first)
    assert asked(world, 1, day=1, last=1) == pytest.approx(0.9 * everywhere + 0.1 * own)
    assert asked(world, 1, day=1, last=-1) == pytest.approx(own)
    assert asked(by_hand(order=False), 1, day=1, last=0) == pytest.approx(own)


def test_a_search_and_its_absence_are_taken_into_account() -> None:
    world = by_hand()
    word, series = (
        str(array[0]) for array in (topic_words(np.array([0]), np.array([7])), words(np.array([0]), SERIES))
    )
    assert asked(world, 0, day=1, queries=[word]) == pytest.approx([1 / 8, 1 / 8, 2 / 8, 4 / 8, 0])
    assert asked(world, 0, day=1, queries=[f"{series} {word}"]) == pytest.approx([1 / 2, 1 / 2, 0, 0, 0])
    # Without a search the session has rather gone on: .9 to .1 * .75.
    goes_on = 0.9 / (0.9 + 0.1 * 0.75)
    everywhere = np.array([1, 1, 2, 4, 0]) / 8
    expected = goes_on * everywhere + (1 - goes_on) * np.array([0, 0, 0, 0, 1])
    assert asked(world, 1, day=1, last=2, queries=[None]) == pytest.approx(expected)


def test_the_curve_rises_to_a_peak_within_days_and_has_a_long_tail() -> None:
    world = World.of(TINY)
    ages = np.arange(-10, 1_000, 0.01)
    curve = world.freshness(ages)
    assert np.all(curve[ages <= 0] == 0)
    assert 2 < ages[curve.argmax()] < 5
    assert np.all(np.diff(curve[ages > 5]) < 0)
    assert curve[-1] > curve.max() / 1_000
    assert set(World.of(TINY.without("freshness")).freshness(ages).tolist()) == {0, 1}


@pytest.mark.parametrize(
    "off",
    [(), *((effect,) for effect in EFFECTS), ("order", "drift"), EFFECTS],
    ids=lambda names: "-".join(names) or "all",
)
def test_the_log_follows_the_probabilities(off: tuple[str, ...]) -> None:
    config = TINY.without(*off)
    log = log_of(config)
    given = [log.queries()] if config.searches else []
    for queries in (None, *given):
        p = probabilities(log.world, log.users, log.times, log.before(), queries)
        assert p.sum(1) == pytest.approx(np.ones(len(p)))
        _agree(p, log.items)
    starts = np.flatnonzero(log.before() < 0)
    _agree(probabilities(log.world, log.users[starts], log.times[starts]), log.items[starts])


def _agree(p: np.ndarray, items: np.ndarray) -> None:
    """Mean log likelihood against minus the entropy, and counts of items against the sums of their probabilities."""
    of_items = p[np.arange(len(items)), items]
    assert of_items.min() > 0, "something impossible has happened"
    logs = np.log(np.where(p > 0, p, 1))
    entropy = -(p * logs).sum(1)
    variance = (p * logs**2).sum(1) - entropy**2
    assert abs((np.log(of_items) + entropy).sum()) < 4 * variance.sum() ** 0.5
    expected = p.sum(0)
    many = expected > 5
    seen = np.append(np.bincount(items, minlength=p.shape[1])[many], np.isin(items, np.flatnonzero(~many)).sum())
    expected = np.append(expected[many], expected[~many].sum())
    assert chisquare(seen + 1e-9, expected + 1e-9).pvalue > 1e-4


def corpus_of(log: Log) -> tuple[Histories, Vocabulary, Vocabulary]:
    """Histories and vocabularies as ingestion makes them, with items and users in an order of their own."""
    rng = np.random.default_rng(5)
    items, users = rng.permutation(np.unique(log.items)), rng.permutation(np.unique(log.users))
    number = np.zeros(log.world.config.items, np.int32)
    number[items] = np.arange(1, len(items) + 1)
    rows = [np.flatnonzero(log.users == user) for user in users]
    return (
        Histories.of([number[log.items[row]].tolist() for row in rows], [log.times[row].tolist() for row in rows]),
        Vocabulary(IdTable(ITEM, log.world.config.items).take(items).to_pylist()),
        Vocabulary(IdTable(USER, log.world.config.users).take(users).to_pylist()),
    )


def with_ids(log: Log) -> object:
    """The searches as their file has them."""
    ids = IdTable(USER, log.world.config.users).take(log.searches.column("user").to_numpy())
    return log.searches.set_column(0, "user", ids)


def test_the_oracle_asks_for_the_right_user_moment_and_items() -> None:
    log = log_of(TINY)
    histories, items, users = corpus_of(log)
    oracle = Oracle(log.world, histories, items, users, with_ids(log))
    everybody = np.flatnonzero(histories.lengths > 3).astype(np.int32)
    ends = histories.lengths[everybody] // 2
    scores = oracle.scores(everybody, ends)
    queries, before = log.queries(), log.before()
    for user, end, row in zip(everybody.tolist(), ends.tolist(), scores, strict=True):
        at = int(np.flatnonzero(log.users == int(users.id(user)[1:]))[end])
        one = slice(at, at + 1)
        p = probabilities(log.world, log.users[one], log.times[one], before[one], queries[one])[0]
        assert row[0] == -np.inf
        assert row[1:] == pytest.approx(p[[int(id_[1:]) for id_ in items.ids(range(1, len(items) + 1))]], rel=1e-5)


def test_what_the_oracle_expects_to_hit_it_hits() -> None:
    log = log_of(TINY)
    histories, items, users = corpus_of(log)
    rng = np.random.default_rng(0)
    for searches in (None, with_ids(log)):
        oracle = Oracle(log.world, histories, items, users, searches)
        hits, promised = [], []
        everybody = np.flatnonzero(histories.lengths).astype(np.int32)
        for _ in range(20):
            ends = rng.integers(0, histories.lengths[everybody])
            scores = oracle.scores(everybody, ends)
            hits.append(scores.argmax(1) == histories.items[histories.offsets[everybody] + ends])
            promised.append(scores.max(1))
        p = np.concatenate(promised).astype(np.float64)
        assert abs(np.concatenate(hits).sum() - p.sum()) < 4 * (p * (1 - p)).sum() ** 0.5


def test_the_oracle_is_a_scorer_and_better_than_popularity() -> None:
    log = log_of(TINY)
    histories, items, users = corpus_of(log)
    counts = np.bincount(histories.items, minlength=len(items) + 1)
    everybody = np.flatnonzero(histories.lengths > 1).astype(np.int32)
    ends = histories.lengths[everybody] - 1
    targets = histories.items[histories.offsets[everybody] + ends]
    scorers: list[Scorer] = [Oracle(log.world, histories, items, users), Popularity(counts)]
    best, popular = (_reciprocal_ranks(scorer.scores(everybody, ends), targets) for scorer in scorers)
    gain, error = mean_and_error(best - popular)
    assert gain > 5 * error


def _reciprocal_ranks(scores: Float32, targets: Int32) -> Float64:
    of_target = scores[np.arange(len(targets)), targets][:, None]
    reciprocal: Float64 = 1 / (scores >= of_target).sum(1)
    return reciprocal


def test_what_cannot_be_asked_is_refused() -> None:
    world = World.of(TINY)
    late = np.array([START + TINY.days * 4 * SLOT])
    with pytest.raises(UsageError, match="outside of the logged days"):
        probabilities(world, np.array([0]), late)
    with pytest.raises(UsageError, match="searches in a world without them"):
        probabilities(World.of(TINY.without("searches")), np.array([0]), late - 1, queries=["baba"])
    histories = Histories.of([[1]], [[START]])
    with pytest.raises(UsageError, match="this world"):
        Oracle(world, histories, Vocabulary(["v0000120"]), Vocabulary(["u0000000"]))
    oracle = Oracle(world, histories, Vocabulary(["v0000119"]), Vocabulary(["u0000000"]))
    with pytest.raises(UsageError, match="end of a history"):
        oracle.scores(np.array([1], np.int32), np.array([1]))
