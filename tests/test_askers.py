"""From what is stored, fresh and told of somebody to a vector: known answers in an export without a network."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from index.askers import Askers, News
from tests.worlds import make_export, mean_world
from watchnext.catalogue import USER_SCHEMA
from watchnext.config import ModelConfig
from watchnext.export import Export
from watchnext.features import FeatureSpec, UserContext
from watchnext.histories import Histories

VECTORS = np.array([[0, 0], [1, 0], [0, 1], [3, 4], [0, 0]], np.float32)
"""Of items 1 to 4; the last one was never trained."""
NOW = 1000


def export() -> Export:
    """User u1 has watched i1 at 10 and i2 at 20, user u2 nothing; a user's vector is the mean of the last three."""
    return mean_world(VECTORS, {"u1": [(1, 10), (2, 20)], "u2": []}, history=3)


def news(*watches: tuple[int, int], erased: int | None = None) -> News:
    items, times = zip(*watches, strict=True) if watches else ((), ())
    return News(np.array(items, np.int32), np.array(times, np.int64), erased=erased)


def test_stored() -> None:
    asker = Askers(export()).stored(1)
    assert (asker.source, asker.watched.tolist(), asker.recent.tolist()) == ("stored", [1, 2], [1, 2])
    assert asker.vector is not None
    assert asker.vector.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("user", [0, 2])
def test_nobody_knows(user: int) -> None:
    asker = Askers(export()).stored(user)
    assert (asker.vector, asker.source, asker.watched.tolist()) == (None, "popular", [])


@pytest.mark.parametrize(
    ("user", "what", "watched", "vector"),
    [
        (1, news((3, 30)), [1, 2, 3], [4 / 3, 5 / 3]),
        (0, news((3, 30)), [3], [3, 4]),
        (2, news((3, 30), (1, 40)), [3, 1], [2, 2]),
        (1, news((3, 15)), [1, 3, 2], [4 / 3, 5 / 3]),
        (1, news((3, 30), (3, 31)), [1, 2, 3, 3], [2, 3]),  # the last three
        (1, news((3, 5), (3, 6)), [3, 3, 1, 2], [4 / 3, 5 / 3]),  # again the last three
        (1, news((2, 20), (3, 30)), [1, 2, 3], [4 / 3, 5 / 3]),  # training has seen the first meanwhile
        (1, news((2, 21)), [1, 2, 2], [1 / 3, 2 / 3]),
        (1, news((0, 30), (3, 30)), [1, 2, 3], [4 / 3, 5 / 3]),  # the release does not know the first
    ],
)
def test_fresh(user: int, what: News, watched: list[int], vector: list[float]) -> None:
    asker = Askers(export()).ask(user, what, NOW)
    assert (asker.source, asker.watched.tolist()) == ("fresh", watched)
    assert asker.vector is not None
    assert asker.vector.tolist() == pytest.approx(vector)


def test_nothing_new_is_stored() -> None:
    askers = Askers(export())
    for nothing in (news(), news((1, 10)), news((1, 10), (2, 20)), news((0, 30))):
        asker = askers.ask(1, nothing, NOW)
        assert (asker.source, asker.watched.tolist()) == ("stored", [1, 2])


def test_watches_of_items_without_a_vector_are_excluded_and_popular_ones_answer() -> None:
    asker = Askers(export()).ask(0, news((4, 30)), NOW)
    assert (asker.vector, asker.source, asker.watched.tolist()) == (None, "popular", [4])


@pytest.mark.parametrize(
    ("erased", "source", "watched"),
    [(9, "fresh", [1, 2, 3]), (10, "fresh", [3]), (25, "fresh", [3])],
)
def test_erased(erased: int, source: str, watched: list[int]) -> None:
    asker = Askers(export()).ask(1, news((3, 30), erased=erased), NOW)
    assert (asker.source, asker.watched.tolist()) == (source, watched)


def test_erased_and_nothing_since() -> None:
    asker = Askers(export()).ask(1, news(erased=25), NOW)
    assert (asker.vector, asker.source, asker.watched.tolist()) == (None, "popular", [])


def with_countries(watches: Sequence[Sequence[int]] = ([1, 2],), countries: Sequence[str] = ("FR",)) -> Export:
    """A network of which the country alone moves the vector: DE to the first axis, FR to the second, AT nowhere.

    Args:
        watches: items of each user.
        countries: of each user.
    """
    made = make_export(VECTORS, np.zeros((len(watches) + 1, 2), np.float32), watches)
    model = ModelConfig(dim=2, encoder="mean", tower=(), residual=False, similarity="dot", temperature=1)
    features = FeatureSpec(countries=("DE", "FR", "AT"), devices=("phone",))
    country = np.array([[0, 0], [1, 0], [0, 1], [0, 0]], np.float32)
    kernel = np.zeros((2 + 2 + 1 + 6, 2), np.float32)
    kernel[2:4] = np.eye(2)
    weights = {
        "country": country,
        "device": np.zeros((2, 1), np.float32),
        "kernel_out": kernel,
        "bias_out": np.zeros(2, np.float32),
    }
    names, nothing = {"country": ["", *countries]}, [None] * (len(watches) + 1)
    table = pa.table([pa.array(names.get(f.name, nothing), f.type) for f in USER_SCHEMA], schema=USER_SCHEMA)
    about = made.manifest.model_copy(update={"model": model, "features": features})
    return Export(**{**vars(made), "manifest": about, "weights": weights, "user_table": table})


@pytest.mark.parametrize(
    ("context", "vector", "source", "country"),
    [
        (UserContext(country="DE"), [1, 0], "context", "DE"),
        (UserContext(country="FR", device="phone"), [0, 1], "context", "FR"),
        (UserContext(country="XX"), None, "popular", "XX"),
        (UserContext(country="AT"), None, "popular", "AT"),
        (UserContext(), None, "popular", None),
    ],
)
def test_context(context: UserContext, vector: list[float] | None, source: str, country: str | None) -> None:
    asker = Askers(with_countries()).ask(0, News(context=context), NOW)
    assert (asker.source, asker.country) == (source, country)
    assert (None if asker.vector is None else asker.vector.tolist()) == vector


def test_nothing_stored_is_read_of_who_is_erased_and_has_no_stored_watches() -> None:
    askers = Askers(Export(**{**vars(with_countries()), "histories": Histories.of([[]], [[]])}))
    assert askers.ask(1, News(), NOW).country == "FR"
    asker = askers.ask(1, News(erased=25), NOW)
    assert (asker.vector, asker.source, asker.country) == (None, "popular", None)
    told = askers.ask(1, News(erased=25, context=UserContext(country="DE")), NOW)
    assert (told.source, told.country) == ("context", "DE")


def test_a_request_overrides_what_is_stored_of_the_context() -> None:
    world = with_countries()
    world.user_vectors[1] = [0, 7]
    askers = Askers(world)
    at_home, abroad = askers.ask(1, News(), NOW), askers.ask(1, News(context=UserContext(country="DE")), NOW)
    assert (at_home.source, abroad.source) == ("stored", "fresh")
    assert at_home.vector is not None and abroad.vector is not None  # noqa: PT018
    assert (at_home.vector.tolist(), abroad.vector.tolist()) == ([0, 7], [1, 0])
    assert askers.ask(1, News(context=UserContext(country="FR")), NOW).source == "stored"
