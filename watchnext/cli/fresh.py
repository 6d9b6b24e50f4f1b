"""`watchnext fresh`: what a store of fresh watches leaves for the next training, and what it need not keep."""

import csv
import io
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watchnext.cli.console import Json, report
from watchnext.errors import UsageError
from watchnext.files import atomic_file

if TYPE_CHECKING:
    from serving.fresh.store import Learned, Upkeep

fresh = typer.Typer(
    name="fresh", help="Take fresh watches and erasures to the next training, prune.", no_args_is_help=True
)
Store = Annotated[str, typer.Argument(help="The file or the URL that `watchnext serve` has.", show_default=False)]
_ROWS = 100_000


@fresh.command()
def export(
    store: Store,
    to: Annotated[Path, typer.Option(help="A Parquet file; an older one is replaced.")],
    json_: Json = False,
) -> None:
    """Write all watches as a log that `watchnext ingest` reads beside others: user, item, time, fraction.

    What was erased is not in it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_suffix(to, ".parquet")
    columns = {"user": pa.string(), "item": pa.string(), "time": pa.int64(), "fraction": pa.float64()}
    schema, rows = pa.schema(columns), 0
    with _opened(store) as opened, atomic_file(to) as file, pq.ParquetWriter(file, schema) as writer:
        watched = opened.watches()
        while watches := list(islice(watched, _ROWS)):
            values = zip(*((w.user_id, w.item_id, w.time, w.fraction) for w in watches), strict=True)
            arrays = [pa.array(value, type_) for value, type_ in zip(values, columns.values(), strict=True)]
            writer.write_table(pa.table(arrays, schema=schema))
            rows += len(watches)
    report(json_, "Fresh watches", {"watches": rows}, to, f"give {to} to watchnext ingest, beside the other logs")


@fresh.command()
def erased(
    store: Store,
    to: Annotated[Path, typer.Option(help="A CSV; an older one is replaced.")],
    json_: Json = False,
) -> None:
    """Write all users that were ever erased, and until when: user, time."""
    _check_suffix(to, ".csv")
    users = 0
    with _opened(store) as opened, atomic_file(to) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        writer = csv.writer(text)
        writer.writerow(("user", "time"))
        for user, at in opened.erased():
            writer.writerow((user, at))
            users += 1
        text.detach()
    report(
        json_,
        "Erased users",
        {"users": users},
        to,
        f"add --erased {shlex.quote(str(to))} to the options of watchnext ingest",
    )


@fresh.command()
def prune(
    store: Store,
    exported: Annotated[
        list[Path] | None,
        typer.Option(help="A file that `fresh export` wrote: only what is in it is forgotten; repeat it for more."),
    ] = None,
    before: Annotated[
        datetime | None, typer.Option(help="UTC. Only watches from before are forgotten, whenever they came.")
    ] = None,
    json_: Json = False,
) -> None:
    """Forget watches that a release has learned by now, not erasures; the server may run on.

    With --before alone, watches that came after the export with an earlier time are forgotten though no log has them.
    """
    if not exported and before is None:
        raise UsageError("--exported and --before", "neither", "Give what was exported: --exported FILE.")
    from watchnext.api.requests import LATEST

    learned = None if not exported else set().union(*map(_learned, exported))
    with _opened(store) as opened:
        end = LATEST if before is None else int(before.replace(tzinfo=UTC).timestamp())
        gone = opened.prune(end, learned)
    report(json_, "Pruned", {"watches": gone})


def _learned(path: Path) -> "set[Learned]":
    """The watches of a log that `export` wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_table(path, columns=["user", "item", "time"]).columns
    except (pa.ArrowException, OSError) as error:
        cure = "Give a file that `watchnext fresh export` wrote."
        raise UsageError("--exported", f"{path}: {error}", cure) from error
    return set(zip(*(column.to_pylist() for column in columns), strict=True))


@contextmanager
def _opened(store: str) -> "Iterator[Upkeep]":
    from serving.fresh.choose import open_upkeep

    opened = open_upkeep(store)
    try:
        yield opened
    finally:
        opened.close()


def _check_suffix(to: Path, suffix: str) -> None:
    """Raise UsageError for a name of another kind of file, which `ingest` would take for one."""
    if to.suffix.lower() != suffix:
        raise UsageError("--to", to, f"Give a name that ends in {suffix}, which is what is written.")
