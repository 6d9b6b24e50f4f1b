"""`watchnext ingest`: a watch log becomes a corpus."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from watchnext.cli.console import Json, command, out, report, stages

_COLUMNS, _CLEANING, _TABLES = "Columns of the log", "Cleaning", "Items and users"
_SEARCHES, _RUN = "Searches", "How it runs"


def _option(help_: str, panel: str | None = None, *names: str) -> Any:
    return typer.Option(*names, help=help_, rich_help_panel=panel)


def ingest(
    logs: Annotated[
        list[str],
        typer.Argument(metavar="LOG...", help="Files of the watch log, or globs in quotes: 'logs/**/*.parquet'."),
    ],
    to: Annotated[Path, _option("Folder of the corpus; an older corpus there is replaced.")],
    format_: Annotated[
        str | None, _option("parquet, csv, jsonl, sequences or text; else the file name tells.", None, "--format")
    ] = None,
    delimiter: Annotated[str | None, _option("Between the columns of a CSV; else a comma, a tab for .tsv.")] = None,
    user_column: Annotated[str, _option("Column of the user id.", _COLUMNS)] = "user",
    item_column: Annotated[str, _option("Column of the item id.", _COLUMNS)] = "item",
    time_column: Annotated[
        str, _option("Column of the time: Unix time (s, ms, us, ns), ISO 8601, or a timestamp.", _COLUMNS)
    ] = "time",
    fraction_column: Annotated[str | None, _option("Column of the watched fraction.", _COLUMNS)] = None,
    min_fraction: Annotated[float, _option("Leave out watches below this watched fraction.", _CLEANING)] = 0.0,
    min_user_watches: Annotated[int, _option("Leave out users with fewer watches.", _CLEANING)] = 1,
    min_item_watches: Annotated[
        int, _option("Leave out items with fewer watches; both minima are applied until both hold.", _CLEANING)
    ] = 1,
    max_items: Annotated[int | None, _option("Keep only this many most watched items.", _CLEANING)] = None,
    max_rejected_share: Annotated[
        float, _option("Stop when more than this share of the rows is malformed.", _CLEANING)
    ] = 0.01,
    now: Annotated[
        datetime | None, _option("Times over a day after this, UTC, are malformed; else the clock's.", _CLEANING)
    ] = None,
    items: Annotated[Path | None, _option("A table of items: Parquet, CSV or JSONL.", _TABLES)] = None,
    items_id: Annotated[str, _option("Its column of the item id.", _TABLES)] = "item",
    items_title: Annotated[str, _option("Its column of the title.", _TABLES)] = "title",
    items_categories: Annotated[
        str, _option("Its column of categories: lists, or texts with | between.", _TABLES)
    ] = "categories",
    items_uploaded: Annotated[str, _option("Its column of the upload time.", _TABLES)] = "uploaded",
    unwatched_items: Annotated[
        bool, _option("Number items without watches, too: for models that read item features.", _TABLES)
    ] = False,
    users: Annotated[Path | None, _option("A table of users: Parquet, CSV or JSONL.", _TABLES)] = None,
    users_id: Annotated[str, _option("Its column of the user id.", _TABLES)] = "user",
    users_country: Annotated[str, _option("Its column of the country.", _TABLES)] = "country",
    users_device: Annotated[str, _option("Its column of the device.", _TABLES)] = "device",
    users_age: Annotated[str, _option("Its column of the age in years.", _TABLES)] = "age",
    users_gender: Annotated[str, _option("Its column of the gender.", _TABLES)] = "gender",
    users_logged_in: Annotated[str, _option("Its column of the logged-in state.", _TABLES)] = "logged_in",
    searches: Annotated[
        list[str] | None, _option("A search log, file or glob: Parquet, CSV or JSONL. Repeatable.", _SEARCHES)
    ] = None,
    searches_user: Annotated[str, _option("Its column of the user id.", _SEARCHES)] = "user",
    searches_query: Annotated[str, _option("Its column of what was typed.", _SEARCHES)] = "query",
    searches_time: Annotated[str, _option("Its column of the time.", _SEARCHES)] = "time",
    max_search_tokens: Annotated[
        int, _option("Keep only this many most frequent words and pairs of words.", _SEARCHES)
    ] = 1_000_000,
    erased: Annotated[
        list[str] | None,
        _option(
            "A list of erased users, file or glob with the columns user and time: what they watched and searched"
            " until then is left out. `watchnext fresh erased` writes it. Repeatable.",
            _CLEANING,
        ),
    ] = None,
    memory_limit: Annotated[
        str | None, _option("DuckDB's memory limit, such as 4GB; beyond it, it spills to disk.", _RUN)
    ] = None,
    threads: Annotated[int | None, _option("DuckDB's threads; the result is the same with any number.", _RUN)] = None,
    json_: Json = False,
) -> None:
    """Turn a watch log into a corpus: clean histories, vocabularies and tables. Nothing is dropped in silence."""
    from corpus.ingest import ingest as run
    from corpus.options import IngestOptions

    values = {
        "logs": tuple(logs),
        "to": to,
        "format": format_,
        "delimiter": delimiter,
        "columns": {"user": user_column, "item": item_column, "time": time_column, "fraction": fraction_column},
        "min_fraction": min_fraction,
        "min_user_watches": min_user_watches,
        "min_item_watches": min_item_watches,
        "max_items": max_items,
        "max_rejected_share": max_rejected_share,
        "now": now.replace(tzinfo=UTC) if now else None,
        "items": items,
        "item_columns": {
            "item": items_id,
            "title": items_title,
            "categories": items_categories,
            "uploaded": items_uploaded,
        },
        "unwatched_items": unwatched_items,
        "users": users,
        "user_columns": {
            "user": users_id,
            "country": users_country,
            "device": users_device,
            "age": users_age,
            "gender": users_gender,
            "logged_in": users_logged_in,
        },
        "searches": tuple(searches or ()),
        "search_columns": {"user": searches_user, "query": searches_query, "time": searches_time},
        "max_search_tokens": max_search_tokens,
        "erased": tuple(erased or ()),
        "memory_limit": memory_limit,
        "threads": threads,
    }
    options = IngestOptions.checked(values)
    with stages(not json_) as advance:
        made = run(options, advance).manifest
    if not json_:
        _print_rejected(made, to)
    model = ["--model", "word2vec"] if made.of_text else []
    report(json_, "Corpus", _facts(made, json_), to, command("train", to, *model))


def _print_rejected(manifest: Any, folder: Path) -> None:
    """Where malformed rows can be looked at, if there are any."""
    from corpus.corpus import REJECTED, REJECTED_SEARCHES

    for counts, name in ((manifest.counts, REJECTED), (manifest.searches, REJECTED_SEARCHES)):
        if counts and counts.rejected:
            out.print(f"Malformed rows are left out; they are in {folder / name}", soft_wrap=True)


def _facts(manifest: Any, json_: bool) -> dict[str, Any]:
    """The counts; for people, rejected rows by reason and table counts as lines of their own."""
    facts = {**manifest.counts.model_dump(), "users": manifest.users, "items": manifest.items}
    tables = {"items_table": manifest.item_table, "users_table": manifest.user_table, "searches": manifest.searches}
    given = {name: counts.model_dump() for name, counts in tables.items() if counts}
    if json_:
        return {**facts, **given}
    rejected = facts.pop("rejected")
    shown = {"rows_read": facts.pop("rows_read"), "rejected": sum(rejected.values())}
    shown |= {f"rejected: {reason}": n for reason, n in rejected.items()} | facts
    for name, counts in given.items():
        for what, n in counts.items():
            shown |= (
                {f"{name}: {what} {of}": m for of, m in n.items()} if isinstance(n, dict) else {f"{name}: {what}": n}
            )
    return shown
