"""The command line. Each command is a file of its own and imports its stage only when it runs."""

from watchnext.cli.failures import explained


def main() -> None:
    """Run the command line; the console script."""
    with explained():
        from watchnext.cli.app import app

        app()


__all__ = ["main"]
