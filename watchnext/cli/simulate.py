"""`watchnext simulate`: a made world with known answers becomes a watch log."""

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from watchnext.cli.console import Json, command, report, stages
from watchnext.errors import UsageError


def simulate(
    to: Annotated[Path, typer.Option(help="Folder of the world; an older world there is replaced.")],
    items: Annotated[int | None, typer.Option(help="Videos.")] = None,
    users: Annotated[int | None, typer.Option(help="Users.")] = None,
    watches: Annotated[int | None, typer.Option(help="Expected watches in the log.")] = None,
    days: Annotated[int | None, typer.Option(help="Days logged.")] = None,
    topics: Annotated[int | None, typer.Option(help="Topics of videos and interests.")] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EFFECT",
            help="Switch off drift, freshness, order, searches, demographics, fractions or long_tail. Repeatable.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any setting of docs/simulation.md. Repeatable."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; one a core by default. The result is the same with any number."),
    ] = None,
    json_: Json = False,
) -> None:
    """Make users, videos, searches and a watch log in which every effect is known and has a switch.

    Interrupted, the same command goes on where it was.
    """
    from simulation.write import simulate as run

    given = {"items": items, "users": users, "watches": watches, "days": days, "topics": topics, "seed": seed}
    config = _config({name: value for name, value in given.items() if value is not None}, set_ or []).without(
        *(without or [])
    )
    begun = time.perf_counter()
    with stages(not json_) as advance:
        made = run(config, to, workers or os.cpu_count() or 1, advance)
    facts = {"items": config.items, "users": config.users, "watches": made.watches, "searches": made.searches}
    facts |= {"watches_per_second": round(made.watches / (time.perf_counter() - begun))}
    tables: list[object] = ["--fraction-column", "fraction", "--items", to / "items.parquet"]
    tables += ["--users", to / "users.parquet"]
    tables += ["--searches", to / "searches" / "*.parquet"] if config.searches else []
    corpus = to.with_name(f"{to.name}-corpus")
    then = command("ingest", to / "watches" / "*.parquet", *tables, "--to", corpus)
    report(json_, "World", facts, to, then)


def _config(values: dict[str, Any], settings: list[str]) -> Any:
    from simulation.config import WorldConfig

    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in WorldConfig.model_fields:
            known = ", ".join(WorldConfig.model_fields)
            raise UsageError("--set", repr(setting), f"Give NAME=VALUE with one of the names: {known}.")
        values[name] = text.split(",") if name == "interests" else text
    return WorldConfig.checked(values, [setting.partition("=")[0] for setting in settings])
