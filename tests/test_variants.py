"""Which variant a user gets: always the same, in the given shares, and moved as little as possible."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchnext.errors import CorruptError
from watchnext.variants import VARIANTS, Variants, place_of, read_variants, write_variants

USERS = [f"user-{n}" for n in range(20_000)]


def test_places_are_even() -> None:
    places = sorted(map(place_of, USERS))
    assert all(abs(place - n / len(USERS)) < 0.015 for n, place in enumerate(places))  # Kolmogorov: p = .0003


def test_shares_and_who_moves() -> None:
    before, after = Variants(split={"current": 90, "new": 10}), Variants(split={"current": 80, "new": 20})
    first, second = [before.of(user) for user in USERS], [after.of(user) for user in USERS]
    assert first.count("new") == pytest.approx(2000, abs=200)
    assert second.count("new") == pytest.approx(4000, abs=250)
    assert all(b == "new" for a, b in zip(first, second, strict=True) if a == "new")


@given(user=st.text(max_size=20), weights=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5))
def test_scale_of_weights_does_not_matter(user: str, weights: list[float]) -> None:
    split = {str(n): weight for n, weight in enumerate(weights)}
    twice = {name: 2 * weight for name, weight in split.items()}
    assert Variants(split=split).of(user) == Variants(split=twice).of(user) in split


def test_file(tmp_path: Path) -> None:
    assert read_variants(tmp_path) == Variants(split={"current": 1.0})
    wanted = Variants(split={"current": 90, "r2": 10}, shadow="r3")
    write_variants(tmp_path, wanted)
    assert read_variants(tmp_path) == wanted
    assert list(read_variants(tmp_path).split) == ["current", "r2"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"split": {}}',
        '{"split": {"current": 0}}',
        '{"split": {"a": -1}}',
        '{"split": {"a": 1}, "shadow": "a"}',
        '{"split": {"a": 1}, "more": 1}',
        '{"split": {"a": "NaN"}}',
    ],
)
def test_broken_file(tmp_path: Path, text: str) -> None:
    (tmp_path / VARIANTS).write_text(text)
    with pytest.raises(CorruptError, match="VARIANTS"):
        read_variants(tmp_path)
