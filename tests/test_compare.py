"""`watchnext compare`: a cell's figures are those of a plain evaluation; killed, it goes on; a failure stays alone.

The log is a checkerboard: users watch either the odd or the even items: neighbours know that, popularity does not.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from corpus.corpus import Corpus
from corpus.ingest import ingest
from corpus.options import IngestOptions
from evaluation.protocol import evaluate
from evaluation.results import Cell, ResultStore
from evaluation.scorers import Popularity
from evaluation.training import TrainingCounts
from tests.commands import run, run_json
from watchnext.cli.cell import KS, Job
from watchnext.cli.compare import make_job, run_cells
from watchnext.config import TrainingConfig
from watchnext.errors import UsageError
from watchnext.presets import PRESETS
from watchnext.split import split

MODELS = ("--model", "popularity", "--model", "item-knn")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("board"), np.random.default_rng(0)
    lines = ["user,item,time"]
    for user in range(60):
        items = rng.permutation(20)[:12] * 2 + user % 2
        lines += [f"u{user},i{item},{1000 * user + at}" for at, item in enumerate(items)]
    (folder / "log.csv").write_text("\n".join(lines))
    ingest(IngestOptions(logs=(str(folder / "log.csv"),), to=folder / "board"))
    return folder / "board"


def test_figures_are_those_of_a_plain_evaluation_and_the_neighbours_win(corpus: Path, tmp_path: Path) -> None:
    found = run_json("compare", corpus, *MODELS, "--holdout", "leave-one-out", "--to", tmp_path)
    popularity, neighbours = found["results"]
    opened = Corpus.open(corpus)
    cut = split(opened.histories, "leave-one-out")
    counts = TrainingCounts.of(opened.histories, cut.train, len(opened.items))
    plain = evaluate(Popularity(counts.watches), opened.histories, cut, counts, KS)
    assert popularity["metrics"]["ndcg@10"][0] == pytest.approx(plain.metrics["ndcg@10"].mean())
    assert popularity["catalogue"] == pytest.approx(plain.catalogue)
    # Of a user's own 20 items 11 are watched: 9 are left, so that all targets are among the first 10.
    assert neighbours["metrics"]["hr@10"][0] == 1
    assert popularity["metrics"]["hr@10"][0] < 0.7
    assert neighbours["cost"]["peak_megabytes"] > 10
    page = (tmp_path / "report.html").read_text()
    assert "item-knn" in page
    assert "popularity" in (tmp_path / "report.md").read_text()


def test_killed_it_goes_on_with_what_is_missing(corpus: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "watchnext", "compare", str(corpus), *MODELS, "--to", str(tmp_path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*/manifest.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        first.kill()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/manifest.json")}
    assert before
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [r["cell"]["model"] for r in json.loads(done.stdout)["results"]] == ["popularity", "item-knn"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_cell_that_fails_is_named_and_the_others_stay(corpus: Path, tmp_path: Path) -> None:
    def job(model: str, *settings: str) -> Job:
        return make_job(corpus, tmp_path, "leave-one-out", 0.1, model, settings, 0, shown=False)

    store = ResultStore(tmp_path)
    jobs = {"wild": job("default", "learning_rate=1e38"), "calm": job("popularity")}
    assert run_cells(jobs, store) == ["wild"]
    assert store.has(jobs["calm"].cell)
    assert not store.has(jobs["wild"].cell)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "nothing"], "--model: got 'nothing'"),
        (["--model", "ease:regularisation=3"], "only their name"),
        (["--model", "default:size=3"], "Give NAME=VALUE"),
        (["--holdout", "last"], "Choose from: leave-one-out"),
        (["--world", "docs"], "Give a folder written by `watchnext simulate`"),
    ],
)
def test_wrong_use_is_refused_before_anything_runs(
    corpus: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run("compare", corpus, *options, "--to", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_no_result_outlives_a_change_of_its_preset(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cell(*settings: str) -> Cell:
        return make_job(corpus, tmp_path, "leave-one-out", 0.1, "default", settings, 0, shown=False).cell

    before, changed = cell(), cell("dim=32")
    assert before.key == cell().key != changed.key
    new = PRESETS["default"].model_copy(update={"training": TrainingConfig(learning_rate=0.5)})
    monkeypatch.setitem(PRESETS, "default", new)
    assert cell().key != before.key
