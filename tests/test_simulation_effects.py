"""Every planted effect is seen in the log by counting, in the size it was planted; without its switch it is gone."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from simulation.clock import DAY, SLOT, START
from simulation.config import EFFECTS, WorldConfig
from simulation.items import item_table
from simulation.users import user_table
from simulation.world import World
from tests.simulated import SMALL, Log, log_of, mean_and_error, only


@pytest.fixture(scope="module")
def everything() -> Log:
    return log_of(SMALL)


def test_watches_are_within_the_days_and_after_the_upload(everything: Log) -> None:
    items = everything.world.items
    assert everything.times.min() >= START
    assert everything.times.max() < START + SMALL.days * DAY
    assert np.all(items.uploaded[everything.items] < everything.times)
    assert items.uploaded.max() > START, "none is uploaded while the log runs"
    assert everything.fractions.min() >= 0
    assert everything.fractions.max() <= 1


def test_a_session_does_not_leave_its_slot_and_has_its_mean_length(everything: Log) -> None:
    gaps = np.diff(everything.times)[everything.inside - 1]
    assert gaps.min() >= 120
    assert gaps.max() <= 600
    lengths = np.bincount(everything.session)
    mean, error = mean_and_error(lengths.astype(np.float64))
    assert abs(mean - 4) < 4 * error  # cut at 30: 4 * (1 - .75^30) = 3.999
    assert np.unique(everything.times // SLOT * 1_000 + everything.users).size == len(lengths)


@pytest.mark.parametrize("watches", [2_000, 20_000])
def test_as_many_watches_as_expected(watches: int) -> None:
    log = log_of(only(watches=watches))
    assert (
        abs(len(log.items) - watches) < 5 * (watches * 7) ** 0.5
    )  # mean of squares / mean of a geometric length is 7


def test_few_users_watch_much_unless_all_are_alike() -> None:
    def share_of_top_tenth(spread: float) -> float:
        counts = np.sort(np.bincount(log_of(only(activity_spread=spread)).users, minlength=SMALL.users))
        return float(counts[-40:].sum() / counts.sum())

    # Log-normal: Phi(1.2 - 1.28) = .47, a little less as nobody has more than one session a slot.
    assert 0.35 < share_of_top_tenth(1.2) < 0.5
    # Alike: 50 watches with a standard deviation of 18; the upper tenth is 1.75 of these above the mean.
    assert 0.15 < share_of_top_tenth(0) < 0.19


def test_the_chance_of_an_item_follows_the_freshness_curve() -> None:
    config = only("freshness", topics=1, watches=60_000, days=60)
    log = log_of(config)
    seen, expected = np.zeros(60), np.zeros(60)
    days = (log.times - START) // DAY
    for day in range(config.days):
        noon = (START + day * DAY + DAY / 2 - log.world.items.uploaded) / DAY
        age = noon[noon >= 0.5]
        curve = (1 - np.exp(-((age / 2) ** 2))) / (1 + age / 12) ** 1.2
        bins = np.minimum(age, 59).astype(int)
        expected += (days == day).sum() * np.bincount(bins, curve / curve.sum(), minlength=60)
        seen += np.bincount(np.minimum(noon[log.items[days == day]], 59).astype(int), minlength=60)
    assert chisquare(seen, expected).pvalue > 1e-3
    assert seen[2:6].min() > 3 * seen[40:50].max()


def test_without_freshness_all_is_there_from_the_start_and_age_means_nothing() -> None:
    log = log_of(only(topics=1))
    assert log.world.items.uploaded.max() < START
    assert chisquare(np.bincount(log.items, minlength=300)).pvalue > 1e-3


def test_popularity_is_a_power_law_unless_switched_off() -> None:
    config = only("long_tail", topics=1, watches=40_000, items=1_000)
    counts = np.sort(np.bincount(log_of(config).items, minlength=1_000))[::-1][:200]
    slope = np.polyfit(np.log(np.arange(1, 201)), np.log(counts), 1)[0]
    assert abs(slope + 0.8) < 0.05


def episodes(log: Log) -> list[tuple[str, int]]:
    """[items] series and number, read off the titles."""
    titles = item_table(log.world.items).column("title").to_pylist()
    return [(title.split()[0], int(title.split()[-1])) for title in titles]


def next_episode_rate(log: Log) -> tuple[float, float]:
    """Among watches in a session whose series went on: the share that is the next episode, and its error."""
    of = episodes(log)
    known = {name: item for item, name in enumerate(of)}
    hits = []
    for at in log.inside.tolist():
        series, number = of[log.items[at - 1]]
        following = known.get((series, number + 1))
        if following is not None:
            hits.append(log.items[at] == following)
    return mean_and_error(np.array(hits, np.float64))


def same_topic_rate(log: Log, positions: np.ndarray, lag: int) -> tuple[float, float]:
    same = log.topics[positions] == log.topics[positions - lag]
    return mean_and_error(same.astype(np.float64))


def test_sessions_stay_with_a_topic_and_go_on_with_a_series() -> None:
    log = log_of(only("order"))
    rate, error = next_episode_rate(log)
    # Planted .9 * .3; the topic has 30 items, any of which may come by chance otherwise.
    assert abs(rate - (0.27 + 0.73 / 35)) < 0.015 + 4 * error
    rate, error = same_topic_rate(log, log.inside, 1)
    # Interests have 0.8 of the runs and shares .4, .3, .2, .1; all else meets by chance, one of ten topics.
    again = 0.64 * (0.3 + 0.7 * 0.1) + 0.36 * 0.1
    assert abs(rate - (0.9 + 0.1 * again)) < 4 * error + 0.01


def test_without_order_a_session_is_like_any_other_watches() -> None:
    log = log_of(only())
    rate, error = next_episode_rate(log)
    assert abs(rate - same_topic_rate(log, log.inside, 1)[0] / 30) < 4 * error + 0.005
    near = same_topic_rate(log, log.inside, 1)
    far = np.flatnonzero(log.users[20:] == log.users[:-20]) + 20
    distant = same_topic_rate(log, far, 20)
    assert abs(near[0] - distant[0]) < 0.03  # users with many watches, who alone have distant ones, are no different
    inside = np.zeros(len(log.items), np.bool_)
    inside[log.inside] = True
    across = np.flatnonzero((log.users[1:] == log.users[:-1]) & ~inside[1:]) + 1
    other = same_topic_rate(log, across, 1)
    assert abs(near[0] - other[0]) < 5 * (near[1] + other[1])


@pytest.mark.parametrize("drift", [True, False])
def test_interests_change_as_often_as_they_should(drift: bool) -> None:
    world = World.of(only(*["drift"] * drift, users=3_000))
    users, slots = np.arange(3_000)[:, None], np.arange(0, 4 * 200)[None]
    topics = world.interest_topics(users, np.array([0]), slots)
    changes = (topics[:, 1:] != topics[:, :-1]).sum(1)
    if drift:
        # A period is 40 days times a number spread over .5 to 1.5, whose inverse is log(3) on average.
        mean, error = mean_and_error(changes)
        assert abs(mean - 200 / 40 * np.log(3) * 0.9) < 4 * error + 0.03  # 799 of 800 slots have one before
    else:
        assert changes.max() == 0
    assert chisquare(np.bincount(topics[:, 0], minlength=10)).pvalue > 1e-3


def test_taste_months_apart_agrees_only_without_drift() -> None:
    def agreement(config: WorldConfig) -> float:
        log = log_of(config)
        early, late = log.times < START + 10 * DAY, log.times > START + 80 * DAY
        table = [np.zeros((config.users, 10)), np.zeros((config.users, 10))]
        for counts, part in zip(table, (early, late), strict=True):
            np.add.at(counts, (log.users[part], log.topics[part]), 1)
        table = [t / np.maximum(t.sum(1, keepdims=True), 1) for t in table]
        both = (table[0].sum(1) > 0) & (table[1].sum(1) > 0)
        return float((table[0] * table[1]).sum(1)[both].mean())

    steady = agreement(only(days=90, watches=40_000))
    moving = agreement(only("drift", days=90, watches=40_000, drift_days=20))
    # Same interests meet with .64 * .3 beside chance; new ones by chance, one of ten topics.
    assert steady > 0.24
    assert abs(moving - 0.1) < 0.03


def test_a_search_tells_of_the_next_watch(everything: Log) -> None:
    table = item_table(everything.world.items)
    titles, categories = table.column("title").to_pylist(), table.column("categories").to_pylist()
    category_of: dict[str, str] = {}  # by the words in the middle of titles
    for title, names in zip(titles, categories, strict=True):
        category_of |= dict.fromkeys(title.split()[1:3], names[0])
    queries = everything.queries()
    assert sum(query is not None for query in queries) == len(everything.searches)
    named, known, right = 0, 0, 0
    for query, item in zip(queries, everything.items.tolist(), strict=True):
        words = query.split() if query else []
        if words and words[0] == titles[item].split()[0].lower():
            named += 1
            words = words[1:]
        found = [category_of[word] for word in words if word in category_of]
        known, right = known + len(found), right + found.count(categories[item][0])
    assert right == known > len(everything.searches)
    share = named / len(everything.searches)
    assert abs(share - 0.3) < 4 * (0.21 / len(everything.searches)) ** 0.5
    inside = [queries[at] is not None for at in everything.inside.tolist()]
    # A search begins a run: every tenth watch inside a session, of which .8 * .25 + .2 * .8 are searched for.
    assert abs(np.mean(inside) - 0.1 * 0.36) < 0.01


def test_searches_come_shortly_before_the_watch(everything: Log) -> None:
    watches: dict[int, np.ndarray] = {u: everything.times[everything.users == u] for u in range(SMALL.users)}
    for user, time in zip(*(everything.searches.column(c).to_pylist() for c in ("user", "time")), strict=True):
        following = watches[user][np.searchsorted(watches[user], time)]
        assert 5 <= following - time <= 60


def test_searches_alone_are_gone_without_them(everything: Log) -> None:
    log = log_of(SMALL.without("searches"))
    assert len(log.searches) == 0
    assert np.array_equal(log.items, everything.items)


@pytest.mark.parametrize("trait", ["country", "device", "age", "gender"])
@pytest.mark.parametrize("matters", [True, False])
def test_who_one_is_shifts_what_one_watches(trait: str, matters: bool) -> None:
    log = log_of(only(*["demographics"] * matters, users=3_000, watches=60_000, activity_spread=0))
    values = user_table(log.world.users).column(trait).to_pylist()
    first = np.unique(log.users, return_index=True)[1]  # one watch a user: independent ones
    table: dict[str, np.ndarray] = {}
    for user, topic in zip(log.users[first].tolist(), log.topics[first].tolist(), strict=True):
        if values[user] is not None:
            key = str(values[user] >= 25) if trait == "age" else str(values[user])
            table.setdefault(key, np.zeros(10))[topic] += 1
    p = chi2_contingency(np.array(list(table.values()))).pvalue
    assert (p < 1e-6) if matters else (p > 1e-3)


def test_age_and_gender_are_known_of_those_logged_in_only() -> None:
    table = user_table(World.of(SMALL).users)
    logged_in = table.column("logged_in").to_pylist()
    for name in ("age", "gender"):
        assert [value is not None for value in table.column(name).to_pylist()] == logged_in
    assert abs(np.mean(logged_in) - 0.85) < 4 * (0.85 * 0.15 / SMALL.users) ** 0.5


@pytest.mark.parametrize("informative", [True, False])
def test_the_watched_fraction_tells_interests_from_excursions(informative: bool) -> None:
    log = log_of(only(*["fractions"] * informative, interests=(1.0,), topics=10))
    counts = np.zeros((SMALL.users, 10))
    np.add.at(counts, (log.users, log.topics), 1)
    many = counts.sum(1)[log.users] > 20
    favourite = (log.topics == counts.argmax(1)[log.users])[many]
    inside, outside = log.fractions[many][favourite], log.fractions[many][~favourite]
    # Beta(3, 1) has mean .75 and Beta(1, 3) .25; of the watches of the favourite topic, 2 in 82 are excursions.
    expected = (0.75 - 0.5 * 0.02 / 0.82, 0.25) if informative else (0.65, 0.65)
    for values, planted in zip((inside, outside), expected, strict=True):
        mean, error = mean_and_error(values)
        assert abs(mean - planted) < 4 * error + 0.002
    assert abs(log.fractions.mean() - 0.65) < 0.01


def test_every_effect_is_a_switch_and_no_switch_is_missing() -> None:
    switches = [name for name, field in WorldConfig.model_fields.items() if field.annotation is bool]
    assert sorted(switches) == sorted(EFFECTS)
    assert not any(getattr(SMALL.without(*EFFECTS), name) for name in switches)
