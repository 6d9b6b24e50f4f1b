"""What a user does wrong, or the machine lacks, ends in a message with a cure and an exit code; never a traceback."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from watchnext.cli import main
from watchnext.cli.console import report
from watchnext.cli.failures import EXTRAS, explained
from watchnext.errors import CorruptError

Call = Callable[..., tuple[int, str, str]]
EXTRAS_DECLARED = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process; gives its exit code, standard output, and error on one line."""

    def called(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["watchnext", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, " ".join(err.split())

    return called


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log.csv").write_text("user,item,time\nu,a,1\nu,b,2\nv,b,3\n")
    return tmp_path / "log.csv"


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run code before the command line in a process of its own."""
    command = [sys.executable, "-c", f"{code}\nfrom watchnext.cli import main\nmain()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("place", ["log.csv/corpus", "log.csv/folder/corpus"])
def test_a_place_that_cannot_be_written_is_named(call: Call, log: Path, place: str) -> None:
    code, _, err = call("ingest", log, "--to", log.parent / place)
    assert code == 1
    assert "log.csv" in err
    assert "that you may read and write there" in err


def test_errors_of_the_system_name_file_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left, explained():
        raise PermissionError(13, "Permission denied", "[work]/x")
    assert left.value.code == 1
    assert "[work]/x: got Permission denied." in capsys.readouterr().err


def test_messages_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), explained():
        raise CorruptError("log[a].csv", "[bold]x", "Mend [/it].")
    assert "log[a].csv: got [bold]x.\nMend [/it].\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [("duckdb", ["ingest", "x.csv", "--to", "y"], "train"), ("uvicorn", ["serve", "nowhere"], "serve")],
)
def test_a_missing_extra_is_named(module: str, words: list[str], extra: str) -> None:
    done = python(f"import sys; sys.modules[{module!r}] = None", *words)
    assert done.returncode == 1
    assert f"pip install 'watchnext[{extra}]'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_missing_module_of_our_own_is_a_bug_and_says_so() -> None:
    done = python("import sys; sys.modules['corpus.ingest'] = None", "ingest", "x.csv", "--to", "y")
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_extras_are_those_of_the_package(extra: str) -> None:
    declared = {Requirement(line).name for line in EXTRAS_DECLARED[extra]}
    assert {name.removesuffix("-cpu").replace("-", "_") for name in declared} == set(EXTRAS[extra])


def test_every_extra_is_known() -> None:
    assert set(EXTRAS) == set(EXTRAS_DECLARED) - {
        "dev",
        "otel",
    }  # tracing.py tells what that one lacks


@pytest.mark.parametrize("words", [["train", "c one", "--seed", "1"], ["ingest", "x.csv"], ["study", "figure6"]])
def test_an_interruption_while_modules_load_is_quiet(words: list[str]) -> None:
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())"
    )
    done = python(code, *words)
    again = {"train": "train 'c one' --seed 1 --resume", "study": "study figure6"}
    resume = f" Go on with: watchnext {again[words[0]]}" if words[0] in again else ""
    assert (done.returncode, done.stderr) == (130, f"Interrupted.{resume}\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train", "c", "--checkpoint-minutes", "-1"], "--checkpoint-minutes"),
        (["train", "c", "--checkpoint-steps", "0"], "--checkpoint-steps"),
        (["train", "c", "--seed", "-1"], "--seed"),
        (["train", "c", "--epochs", "0"], "--epochs"),
        (["train", "c", "--set", "dim=0"], "--set dim"),
        (["evaluate", "x", "-k", "0"], "-k"),
        (["evaluate", "x", "-k", "-5"], "-k"),
        (["simulate", "--to", "w", "--users", "-3"], "--users"),
        (["simulate", "--to", "w", "--set", "part_watches=0"], "--set part_watches"),
        (["simulate", "--to", "w", "--items", "3"], "--items"),
        (["demo", "--items", "x.csv"], "--data"),
        (["demo", "--epochs", "0"], "--epochs"),
        (["similar", "x", "--k", "0"], "--k"),
        (["similar", "x", "--measure", "l2"], "--measure"),
        (["analogy", "-", "x"], "terms"),
        (["serve", "--default-k", "50", "--max-k", "10"], "--default-k"),
        (["ingest", "x.csv", "--to", "c", "--min-user-watches", "0"], "--min-user-watches"),
    ],
)
def test_impossible_options_are_named_as_they_are_written(
    call: Call, words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(*words)
    assert (code, named in err) == (2, True), err
    assert list(tmp_path.iterdir()) == []


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    report(True, "", {"a": float("nan"), "b": {"c": [float("inf"), 1.5, Path("x")]}})

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == {"a": None, "b": {"c": [None, 1.5, "x"]}}


def test_a_file_and_a_folder_of_something_else_are_no_releases(call: Call, log: Path) -> None:
    for command in (["releases", "list"], ["releases", "rollback"], ["serve"]):
        assert call(*command, log)[0] == 2
    code, _, err = call("releases", "list", log.parent)
    assert (code, "no readable release" in err) == (2, True)
    code, _, err = call("releases", "list", log.parent / "nosuch")
    assert (code, "no such folder" in err) == (2, True)


def test_the_command_that_writes_the_right_folder_is_named(call: Call, log: Path) -> None:
    assert call("ingest", log, "--to", log.parent / "corpus")[0] == 0
    for folder, got in (("corpus", "format watchnext-corpus-1"), ("nosuch", "no manifest.json")):
        code, _, err = call("evaluate", log.parent / folder)
        assert code == 2
        assert got in err
        assert "written by `watchnext train`" in err
    code, _, err = call("serve", log.parent / "corpus")
    assert (code, "written by `watchnext publish`" in err) == (2, True)


def test_a_log_from_which_nothing_is_left_says_where_its_rows_went(call: Call, log: Path) -> None:
    code, _, err = call("ingest", log, "--to", log.parent / "corpus", "--min-user-watches", "3")
    assert code == 1
    assert "no watch left of 3 rows: 3 of users with too few watches" in err
    assert "The log is too small" in err
    assert "--min-user-watches" in err
    assert "--min-item-watches" not in err
    assert "Counts(" not in err


def test_another_delimiter_is_guessed_for_the_user_to_say(call: Call, log: Path) -> None:
    log.write_text(log.read_text().replace(",", ";"))
    code, _, err = call("ingest", log, "--to", log.parent / "corpus")
    assert (code, "say so: --delimiter ';'" in err) == (2, True)
    assert call("ingest", log, "--to", log.parent / "corpus", "--delimiter", ";")[0] == 0


def test_rejected_rows_below_the_limit_are_findable(call: Call, log: Path) -> None:
    words = ["ingest", log, "--to", log.parent / "corpus", "--max-rejected-share", "0.5"]
    assert "rejected.parquet" not in call(*words)[1]
    log.write_text(log.read_text() + "w,c,noon\n")
    out = call(*words)[1]
    assert str(log.parent / "corpus" / "rejected.parquet") in out
    assert (log.parent / "corpus" / "rejected.parquet").is_file()
