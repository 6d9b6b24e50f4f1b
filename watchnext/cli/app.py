"""Puts the commands together."""

import typer

from watchnext import __version__
from watchnext.cli.analogy import analogy
from watchnext.cli.compare import compare
from watchnext.cli.demo import demo
from watchnext.cli.deny import deny
from watchnext.cli.evaluate import evaluate
from watchnext.cli.fresh import fresh
from watchnext.cli.index import index
from watchnext.cli.ingest import ingest
from watchnext.cli.keys import keys
from watchnext.cli.publish import publish
from watchnext.cli.recommend import recommend
from watchnext.cli.releases import releases
from watchnext.cli.serve import serve
from watchnext.cli.settings import settings
from watchnext.cli.similar import similar
from watchnext.cli.simulate import simulate
from watchnext.cli.study import study
from watchnext.cli.train import train
from watchnext.cli.tune import tune
from watchnext.cli.update import update
from watchnext.cli.vectors import vectors

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
app.command()(tune)
app.command()(settings)
app.command()(evaluate)
app.command()(compare)
app.command()(index)
app.command()(publish)
app.command()(update)
app.command()(serve)
app.command()(recommend)
app.command()(deny)
app.command()(similar)
app.command()(analogy)
app.command()(simulate)
app.add_typer(study)
app.add_typer(releases)
app.add_typer(keys)
app.add_typer(vectors)
app.add_typer(fresh)
