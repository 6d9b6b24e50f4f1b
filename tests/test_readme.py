"""The README is true: its tree is the tree, and its commands run in the order in which they stand there."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from watchnext.config import ModelConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]

TITLES = [*(f"Film no. {i}" for i in range(37)), "Toy Story (1995)", "Heat (1995)", "Casino (1995)"]


def test_the_tree_is_the_tree() -> None:
    named = set(re.findall(r"^    (\w+)/ ", README, re.MULTILINE))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line}
    assert named == {f for f in folders if not f.startswith(".")} - {"requirements"}


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).is_file(), link


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:`|^    )make ([a-z]+)", README, re.MULTILINE))
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_command_is_on_the_path_before_it_is_used_and_everything_is_trained_on() -> None:
    assert COMMANDS[0] == ". .venv/bin/activate"
    assert "watchnext train work/corpus --to work/export --refit" in COMMANDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the log and the items table that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    rows = ["user,item,time"]
    for user in ["ann", *(f"u{i}" for i in range(80))]:
        start = rng.integers(0, 40)
        rows += [f"{user},{(start + i) % 40},{1_700_000_000 + 60 * i}" for i in range(8)]
    (folder / "watches.csv").write_text("\n".join(rows) + "\n")
    titles = [f'{i},"{title}"' for i, title in enumerate(TITLES)]
    (folder / "items.csv").write_text("\n".join(["item,title", *titles]) + "\n")
    new = {"item_id": "new", "title": "New", "vector": [1.0] * ModelConfig().dim}
    (folder / "new.jsonl").write_text(json.dumps(new) + "\n")
    return folder


@pytest.fixture
def server() -> Iterator[list[subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        process.terminate()
        process.wait(20)
        if process.stdout:
            process.stdout.close()


def test_every_command_runs(folder: Path, server: list[subprocess.Popen[str]]) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    address = ""
    for line in COMMANDS:
        program, *rest = shlex.split(line)
        if program == "curl":
            url = re.sub(r"^http://127.0.0.1:8000", address, rest[0])
            if rest[1:]:
                assert rest[1] == "--json"
                json_ = {"Content-Type": "application/json"}
                with urllib.request.urlopen(urllib.request.Request(url, rest[2].encode(), json_)) as response:
                    assert json.load(response) == {"added": 1, "ignored": 0}
                continue
            with urllib.request.urlopen(url, timeout=20) as response:
                answer = json.load(response)
            assert answer.get("source", "stored") == "stored"
            assert [c["title"] in TITLES for c in answer["candidates"]] == [True] * 3
            continue
        if program == ".":
            assert rest == [".venv/bin/activate"]
            assert "-m venv --clear .venv\n" in (ROOT / "Makefile").read_text()
            continue
        assert program == "watchnext"
        if rest[0] == "serve":
            command = [program, *rest[:-1], "0", "--json"]
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
            server.append(process)
            address = json.loads(process.stdout.readline())["address"] if process.stdout else ""
            _wait_until_ready(address)
            continue
        done = subprocess.run(
            [program, *rest], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert pq.read_table(folder / "work/recommendations").num_rows > 0


def _wait_until_ready(address: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"{address}/healthz/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail("the server did not get ready")
