"""A corpus folder is whole or refused; the command's exit codes and JSON; a run that is killed leaves nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.corpus import Corpus
from corpus.ingest import ingest
from tests.test_corpus_reference import options
from watchnext.cli import main
from watchnext.errors import CorruptError, UsageError

FILES = [
    "histories/items.npy",
    "histories/times.npy",
    "histories/offsets.npy",
    "item_vocabulary.arrow",
    "user_vocabulary.arrow",
    "catalogue.arrow",
    "users.arrow",
    "rejected.parquet",
    "manifest.json",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "log.csv").write_text("user,item,time\n" + "".join(f"u{i % 9},i{i % 5},{i}\n" for i in range(90)))
    ingest(options(str(folder / "log.csv"), folder / "c"))
    return folder / "c"


def test_layout(made: Path) -> None:
    found = {p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()}
    assert found == set(FILES)
    assert isinstance(Corpus.open(made).histories.items, np.memmap)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_truncated_files_are_refused(made: Path, tmp_path: Path, name: str, keep: float) -> None:
    shutil.copytree(made, tmp_path / "c")
    content = (tmp_path / "c" / name).read_bytes()
    (tmp_path / "c" / name).write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CorruptError, match=Path(name).name):
        Corpus.open(tmp_path / "c")


@pytest.mark.parametrize("name", [f for f in FILES if f not in {"rejected.parquet", "manifest.json"}])
def test_empty_files_are_refused_without_checksums(made: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(made, tmp_path / "c")
    (tmp_path / "c" / name).write_bytes(b"")
    with pytest.raises(CorruptError):
        Corpus.open(tmp_path / "c", verify=False)


def test_missing_and_changed_files_are_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "c")
    content = bytearray((tmp_path / "c" / "histories" / "items.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "c" / "histories" / "items.npy").write_bytes(content)
    with pytest.raises(CorruptError, match="checksum"):
        Corpus.open(tmp_path / "c")
    (tmp_path / "c" / "users.arrow").unlink()
    with pytest.raises(CorruptError, match=r"no such file|checksum"):
        Corpus.open(tmp_path / "c")
    with pytest.raises(UsageError, match="no manifest"):
        Corpus.open(tmp_path)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the command line in this process; gives its exit code, standard output and error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["watchnext", "ingest", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        code = left.value.code
        return int(code or 0), *capsys.readouterr()

    return call


def test_command(tmp_path: Path, run: Run) -> None:
    (tmp_path / "log.csv").write_text("who,item,time\nu,a,1\nu,b,2\n,b,3\n")
    arguments = [str(tmp_path / "*.csv"), "--to", str(tmp_path / "c"), "--user-column", "who"]
    code, out, err = run(*arguments, "--max-rejected-share", "0.5", "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert (facts["rows_read"], facts["kept"], facts["rejected"]) == (3, 2, {"missing user id": 1})
    assert facts["written"] == str(tmp_path / "c")
    code, out, _ = run(*arguments, "--max-rejected-share", "0.5")
    assert code == 0
    assert "rejected: missing user id" in out
    assert f"watchnext train {tmp_path / 'c'}" in out.replace("\n", "")
    code, _, err = run(*arguments)
    assert code == 1
    assert "1 malformed rows of 3 (1 missing user id)" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--user-column"),
        (["--user-column", "who", "--min-user-watches", "0"], "--min-user-watches"),
        (["--user-column", "who", "--format", "xml"], "--format"),
        (["--user-column", "who", "--min-fraction", "0.5"], "--fraction-column"),
    ],
)
def test_wrong_use_exits_2(tmp_path: Path, run: Run, arguments: list[str], named: str) -> None:
    (tmp_path / "log.csv").write_text("who,item,time\nu,a,1\n")
    code, _, err = run(str(tmp_path / "log.csv"), "--to", str(tmp_path / "c"), *arguments)
    assert (code, named in err) == (2, True)


def test_killed_half_way(tmp_path: Path) -> None:
    n = 400_000
    rng = np.random.default_rng(0)
    table = pa.table({"user": rng.integers(0, 9999, n), "item": rng.integers(0, 999, n), "time": np.arange(n)})
    pq.write_table(table, tmp_path / "log.parquet")
    old = ingest(options(str(tmp_path / "log.parquet"), tmp_path / "c", max_items=10)).manifest
    command = [
        sys.executable,
        "-m",
        "watchnext",
        "ingest",
        str(tmp_path / "log.parquet"),
        "--to",
        str(tmp_path / "c"),
    ]
    for killed_when in (".c.scratch.*", ".c.scratch.*/users"):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not list(tmp_path.glob(killed_when)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert Corpus.open(tmp_path / "c").manifest == old
        for scratch in tmp_path.glob(".c.*"):
            with pytest.raises((UsageError, CorruptError)):
                Corpus.open(scratch)
            shutil.rmtree(scratch)
