"""`watchnext tune` and `watchnext train --settings` on a circle of items, the first of them killed, too."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import run, run_json
from watchnext.errors import UsageError
from watchnext.export import Export

ITEMS, USERS, LENGTH = 20, 80, 7
SMALL = [
    f"--set={s}" for s in ("dim=8", "tower=16", "encoder=mean", "negatives=20", "batch_examples=128", "epochs=4")
]
SMALL += ["--set=residual=true", "--set=tied=true"]
BAD = [*SMALL, "--set=learning_rate=1e-6", "--space=learning_rate=0.01..0.05"]


def histories() -> list[list[int]]:
    starts = np.random.default_rng(0).integers(0, ITEMS, USERS).tolist()
    return [[(start + i) % ITEMS for i in range(LENGTH)] for start in starts]


def ingested(folder: Path, rows: Sequence[Sequence[int]]) -> Path:
    """A corpus of these histories."""
    folder.mkdir(parents=True)
    watches = [f"u{u:03d},i{item:02d},{1000 * i + u}" for u, row in enumerate(rows) for i, item in enumerate(row)]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *watches]) + "\n")
    run("ingest", folder / "log.csv", "--to", folder / "corpus")
    return folder / "corpus"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ingested(tmp_path_factory.mktemp("tune") / "circle", histories())


def tuned(corpus: Path, to: Path, trials: int, *options: str) -> dict[str, Any]:
    return run_json("tune", corpus, "--to", to, "--minutes", "60", "--trials", str(trials), *options)


def test_a_bad_preset_is_bettered_and_the_settings_are_trained_with(corpus: Path, tmp_path: Path) -> None:
    to = tmp_path / "tune"
    found = tuned(corpus, to, 2, *BAD)
    preset, other = found["trials"]
    assert preset["settings"] == []
    assert other["metrics"]["ndcg@10"] > preset["metrics"]["ndcg@10"] + 0.05
    assert found["metrics"] == other["metrics"]
    assert (to / "trials.svg").read_text().startswith("<svg")
    shown = run("tune", corpus, "--to", to, "--trials", "2", *BAD)  # nothing is left to do, nothing is done anew
    assert "Best trials" in shown
    assert f"--settings {to / 'best.json'}" in shown.replace("\n", "")
    options = ["--settings", str(to / "best.json"), "--holdout", "leave-one-out"]
    trained = run_json("train", corpus, "--to", tmp_path / "export", *options)
    assert trained["ndcg@10"] == pytest.approx(other["metrics"]["ndcg@10"], abs=0.02)
    learning_rate = Export.open(tmp_path / "export").manifest.training.learning_rate
    assert f"learning_rate={learning_rate}" in found["settings"]
    with pytest.raises(UsageError, match="--model: got 'youtube2016' beside settings for 'default'"):
        run("train", corpus, "--to", tmp_path / "other", "--preset", "youtube2016", *options)


def test_the_test_part_is_not_looked_at(corpus: Path, tmp_path: Path) -> None:
    def changed(place: int) -> Path:
        """The same histories with all watches of one place, from the end, handed on to the next user."""
        rows = histories()
        for row, other in zip(rows, np.roll([row[place] for row in rows], 1).tolist(), strict=True):
            row[place] = other
        return ingested(tmp_path / str(place), rows)

    def metrics(corpus: Path, name: str) -> list[dict[str, float]]:
        return [trial["metrics"] for trial in tuned(corpus, tmp_path / name, 2, *BAD)["trials"]]

    whole = metrics(corpus, "whole")
    for one, other in zip(whole, metrics(changed(-1), "test"), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    for one, other in zip(whole, metrics(changed(-2), "validation"), strict=True):
        assert one["ndcg@10"] != pytest.approx(other["ndcg@10"], abs=1e-3)


def test_a_killed_search_goes_on(corpus: Path, tmp_path: Path) -> None:
    to = tmp_path / "tune"
    command = ["tune", str(corpus), "--to", str(to), "--minutes", "60", "--trials", "3", *BAD]
    process = subprocess.Popen([sys.executable, "-m", "watchnext", *command], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(to.glob("checkpoints/trial-0001/fit/step-*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (to / "best.json").exists()
    found = run_json(*command)
    assert len(found["trials"]) == 3
    assert {trial["state"] for trial in found["trials"]} <= {"trained", "stopped early"}
    assert [trial["settings"] == [] for trial in found["trials"]] == [True, False, False]
    assert not list((to / "checkpoints").iterdir())


def test_wrong_use_is_told_before_anything_is_written(corpus: Path, tmp_path: Path) -> None:
    to = tmp_path / "tune"
    for options, said in [
        (["--space", "dims=1"], "--space: got 'dims=1'"),
        (["--set", "dims=1"], "--set: got 'dims=1'"),
        (["--minutes", "0"], "--minutes: got 0"),
        (["--holdout", "none"], "leaves nothing to judge by"),
        (["--holdout", "mine"], "--holdout: got 'mine'"),
    ]:
        with pytest.raises(UsageError, match=said):
            run("tune", corpus, "--to", to, *options)
    assert not to.exists()
    with pytest.raises(UsageError, match="did not write"):
        run("tune", corpus, "--to", corpus)
