"""`watchnext serve`: the current release over HTTP."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from watchnext.cli.console import Json, err, report
from watchnext.errors import UsageError
from watchnext.release import EXPORT, ReleaseStore

NO_STORE = "none"


def serve(
    releases: Annotated[Path, typer.Argument(help="Folder of all releases.")] = Path("work/releases"),
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
    fresh: Annotated[
        str | None,
        typer.Option(
            help="Where fresh watches are kept: a file, the URL of a Redis or Valkey, or none. "
            "Default: fresh.sqlite beside the folder of releases."
        ),
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, from `watchnext keys create`.")] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Answer whoever asks; for this machine only.")
    ] = False,
    open_to_all: Annotated[
        bool, typer.Option("--open-to-all", help="With --without-keys: also on an address that others reach.")
    ] = False,
    default_k: Annotated[
        int | None,
        typer.Option(min=1, help="Candidates of an answer, unless asked for k; else 50, or max-k if less."),
    ] = None,
    max_k: Annotated[int, typer.Option(min=1, help="Most candidates that may be asked for.")] = 1000,
    waiting: Annotated[
        int, typer.Option(min=1, help="Requests under way in a process; further ones get 503 at once.")
    ] = 128,
    deadline: Annotated[
        float, typer.Option(min=0.001, help="Seconds that a request may wait and be answered; then it gets 503.")
    ] = 2.0,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Requests a second of keys without a rate of their own; else no limit."),
    ] = None,
    docs: Annotated[
        bool | None, typer.Option(help="Describe the API at /docs to whoever asks. Default: only without keys.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="An origin whose pages may ask; repeat for each.", show_default=False)
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="json, or text for people. Default: text on a terminal.")
    ] = None,
    log_users: Annotated[str, typer.Option(help="How logs name users: hash, plain or none.")] = "hash",
    traces: Annotated[
        str | None, typer.Option(help="Address of an OpenTelemetry collector, http://localhost:4318.")
    ] = None,
    json_: Json = False,
) -> None:
    """Answer GET /recommend?user_id= and more until stopped by Ctrl-C or SIGTERM."""
    from serving.run import serve as serve_releases
    from serving.settings import ServingSettings

    if (releases / "manifest.json").exists():
        if (releases / EXPORT).is_dir():
            raise UsageError(str(releases), "a release", f"Give the folder of all releases: {releases.parent}.")
        raise UsageError(str(releases), "a folder of another kind", "Give a folder written by `watchnext publish`.")
    settings = ServingSettings.checked(
        {
            "releases": releases,
            "host": host,
            "port": port,
            "workers": workers,
            "fresh": None if fresh == NO_STORE else fresh or str(releases.parent / "fresh.sqlite"),
            "keys": keys,
            "without_keys": without_keys,
            "open_to_all": open_to_all,
            "default_k": default_k or min(50, max_k),
            "max_k": max_k,
            "waiting": waiting,
            "deadline_seconds": deadline,
            "requests_per_second": rate,
            "docs": without_keys if docs is None else docs,
            "cors_origins": tuple(cors_origin or ()),
            "log_format": log_format or ("text" if sys.stderr.isatty() else "json"),
            "log_users": log_users,
            "traces": traces,
        }
    )

    def announce(address: str) -> None:
        report(
            json_,
            "Serving",
            {"releases": str(releases), "address": address},
            then=f"open {address}/docs" if settings.docs else "",
        )
        sys.stdout.flush()

    if not ReleaseStore(releases).names():
        what = "has no release yet" if releases.is_dir() else "does not exist yet"
        err.print(f"{releases} {what}: answers are 503 until a release is published there.", soft_wrap=True)
    serve_releases(settings, announce)
