"""What it costs a request to say which items may be found, beside plain comparisons of the catalogue's columns.

A synthetic catalogue: 0 to 4 of 1,000 categories an item, the frequent ones far more often (Zipf); upload times are
spread evenly over 16 years, and unknown for a tenth. Median CPU time of one thread; the last line is JSON.

    python -m benchmarks.filters --quick
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from index.bitmaps import UploadTimes
from index.filters import Filters, ItemFilter
from index.popular import MostWatched
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.denied import DenyList, deny
from watchnext.vocabulary import Vocabulary

FIRST, LAST = 1_200_000_000, 1_700_000_000
"""Upload times, seconds since 1970."""
CATEGORIES = 1000


def main() -> None:
    """Make the catalogue, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 thousand items instead of a million")
    items = 100_000 if parser.parse_args().quick else 1_000_000
    catalogue, ids = made(items), Vocabulary([f"i{n}" for n in range(1, items + 1)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        Filters.of(catalogue, ids).save(path)
        files = sum(file.stat().st_size for file in path.rglob("*.*")) / 1e6
        filters = Filters.open(path, ids)
        figures = {"opening the files": microseconds(lambda: Filters.open(path, ids), 20)}
        figures |= masks(filters) | plain(catalogue) | popular(filters, items)
        deny(path, [f"i{n}" for n in range(1, 101)])
        figures["deny list: a stat"] = microseconds(DenyList(path).ids)
    print(f"{items:,} items; files of {files:.1f} MB")
    for name, value in figures.items():
        print(f"{name:48} {value:9.1f} µs")
    json.dump({"items": items, "megabytes": files, "microseconds": figures}, sys.stdout)
    print()


def made(items: int) -> Catalogue:
    """The synthetic catalogue."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, CATEGORIES + 1) ** 0.9
    counts = rng.integers(0, 5, items + 1)
    counts[0] = 0
    names = pa.array([f"c{n}" for n in range(CATEGORIES)], pa.large_string())
    drawn = names.take(pa.array(rng.choice(CATEGORIES, counts.sum(), p=share / share.sum())))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    unknown = rng.random(items + 1) < 0.1
    unknown[0] = True
    uploaded = pa.array(rng.integers(FIRST, LAST, items + 1), pa.int64(), mask=unknown)
    columns = [pa.nulls(items + 1, pa.large_string()), pa.ListArray.from_arrays(offsets, drawn), uploaded]
    return Catalogue(pa.table(columns, schema=ITEM_SCHEMA))


def masks(filters: Filters) -> dict[str, float]:
    """What requests cost."""
    ids = tuple(f"i{n}" for n in range(1, 1001))
    asked = {
        "nothing": {},
        "a frequent category": {"categories": ("c0",)},
        "a rare category": {"categories": ("c900",)},
        "three categories": {"categories": ("c0", "c5", "c50")},
        "uploaded in a year": {"uploaded_after": 1_600_000_000, "uploaded_before": 1_631_536_000},
        "uploaded after": {"uploaded_after": 1_300_000_001},
        "a frequent category, uploaded after": {"categories": ("c0",), "uploaded_after": 1_300_000_001},
        "only 1 id": {"only": ids[:1]},
        "without 20 ids": {"without": ids[:20]},
        "only 1,000 ids": {"only": ids},
    }
    wanted = {name: ItemFilter.model_validate(fields) for name, fields in asked.items()}
    return {f"mask: {name}": microseconds(partial(filters.mask, one)) for name, one in wanted.items()}


def plain(catalogue: Catalogue) -> dict[str, float]:
    """A range of upload times, from bitmaps and by comparing the column; both must find the same."""
    column = catalogue.table.column("uploaded").combine_chunks()
    times = column.fill_null(-(2**63)).to_numpy()
    after, before = 1_300_000_001, 1_600_000_001
    uploads = UploadTimes.of(column)
    assert (uploads.mask(after, before) == ((times >= after) & (times < before))).all()  # noqa: S101
    return {
        "range: bitmaps": microseconds(lambda: uploads.mask(after, before)),
        "range: int64 column compared": microseconds(lambda: (times >= after) & (times < before)),
    }


def popular(filters: Filters, items: int) -> dict[str, float]:
    """The 50 most watched of all, of a frequent category and of a rare one, where item 1 is watched most."""
    counts = np.arange(items + 1, 0, -1)
    one, nothing = MostWatched(counts), np.array([], np.int32)
    frequent, rare = (filters.mask(ItemFilter(categories=(name,))) for name in ("c0", "c900"))
    chosen = {"all": None, "a frequent category": frequent, "a rare category": rare}
    return {
        f"most watched of {name}": microseconds(partial(one.search, 50, nothing, mask))
        for name, mask in chosen.items()
    }


def microseconds(function: Callable[[], object], rounds: int = 300) -> float:
    """Median CPU time of a call."""
    function()
    spent = []
    for _ in range(rounds):
        start = time.thread_time_ns()
        function()
        spent.append(time.thread_time_ns() - start)
    return float(np.median(spent)) / 1e3


if __name__ == "__main__":
    main()
