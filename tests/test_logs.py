"""Log lines: whatever is in them, each is one line of JSON; all loggers write the same way; users stay unnamed."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from serving.telemetry.lines import LINE_BYTES, LineWriter, json_line, plain, printable
from serving.telemetry.logs import LogFormat, Logs
from serving.telemetry.request_log import RequestIds, RequestLog, user_names

HOSTILE = [
    'a"}\n{"level":"error"',
    "\x1b[2J\x1b[31mred",
    "\x9b31m\x85\u2028\u202e",
    "\ud800lone\udfff",
    "x" * 10_000,
    "\U0001d518" * 3000,
    "\r\n" * 5000,
    "\\",
    "",
]

Read = Callable[[], list[dict[str, Any]]]


class Written:
    """What was logged, into a file."""

    def __init__(self, path: Path, log_format: LogFormat = "json") -> None:
        self.path, self.file = path, os.open(path, os.O_CREAT | os.O_WRONLY)
        self.logs = Logs(log_format, file=self.file)

    def text(self) -> str:
        return self.path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def written(tmp_path: Path, logging_as_before: None) -> Iterator[Written]:
    written = Written(tmp_path / "log")
    yield written
    os.close(written.file)


@pytest.fixture
def told(tmp_path: Path, logging_as_before: None) -> Iterator[Written]:
    written = Written(tmp_path / "log", "text")
    yield written
    os.close(written.file)


def test_a_request_is_one_line(written: Written) -> None:
    log = RequestLog(written.logs, user_names("plain"))
    log("r-1", "GET", "GET /recommend", 200, 0.0012345, 812, user="u-1042", release="r1", key=None, source="stored")
    (line,) = written.lines()
    assert line.pop("timestamp")[-1] == "Z"
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "r-1",
        "method": "GET",
        "route": "GET /recommend",
        "status": 200,
        "ms": 1.234,
        "bytes": 812,
        "user": "u-1042",
        "release": "r1",
        "source": "stored",
    }


def test_a_request_that_failed_is_an_error(written: Written) -> None:
    log = RequestLog(written.logs, user_names("hash"))
    for status in (200, 429, 500, 503):
        log("r", "GET", "other", status, 0, 0)
    assert [line["level"] for line in written.lines()] == ["info", "info", "error", "info"]
    assert all("user" not in line for line in written.lines())


@pytest.mark.parametrize("how", ["plain", "hash"])
@pytest.mark.parametrize("user", HOSTILE)
def test_any_user_makes_one_line(written: Written, how: Any, user: str) -> None:
    RequestLog(written.logs, user_names(how))("r", "GET", "GET /recommend", 200, 0, 0, user=user, variant="\ud800")
    text = written.text()
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    line = json.loads(text)
    assert len(line["user"].encode()) <= 256
    assert line["variant"] == "\\ud800"


Any_text = st.text(st.characters())  # with surrogates and controls


@given(Any_text)
@example("\ud800")
@example("\x7f\x80")
def test_printable_is_printable_short_and_leaves_what_already_is(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.encode()) <= 256
    if text.isprintable() and len(text.encode()) <= 256:
        assert shown == text


Values = Any_text | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(Any_text) | st.binary()


@given(st.dictionaries(Any_text, Values))
@example({"exception": "\n".join(["frame"] * 5000)})
@example({str(n): "x" for n in range(2000)})
@example({"exception": '"\\\n' * 5000, "event": "\x00" * 5000})
def test_any_event_is_one_line_of_json(event: dict[str, object]) -> None:
    line = json_line(plain(event))
    assert len(line) <= LINE_BYTES
    assert line.endswith(b"\n")
    assert line[:-1].decode().isprintable()
    assert isinstance(json.loads(line), dict)


def test_the_hash_of_a_user_says_nothing_but_that_it_is_the_same() -> None:
    name, other = user_names("hash"), user_names("hash")
    assert name("u1") == name("u1")
    assert len({name("u1"), name("u2"), other("u1")}) == 3
    assert all(len(name(user) or "") == 16 for user in HOSTILE)
    assert user_names("none")("u1") is None


def test_all_loggers_write_the_same_way(written: Written) -> None:
    structlog.get_logger().info("Swapped", release="r2")
    logging.getLogger("uvicorn.error").info("Up on %s", "x\n\x1b[0m", extra={"color_message": "no"})
    logging.getLogger("gunicorn.error").warning("Worker %d ended", 7)
    logging.getLogger("anything.else").error("Bad", extra={"path": "/x"})
    structlog.get_logger().debug("not told")
    logging.getLogger("uvicorn.error").debug("not told")
    logging.getLogger("uvicorn.access").info("GET /recommend?user_id=u1")
    lines = written.lines()
    assert [(line["level"], line.get("logger"), line["event"]) for line in lines] == [
        ("info", None, "Swapped"),
        ("info", "uvicorn.error", "Up on x\\n\\x1b[0m"),
        ("warning", "gunicorn.error", "Worker 7 ended"),
        ("error", "anything.else", "Bad"),
    ]
    assert {line["pid"] for line in lines} == {os.getpid()}
    assert (lines[0]["release"], lines[3]["path"], "color_message" in lines[1]) == ("r2", "/x", False)


def test_warnings_are_lines() -> None:
    script = "import warnings; from serving.telemetry.logs import Logs; Logs(); warnings.warn('careful')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    line = json.loads(done.stderr)
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "UserWarning: careful" in line["event"]


def failing(depth: int) -> float:
    return failing(depth - 1) if depth else 1 / 0


@pytest.mark.parametrize("log", ["structlog", "logging"])
def test_an_exception_is_one_line_with_its_stack(written: Written, log: str) -> None:
    logger: Any = structlog.get_logger() if log == "structlog" else logging.getLogger("x")
    try:
        failing(2)
    except ZeroDivisionError:
        logger.exception("It failed")
    (line,) = written.lines()
    assert (line["level"], line["event"]) == ("error", "It failed")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("\nZeroDivisionError: division by zero")
    assert "in failing" in line["exception"]


def test_of_a_long_stack_the_end_is_kept(written: Written) -> None:
    try:
        raise ValueError("because") from RuntimeError("x" * 20_000)
    except ValueError:
        logging.getLogger("x").exception("It failed")
    (line,) = written.lines()
    assert len(written.text()) <= LINE_BYTES
    assert line["exception"].endswith("ValueError: because")


def test_text_for_people(told: Written) -> None:
    RequestLog(told.logs, user_names("plain"))("r-1", "GET", "other", 500, 0.5, 9, user="a\n\x1b[31m", key=None)
    logging.getLogger("uvicorn.error").info("Up")
    request, up = told.text().splitlines()
    assert "error" in request
    assert "status=500" in request
    assert r"user=a\n\x1b[31m" in request
    assert "key" not in request
    assert request.isprintable()
    assert "Up" in up


def test_a_line_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    file = os.open(tmp_path / "x", os.O_CREAT | os.O_RDONLY)
    writer = LineWriter(file)
    writer.write(b"x\n")
    os.close(file)
    assert writer.lost == 1


def test_a_pipe_that_nobody_reads_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.telemetry.lines.PATIENCE", 0.001)
    read, write = os.pipe()
    writer, line = LineWriter(write), b"x" * 999 + b"\n"
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("A line waits."))
    signal.alarm(30)
    try:
        for _ in range(1000):
            writer.write(line)
        assert 0 < writer.lost < 1000
        assert os.read(read, 1 << 20) == line * (1000 - writer.lost)
        writer.write(line)
        assert os.read(read, 1 << 20) == line
    finally:
        signal.alarm(0)
        os.close(read)
        os.close(write)


WRITING = """
import os, sys
from serving.telemetry import lines
lines.PATIENCE = 60
from serving.telemetry.logs import Logs
from serving.telemetry.request_log import RequestLog, user_names
log = RequestLog(Logs(), user_names("plain"))
children = []
for worker in range(4):
    child = os.fork()
    if not child:
        for n in range(500):
            log(f"{worker}-{n}", "GET", "other", 200, 0, 0, user=str(worker) * 250, about="x" * (3000 * (n % 2)))
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork.")
@pytest.mark.parametrize("into", ["pipe", "file"])
def test_lines_of_several_processes_stay_whole(tmp_path: Path, into: str) -> None:
    with (tmp_path / "log").open("wb") as file:
        to = subprocess.PIPE if into == "pipe" else file
        done = subprocess.run([sys.executable, "-c", WRITING], stderr=to, check=True)
    text = done.stderr if into == "pipe" else (tmp_path / "log").read_bytes()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["request_id"] for line in lines} == {f"{worker}-{n}" for worker in range(4) for n in range(500)}
    assert len(lines) == 2000
    assert all(line["user"] == line["request_id"][0] * 250 for line in lines)


@pytest.mark.parametrize("given_id", [b"a", b"A-b_c.9", b"x" * 64])
def test_an_id_that_was_sent_is_kept(given_id: bytes) -> None:
    assert RequestIds().of(given_id) == given_id.decode()


@pytest.mark.parametrize("given_id", [None, b"", b"x" * 65, b"a b", b"a\n", b"\xff", b'"', b"a\x00"])
def test_other_ids_are_made(given_id: bytes | None) -> None:
    made = RequestIds().of(given_id)
    assert len(made) == 16
    assert int(made, 16) >= 0


def test_made_ids_differ() -> None:
    one, other = RequestIds(), RequestIds()
    assert len({ids.of(None) for _ in range(5000) for ids in (one, other)}) == 10_000
