"""The command line. Each command is a file of its own and imports its stage only when it runs."""

from watchnext.cli.app import main

__all__ = ["main"]
