"""The demo, whole, on MovieLens: from the package to an answer over HTTP, in a process of its own."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from watchnext.export import Export
from watchnext.release import ReleaseStore


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where its files are, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = f"{sys.executable} -m watchnext demo --once --epochs 6 --port {port} --to {folder}"
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert f"Port {port} is taken" in done.stdout
    assert done.returncode == 0, done.stderr
    assert "Answering from current" in done.stderr
    assert not re.search("^{", done.stderr, re.MULTILINE)  # lines for people, though this is no terminal
    return folder, done.stdout


def test_it_prints_the_licence_the_evaluation_and_the_recommendations(demo: tuple[Path, str]) -> None:
    text = demo[1]
    assert "no commercial use" in " ".join(text.split())
    assert "NDCG@10" in text
    assert re.search(r"GET http://127.0.0.1:\d+/recommend\?user_id=\d+&k=10", text)
    assert len(re.findall(r"│ \d+\.\d\d +│$", text, re.MULTILINE)) == 10


def test_lists_differ_between_users(demo: tuple[Path, str]) -> None:
    found = re.search(r"20 best items of all users are ([\d,]+) different", demo[1])
    assert found
    assert int(found[1].replace(",", "")) >= 500


def test_what_is_published_was_trained_on_every_watch(demo: tuple[Path, str]) -> None:
    store = ReleaseStore(demo[0] / "releases")
    export = Export.open(store.path(store.current()) / "export")
    assert export.manifest.holdout == "none"
    counts = np.bincount(export.histories.items, minlength=export.manifest.items + 1)
    assert np.array_equal(export.item_counts, counts)
    assert export.manifest.users == 671
    assert export.catalogue.title(export.items.number("356")) == "Forrest Gump"
    assert not list(demo[0].glob("*.checkpoints"))


def test_own_logs_need_a_known_holdout() -> None:
    command = [sys.executable, "-m", "watchnext", "demo", "--holdout", "guess"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "temporal or leave-one-out" in done.stderr
