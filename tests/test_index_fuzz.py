"""No damaged or hostile index opens as anything else, and none ends the process that opens it."""

import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from index.faiss_index import Changes, FaissIndex
from index.folder import save_index
from index.kinds import Kind
from tests.damage import BESIDE, COUNTRIES, DAMAGES, DIM, FILTERS, ITEM_VECTORS, ITEMS, ask, open_damaged
from tests.worlds import vectors
from watchnext.features import Float32
from watchnext.files import MANIFEST

KINDS = ["Flat", "SQfp16", "SQ8", "PQ4x4fs", "HNSW8", "HNSW8,SQ8"]
KINDS += [f"IVF8,{code}" for code in ("Flat", "SQfp16", "SQ8", "PQ4x4fs", "RaBitQ", "RaBitQfs4")]
NAMES = ("index.faiss", "numbers.npy", MANIFEST)
CHANGES = Changes(np.array([3, 7], np.int32), np.array([5], np.int32))
OTHERS = ("numbers.npy", "fresh.npy", "withdrawn.npy", *BESIDE)
VARIANTS, HOSTILE = 10_000, 500


def write(kind: str, folder: Path, item_vectors: Float32 = ITEM_VECTORS) -> None:
    search = {"nprobe": 3} if kind.startswith("IVF") else {"efSearch": 16} if kind.startswith("HNSW") else {}
    built = FaissIndex.build(item_vectors, Kind(kind), search)
    changes = Changes() if kind.startswith("PQ") else CHANGES  # which FAISS cannot search among some of the items
    index = FaissIndex(built._index, item_vectors, built._numbers, built.kind, built.effort, changes)
    measured = {"recall_at_50": 1, "target_recall": 0.9, "fell_back": False, "queries": 9, "trials": ()}
    about = {"items": ITEMS, "skew": 1, "warnings": (), "item_vectors_sha256": "0" * 64}
    save_index(index, FILTERS, COUNTRIES, folder, **measured, **about)


def test_damage_is_refused_or_changes_no_answer(tmp_path: Path) -> None:
    for kind in KINDS:
        write(kind, tmp_path / kind)
    right = {kind: ask(tmp_path / kind) for kind in KINDS}
    opened = 0
    for variant in range(VARIANTS):
        rng = np.random.default_rng(variant)
        kind = KINDS[variant % len(KINDS)]
        path = tmp_path / kind / NAMES[rng.integers(len(NAMES))]
        content = path.read_bytes()
        damaged = DAMAGES[rng.integers(len(DAMAGES))](content, rng)
        path.write_bytes(damaged)
        found, want = ask(path.parent), right[kind]
        path.write_bytes(content)
        if found is not None and damaged != content:
            assert path.name == MANIFEST, variant
            if json.loads(damaged)["effort"] == json.loads(content)["effort"]:
                np.testing.assert_equal(found, want, str(variant))
            opened += 1
    assert 0 < opened < VARIANTS / 4, "a manifest has numbers that no answer depends on"


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_two_indexes_do_not_mix(kind: str, tmp_path: Path) -> None:
    write(kind, tmp_path / "one")
    write(kind, tmp_path / "two", vectors(ITEMS, DIM, seed=1))
    for name in NAMES:
        shutil.copytree(tmp_path / "one", tmp_path / name)
        shutil.copyfile(tmp_path / "two" / name, tmp_path / name / name)
        same = name == "numbers.npy"  # both have all items
        assert (ask(tmp_path / name) is not None) == same


@pytest.mark.parametrize(
    ("kind", "name"), [*((kind, "index.faiss") for kind in KINDS), *(("Flat", name) for name in OTHERS)]
)
def test_whoever_writes_a_checksum_cannot_crash_a_server(kind: str, name: str, tmp_path: Path) -> None:
    write(kind, tmp_path / "index")
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.damage"])
    receiver, sender = processes.Pipe(duplex=False)
    child = processes.Process(target=open_damaged, args=(tmp_path / "index", name, HOSTILE, sender))
    child.start()
    sender.close()
    told: list[int | bool] = []
    while receiver.poll(60):
        try:
            told.append(receiver.recv())
        except EOFError:
            break
    child.kill()
    child.join()
    assert len(told) == 2 * HOSTILE, f"variant {told[-1]} ended the process, or took a minute"
    opened = sum(told[1::2])
    assert 0 < opened < HOSTILE, "some bytes are numbers of a vector, and others are not"
