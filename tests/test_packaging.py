"""Lock files, Makefile, images and compose.yaml agree with pyproject.toml and with each other."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = [
    "build",
    "serve",
    "demo",
    "dev",
    "benchmark-tfrs",
    "benchmark-sasrec",
    "benchmark-index.build",
    "benchmark-index",
]
IMAGES = ("train", "serve")

LOCKED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?: ; [^#]+?)?(?: --hash=sha256:[0-9a-f]{64})+")
# Square brackets keep these expressions from finding themselves.
REGISTRY = re.compile(
    r"(?<!no-emit-)index[-]url|find[-]links|file:[/]{3}|://[\w.-]*(?:pypi|pythonhosted|npmjs|registry)"
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work|opt)/[\w.]")


def entries(lock: str) -> list[str]:
    """Each requirement of a lock file with its marker and hashes on one line."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", "")
    return [re.sub(r" +", " ", line) for line in text.splitlines() if not line.lstrip().startswith("#")]


def versions(lock: str) -> dict[str, list[str]]:
    """The versions of each package; several where they depend on the version of Python."""
    found: dict[str, list[str]] = {}
    for entry in entries(lock):
        match = LOCKED.fullmatch(entry)
        assert match, entry
        found.setdefault(match["name"], []).append(match["version"])
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_has_one_version_and_hashes(lock: str) -> None:
    assert entries(lock)
    assert [entry for entry in entries(lock) if not LOCKED.fullmatch(entry)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_name_no_place_to_download_from(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)


@pytest.mark.parametrize("lock", ["build", "serve", "demo"])
def test_the_smaller_locks_are_parts_of_the_largest(lock: str) -> None:
    assert set(entries(lock)) - set(entries("dev")) == set()


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("serve", ["serve"]), ("demo", ["train", "serve", "demo", "baselines", "tune"]), ("dev", ["dev"])],
)
def test_locks_satisfy_pyproject(lock: str, extras: list[str]) -> None:
    declared = [*PROJECT["project"]["dependencies"]]
    for extra in extras:
        declared += PROJECT["project"]["optional-dependencies"][extra]
    locked = versions(lock)
    for requirement in map(Requirement, declared):
        if requirement.name != "watchnext":
            chosen = locked[requirement.name.lower()]
            assert all(requirement.specifier.contains(version) for version in chosen), requirement


def test_serving_needs_neither_tensorflow_nor_duckdb() -> None:
    serve = versions("serve")
    assert {"fastapi", "uvicorn", "faiss-cpu", "numpy"} <= serve.keys()
    assert {"tensorflow", "keras", "duckdb", "pandas", "hatchling"} & serve.keys() == set()


@pytest.mark.parametrize("lock", ["build", "demo", "dev"])
def test_locks_that_install_the_project_hold_its_build_backend(lock: str) -> None:
    assert "hatchling" in versions(lock)


def make(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False
    )


def test_make_alone_lists_every_target() -> None:
    defined = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = re.findall(r"^  make ([a-z]+) +\S", make().stdout, re.MULTILINE)
    assert set(listed) == {"help", "demo", "train", "serve", "test", "lint", "bench", "break", "lock", "clean"}
    assert sorted(listed) == sorted(defined)


@pytest.mark.parametrize(("once", "ends"), [("ONCE=1", " --once"), ("ONCE=0", "work/demo"), ("ONCE=", "work/demo")])
def test_make_demo_stops_after_one_answer_when_told(once: str, ends: str) -> None:
    command = make("--dry-run", "demo", once).stdout.splitlines()[-1].rstrip()
    assert "watchnext demo --to work/demo" in command
    assert command.endswith(ends)


def test_make_train_asks_for_a_log_before_it_installs_anything(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    result = make("train", folder=tmp_path)
    assert result.returncode == 2
    assert "make train DATA=log.csv" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_train_hands_options_to_ingest() -> None:
    options = "--user-column who --items 'my items.csv'"
    commands = make("--dry-run", "train", "DATA=log.csv", f"INGEST={options}").stdout.splitlines()
    assert f'.venv/bin/watchnext ingest "log.csv" --to work/corpus {options}' in commands


INTERPRETER = """#!/bin/sh
case "$*" in
    -c*) exec "{python}" "$@" ;;
    --version) echo "Python 3.9.2" ;;
    "-m venv "*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip install "*) echo "$@" >>pip.log; exit "${{PIP_EXIT:-0}}" ;;
esac
"""


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """The Makefile beside an interpreter that only notes what pip is asked for."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    interpreter = tmp_path / "python"
    interpreter.write_text(INTERPRETER.format(python=sys.executable))
    interpreter.chmod(0o755)
    return tmp_path


def test_an_old_interpreter_is_named_with_the_cure(sandbox: Path) -> None:
    interpreter = sandbox / "python"
    interpreter.write_text(interpreter.read_text().replace("-c*) exec", "-c*) exit 1; exec"))
    result = make("demo", "PYTHON=./python", folder=sandbox)
    assert result.returncode == 2
    assert "./python is: Python 3.9.2" in result.stderr
    assert "make PYTHON=python3.12 demo" in result.stderr
    assert not (sandbox / ".venv").exists()


def test_an_install_that_fails_is_done_again_and_one_that_worked_is_not(sandbox: Path) -> None:
    def installs(target: str, **environment: str) -> tuple[int, list[str]]:
        (sandbox / "pip.log").write_text("")
        code = make(target, "PYTHON=./python", folder=sandbox, **environment).returncode
        return code, re.findall(r"requirements/\w+\.txt|-e \.", (sandbox / "pip.log").read_text())

    demo, dev = ".venv/demo.installed", ".venv/dev.installed"
    assert installs(demo, PIP_EXIT="1") == (2, ["requirements/demo.txt"])
    assert installs(demo) == (0, ["requirements/demo.txt", "-e ."])
    assert installs(demo) == (0, [])
    assert installs(dev, PIP_EXIT="1") == (2, ["requirements/dev.txt"])
    assert installs(demo) == (0, ["requirements/demo.txt", "-e ."]), "a broken install must not count as whole"
    assert installs(dev) == (0, ["requirements/dev.txt", "-e ."])
    assert installs(demo) == (0, []), "the larger install serves for both"
    later = (sandbox / demo).stat().st_mtime + 1
    os.utime(sandbox / "pyproject.toml", (later, later))
    assert installs(demo) == (0, ["requirements/demo.txt", "-e ."])


def test_ci_runs_the_same_as_people(tmp_path: Path) -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    (tmp_path / ".ci").mkdir()
    shutil.copy(script, tmp_path / ".ci")
    closing = "===== 1 failed, 2 passed in 0.12s ====="
    (tmp_path / "Makefile").write_text(f"test:\n\t@echo '{closing}'; exit 1\n")
    result = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout.splitlines()[-1] == closing


def stages(image: str) -> list[list[str]]:
    """The instructions of a Dockerfile, one list a stage."""
    lines = (ROOT / "docker" / f"{image}.Dockerfile").read_text().splitlines()
    joined = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", "")
    found: list[list[str]] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        if line.startswith("FROM "):
            found.append([])
        found[-1].append(line)
    return found


@pytest.mark.parametrize("image", IMAGES)
def test_images_build_and_run_on_the_same_base(image: str) -> None:
    assert [stage[0] for stage in stages(image)] == ["FROM python:3.11-slim AS build", "FROM python:3.11-slim"]


@pytest.mark.parametrize(("image", "lock"), [("train", "demo"), ("serve", "serve")])
def test_images_install_from_their_lock_and_leave_build_tools_behind(image: str, lock: str) -> None:
    build, final = (" ".join(stage) for stage in stages(image))
    assert re.findall(r"install (--no-deps --require-hashes )?-r requirements/(\w+)\.txt", build) == [
        ("--no-deps --require-hashes ", "build"),
        ("--no-deps --require-hashes ", lock),
    ]
    assert f"pip --python /venv/bin/python install --no-deps --require-hashes -r requirements/{lock}.txt" in build
    assert "pip" not in final
    assert re.findall(r"COPY (\S+ \S+ \S+)", final) == ["--from=build /venv /venv"]


@pytest.mark.parametrize("image", IMAGES)
def test_a_build_can_be_given_pip_configuration_and_a_certificate_as_secrets(image: str) -> None:
    downloads = [line for line in stages(image)[0] if "--require-hashes" in line]
    assert downloads
    secrets = {"pip": "/etc/pip.conf", "ca": "/etc/pip-ca.pem"}
    for line in downloads:
        assert dict(re.findall(r"--mount=type=secret,id=(\w+),target=(\S+)", line)) == secrets
    manual = (ROOT / "docs" / "containers.md").read_text()
    assert f"cert = {secrets['ca']}" in manual
    assert "--secret id=ca,src=" in manual


@pytest.mark.parametrize("image", IMAGES)
def test_images_do_not_run_as_root(image: str) -> None:
    final = stages(image)[-1]
    users = [line.split()[1] for line in final if line.startswith("USER ")]
    assert users == ["10001:10001"]
    assert any(line.startswith("RUN useradd --uid 10001 ") for line in final)


def test_the_images_hold_every_package() -> None:
    allowed = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = ["LICENSE", "README.md", "pyproject.toml", "requirements/", *(f"{package}/" for package in packages)]
    assert sorted(allowed) == sorted(f"!{name}" for name in needed)


@pytest.fixture
def answering() -> Iterator[Callable[[int], int]]:
    """Start a server whose /healthz/ready answers with a status; gives its port."""
    servers: list[http.server.HTTPServer] = []

    def start(status: int) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/healthz/ready" else 404)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (as in the base class)
                pass

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}).start()
        return int(servers[-1].server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_follows_readiness(status: int, healthy: bool, answering: Callable[[int], int]) -> None:
    check = next(line for line in stages("serve")[-1] if line.startswith("HEALTHCHECK "))
    program, *arguments = json.loads(check.partition(" CMD ")[2])
    assert program == "python"
    assert "127.0.0.1:8000" in arguments[-1]
    arguments[-1] = arguments[-1].replace(":8000", f":{answering(status)}")
    assert (subprocess.run([sys.executable, *arguments], capture_output=True, check=False).returncode == 0) == healthy


def test_the_serving_image_listens_where_compose_publishes() -> None:
    command = next(line for line in stages("serve")[-1] if line.startswith("CMD "))
    program, releases, *options = json.loads(command[4:])
    assert (program, releases, options[:4]) == ("serve", "releases", ["--host", "0.0.0.0", "--port", "8000"])  # noqa: S104
    assert "--keys" in options


def test_compose_serves_what_the_one_shot_job_made() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    release, api = services["release"], services["api"]
    assert set(services) == {"release", "api"}
    for service in services.values():
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert api["depends_on"] == {"release": {"condition": "service_completed_successfully"}}
    assert (release["volumes"], api["volumes"]) == (["data:/data"], ["data:/data:ro", "fresh:/fresh"])
    assert "--fresh /fresh/" in api["command"]
    assert "install --directory --owner watchnext /data /fresh" in (ROOT / "docker/serve.Dockerfile").read_text()
    assert [port.rpartition(":")[0] for port in api["ports"]] == ["127.0.0.1:${WATCHNEXT_PORT:-8000}"]
    assert [port.rpartition(":")[2] for port in api["ports"]] == ["8000"]


@pytest.mark.parametrize("there", [True, False])
def test_the_one_shot_job_trains_only_where_no_release_is(there: bool, tmp_path: Path) -> None:
    release = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["release"]
    fake = tmp_path / "watchnext"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    if there:
        (tmp_path / "releases").mkdir()
        (tmp_path / "releases" / "CURRENT").write_text("one\n")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [*release["entrypoint"], *release["command"]],
        cwd=tmp_path,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == ("" if there else "demo --no-serve --to .\n")


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = []
    for name in tracked.splitlines():
        path = ROOT / name
        if path.is_file():
            for number, line in enumerate(path.read_text(errors="ignore").splitlines(), 1):
                if REGISTRY.search(line) or MACHINE_PATH.search(line):
                    found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "--extra-{}-url x".format("index"),
        "see https://{}.org/simple".format("pypi"),
        "open /{}/me/log.csv".format("home"),
    ],
)
def test_the_search_for_places_finds_them(line: str) -> None:
    assert REGISTRY.search(line) or MACHINE_PATH.search(line)
