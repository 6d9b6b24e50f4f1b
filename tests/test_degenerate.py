"""Corpora that are hardly ones: each trains to vectors that can be served, or says why it does not."""

from pathlib import Path

import numpy as np
import pytest

from tests.commands import run
from watchnext.errors import TrainingError
from watchnext.export import Export

SMALL = ("--set", "dim=8", "--set", "tower=8", "--set", "negatives=10", "--set", "history=10", "--epochs", "1")


def trained(folder: Path, histories: list[list[int]], *options: str) -> Export:
    """Ingest, train and open the export."""
    rows = [f"u{u},i{item},{time}" for u, history in enumerate(histories) for time, item in enumerate(history)]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    run("ingest", folder / "log.csv", "--to", folder / "corpus")
    run("train", folder / "corpus", "--to", folder / "export", *SMALL, *options)
    export = Export.open(folder / "export")
    assert len(export.users) == len(histories)
    for vectors in (export.item_vectors, export.user_vectors):
        assert np.isfinite(vectors).all()
    assert np.asarray(export.user_vectors)[1:].any(1).all()
    assert np.array_equal(np.asarray(export.item_vectors).any(1), export.item_counts > 0)
    return export


def test_one_user(tmp_path: Path) -> None:
    export = trained(tmp_path, [[1, 2, 3, 1, 2, 3, 1, 2]])
    assert export.item_counts.sum() == 7


def test_one_item(tmp_path: Path) -> None:
    export = trained(tmp_path, [[1] * n for n in range(3, 20)])
    assert export.item_vectors.shape == (2, 8)


def test_histories_of_one_watch_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no user with two watches"):
        trained(tmp_path, [[n % 7] for n in range(50)], "--holdout", "none")


def test_a_hundred_thousand_watches_by_one_user_beside_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    heavy = rng.integers(0, 50, 100_000).tolist()
    export = trained(tmp_path, [heavy, *rng.integers(0, 50, (20, 5)).tolist()], "--set", "batch_examples=16384")
    assert export.item_counts.sum() == 99_999 + 20 * 4


def test_an_item_that_is_half_of_all_watches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    histories = np.where(rng.random((200, 10)) < 0.5, 0, rng.integers(1, 60, (200, 10)))
    export = trained(tmp_path, histories.tolist())
    assert export.item_counts.max() > 0.45 * export.item_counts.sum()
