"""Environments of their own for systems whose requirements are not those of this project."""

import subprocess
import sys
import venv
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(lock: str) -> Path:
    """The interpreter of an environment below `work/`, made anew when a lock file of it has changed.

    What has to be compiled is compiled with what `LOCK.build.txt` names, which is installed first.

    Args:
        lock: name of a file in `requirements/` without its ending. It names every package with its hashes.

    Raises RuntimeError with the installer's last line when it cannot be made.
    """
    folder = ROOT / "work" / lock
    locks = [ROOT / "requirements" / name for name in (f"{lock}.build.txt", f"{lock}.txt")]
    locks = [path for path in locks if path.is_file()]
    python, stamp = folder / "bin" / "python", folder / "installed"
    content = sha256(b"".join(path.read_bytes() for path in locks)).hexdigest()
    if stamp.is_file() and stamp.read_text() == content:
        return python
    venv.create(folder, clear=True, with_pip=True)
    for requirements in locks:
        _install(python, requirements)
    stamp.write_text(content)
    return python


def _install(python: Path, requirements: Path) -> None:
    sys.stderr.write(f"Installing {requirements.name} into {python.parents[1]}\n")
    options = ["--quiet", "--require-hashes", "--no-deps", "--no-build-isolation"]
    command = [str(python), "-m", "pip", "install", *options, "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"{requirements.name} cannot be installed: {last}")
