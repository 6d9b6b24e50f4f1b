"""`watchnext serve`: the current release over HTTP."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from watchnext.cli.console import Json, err, report
from watchnext.errors import UsageError
from watchnext.release import ReleaseStore


def serve(
    releases: Annotated[Path, typer.Argument(help="Folder of all releases.")] = Path("work/releases"),
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8000,
    default_k: Annotated[
        int | None,
        typer.Option(min=1, help="Candidates of an answer, unless asked for k; else 50, or max-k if less."),
    ] = None,
    max_k: Annotated[int, typer.Option(min=1, help="Most candidates that may be asked for.")] = 1000,
    json_: Json = False,
) -> None:
    """Answer GET /recommend?user_id=, /similar and /analogy until stopped by Ctrl-C or SIGTERM."""
    from serving.run import serve as serve_releases
    from serving.settings import ServingSettings

    settings = ServingSettings(
        releases=releases, host=host, port=port, default_k=default_k or min(50, max_k), max_k=max_k
    )

    def announce(address: str) -> None:
        report(json_, "Serving", {"releases": str(releases), "address": address}, then=f"open {address}/docs")
        sys.stdout.flush()

    if (releases / "manifest.json").exists():
        raise UsageError(str(releases), "a folder of another kind", "Give a folder written by `watchnext publish`.")
    if not ReleaseStore(releases).names():
        what = "has no release yet" if releases.is_dir() else "does not exist yet"
        err.print(f"{releases} {what}: answers are 503 until a release is published there.", soft_wrap=True)
    serve_releases(settings, announce)
