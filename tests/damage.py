"""Damages the files of indexes, and opens them in a process of its own, which a test can see die."""

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import faiss
import numpy as np
import pyarrow as pa

from index.countries import POPULAR, Countries, Popular
from index.filters import FILTERS as FILTERS_FOLDER
from index.filters import Filters, ItemFilter
from index.folder import IndexManifest, open_index
from tests.worlds import vectors
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.errors import CorruptError, UsageError
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.files import MANIFEST
from watchnext.histories import Int32
from watchnext.vocabulary import Vocabulary

Answer = tuple[Float32, Int32] | None
ITEMS, DIM, K = 300, 8, 10
ITEM_VECTORS, QUERIES = vectors(ITEMS, DIM, seed=0), vectors(3, DIM, seed=5)[1:]
CATEGORIES = ("News", "Sport", "Rare")
"""The first two have bitmaps, the third a list."""
IDS = Vocabulary(map(str, range(1, ITEMS + 1)))
_TABLE = pa.table(
    [
        pa.nulls(ITEMS + 1, pa.large_string()),
        [None, *([CATEGORIES[n % 2], *CATEGORIES[2 : 3 - n // 4]] for n in range(ITEMS))],
        [None, *range(ITEMS)],
    ],
    schema=ITEM_SCHEMA,
)
FILTERS = Filters.of(Catalogue(_TABLE), IDS)
COUNTRIES = Countries({"DE": Popular(np.array([7, 2, 9], np.int32), np.array([0.5, 0.2, 0.1], np.float32))})
BESIDE = (POPULAR, *(f"{FILTERS_FOLDER}/categor{name}" for name in ("ies.arrow", "y_bitmaps.npy", "y_lists.npy")))
BESIDE += tuple(f"{FILTERS_FOLDER}/upload_{name}.npy" for name in ("times", "order", "prefixes"))
"""Files of an index that are not of its searches."""
_HEAD = 400
"""Among so many bytes are most of the numbers that decide what the others mean."""


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a bit."""
    made = bytearray(content)
    made[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(made)


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    """Leave out the end."""
    return content[: rng.integers(len(content))]


def extend(content: bytes, rng: np.random.Generator) -> bytes:
    """Add bytes to the end."""
    return content + rng.bytes(int(rng.integers(1, 100)))


def insert(content: bytes, rng: np.random.Generator) -> bytes:
    """Add bytes in between."""
    place = _place(content, rng)
    return content[:place] + rng.bytes(int(rng.integers(1, 40))) + content[place:]


def remove(content: bytes, rng: np.random.Generator) -> bytes:
    """Leave out bytes in between."""
    place = _place(content, rng)
    return content[:place] + content[place + int(rng.integers(1, 40)) :]


def number(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace 4 or 8 bytes by a number that is extreme, or near the one that was there."""
    size, code = ((4, "<I"), (8, "<Q"))[rng.integers(2)]
    made = bytearray(content)
    place = min(_place(content, rng), len(content) - size)
    was, bits = struct.unpack_from(code, made, place)[0], 8 * size
    options = (0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits // 2), was + 1, was - 1, was * 2, was + 32)
    struct.pack_into(code, made, place, options[rng.integers(len(options))] % 2**bits)
    return bytes(made)


DAMAGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (flip, cut, extend, insert, remove, number)


def _place(content: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(min(_HEAD, len(content)) if rng.random() < 0.5 else len(content)))


def ask(folder: Path) -> Answer:
    """What an index answers, with and without items left out; None where it is refused as corrupt or not there."""
    try:
        index = open_index(folder, ITEM_VECTORS)
    except (CorruptError, UsageError):
        return None
    watched = np.arange(1, ITEMS // 2, dtype=np.int32)
    index.search(QUERIES[:1], ITEMS, [watched])
    scores, numbers = index.search(QUERIES, K)
    assert numbers.min() >= 0
    assert numbers.max() <= ITEMS
    return scores, numbers


def choose(folder: Path) -> bool:
    """Whether filters and popular items of countries open; what they allow is a number of an item each."""
    known = cast(Export, SimpleNamespace(items=IDS, withdrawn=np.array([5], np.int32)))
    try:
        IndexManifest.read(folder).verify(folder)
        filters, countries = Filters.open(folder, IDS), Countries.open(folder, known)
    except CorruptError:
        return False
    wanted = [ItemFilter(categories=(name,)) for name in CATEGORIES]
    wanted += [ItemFilter(uploaded_after=t, uploaded_before=t + 50) for t in range(0, ITEMS, 7)]
    for each in wanted:
        with suppress(UsageError):  # no item has the category any more
            mask = filters.mask(each)
            assert mask is not None
            assert mask.shape == (ITEMS + 1,)
    assert all(0 < number <= ITEMS for popular in countries.popular.values() for number in popular.numbers)
    return True


def reseal(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a folder and have the manifest say so."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def open_damaged(folder: Path, name: str, variants: int, told: Connection) -> None:
    """Open damaged indexes whose manifests fit, and tell of each: its number before, and after whether it opened."""
    faiss.omp_set_num_threads(1)
    content = (folder / name).read_bytes()
    for variant in range(variants):
        told.send(variant)
        rng = np.random.default_rng(variant)
        reseal(folder, name, DAMAGES[variant % len(DAMAGES)](content, rng))
        told.send(choose(folder) if name in BESIDE else ask(folder) is not None)
    told.close()
