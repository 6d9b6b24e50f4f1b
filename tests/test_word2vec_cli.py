"""item2vec and word2vec on the command line: an export like any other, interrupted, on texts, and wrongly used."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from httpx import Client

from evaluation.results import ResultStore
from serving.app import create_app
from tests.commands import run, run_json
from tests.servers import running, settings, wait_ready
from watchnext.cli.cell import Job
from watchnext.config import Word2vecConfig
from watchnext.errors import UsageError, WatchnextError
from watchnext.export import OPTIMIZER, Export, ExportManifest
from watchnext.presets import PRESETS, changed, preset

ITEMS, USERS = 24, 160
FAST = ("optimizer=adam", "learning_rate=0.03", "dim=12", "batch_examples=64", "negatives=3")
SMALL = [f"--set={s}" for s in (*FAST, "last=3")]
ITEM2VEC = ["--model", "item2vec", *SMALL]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of walks on a circle, with tables of users and items and with searches, which are of no use here."""
    folder = tmp_path_factory.mktemp("item2vec")
    starts = np.random.default_rng(0).integers(0, ITEMS, USERS).tolist()
    rows = [f"u{u},i{(s + i) % ITEMS},{1000 * i + u}" for u, s in enumerate(starts) for i in range(8)]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    users = [f"u{u},{'NO' if u % 2 else 'PT'}" for u in range(USERS)]
    (folder / "users.csv").write_text("\n".join(["user,country", *users]) + "\n")
    (folder / "items.csv").write_text("\n".join(["item,title", *(f"i{n},Film {n}" for n in range(ITEMS))]) + "\n")
    (folder / "searches.csv").write_text("\n".join(["user,query,time", *(f"u{u},film,{u}" for u in range(9))]) + "\n")
    tables = [word for name in ("users", "items", "searches") for word in (f"--{name}", str(folder / f"{name}.csv"))]
    run("ingest", folder / "log.csv", *tables, "--to", folder / "corpus")
    return folder


@pytest.fixture(scope="module")
def judged(work: Path) -> Path:
    """An export that holds back two watches of each user."""
    run("train", work / "corpus", "--to", work / "judged", "--holdout", "leave-one-out", "--epochs", "12", *ITEM2VEC)
    return work / "judged"


@pytest.fixture(scope="module")
def releases(work: Path, judged: Path) -> Path:
    run("index", judged, "--to", work / "index")
    run("publish", judged, work / "index", "--to", work / "releases", "--name", "one")
    return work / "releases"


def test_it_is_evaluated_and_better_than_popularity(judged: Path) -> None:
    found = run_json("evaluate", judged, "-k", "5")
    assert (found["users"], found["targets"]) == (USERS, USERS)
    # Not watched are 17 of 24 items, of which one is right: 5 of 17 at random.
    assert found["model"]["hr@5"]["value"] > 0.7
    assert found["popularity"]["hr@5"]["value"] < 0.5


def test_the_manifest_says_how_it_was_trained(judged: Path) -> None:
    manifest = ExportManifest.read(judged)
    assert isinstance(manifest.training, Word2vecConfig)
    settings = [word.removeprefix("--set=") for word in SMALL]
    expected = changed(preset("item2vec"), [*settings, "epochs=12"])
    assert (manifest.model, manifest.training) == (expected.model, expected.training)
    assert ExportManifest.model_validate_json(manifest.model_dump_json()) == manifest
    assert manifest.features.countries == ("NO", "PT")  # of the corpus, though no vector follows from them
    assert (manifest.items, manifest.users, manifest.dim) == (ITEMS, USERS, 12)
    assert 1 <= manifest.epochs <= 12
    assert OPTIMIZER not in manifest.files


def test_users_are_means_of_the_last_watched_vectors(judged: Path) -> None:
    export = Export.open(judged)
    watched = np.asarray(export.watched_vectors)
    expected = [watched[export.histories[user][-3:]].mean(0) for user in range(1, USERS + 1)]
    assert np.asarray(export.user_vectors)[1:] == pytest.approx(np.array(expected), abs=1e-6)
    assert export.tower().user_vectors([export.histories[7]])[0] == pytest.approx(expected[6], abs=1e-6)
    assert not np.asarray(export.item_vectors)[0].any()


def test_recommendations_are_the_nearest_by_dot_product_without_what_was_watched(
    judged: Path, releases: Path
) -> None:
    export = Export.open(judged)
    user = export.users.numbers(["u5"])[0]
    scores = np.asarray(export.item_vectors) @ np.asarray(export.user_vectors)[user]
    scores[[0, *export.histories[int(user)]]] = -np.inf
    best = np.argsort(-scores)[:4]
    answer = run_json("recommend", releases, "--user", "u5", "-k", "4")
    assert answer["source"] == "stored"
    assert [row["item_id"] for row in answer["candidates"]] == export.items.ids(best)
    assert [row["score"] for row in answer["candidates"]] == pytest.approx(scores[best].tolist(), rel=1e-5)
    assert run_json("releases", "show", releases)["name"] == "one"


@pytest.fixture(scope="module")
def client(releases: Path) -> Iterator[Client]:
    with running(create_app(settings(releases))) as client:
        wait_ready(client)
        yield client


def test_it_is_served(client: Client, releases: Path) -> None:
    answer = client.get("/recommend", params={"user_id": "u5", "k": 4}).json()
    expected = run_json("recommend", releases, "--user", "u5", "-k", "4")["candidates"]
    assert [row["item_id"] for row in answer["candidates"]] == [row["item_id"] for row in expected]
    similar = client.get("/similar", params={"item_id": "i3", "k": 3})
    assert similar.status_code == 200
    assert len(similar.json()["candidates"]) == 3


def test_neighbours_are_found_by_title(releases: Path) -> None:
    found = run_json("similar", "Film 3", "--of", releases, "-k", "4")["candidates"]
    assert len({row["item_id"] for row in found} & {"i1", "i2", "i4", "i5"}) >= 3


def test_killed_runs_go_on_to_the_same_bits(work: Path, tmp_path: Path) -> None:
    options = ["--epochs", "6", "--checkpoint-steps", "3", "--set=averaged=0.5", *ITEM2VEC]
    options += ["--set=subsampling=0.05", "--set=final_rate=0.1", "--set=vectors=average"]
    run("train", work / "corpus", "--to", tmp_path / "whole", *options)
    command = ["train", str(work / "corpus"), "--to", str(tmp_path / "killed"), *options]
    process = subprocess.Popen([sys.executable, "-m", "watchnext", *command], stderr=subprocess.DEVNULL)
    checkpoints, until = tmp_path / "killed.checkpoints" / "fit", time.monotonic() + 120
    while len(list(checkpoints.glob("step-*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed").exists()
    run(*command, "--resume")
    whole, killed = Export.open(tmp_path / "whole"), Export.open(tmp_path / "killed")
    for name in ("item_vectors", "watched_vectors", "user_vectors"):
        assert np.array_equal(getattr(whole, name), getattr(killed, name))
    assert whole.manifest.metrics == killed.manifest.metrics
    assert whole.manifest.epochs == killed.manifest.epochs


def test_early_stopping_keeps_the_best_epoch_and_refit_trains_on_everything(work: Path, tmp_path: Path) -> None:
    options = [*ITEM2VEC, "--epochs", "200", "--set=patience=2", "--set=averaged=0"]
    facts = run_json("train", work / "corpus", "--to", tmp_path / "export", "--refit", *options)
    assert facts["epochs"] < 200
    assert facts["ndcg@10"] > 0.4
    export = Export.open(tmp_path / "export")
    assert export.item_counts.sum() == 8 * USERS
    assert export.manifest.holdout == "none"


TEXT = "red green blue\nfork knife spoon\nblue red green red\nspoon fork knife\ngreen blue red\nknife spoon fork\n"


def test_a_text_is_trained_on_as_a_whole_and_its_words_have_neighbours(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(TEXT * 60)
    run("ingest", tmp_path / "t.txt", "--format", "text", "--to", tmp_path / "corpus")
    options = [*SMALL, "--set=subsampling=0", "--epochs", "12"]
    run("train", tmp_path / "corpus", "--to", tmp_path / "export", "--model", "word2vec", *options)
    export = Export.open(tmp_path / "export")
    assert export.manifest.holdout == "none"
    assert list(export.manifest.metrics) == ["loss"]
    assert export.item_counts.sum() == len((TEXT * 60).split())
    found = run_json("similar", "red", "--of", tmp_path / "export", "-k", "2")["candidates"]
    assert {row["item_id"] for row in found} == {"green", "blue"}
    last = ["--holdout", "last", "--epochs", "1", *SMALL]
    run("train", tmp_path / "corpus", "--to", tmp_path / "last", "--model", "word2vec", *last)
    assert Export.open(tmp_path / "last").manifest.holdout == "last"


def test_a_log_holds_back_the_last_watch_by_default(work: Path, tmp_path: Path) -> None:
    run("train", work / "corpus", "--to", tmp_path / "export", "--epochs", "1", *ITEM2VEC)
    assert Export.open(tmp_path / "export").manifest.holdout == "last"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "tower=8"], r"--set: got 'tower=8'.*NAME=VALUE with one of the names: .*window, dynamic_window"),
        (["--set", "in_batch=0.1"], "--set: got 'in_batch=0.1'"),
        (["--set", "window=0"], r"--set window: got '0'.*greater than or equal to 1"),
        (["--set", "window=near"], "--set window: got 'near'"),
        (["--set", "loss=full"], r"--set loss: got 'full'.*'negative' or 'hierarchical'"),
        (["--set", "decay=0"], "--set decay: got '0'"),
        (["--warm-from", "x"], "--warm-from: got a model that always starts anew"),
        (["--warm-from", "x", "--replay", "0.5"], "--warm-from: got a model that always starts anew"),
        (["--init-from", "x"], "--init-from: got a model that always starts anew"),
        (["--optimizer-state"], r"--optimizer-state: got .*Leave it out, or choose another --model"),
    ],
)
def test_options_of_other_models_are_refused(work: Path, tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run("train", work / "corpus", "--to", tmp_path / "x", "--model", "item2vec", *options)
    assert not (tmp_path / "x").exists()


def test_settings_of_the_network_have_no_windows(work: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--set: got 'window=3'"):
        run("train", work / "corpus", "--to", tmp_path / "x", "--set", "window=3")


@pytest.mark.parametrize("name", ["item2vec", "word2vec"])
def test_settings_lists_what_can_be_set(name: str) -> None:
    assert run_json("settings", name) == PRESETS[name].training.model_dump()
    shown = run("settings", name)
    assert "dynamic_window" in shown
    assert "tower" not in shown


def test_tune_searches_its_settings(work: Path, tmp_path: Path) -> None:
    options = [*ITEM2VEC, "--set=epochs=2", "--set=learning_rate=1e-6", "--space=learning_rate=0.02..0.05"]
    options += ["--space=window=3,none", "--to", str(tmp_path / "tune"), "--trials", "2", "--minutes", "60"]
    found = run_json("tune", work / "corpus", *options)
    first, second = found["trials"]
    assert first["settings"] == []
    assert {s.partition("=")[0] for s in second["settings"]} >= {"window", "learning_rate", "vectors"}
    best = ["--settings", str(tmp_path / "tune" / "best.json"), "--holdout", "leave-one-out"]
    trained = run_json("train", work / "corpus", "--to", tmp_path / "export", *best)
    assert trained["ndcg@10"] == pytest.approx(found["metrics"]["ndcg@10"], abs=0.02)
    assert isinstance(Export.open(tmp_path / "export").manifest.training, Word2vecConfig)
    with pytest.raises(UsageError, match=r"--space: got 'tower=8,16'.*names: .*dynamic_window"):
        run("tune", work / "corpus", *options, "--space=tower=8,16")


def test_compare_takes_it_with_other_settings(work: Path, tmp_path: Path) -> None:
    settings = ":".join(["item2vec", "window=none", *(s.removeprefix("--set=") for s in SMALL), "epochs=2"])
    found = run_json("compare", work / "corpus", "--model", settings, "--to", tmp_path)
    (result,) = found["results"]
    assert result["cell"]["model"] == "item2vec"
    assert "window=none" in result["cell"]["settings"]
    assert 0 <= result["metrics"]["ndcg@10"][0] <= 1


def test_compare_leaves_the_preset_for_texts_out_unless_it_is_named(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def failing(jobs: Mapping[str, Job], store: ResultStore) -> list[str]:
        asked.extend(jobs)
        return [*jobs]

    monkeypatch.setattr("watchnext.cli.compare.run_cells", failing)
    for options in ([], ["--model", "word2vec"]):
        with pytest.raises(WatchnextError):  # nothing was run
            run("compare", work / "corpus", *options, "--to", tmp_path)
    models = [name.rpartition(" ")[2] for name in asked]
    assert models.count("word2vec") == 1
    assert models[-1] == "word2vec"
    assert {"item2vec", "default", "popularity", "gensim-item2vec"} <= set(models)
