"""`train --init-from`: the watched table starts from another export's vectors by id, and nothing else does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.fit import Run, Stopped
from model.initial import InitialVectors
from model.network import Network
from model.step import Trainer
from tests.commands import run, run_json
from tests.fitting import stopped_in_the_second
from tests.worlds import make_export
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.errors import UsageError
from watchnext.export import Export, write_export
from watchnext.features import FeatureSpec, Float32
from watchnext.vocabulary import Vocabulary

OLD, NEW = ["a", "b", "c", "d"], ["d", "new", "a", "c", "b"]
WATCHED = np.array([[9, 9, 9], [100, 0, 0], [0, 200, 0], [0, 0, 300], [0, 7, 7]], np.float32)
"""Of `OLD`; `d` is not among the watches of the export, so that it was never trained."""


def other(watched: Float32 = WATCHED) -> Export:
    made = make_export(np.ones((5, 3), np.float32), np.zeros((2, 3), np.float32), [[1, 2, 3]])
    return replace(made, items=Vocabulary(OLD), watched_vectors=watched)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("init_scale", [0.3, 2.0])
def test_rows_are_found_by_id_and_have_the_usual_mean_length(tied: bool, init_scale: float) -> None:
    config = ModelConfig(dim=3, tower=(4,), tied=tied, init_scale=init_scale)
    trainer = Trainer(Network(config, FeatureSpec(), len(NEW), seed=3), TrainingConfig())
    usual = trainer.arrays()
    initial = InitialVectors.of(other(), Vocabulary(NEW))
    assert initial.items == 3
    trainer.set_arrays(initial.state(trainer))
    found = trainer.arrays()
    table = "table/item" if tied else "table/watched"
    assert [name for name, value in usual.items() if not np.array_equal(found[name], value)] == [table]
    assert np.array_equal(found[table][:3], usual[table][:3])  # none, d, new
    scaled = found[table][3:]  # a, c, b: their lengths are as 1 to 3 to 2, on axes of their own
    mean = np.linalg.norm(usual[table][3:], axis=1).mean()
    assert scaled == pytest.approx(mean * np.array([[0.5, 0, 0], [0, 0, 1.5], [0, 1, 0]]))
    assert np.array_equal(trainer.network.tower().watched, found[table])


def test_vectors_of_zero_are_none() -> None:
    watched = WATCHED.copy()
    watched[2] = 0
    assert InitialVectors.of(other(watched), Vocabulary(NEW)).rows.tolist() == [0, 0, 0, 1, 3, 0]


def test_what_cannot_be_started_from_is_told() -> None:
    with pytest.raises(UsageError, match="none of the corpus's items"):
        InitialVectors.of(other(), Vocabulary(["x", "d"]))
    trainer = Trainer(Network(ModelConfig(dim=4), FeatureSpec(), len(NEW), seed=3), TrainingConfig())
    with pytest.raises(UsageError, match=r"3 dimensions, where dim=4 is to be trained\. Add --set dim=3"):
        InitialVectors.of(other(), Vocabulary(NEW)).state(trainer)


CIRCLE = [f"--set={s}" for s in ("dim=8", "tower=16", "encoder=mean", "batch_examples=128", "averaged=0")]


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of histories on a circle, and an export whose items lie on one, too, five more."""
    folder = tmp_path_factory.mktemp("circle")
    starts = np.random.default_rng(0).integers(0, 20, 80).tolist()
    rows = [f"u{u},i{(s + i) % 20 + 1},{1000 * i + u}" for u, s in enumerate(starts) for i in range(7)]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    run("ingest", folder / "log.csv", "--to", folder / "corpus")
    numbers = np.arange(26)
    vectors = np.zeros((26, 8), np.float32)
    vectors[1:, 0], vectors[1:, 1] = np.cos(numbers[1:] * np.pi / 10), np.sin(numbers[1:] * np.pi / 10)
    made = make_export(vectors, np.zeros((2, 8), np.float32), [numbers[3:].tolist()])  # i1 and i2 have no watches
    write_export(replace(made, watched_vectors=5 * vectors), folder / "other")
    return folder


@pytest.mark.parametrize("refit", [False, True])
def test_training_starts_from_the_vectors(circle: Path, tmp_path: Path, refit: bool) -> None:
    """Steps so small that training hardly moves show the start, in the second fit of a refit as well."""
    options = ["--init-from", str(circle / "other"), "--epochs", "1", "--set=learning_rate=1e-9", *CIRCLE]
    facts = run_json("train", circle / "corpus", "--to", tmp_path / "export", *options, *["--refit"] * refit)
    assert facts["initialised_items"] == 18
    export = Export.open(tmp_path / "export")
    numbers = np.array([int(id_[1:]) for id_ in export.items.ids(np.arange(1, 21))])
    watched = export.watched_vectors[1:]
    on_circle = np.stack([np.cos(numbers * np.pi / 10), np.sin(numbers * np.pi / 10)], 1)
    known = numbers > 2
    length = np.linalg.norm(watched[known], axis=1)
    assert length == pytest.approx(length[0], rel=1e-4)  # all as long as each other, as they were
    assert length[0] == pytest.approx(0.3, rel=0.2)
    assert watched[known, :2] / length[:, None] == pytest.approx(on_circle[known], abs=1e-4)
    assert (np.abs(watched[~known, 2:]).max(1) > 0.01).all()


def test_an_interrupted_run_goes_on_with_the_same_vectors_only(
    circle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, initial = circle / "corpus", ["--init-from", str(circle / "other")]
    options = ["--epochs", "3", *CIRCLE]
    run("train", corpus, "--to", tmp_path / "whole", *options, *initial)
    with monkeypatch.context() as patched:
        patched.setattr("model.fit.Run._end_of_epoch", stopped_in_the_second(Run._end_of_epoch))
        with pytest.raises(Stopped):
            run("train", corpus, "--to", tmp_path / "cut", *options, *initial)
    with pytest.raises(UsageError, match="checkpoints of another configuration"):
        run("train", corpus, "--to", tmp_path / "cut", "--resume", *options)
    run("train", corpus, "--to", tmp_path / "cut", "--resume", *options, *initial)
    whole, cut = (Export.open(tmp_path / name) for name in ("whole", "cut"))
    assert np.allclose(whole.item_vectors, cut.item_vectors, atol=1e-5)


def test_what_is_held_back_must_not_be_in_the_vectors(circle: Path, tmp_path: Path) -> None:
    """An export that has learned the first six of seven watches: `leave-one-out` validates on the sixth."""
    corpus, options = circle / "corpus", ["--epochs", "1", *CIRCLE]
    run("train", corpus, "--to", tmp_path / "last", *options)
    start = ["--init-from", str(tmp_path / "last"), *options]
    assert run_json("train", corpus, "--to", tmp_path / "x", *start)["initialised_items"] == 20
    with pytest.raises(UsageError, match=r"--init-from: .*learned every watch that --holdout leave-one-out"):
        run("train", corpus, "--to", tmp_path / "x", *start, "--holdout", "leave-one-out")
    with pytest.raises(UsageError, match=r"--init-from: .*learned watches of 8 users which --holdout users holds"):
        run("train", corpus, "--to", tmp_path / "x", *start, "--holdout", "users")
    with pytest.raises(UsageError, match="--init-from: got --warm-from beside it"):
        run("train", corpus, "--to", tmp_path / "x", *start, "--warm-from", tmp_path / "last")
