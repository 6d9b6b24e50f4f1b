"""Whether memory stays flat while the log grows: epochs over memory-mapped histories, block-shuffled.

    python -m benchmarks.large_corpus [--quick]

Each size runs in a process of its own, which opens the histories, counts items and makes all batches of an epoch,
with a cap per user, as training does. Memory is the peak of anonymous memory (`RssAnon`), so without the operating
system's cache of the file, above what the process has before it opens the log. A full random permutation stands
beside it: the same code with one buffer for everything.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from model.assembly import TrainingData
from model.batches import BatchBuilder
from model.buffers import BLOCK, BLOCKS
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs

ITEMS = 100_000
LENGTH = 200
"""Watches of a user."""


def write(folder: Path, watches: int) -> None:
    """Write histories of random items, part by part."""
    users = watches // LENGTH
    rng = np.random.default_rng(0)
    for name, kind in (("items", np.int32), ("times", np.int64)):
        array = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (users * LENGTH,))
        for start in range(0, len(array), BLOCK):
            part = array[start : start + BLOCK]
            part[:] = (
                rng.integers(1, ITEMS + 1, len(part)) if name == "items" else np.arange(start, start + len(part))
            )
    np.save(folder / "offsets.npy", np.concatenate([[0], np.arange(users + 1) * LENGTH]))


class Peak(threading.Thread):
    """The most anonymous memory of this process while it runs, MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_value = self.value = anonymous()
        self.ended = threading.Event()

    def run(self) -> None:
        """Look every 5 ms."""
        while not self.ended.wait(0.005):
            self.value = max(self.value, anonymous())


def anonymous() -> float:
    """Anonymous memory of this process, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def measure(folder: Path, block: int, blocks: int) -> dict[str, float]:
    """Make all batches of an epoch."""
    peak = Peak()
    peak.start()
    histories = Histories.open(folder)
    data = TrainingData(UserInputs(histories), histories.lengths, ITEMS, FeatureSpec())
    data.counts()
    training = TrainingConfig(examples_per_user=100)
    builder = BatchBuilder.of(histories, data.ends, ModelConfig(), training, block, blocks)
    examples, start = 0.0, time.perf_counter()
    for batch in builder.epoch(0).batches():
        examples += float(batch.weight.sum())
    seconds = time.perf_counter() - start
    peak.ended.set()
    peak.join()
    return {
        "watches": len(histories.items),
        "peak_megabytes": peak.value - peak.start_value,
        "examples": examples,
        "examples_per_second": examples / seconds,
    }


def compare(watches: int, block: int, blocks: int) -> list[dict[str, float]]:
    """The block shuffle and the full permutation on a log of this size."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        write(Path(name), watches)
        found = []
        for buffer in (blocks, watches):
            command = [sys.executable, "-m", "benchmarks.large_corpus", "--folder", name]
            command += ["--block", str(block), "--blocks", str(buffer)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return found


def main() -> int:
    """Print a table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small logs and buffers: under a minute")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--block", type=int, default=BLOCK, help=argparse.SUPPRESS)
    parser.add_argument("--blocks", type=int, default=BLOCKS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        sys.stdout.write(json.dumps(measure(given.folder, given.block, given.blocks)) + "\n")
        return 0
    sizes, block = ([10**6, 3 * 10**6], 1 << 14) if given.quick else ([10**7, 3 * 10**7, 10**8], BLOCK)
    results = []
    table = Table(
        "watches", "log MiB", "block shuffle: peak MiB", "examples/s", "full permutation: peak MiB", "examples/s"
    )
    for watches in sizes:
        ours, whole = compare(watches, block, given.blocks)
        results.append({"block_shuffle": ours, "full_permutation": whole})
        table.add_row(
            f"{watches:,}",
            f"{watches * 12 / 2**20:,.0f}",
            *(f"{r[name]:,.0f}" for r in (ours, whole) for name in ("peak_megabytes", "examples_per_second")),
        )
    Console().print(table)
    sys.stdout.write(json.dumps({"benchmark": "large_corpus", "results": results}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
