"""`watchnext demo`: the whole way, from MovieLens or one's own log to an answer over HTTP."""

import json
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from watchnext.cli import evaluate as evaluation
from watchnext.cli import train as training
from watchnext.cli.console import out, stages, working
from watchnext.config import RunOptions
from watchnext.errors import UsageError, WatchnextError
from watchnext.presets import changed, preset
from watchnext.release import ReleaseStore

SHOWN_WATCHES, SHOWN_ITEMS = 5, 10
LIST_LENGTH = 20
FEW_USERS = 100
READY_TRIES = 600


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Your own watch log with columns user, item, time; default: MovieLens.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="With --data: a table with columns item and title.")] = None,
    to: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("work/demo"),
    holdout: Annotated[
        str, typer.Option(help="How the evaluation holds watches back: temporal or leave-one-out.")
    ] = "temporal",
    epochs: Annotated[int | None, typer.Option(min=1, help="At most this many passes.")] = None,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to serve on; 0 takes a free one.")] = 8000,
    once: Annotated[bool, typer.Option("--once", help="Stop after one answer instead of serving on.")] = False,
    serve: Annotated[bool, typer.Option(help="With --no-serve only the release is made.")] = True,
) -> None:
    """Ingest, train, evaluate, index, publish and serve, on MovieLens or on your own log.

    One model is trained without the most recent watches, to evaluate it on them. Another is trained on everything,
    for as many epochs as were best without each user's last watch, and published.
    """
    if holdout not in {"temporal", "leave-one-out"}:
        raise UsageError("--holdout", repr(holdout), "Choose temporal or leave-one-out.")
    if items and not data:
        raise UsageError("--items", items, "Give the watch log, too: --data FILE.")
    store = ReleaseStore(to / "releases")
    _ingest(data, items, to)
    limit = [f"epochs={epochs}"] if epochs else []
    _train_and_evaluate(to, holdout, limit)
    _train_on_everything(to, limit)
    _publish(to, store)
    if serve:
        _serve(store, host, _free_port(host, port), once)


def _step(number: int, title: str) -> None:
    out.rule(f"[bold]{number}/6 {title}", align="left")


def _ingest(data: Path | None, items: Path | None, to: Path) -> None:
    from corpus.ingest import ingest
    from corpus.movielens import LICENCE, write_movielens
    from corpus.options import IngestOptions

    _step(1, "Ingest")
    if data is None:
        files = write_movielens(to / "log")
        out.print(LICENCE)
        data, items = files.watches, files.items
    options = IngestOptions(logs=(str(data),), to=to / "corpus", items=items, min_user_watches=5, min_item_watches=5)
    with stages() as advance:
        corpus = ingest(options, advance)
    counts = corpus.manifest.counts
    out.print(f"{counts.kept:,} watches of {len(corpus.users):,} users and {len(corpus.items):,} items.")
    out.print(f"Left out of {counts.rows_read:,} rows: {counts.gone:,}, items and users with fewer than 5 watches.")


def _train(to: Path, export: str, holdout: str, settings: list[str], refit: bool = False) -> dict[str, Any]:
    from model.train import clean

    options = RunOptions(checkpoints=to / f"{export}.checkpoints")
    clean(options)
    chosen = changed(preset("default"), settings)
    return training.run(to / "corpus", to / export, chosen, holdout, 0.1, refit, options, shown=True)


def _train_and_evaluate(to: Path, holdout: str, limit: list[str]) -> None:
    _step(2, f"Train without the held-out watches ({holdout})")
    facts = _train(to, "evaluated", holdout, limit)
    out.print(f"The best of all epochs on the validation part was number {facts['epochs']}.")
    _step(3, "Evaluate")
    found = evaluation.run(to / "evaluated", [10, 50], shown=True)
    evaluation.show(found)
    if found["users"] < FEW_USERS:
        out.print(
            "These are few users: mind the standard errors. --holdout leave-one-out asks one watch of everybody."
        )


def _train_on_everything(to: Path, limit: list[str]) -> None:
    _step(4, "Train on everything")
    facts = _train(to, "export", "last", limit, refit=True)
    out.print(f"{facts['epochs']} epochs, which were best when each user's last watch was held out.")
    out.print(f"Vectors of {facts['dim']} dimensions for {facts['users']:,} users and {facts['items']:,} items.")


def _publish(to: Path, store: ReleaseStore) -> None:
    import numpy as np

    from index.build import IndexOptions, build_from_export
    from index.everyone import Everyone
    from index.publish import publish
    from index.recommender import open_release

    _step(5, "Index and publish")
    with working("Building the index") as say:
        index = build_from_export(to / "export", to / "index", IndexOptions(), say)
    with working("Checking and copying"):
        release = publish(to / "export", to / "index", store)
    out.print(f"Release {release.name}: index {index.kind}, recall@50 {index.recall_at_50:.4f} against exact search.")
    everyone = Everyone(open_release(store.path(release.name), verify=False))
    (lists,) = everyone.parts([range(1, release.users + 1)], LIST_LENGTH)
    different = np.count_nonzero(np.unique(lists.numbers))
    out.print(f"The {LIST_LENGTH} best items of all users are {different:,} different ones.")


def _free_port(host: str, port: int) -> int:
    """The port if nobody listens there, else 0: a demo should not fail for that."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        out.print(f"Port {port} is taken; serving on a free one.")
        return 0
    return port


def _serve(store: ReleaseStore, host: str, port: int, once: bool) -> None:
    _step(6, "Serve")
    command = [sys.executable, "-m", "watchnext", "serve", str(store.root), "--host", host, "--port", str(port)]
    command += ["--without-keys", "--json", "--log-format", "text"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            address = _address(server)
            _ask(store, address)
            if not once:
                out.print(f"Serving on [bold]{address}[/bold] (API: {address}/docs) until Ctrl-C.", soft_wrap=True)
                server.wait()
        except KeyboardInterrupt:
            out.print("Stopped.")
        finally:
            server.terminate()


def _address(server: "subprocess.Popen[str]") -> str:
    line = server.stdout.readline() if server.stdout else ""
    if not line:
        raise WatchnextError("the server", "no answer", "See its message above.")
    address: str = json.loads(line)["address"]
    address = address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - where to ask, not where to listen
    for _ in range(READY_TRIES):
        try:
            with urllib.request.urlopen(f"{address}/healthz/ready", timeout=5):  # noqa: S310
                return address
        except OSError:
            time.sleep(0.05)
    raise WatchnextError("the server", "no loaded release", "See its message above.")


def _ask(store: ReleaseStore, address: str) -> None:
    from index.recommender import open_release

    export = open_release(store.path(store.current()), verify=False).export
    user = int(export.histories.offsets.searchsorted(export.histories.times.argmax(), side="right")) - 1
    user_id = export.users.id(user)
    url = f"{address}/recommend?{urllib.parse.urlencode({'user_id': user_id, 'k': SHOWN_ITEMS})}"
    out.print(f"GET {url}", soft_wrap=True)
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310
        answer = json.load(response)
    last = export.histories[user][-SHOWN_WATCHES:].tolist()
    watched = [export.catalogue.title(n) or export.items.id(n) for n in last]
    table = Table("last watched", "recommended", "score", title=f"User {user_id}", title_justify="left")
    for row, candidate in enumerate(answer["candidates"]):
        before = watched[-1 - row] if row < len(watched) else ""
        table.add_row(before, candidate["title"] or candidate["item_id"], f"{candidate['score']:.2f}")
    out.print(table)
