"""Environments of their own for systems whose requirements are not those of this project."""

import subprocess
import sys
import venv
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(lock: str) -> Path:
    """The interpreter of an environment below `work/`, made anew when its lock file has changed.

    Args:
        lock: name of a file in `requirements/` without its ending. It names every package with its hashes.

    Raises RuntimeError with the installer's last line when it cannot be made.
    """
    requirements, folder = ROOT / "requirements" / f"{lock}.txt", ROOT / "work" / lock
    python, stamp = folder / "bin" / "python", folder / "installed"
    content = sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == content:
        return python
    venv.create(folder, clear=True, with_pip=True)
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "-r",
        str(requirements),
    ]
    sys.stderr.write(f"Installing {requirements.name} into {folder}\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"{requirements.name} cannot be installed: {last}")
    stamp.write_text(content)
    return python
