"""Puts the commands together and turns errors into exit codes: 0 done, 1 failed, 2 called wrongly."""

import sys

import typer

from watchnext import __version__
from watchnext.cli.compare import compare
from watchnext.cli.console import err
from watchnext.cli.demo import demo
from watchnext.cli.evaluate import evaluate
from watchnext.cli.index import index
from watchnext.cli.ingest import ingest
from watchnext.cli.publish import publish
from watchnext.cli.recommend import recommend
from watchnext.cli.releases import releases
from watchnext.cli.serve import serve
from watchnext.cli.settings import settings
from watchnext.cli.simulate import simulate
from watchnext.cli.study import study
from watchnext.cli.train import train
from watchnext.errors import WatchnextError

app = typer.Typer(
    name="watchnext",
    help="From a watch log to recommendations over HTTP: ingest, train, evaluate, index, publish, serve.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


app.command()(demo)
app.command()(ingest)
app.command()(train)
app.command()(settings)
app.command()(evaluate)
app.command()(compare)
app.command()(index)
app.command()(publish)
app.command()(serve)
app.command()(recommend)
app.command()(simulate)
app.add_typer(study)
app.add_typer(releases)


def main() -> None:
    """Run the command line; the console script."""
    try:
        app()
    except WatchnextError as error:
        err.print(f"[bold red]Error[/bold red] {error.argument}: got {error.got}.", soft_wrap=True)
        err.print(error.cure, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("Interrupted.")
        sys.exit(1)
