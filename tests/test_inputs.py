"""What a tower reads of a user at a moment: everything before it and nothing after it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from watchnext.histories import Histories
from watchnext.inputs import UserInputs

events = st.lists(st.lists(st.integers(0, 30), max_size=8).map(sorted), min_size=3, max_size=3)


def stream(times: list[list[int]], first: int) -> Histories:
    """Every event with a number of its own, so that it can be told where it went."""
    starts = np.cumsum([first, *map(len, times)])
    return Histories.of([list(range(s, s + len(t))) for s, t in zip(starts, times, strict=False)], times)


@given(events, events, st.data())
def test_no_watch_or_search_of_the_future_or_of_another_user(
    watched: list[list[int]], searched: list[list[int]], data: st.DataObject
) -> None:
    histories, searches = stream(watched, 1), stream(searched, 1000)
    users = np.array([1, 2, 3], np.int32)
    ends = np.array([data.draw(st.integers(0, len(t))) for t in watched], np.int64)
    found = UserInputs(histories, None, searches, window_end=20).at(users, ends, now=33)
    assert found.tokens is not None
    for row, (user, end) in enumerate(zip(users.tolist(), ends.tolist(), strict=True)):
        times = watched[user - 1]
        assert found.histories[row].tolist() == histories[user][:end].tolist()
        assert found.times[row].tolist() == times[:end]
        assert found.asked[row] == (33 if end == len(times) else times[end])
        own = list(zip(searches[user].tolist(), searched[user - 1], strict=True))
        if end == len(times):  # asked after everything
            assert found.tokens[row].tolist() == [token for token, _ in own]
            assert found.example_age[row] == 0
        else:
            assert found.tokens[row].tolist() == [token for token, time in own if time < times[end]]
            assert found.example_age[row] == max(0, 20 - times[end])


@given(events, events)
def test_token_ends_count_the_searches_before_each_watch(watched: list[list[int]], searched: list[list[int]]) -> None:
    histories, searches = stream(watched, 1), stream(searched, 1000)
    ends = UserInputs(histories, None, searches).token_ends()
    wanted, before = [], 0
    for times, asked in zip(watched, searched, strict=True):
        wanted += [before + sum(s < time for s in asked) for time in times]
        before += len(asked)
    assert ends.tolist() == wanted


def test_without_searches_there_are_no_tokens() -> None:
    inputs = UserInputs(Histories.of([[4, 5]]))
    assert inputs.token_ends().tolist() == [0, 0]
    assert inputs.at(np.array([1], np.int32), np.array([1])).tokens is None


def test_after_a_whole_history_the_moment_is_the_end_of_the_training_window_unless_told() -> None:
    inputs = UserInputs(Histories.of([[4, 5]], [[10, 20]]), window_end=50)
    user, ends = np.array([1], np.int32), np.array([2])
    assert inputs.at(user, ends).asked.tolist() == [50]
    assert inputs.at(user, ends, now=70).asked.tolist() == [70]
    assert inputs.at(user, ends - 1).asked.tolist() == [20]
