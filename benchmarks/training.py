"""How fast training is, against its limit and against others, for growing catalogues.

    python -m benchmarks.training [--quick] [--items 10000 100000] [--rounds 5]

The limit is the bare matrix products of the same shapes for as many examples: three of the sampled softmax and three
of each layer of the tower. The others train the network the usual way, one row an example: Keras `fit` with Adam and
with Adagrad, TensorFlow Recommenders with in-batch softmax (in an environment of its own below `work/`, made when it
is missing), and gensim's item2vec, another model on the same histories.

Each is a process; they take turns round by round, and ratios are medians over rounds. Where other programs take turns
on the cores, the ratio of CPU seconds is the steadier one. Catalogues too large for all at once are run one by one:
then only the ratio to the limit, measured in the same process, is side by side.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks._rivals.contest import ROOT, Entry, System, compete, cpu_speed, ratio, speed
from benchmarks._rivals.environment import environment
from benchmarks._rivals.program import Figures, Task
from evaluation.plots import Line, lines, svg_file

PLAIN, DEFAULT = System("ours", "ours", "plain", 3.5), System("ours, default", "ours", "default", 3.5)
ADAM = System("Keras, Adam", "keras_fit", "adam", 8)
ADAGRAD = System("Keras, Adagrad", "keras_fit", "adagrad", 5)
TFRS = System("TFRS, Adagrad", "tfrs", "adagrad", 5)
GENSIM = System("item2vec, gensim", "item2vec", "", 3, (10**6, "a vocabulary of so many strings takes minutes"))
SYSTEMS = {
    "ours": PLAIN,
    "default": DEFAULT,
    "keras-adam": ADAM,
    "keras-adagrad": ADAGRAD,
    "tfrs": TFRS,
    "gensim": GENSIM,
}
QUICK_SYSTEMS = ["ours", "keras-adam", "keras-adagrad", "gensim"]
SIZES, QUICK_SIZES = (10**4, 10**5, 10**6, 10**7), (10**4, 10**5)


def step_share(figures: Figures) -> float:
    """Of the limit: time of the bare products to that of our step."""
    return figures["product_seconds"] / figures["step_seconds"]


def step_cpu_share(figures: Figures) -> float:
    """The same in CPU seconds."""
    return figures["product_cpu_seconds"] / figures["step_cpu_seconds"]


def waiting_share(figures: Figures) -> float:
    """Of training's time: waiting for the next batch."""
    return figures["waiting_seconds"] / figures["seconds"]


def systems(names: list[str]) -> list[tuple[System, str]]:
    """Who takes part, ours first, and why not."""
    found = [(system, "") for name, system in SYSTEMS.items() if name in {"ours", *names}]
    return [_installed(system) if system is TFRS else (system, why) for system, why in found]


def _installed(system: System) -> tuple[System, str]:
    try:
        return replace(system, python=environment("benchmark-tfrs")), ""
    except RuntimeError as error:
        return system, str(error)


def measure(items: int, arguments: argparse.Namespace, takers: list[tuple[System, str]]) -> list[Entry]:
    """All systems on one catalogue."""
    entries = []
    for system, why in takers:
        task = Task(items, system.variant, examples=arguments.batch_examples, steps=arguments.steps)
        entries.append(Entry(system, task, why or system.refusal(task, arguments.memory)))
    compete(entries, arguments.rounds, arguments.memory)
    return entries


def table(items: int, entries: list[Entry]) -> Table:
    """One row a system."""
    columns = ("examples/s", "a CPU s", "ours", "in CPU", "GiB", "limit", "in CPU")
    shown = Table("", title=f"{items:,} items", caption="ours: how much faster; limit: share of it that is reached")
    for column in columns:
        shown.add_column(column, justify="right")
    for entry in entries:
        if entry.skipped:
            shown.add_row(entry.system.name, f"not run: {entry.skipped}")
            continue
        own = entry.system.program == "ours"
        shown.add_row(
            entry.system.name,
            f"{entry.median(speed):,.0f}",
            f"{entry.median(cpu_speed):,.0f}",
            *(_number(ratio(entries[0], entry, figure)) for figure in (speed, cpu_speed)),
            f"{entry.peak_gib:.2f}",
            *(f"{entry.median(share):.2f}" if own else "" for share in (step_share, step_cpu_share)),
        )
    return shown


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def facts(entry: Entry) -> dict[str, Any]:
    """The line of a system for the JSON."""
    found: dict[str, Any] = {"system": entry.system.name, "items": entry.task.items}
    if entry.skipped:
        return found | {"skipped": entry.skipped}
    found |= {
        "examples_per_second": round(entry.median(speed)),
        "examples_per_cpu_second": round(entry.median(cpu_speed)),
        "peak_gib": round(entry.peak_gib, 2),
    }
    if entry.system.program == "ours":
        shares = {"of_limit": step_share, "of_limit_cpu": step_cpu_share, "waiting": waiting_share}
        found |= {name: round(entry.median(figure), 4) for name, figure in shares.items()}
        found["draw_microseconds"] = round(1e6 * entry.median(lambda figures: figures["draw_seconds"]), 1)
        found["filled"] = round(entry.median(lambda figures: figures["filled"]), 3)
    return found


def ratios(sizes: dict[int, list[Entry]]) -> dict[str, dict[int, float | None]]:
    """What is claimed, each by catalogue size.

    `speed_to_smallest` is relative to the bare products beside both: these are the same for all sizes, so they tell
    how fast the machine was.
    """
    ours = {items: entries[0] for items, entries in sizes.items()}
    found: dict[str, dict[int, float | None]] = {
        "of_limit": {items: _median(entry, step_share) for items, entry in ours.items()},
        "of_limit_cpu": {items: _median(entry, step_cpu_share) for items, entry in ours.items()},
    }
    for name, key in (("speed_to_smallest", "of_limit"), ("speed_to_smallest_cpu", "of_limit_cpu")):
        shares = found[key]
        first = next(iter(shares.values()))
        found[name] = {items: share / first if share and first else None for items, share in shares.items()}
    for system, name in ((ADAM, "over_keras_adam"), (ADAGRAD, "over_keras_adagrad"), (TFRS, "over_tfrs")):
        pairs = {
            items: next((e for e in entries if e.system.name == system.name), None)
            for items, entries in sizes.items()
        }
        for suffix, figure in (("", speed), ("_cpu", cpu_speed)):
            found[name + suffix] = {
                items: ratio(ours[items], other, figure) for items, other in pairs.items() if other is not None
            }
    found["waiting"] = {items: _median(entry, waiting_share) for items, entry in ours.items()}
    found["draw_microseconds"] = {items: _median(e, lambda f: 1e6 * f["draw_seconds"]) for items, e in ours.items()}
    found["peak_gib"] = {items: entry.peak_gib if entry.rounds else None for items, entry in ours.items()}
    return found


def picture(results: list[dict[str, Any]], to: Path) -> None:
    """CPU microseconds an example of each system against the catalogue's size."""
    measured = [result for result in results if "skipped" not in result]
    series = []
    for name in dict.fromkeys(result["system"] for result in measured):
        own = [result for result in measured if result["system"] == name]
        cost = [1e6 / result["examples_per_cpu_second"] for result in own]
        series.append(Line(name, [float(result["items"]) for result in own], cost))
    figure = lines(series, "items in the catalogue", "CPU microseconds an example", log=True)
    to.mkdir(parents=True, exist_ok=True)
    what = "CPU microseconds of training an example against the number of items in the catalogue"
    (to / "cost-by-items.svg").write_bytes(svg_file(figure, what))


def _median(entry: Entry, figure: Any) -> float | None:
    return entry.median(figure) if entry.rounds else None


def ratio_table(found: dict[str, dict[int, float | None]], sizes: list[int]) -> Table:
    """One row a claim, one column a size."""
    shown = Table("ours", *(f"{items:,} items" for items in sizes), title="ratios, medians over rounds")
    for name, values in found.items():
        if values:
            shown.add_row(name.replace("_", " "), *(_number(values.get(items)) for items in sizes))
    return shown


def main() -> int:
    """Print a table for each size, then the ratios, draw the picture, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, few rounds, not all systems: under a minute")
    parser.add_argument("--items", type=int, nargs="+", help=f"catalogue sizes (default: {SIZES})")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, help="beside ours (default: all)")
    parser.add_argument("--rounds", type=int, help="measured rounds (default: 5)")
    parser.add_argument("--steps", type=int, help="steps of a round (default: 10)")
    parser.add_argument("--batch-examples", type=int, default=4096, help="examples of a batch (default: 4096)")
    parser.add_argument("--memory", type=float, default=20, help="GiB that a system may take (default: 20)")
    parser.add_argument("--to", type=Path, default=ROOT / "work" / "training", help="folder for the picture")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.rounds = arguments.rounds or (2 if quick else 5)
    arguments.steps = arguments.steps or (4 if quick else 10)
    names = arguments.systems or (QUICK_SYSTEMS if quick else list(SYSTEMS))
    takers, console, sizes = systems(names), Console(), {}
    for items in arguments.items or (QUICK_SIZES if quick else SIZES):
        sizes[items] = measure(items, arguments, takers)
        console.print(table(items, sizes[items]))
    found = ratios(sizes)
    console.print(ratio_table(found, list(sizes)))
    shapes = next(iter(sizes.values()))[0].task.shapes
    results = [facts(entry) for entries in sizes.values() for entry in entries]
    picture(results, arguments.to)
    document = {"benchmark": "training", **shapes, "rounds": arguments.rounds, "results": results, "ratios": found}
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
