"""Runs commands of the command line in this process."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from watchnext.cli.app import app


def run(*words: str | Path) -> str:
    """Run a command; returns standard output, raises what it raises."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    if isinstance(result.exception, Exception):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*words: str | Path) -> dict[str, Any]:
    """Run a command with --json; returns the one line that it prints."""
    out = run(*words, "--json")
    assert out.count("\n") == 1
    answer: dict[str, Any] = json.loads(out)
    return answer
