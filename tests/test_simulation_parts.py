"""What worlds are put together from: words, ids, stateless random numbers, items and users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from simulation.clock import DAY, START
from simulation.config import WorldConfig
from simulation.hashing import uniform
from simulation.ids import ITEM, IdTable, rows_of
from simulation.items import item_table, make_items, power_law
from simulation.users import user_table
from simulation.words import SERIES, TOPIC, TOPIC_WORD, meaning, number_of, topic_words, words
from simulation.world import World
from tests.simulated import SMALL, only
from watchnext.errors import UsageError


@given(st.lists(st.integers(0, 7_224), unique=True), st.sampled_from([TOPIC, TOPIC_WORD, SERIES]))
def test_words_are_read_back_and_no_two_are_alike(numbers: list[int], syllables: int) -> None:
    texts = words(np.array(numbers, np.int64), syllables).to_pylist()
    assert [number_of(text) for text in texts] == numbers
    assert len(set(texts)) == len(numbers)
    assert {len(text) for text in texts} <= {2 * syllables}


@given(st.integers(0, 4_999), st.integers(0, 19), st.integers(0, 9_999_999))
def test_queries_mean_what_their_words_do(topic: int, which: int, series: int) -> None:
    word = topic_words(np.array([topic]), np.array([which]))[0].as_py()
    name = words(np.array([series]), SERIES)[0].as_py()
    assert meaning(f"{word} {word}") == (topic, -1)
    assert meaning(f"{name} {word}") == (topic, series)
    assert meaning(name) == (-1, series)


@given(st.lists(st.integers(0, 9_999)))
def test_ids_are_a_letter_and_seven_digits(rows: list[int]) -> None:
    ids = IdTable(ITEM, 10_000).take(np.array(rows, np.int64)).to_pylist()
    assert ids == [f"v{row:07d}" for row in rows]
    assert rows_of(ids, ITEM, 10_000).tolist() == rows


@pytest.mark.parametrize("id_", ["", "v", "v12", "u0000001", "v0010000", "v000000x", "v-000001", "v00000001"])
def test_other_ids_are_refused(id_: str) -> None:
    with pytest.raises(UsageError, match="this world"):
        rows_of(["v0000000", id_], ITEM, 10_000)


@given(st.integers(0, 2**32), st.lists(st.integers(0, 2**40), min_size=1, max_size=5), st.integers(0, 5))
def test_a_hashed_number_depends_on_its_keys_alone(seed: int, users: list[int], other: int) -> None:
    together = uniform(seed, np.array(users)[:, None], np.arange(6)[None])
    alone = [uniform(seed, np.array([user]), np.array([other]))[0] for user in users]
    assert together[:, other].tolist() == alone


def test_hashed_numbers_look_random() -> None:
    keys = np.arange(100_000)
    numbers = uniform(1, keys, np.array([3]))
    assert kstest(numbers, "uniform").pvalue > 1e-3
    for other in (
        uniform(2, keys, np.array([3])),
        uniform(1, keys, np.array([4])),
        uniform(1, keys + 1, np.array([3])),
    ):
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 4 / len(keys) ** 0.5
    assert uniform(1, np.array([2]), np.array([3])) != uniform(1, np.array([3]), np.array([2]))


def test_a_power_law_sums_to_one_and_falls_as_it_should() -> None:
    shares = power_law(100, 0.5)
    assert shares.sum() == pytest.approx(1)
    assert shares[3] / shares[99] == pytest.approx(5)  # sqrt(100 / 4)
    assert power_law(4, 0).tolist() == [0.25] * 4


@given(
    st.integers(0, 1_000),
    st.integers(1, 30),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(0, 200),
    st.booleans(),
)
def test_items_are_in_order(seed: int, topics: int, mean: int, countries: int, more: int, fresh: bool) -> None:
    size = topics * (2 * mean - 1) + more
    config = WorldConfig(
        seed=seed, items=size, topics=topics, series_items=mean, countries=countries, freshness=fresh, days=10
    )
    items = make_items(config, power_law(topics, 0.5), power_law(countries, 0.5))
    assert len(items) == size == len(items.uploaded) == len(items.series) == len(items.popularity)
    assert np.all(np.diff(items.cell) >= 0)
    assert np.array_equal(np.bincount(items.cell, minlength=len(items.cell_offsets) - 1), np.diff(items.cell_offsets))
    assert set(np.diff(items.series).tolist()) <= {0, 1}
    inside = items.series[1:] == items.series[:-1]
    assert np.all(np.diff(items.uploaded)[inside] >= 0)
    assert np.all(np.diff(items.cell)[inside] == 0)
    assert np.bincount(items.series).max() < 2 * mean
    for topic in range(topics):
        assert items.uploaded[items.topic == topic].min() < START
    assert items.uploaded.max() < START + 10 * DAY * fresh


def test_titles_tell_series_topic_and_episode() -> None:
    world = World.of(SMALL)
    table = item_table(world.items)
    topics = world.items.topic.tolist()
    episode, last = 0, -1
    for row, series in zip(table.to_pylist(), world.items.series.tolist(), strict=True):
        name, *middle, number = row["title"].split()
        episode, last = (episode + 1 if series == last else 1), series
        topic = topics[int(row["item"][1:])]
        assert meaning(name.lower()) == (-1, series)
        assert {meaning(word)[0] for word in middle} == {topic}
        assert int(number) == episode
        assert [number_of(category) for category in row["categories"]] == [topic]


def test_people_are_spread_over_traits_as_they_should() -> None:
    table = user_table(World.of(only(users=20_000, watches=30_000)).users)
    devices = dict(table.column("device").value_counts().to_pylist()[i].values() for i in range(4))
    planted = {"phone": 0.5, "tv": 0.25, "desktop": 0.15, "tablet": 0.1}
    assert (
        chisquare([devices[name] for name in planted], [20_000 * share for share in planted.values()]).pvalue > 1e-3
    )
    ages = np.array([age for age in table.column("age").to_pylist() if age is not None])
    assert ages.min() == 13
    assert ages.max() == 79
    assert abs(np.mean(ages < 25) - 0.32) < 0.02
    assert len(set(table.column("country").to_pylist())) == 3


def test_interests_must_be_shares() -> None:
    with pytest.raises(UsageError, match="sum to 1"):
        WorldConfig(interests=(0.5, 0.4))
