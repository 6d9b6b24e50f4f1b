"""The search over settings: its space, its time, trials stopped early, interrupted, failed. Trained by a formula."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import log
from pathlib import Path

import pytest

from model.fit import METRIC
from model.space import DEFAULT, WORD2VEC, position, space_of
from model.study import JOURNAL, opened
from model.tune import FACTS, MOST_FAILURES, MOST_RETRIES, Attempt, Search
from watchnext.errors import CorruptError, TrainingError, UsageError
from watchnext.presets import PRESETS, Preset, changed, preset
from watchnext.tuned import TunedSettings

BASE = changed(preset("default"), ["learning_rate=1e-4", "epochs=9"])
SPACE = ["learning_rate=1e-5..1e-1", "tied=true,false"]
ALL_OTHERS = [name for name in DEFAULT if name not in ("learning_rate", "tied")]


class Clock:
    """A clock that only steps of training move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Training:
    """Nine epochs of a step of 10 seconds each. NDCG grows to a height, largest at learning rate 0.01, tied."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.calls = clock, 0
        self.resumed: list[int] = []
        self.interrupt_at: int | None = None

    def __call__(self, chosen: Preset, attempt: Attempt) -> dict[str, float]:
        done = attempt.checkpoints / "epochs"
        begin = int(done.read_text()) if done.exists() else 0
        self.resumed.append(begin)
        height = 0.9 - 0.1 * abs(log(chosen.training.learning_rate / 0.01)) / log(10) - 0.05 * (not chosen.model.tied)
        metrics = {METRIC: height}
        for epoch in range(begin, chosen.training.epochs):
            self.clock.now += 10
            self.calls += 1
            attempt.step()
            if self.calls == self.interrupt_at:
                raise KeyboardInterrupt
            metrics = {METRIC: height * (epoch + 1) / chosen.training.epochs}
            done.parent.mkdir(parents=True, exist_ok=True)
            done.write_text(str(epoch + 1))
            attempt.epoch(epoch + 1, metrics)
        return metrics


@contextmanager
def search(folder: Path, clock: Clock, base: Preset = BASE) -> Iterator[Search]:
    space = space_of(base, SPACE, ALL_OTHERS)
    with opened(folder, "the world of a formula", seed=0) as study:
        yield Search(study, space, base, folder / "checkpoints", clock=clock)


def test_a_bad_preset_is_tried_first_and_better_settings_are_found_with_bad_ones_stopped_early(
    tmp_path: Path,
) -> None:
    clock = Clock()
    with search(tmp_path, clock) as found:
        found.run(Training(clock), seconds=600)
        tried, best = found.tried(), found.best()
    assert tried[0].facts.settings == ()
    assert tried[0].metric == pytest.approx(0.7)  # two powers of ten below the best learning rate
    assert best.metric > 0.8
    stopped = [t for t in tried if t.state == "stopped early"]
    assert len(stopped) > len(tried) / 3
    assert {t.facts.epochs for t in stopped} <= {3, 9}
    assert all(t.metric < best.metric for t in stopped)
    assert len(tried) > 600 / 90  # more than trained to their end
    assert not any((tmp_path / "checkpoints").iterdir()) or tried[-1].state == "out of time"


@pytest.mark.parametrize("seconds", [5, 10, 215])
def test_the_time_is_kept_to_a_step_and_what_it_cut_off_goes_on_with_more(tmp_path: Path, seconds: float) -> None:
    clock = Clock()
    training = Training(clock)
    with search(tmp_path, clock) as found:
        found.run(training, seconds)
        assert seconds <= clock.now < seconds + 10
        assert found.spent() == clock.now
        last = found.tried()[-1]
        found.run(training, seconds)
        assert clock.now < seconds + 10, "no time is left"
    with search(tmp_path, clock) as found:
        found.run(training, seconds + 100)
        assert seconds + 100 <= clock.now < seconds + 110
        assert found.spent() == clock.now
        assert len({t.number for t in found.tried()}) == len(found.tried())
        assert [t.state for t in found.tried()].count("failed") == 0
        again = [t for t in found.tried() if t.facts.settings == last.facts.settings]
        assert len(again) == 1
        assert again[0].facts.epochs >= last.facts.epochs


def test_an_interrupted_trial_goes_on_from_its_checkpoint_with_its_settings(tmp_path: Path) -> None:
    clock = Clock()
    training = Training(clock)
    training.interrupt_at = 14  # the fifth epoch of the second trial, unless it was stopped after three
    with search(tmp_path, clock) as found, pytest.raises(KeyboardInterrupt):
        found.run(training, 350)
    with search(tmp_path, clock) as found:
        before = found.tried()
        found.run(training, 350)
        after = found.tried()
        reported = found.study.trials
    assert [t.state for t in before] == ["trained", "out of time"]
    assert training.resumed[:3] == [0, 0, 4]
    assert after[1].facts.settings == before[1].facts.settings != ()
    taken_up = next(t for t in reported if t.user_attrs.get(FACTS, {}).get("again") == before[1].number)
    assert list(taken_up.intermediate_values) == list(range(1, max(taken_up.intermediate_values) + 1))
    assert [t for t in after if t.state in ("failed", "out of time")] == after[-1:] * (after[-1].state != "trained")


@pytest.mark.parametrize("lost", [1, 60])
def test_a_journal_torn_anywhere_in_its_last_line_is_read(tmp_path: Path, lost: int) -> None:
    clock = Clock()
    training = Training(clock)
    with search(tmp_path, clock) as found:
        found.run(training, 1000, most=2)
    journal = tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-lost])
    (tmp_path / f"{JOURNAL}.lock").symlink_to(journal)
    for most in (3, 4):
        with search(tmp_path, clock) as found:
            found.run(training, 1000, most)
            assert len(found.tried()) == most


def test_a_trial_that_always_ends_the_process_is_given_up(tmp_path: Path) -> None:
    clock = Clock()

    def dies(chosen: Preset, attempt: Attempt) -> dict[str, float]:
        raise KeyboardInterrupt

    for _ in range(MOST_RETRIES + 1):
        with search(tmp_path, clock) as found, pytest.raises(KeyboardInterrupt):
            found.run(dies, 1000)
    with search(tmp_path, clock) as found:
        found.run(Training(clock), 200)
        assert found.tried()[0].state == "failed"
        assert found.tried()[0].facts.settings == ()
        assert found.best().facts.settings != ()


def test_failed_trials_are_passed_over_unless_all_fail(tmp_path: Path) -> None:
    clock = Clock()
    training = Training(clock)

    def explodes(chosen: Preset, attempt: Attempt) -> dict[str, float]:
        if chosen.training.learning_rate > least:
            raise TrainingError("loss", "nan", "Lower it.")
        return training(chosen, attempt)

    least = 0.01
    with search(tmp_path / "some", clock) as found:
        found.run(explodes, 500)
        assert (
            0 < len([t for t in found.tried() if t.state == "failed" and "nan" in t.facts.error]) < len(found.tried())
        )
        assert found.best().metric > 0.7
    least = 0
    with search(tmp_path / "all", clock) as found:
        with pytest.raises(TrainingError, match="all trials: got loss: got nan"):
            found.run(explodes, 500)
        assert len(found.tried()) == MOST_FAILURES
        with pytest.raises(UsageError, match="Give more minutes"):
            found.best()


def test_a_preset_outside_of_the_space_is_tried_as_it_is(tmp_path: Path) -> None:
    clock = Clock()
    outside = changed(BASE, ["learning_rate=0.5"])
    with search(tmp_path, clock, outside) as found:
        found.run(Training(clock), 1000, most=4)
        assert len(found.tried()) == 4
        assert found.study.trials[0].params == {}
        assert found.tried()[0].metric == pytest.approx(0.9 - 0.1 * log(50) / log(10))


def test_a_folder_is_of_one_search_only(tmp_path: Path) -> None:
    def open_study(folder: Path, about: str = "one corpus") -> None:
        with opened(folder, about, 0):
            pass

    study, mine = tmp_path / "study", tmp_path / "mine"
    with opened(study, "one corpus", 0), pytest.raises(UsageError, match="another search at work"):
        open_study(study)
    open_study(study)
    with pytest.raises(UsageError, match="another corpus or of other options"):
        open_study(study, "another corpus")
    mine.mkdir()
    (mine / "thesis.txt").write_text("all my work")
    with pytest.raises(UsageError, match="`watchnext tune` did not write"):
        open_study(mine)
    (study / JOURNAL).write_bytes(b"no journal\n" * 10)
    with pytest.raises(CorruptError, match=JOURNAL):
        open_study(study)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_in_its_space(name: str) -> None:
    base = preset(name)
    place = position(space_of(base, [], []), base)
    assert place is not None
    network = len(base.groups) > 1
    assert ("decays" in place) == (network and base.model.encoder == "decay")
    assert ("temperature" in place) == (network and base.model.similarity == "cosine")
    assert place.get("tower") == {"default": "128", "youtube2016": "1024,512"}.get(name)


def test_what_is_given_widens_the_space_and_what_is_fixed_leaves_it() -> None:
    space = space_of(preset("default"), ["history=10..50", "tower=8+4,16", "dim=8"], ["dim", "tied"])
    assert "tied" not in space
    assert space["dim"]._asdict() == {"choices": ("8",)}
    assert space["tower"]._asdict() == {"choices": ("8,4", "16")}
    assert space["history"]._asdict() == {"low": 10, "high": 50, "log": True, "step": 1}
    assert space["dropout"]._asdict() == {"low": 0.0, "high": 0.6, "log": False, "step": None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dims=1,2", "NAME=a,b,c or NAME=low..high with one of the names: dim, "),
        ("dim", "NAME=a,b,c"),
        ("dim=", "NAME=a,b,c"),
        ("seed=1,2", "NAME=a,b,c"),
        ("dim=64..32", "'dim=64..32'. Give a range from low to high, above 0"),
        ("learning_rate=0..1", "greater than 0"),
        ("dropout=0..2", "'dropout=0..2', of which '2'. Input should be less than 1"),
        ("dim=8,many", "of which 'many'. Input should be a valid integer"),
        ("tied=false..true", "tied has no order: give NAME=a,b,c"),
        ("tower=32..64", "tower has no order"),
        ("encoder=mean,lstm", "of which 'lstm'. Input should be 'mean', 'decay' or 'attention'"),
    ],
)
def test_an_impossible_space_is_told_with_the_cure(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        space_of(preset("default"), [text], [])
    assert error.value.argument == "--space"
    assert said in str(error.value)


def test_found_settings_are_read_again_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    TunedSettings(
        preset="youtube2016",
        settings=("tower=32,16", "dim=8"),
        metrics={METRIC: 0.5},
        holdout="temporal",
        holdout_share=0.2,
        holdout_seed=3,
        corpus="c",
    ).write(path)
    chosen = TunedSettings.read(path).chosen(("dim=16",))
    assert (chosen.model.tower, chosen.model.dim, chosen.model.encoder) == ((32, 16), 16, "mean")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UsageError, match="not a file of `watchnext tune`"):
        TunedSettings.read(tmp_path / "other.json")
    with pytest.raises(UsageError, match="no such file"):
        TunedSettings.read(tmp_path / "none.json")


def test_the_manual_lists_the_space_that_is_searched() -> None:
    manual = (Path(__file__).parents[1] / "docs" / "tuning.md").read_text()
    for part, space in zip(manual.split("With `--model item2vec`"), (DEFAULT, WORD2VEC), strict=True):
        assert dict(re.findall(r"^\| `(\w+)`[^|]*\| `([^`]+)` \|$", part, re.MULTILINE)) == space
