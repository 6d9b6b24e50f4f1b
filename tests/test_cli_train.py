"""The commands from a log to an evaluation: ingest, train, evaluate, settings; interrupted and wrongly used, too."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from corpus.corpus import Corpus
from tests.commands import run, run_json
from watchnext.errors import CorruptError, UsageError
from watchnext.export import Export
from watchnext.split import split

SMALL = [f"--set={s}" for s in ("dim=16", "tower=32", "negatives=20", "batch_examples=128", "learning_rate=0.01")]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus in which everybody goes on from item to item, and a users table."""
    folder = tmp_path_factory.mktemp("train")
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 30, 150)
    rows = [f"u{u},{(s + i) % 30},{1000 * i + u}" for u, s in enumerate(starts) for i in range(8)]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    users = [f"u{u},{'NO' if u % 2 else 'PT'},tv,{20 + u % 40},f" for u in range(150)]
    (folder / "users.csv").write_text("\n".join(["user,country,device,age,gender", *users]) + "\n")
    run("ingest", folder / "log.csv", "--users", folder / "users.csv", "--to", folder / "corpus")
    return folder


@pytest.mark.parametrize(("setting", "refit"), [("time_gaps", False), ("time_gaps", True), ("example_age", True)])
def test_a_network_that_is_told_of_times_knows_when_its_training_ended(
    work: Path, tmp_path: Path, setting: str, refit: bool
) -> None:
    options = [f"--set={setting}=true", "--epochs", "1", *SMALL, *(["--refit"] if refit else [])]
    run_json("train", work / "corpus", "--to", tmp_path / "export", *options)
    end = Export.open(tmp_path / "export").manifest.features.window_end
    assert end == (7149 if refit else 6149)  # the last of 8 watches, or the one before


# A tenth of 1,200 watches, one each; a tenth of 150 users.
@pytest.mark.parametrize(("holdout", "users"), [("leave-one-out", 150), ("temporal", 120), ("users", 15)])
def test_train_and_evaluate_beside_popularity(work: Path, holdout: str, users: int) -> None:
    to = work / holdout
    trained = run_json("train", work / "corpus", "--to", to, "--holdout", holdout, "--epochs", "25", *SMALL)
    assert trained["written"] == str(to)
    assert (trained["users"], trained["items"], trained["dim"]) == (150, 30, 16)
    assert not to.with_name(f"{to.name}.checkpoints").exists()
    found = run_json("evaluate", to, "-k", "1", "-k", "5")
    assert found["model"]["hr@1"]["value"] > 0.8
    assert found["popularity"]["hr@1"]["value"] < 0.4
    assert found["users"] == users
    better = found["difference"]["hr@1"]
    assert better["value"] == pytest.approx(found["model"]["hr@1"]["value"] - found["popularity"]["hr@1"]["value"])
    assert 0 < better["low"] < better["high"]
    assert better["p"] < 0.01
    assert list(found["by_activity"]["model"]) == ["5-9"]  # eight watches each, some held out
    assert set(found["by_popularity"]["model"]) <= {"head", "middle", "tail", "rare", "untrained"}
    assert 0 < found["catalogue"]["model"]["coverage@5"] <= 1
    shown = run("evaluate", to, "--by", "popularity", "--by", "activity")
    assert "HR@10" in shown
    assert "novelty, bits @50" in shown
    assert "5-9" in shown
    assert "with the same options, --refit and another --to" in shown.replace("\n", " ")
    assert Export.open(to).manifest.features.countries == ("NO", "PT")


def test_watches_from_anywhere_in_held_out_histories_are_asked_for(work: Path) -> None:
    to, plain = work / "anywhere", ["--set=order=random", "--set=encoder=mean", "--epochs", "15", *SMALL]
    run("train", work / "corpus", "--to", to, "--holdout", "users-random", "--holdout-share", "0.2", *plain)
    found = run_json("evaluate", to, "-k", "5")
    assert (found["users"], found["targets"]) == (30, 30 * 2)  # the log goes round after 30 items, each has 8 watches
    # Neighbours on a ring of 30: the two that are missing lie between those given or beside them.
    assert found["model"]["recall@5"]["value"] > 0.7
    assert found["popularity"]["recall@5"]["value"] < 0.4
    # What is served goes by the order of the log.
    assert np.array_equal(Export.open(to).histories.items, Corpus.open(work / "corpus").histories.items)


def test_refit_trains_on_everything_and_cannot_be_evaluated(work: Path) -> None:
    run("train", work / "corpus", "--to", work / "all", "--refit", "--epochs", "2", *SMALL)
    export = Export.open(work / "all")
    assert export.item_counts.sum() == 150 * 8
    for run_, epochs in (("fit", 2), ("refit", export.manifest.epochs)):
        lines = (work / "all.logs" / run_ / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines if '"kind": "epoch"' in line] == [*range(1, epochs + 1)]
    with pytest.raises(UsageError, match="no test part"):
        run("evaluate", work / "all")


def test_held_out_users_have_vectors_though_training_does_not_see_them(work: Path) -> None:
    run(
        "train",
        work / "corpus",
        "--to",
        work / "held",
        "--holdout",
        "users",
        "--holdout-seed",
        "3",
        "--epochs",
        "3",
        *SMALL,
    )
    export = Export.open(work / "held")
    about = export.manifest
    cut = split(export.histories, about.holdout, about.holdout_share, about.holdout_seed)
    assert (about.holdout, about.holdout_seed) == ("users", 3)
    assert export.item_counts.sum() == 120 * 8
    assert cut.test.anything.sum() == 15
    assert np.asarray(export.user_vectors)[cut.train == 0][1:].any(1).all()


def test_the_papers_preset_trains(work: Path) -> None:
    small = ("--set", "dim=8", "--set", "tower=32,16", "--set", "negatives=20", "--epochs", "2")
    facts = run_json("train", work / "corpus", "--to", work / "paper", "--preset", "youtube2016", *small)
    model = Export.open(work / "paper").manifest.model
    assert (model.encoder, model.tied, model.similarity, model.output_relu) == ("mean", False, "dot", True)
    assert (np.asarray(Export.open(work / "paper").user_vectors) >= 0).all()
    assert facts["epochs"] in {1, 2}


def test_a_killed_command_resumes_to_the_same_vectors(work: Path) -> None:
    options = ("--epochs", "8", "--checkpoint-steps", "2", *SMALL)
    run("train", work / "corpus", "--to", work / "whole", *options)
    command = ["train", str(work / "corpus"), "--to", str(work / "killed"), *options]
    process = subprocess.Popen([sys.executable, "-m", "watchnext", *command], stderr=subprocess.DEVNULL)
    checkpoints = work / "killed.checkpoints" / "fit"
    until = time.monotonic() + 120
    while not list(checkpoints.glob("step-*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (work / "killed").exists()
    with pytest.raises(UsageError, match="Add --resume"):
        run(*command)
    run(*command, "--resume")
    killed, whole = Export.open(work / "killed"), Export.open(work / "whole")
    assert np.allclose(killed.user_vectors, whole.user_vectors, atol=1e-4)
    assert np.allclose(killed.item_vectors, whole.item_vectors, atol=1e-5)


def test_an_interrupted_command_says_how_to_go_on(work: Path) -> None:
    options = ["--epochs", "100000", "--set", "patience=100000", *SMALL]
    command = ["train", str(work / "corpus"), "--to", str(work / "stopped"), *options]
    process = subprocess.Popen([sys.executable, "-m", "watchnext", *command], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not list((work / "stopped.checkpoints" / "fit").glob("step-*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Interrupted. Go on with: watchnext {shlex.join(command)} --resume" in said
    assert "Traceback" not in said


def test_resuming_nothing_is_said(work: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "watchnext",
        "train",
        str(work / "corpus"),
        "--to",
        str(work / "anew"),
        "--resume",
    ]
    done = subprocess.run([*command, "--epochs", "1", *SMALL], capture_output=True, text=True, check=True)
    assert "anew.checkpoints: training starts anew" in done.stderr
    assert (work / "anew").is_dir()


def test_wrong_use_names_the_cure(work: Path) -> None:
    with pytest.raises(UsageError, match="leave-one-out, temporal, temporal-next, users, users-random, last, none"):
        run("train", work / "corpus", "--to", work / "x", "--holdout", "random")
    with pytest.raises(UsageError, match="activity, popularity"):
        run("evaluate", work / "x", "--by", "mood")
    with pytest.raises(UsageError, match="--holdout-share: got 7"):
        run("train", work / "corpus", "--to", work / "x", "--holdout", "temporal", "--holdout-share", "7")
    with pytest.raises(UsageError, match="--refit: got --holdout none"):
        run("train", work / "corpus", "--to", work / "x", "--holdout", "none", "--refit")
    with pytest.raises(UsageError, match="Give NAME=VALUE"):
        run("train", work / "corpus", "--to", work / "x", "--set", "dims=3")
    with pytest.raises(UsageError, match=r"no manifest\.json.*watchnext ingest"):
        run("train", work, "--to", work / "x")
    assert not (work / "x").exists()


@pytest.mark.parametrize("name", ["item_vectors.npy", "tower.safetensors", "histories/items.npy", "users.arrow"])
def test_a_damaged_export_is_refused(work: Path, tmp_path: Path, name: str) -> None:
    run("train", work / "corpus", "--to", tmp_path / "export", "--epochs", "1", *SMALL)
    path = tmp_path / "export" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptError, match=name):
        run("evaluate", tmp_path / "export")


def test_nothing_but_an_export_is_replaced_and_nothing_but_checkpoints_deleted(work: Path, tmp_path: Path) -> None:
    corpus, mine = work / "corpus", tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("all my work")
    for target in (corpus, mine, mine / "thesis.txt"):
        with pytest.raises(UsageError, match="`watchnext train` did not write"):
            run("train", corpus, "--to", target, "--epochs", "1000000")  # refused before all these epochs
    Corpus.open(corpus)
    run("train", corpus, "--to", tmp_path / "export", "--checkpoints", mine, "--epochs", "1", *SMALL)
    assert [path.name for path in mine.rglob("*")] == ["thesis.txt"]
    run("train", corpus, "--to", tmp_path / "export", "--epochs", "1", *SMALL)
    with pytest.raises(UsageError, match="`watchnext index` did not write"):
        run("index", tmp_path / "export", "--to", tmp_path / "export")
    export = tmp_path / "export"
    Export.open(export)
    assert {path.stat().st_mode & 0o777 for path in export.rglob("*") if path.is_file()} == {0o644}


def test_settings_lists_every_value_of_a_preset() -> None:
    assert run_json("settings", "youtube2016")["tower"] == [1024, 512]
    assert "log Q" in run("settings")
