"""A world's folder: whole or not there, the same with any number of processes, and ready to be ingested."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from corpus.corpus import Corpus
from simulation.clock import DAY, START
from simulation.config import EFFECTS, WorldConfig
from simulation.manifest import WorldManifest
from simulation.truth import Oracle
from simulation.world import World
from simulation.write import parts_of, simulate
from tests.commands import run, run_json
from tests.simulated import SMALL, log_of
from watchnext.errors import UsageError

PARTS = SMALL.model_copy(update={"part_watches": 1_000})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "world"
    simulate(PARTS, folder)
    return folder


def test_the_folder_is_what_its_manifest_says(folder: Path) -> None:
    manifest = WorldManifest.read(folder)
    manifest.verify(folder)
    log = log_of(SMALL)
    assert manifest.config == PARTS
    assert (manifest.watches, manifest.searches) == (len(log.items), len(log.searches))
    assert [path.name for path in folder.parent.iterdir()] == ["world"]
    names = {entry.name for entry in folder.iterdir()}
    assert names == {"watches", "searches", "items.parquet", "users.parquet", "manifest.json"}


def test_the_files_hold_what_was_drawn(folder: Path) -> None:
    log = log_of(SMALL)
    table = pq.read_table(folder / "watches")
    users, items = ([int(id_[1:]) for id_ in table.column(name).to_pylist()] for name in ("user", "item"))
    order = np.lexsort((table.column("time").to_numpy(), users))
    assert np.array_equal(np.array(users)[order], log.users)
    assert np.array_equal(np.array(items)[order], log.items)
    assert np.array_equal(table.column("time").to_numpy()[order], log.times)
    assert np.array_equal(table.column("fraction").to_numpy()[order], log.fractions)
    written, drawn = pq.read_table(folder / "searches").to_pylist(), log.searches.to_pylist()
    assert written == [row | {"user": f"u{row['user']:07d}"} for row in drawn]


def test_parts_cover_every_slot_once() -> None:
    for size in (1, 700, 10**9):
        config = SMALL.model_copy(update={"part_watches": size})
        slots = [slot for part in parts_of(config) for slot in part.slots]
        assert slots == list(range(4 * SMALL.days))
        assert len({part.path for part in parts_of(config)}) == len(parts_of(config))
    assert len(parts_of(PARTS)) == 20 + 2


def test_seeds_differ(folder: Path) -> None:
    other, again = (log_of(SMALL.model_copy(update={"seed": seed})) for seed in (1, 0))
    mine = log_of(SMALL)
    assert np.array_equal(again.items, mine.items)
    assert not np.array_equal(other.items[:1_000], mine.items[:1_000])


def command(to: Path, *more: str) -> list[str]:
    sizes = ("--items", "300", "--users", "400", "--watches", "20000", "--days", "30", "--topics", "10")
    rest = ("--set", "countries=3", "--set", "catalogue_days=30", "--set", "part_watches=1000")
    return [sys.executable, "-W", "error", "-m", "watchnext", "simulate", "--to", str(to), *sizes, *rest, *more]


def test_two_processes_write_the_same_files_and_say_nothing_else(folder: Path, tmp_path: Path) -> None:
    to = tmp_path / "world"
    done = subprocess.run(command(to, "--workers", "2", "--json"), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert WorldManifest.read(to).files == WorldManifest.read(folder).files


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    to, partial = tmp_path / "world", tmp_path / ".world.partial" / "world"
    config = PARTS.model_copy(update={"days": 60, "part_watches": 1})
    words = command(to, "--workers", "2", "--days", "60", "--set", "part_watches=1")
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: len(list((partial / "watches").glob("*.parquet"))) >= 5)
    process.send_signal(how)
    message = process.communicate(timeout=60)[1]  # which ends when no worker has standard error open any more
    assert process.returncode == (-9 if how == signal.SIGKILL else 130)
    said = message.strip()
    assert said.startswith("Interrupted. Go on with: watchnext simulate --to ") if how == signal.SIGINT else not said
    assert not to.exists()
    there = {path.name: path.stat().st_mtime_ns for path in (partial / "watches").glob("*.parquet")}
    (partial / "watches" / ".part-00001.parquet.half").write_bytes(b"PAR1")
    simulate(config, to)
    assert {name: (to / "watches" / name).stat().st_mtime_ns for name in there} == there
    manifest, log = WorldManifest.read(to), log_of(config)
    manifest.verify(to)
    assert len(manifest.files) == 2 + 2 * 240
    assert (manifest.watches, manifest.searches) == (len(log.items), len(log.searches))
    times = pq.read_table(to / "watches").column("time").to_numpy()
    assert np.array_equal(np.sort(times), np.sort(log.times))
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("waited in vain")


def test_an_interrupted_run_of_another_world_is_thrown_away(tmp_path: Path) -> None:
    partial = tmp_path / ".world.partial"
    (partial / "world" / "watches").mkdir(parents=True)
    (partial / "config.json").write_text(WorldConfig().model_dump_json())
    (partial / "world" / "watches" / "part-00000.parquet").write_bytes(b"of another world")
    simulate(SMALL, tmp_path / "world").verify(tmp_path / "world")
    assert not partial.exists()
    assert pq.read_table(tmp_path / "world" / "watches").num_rows > 0


def test_a_world_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    to = tmp_path / "world"
    to.mkdir()
    simulate(SMALL, to)
    simulate(SMALL.without("searches"), to)
    assert WorldManifest.read(to).searches == 0
    assert not (to / "searches").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("all my work")
    with pytest.raises(UsageError, match="watchnext simulate` did not write"):
        simulate(SMALL, mine)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_a_world_can_be_ingested_and_asked(folder: Path, tmp_path: Path) -> None:
    tables = ("--items", folder / "items.parquet", "--users", folder / "users.parquet")
    fraction = ("--fraction-column", "fraction", "--max-rejected-share", "0")
    facts = run_json("ingest", f"{folder}/watches/*.parquet", *tables, *fraction, "--to", tmp_path / "corpus")
    world, log = World.open(folder), log_of(SMALL)
    assert facts["kept"] == len(log.items)
    assert facts["items_table"]["used"] == len(np.unique(log.items))
    assert facts["items_table"]["malformed"] == facts["users_table"]["malformed"] == {}
    corpus = Corpus.open(tmp_path / "corpus")
    number = corpus.items.number("v0000007")
    assert corpus.catalogue.table.column("uploaded")[number].as_py() == world.items.uploaded[7]
    oracle = Oracle(world, corpus.histories, corpus.items, corpus.users, pq.read_table(folder / "searches"))
    users = np.arange(1, 51, dtype=np.int32)
    ends = corpus.histories.lengths[users] - 1
    targets = corpus.histories.items[corpus.histories.offsets[users] + ends]
    chances = oracle.scores(users, ends)[np.arange(50), targets]
    assert chances.min() > 0
    assert chances.mean() > 10 / len(corpus.items)


def test_the_command_says_where_the_world_is_and_what_to_do_with_it(tmp_path: Path) -> None:
    to = tmp_path / "world"
    shown = run("simulate", "--to", to, "--items", "500", "--users", "50", "--watches", "900", "--workers", "1")
    assert f"Written to {to}" in shown
    tables = f"--items {to}/items.parquet --users {to}/users.parquet --searches '{to}/searches/*.parquet'"
    options = f"--fraction-column fraction {tables} --to {to}-corpus"
    assert f"watchnext ingest '{to}/watches/*.parquet' {options}" in shown
    changes = ("--without", "drift", "--without", "order", "--set", "interests=0.7,0.3", "--set", "home_share=0.1")
    run_json("simulate", "--to", to, "--watches", "900", "--seed", "3", "--days", "7", *changes, "--workers", "1")
    config = WorldManifest.read(to).config
    assert (config.drift, config.order, config.freshness) == (False, False, True)
    assert (config.interests, config.home_share) == ((0.7, 0.3), 0.1)
    assert (config.seed, config.days) == (3, 7)
    assert pq.read_table(to / "watches").column("time").to_numpy().max() < START + 7 * DAY


def test_help_names_every_effect() -> None:
    shown = run("simulate", "--help")
    for effect in EFFECTS:
        assert effect in shown


@pytest.mark.parametrize(
    ("options", "got"),
    [
        (("--without", "gravity"), "gravity"),
        (("--set", "gravity=1"), "gravity"),
        (("--set", "home_share"), "home_share"),
        (("--set", "home_share=2"), "home_share"),
        (("--set", "interests=0.5,0.4"), "interests"),
        (("--days", "0"), "days"),
        (("--items", "100"), "450"),
        (("--users", "10", "--watches", "1000000"), "watches"),
    ],
)
def test_impossible_worlds_are_refused(tmp_path: Path, options: tuple[str, ...], got: str) -> None:
    with pytest.raises(UsageError, match=got):
        run("simulate", "--to", tmp_path / "world", "--workers", "1", *options)
    assert not (tmp_path / "world").exists()


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "simulation.md").read_text()
    for name in WorldConfig.model_fields:
        assert f"`{name}`" in page, name
