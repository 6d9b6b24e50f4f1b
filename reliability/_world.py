"""Made-up releases to serve: users around the items that they watched, so that fresh watches change vectors."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.build import IndexOptions, build_from_export
from index.publish import publish
from watchnext.catalogue import USER_SCHEMA, empty_table
from watchnext.config import ModelConfig
from watchnext.export import write_export
from watchnext.histories import Histories
from watchnext.linear import NoLog, linear_export
from watchnext.release import ReleaseStore
from watchnext.vocabulary import Vocabulary

DIM, WATCHES, CENTRES = 32, 20, 100


@dataclass(frozen=True)
class World:
    """An export, its index, and a folder of releases with one release of them, `first`."""

    folder: Path
    items: int
    users: int
    releases_in: Path | None = None
    """Folder in which the releases' folder is, if it is another."""

    @property
    def store(self) -> ReleaseStore:
        """Where releases lie."""
        return ReleaseStore((self.releases_in or self.folder) / "releases")

    @property
    def parts(self) -> tuple[Path, Path]:
        """The folders of the export and of its index."""
        return self.folder / "export", self.folder / "index"

    @property
    def fresh(self) -> Path:
        """The file of fresh watches."""
        return self.folder / "fresh.sqlite"

    def publish(self, name: str | None = None) -> str:
        """Publish the same once more, in this process; returns the release's name."""
        return publish(*self.parts, self.store, name).name

    def publish_apart(self, name: str) -> "subprocess.Popen[str]":
        """The same by the command line, in a process of its own that gives way to others."""
        command = [sys.executable, "-m", "watchnext", "publish", *map(str, self.parts)]
        command += ["--to", str(self.store.root), "--name", name, "--json"]
        return subprocess.Popen(
            ["nice", "-n", "19", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def withdraw(self, name: str) -> None:
        """Delete a release that is not current."""
        shutil.rmtree(self.store.root / name)

    def sizes(self) -> list[int]:
        """Bytes of the files of a release."""
        return [path.stat().st_size for part in self.parts for path in part.rglob("*") if path.is_file()]


def make(folder: Path, items: int, users: int, exact_below: int = 6_000) -> World:
    """Make the vectors, build the index, publish `first`; fewer items than `exact_below` are searched exactly."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CENTRES, DIM))
    topics = rng.integers(CENTRES, size=items + 1)
    vectors = (centres[topics] + 0.7 * rng.normal(size=(items + 1, DIM))).astype(np.float32)
    vectors[0] = 0
    by_topic = [np.flatnonzero(topics == topic) for topic in range(CENTRES)]
    tastes = rng.integers(CENTRES, size=users)
    watched = [np.maximum(rng.choice(by_topic[taste], WATCHES), 1).tolist() for taste in tastes]
    log = NoLog(
        Vocabulary(f"video-{n}" for n in range(1, items + 1)),
        Vocabulary(f"user-{n}" for n in range(1, users + 1)),
        Histories.of(watched),
        empty_table(USER_SCHEMA, users),
    )
    write_export(linear_export(log, ModelConfig.linear(DIM, 50), vectors, vectors), folder / "export")
    build_from_export(folder / "export", folder / "index", IndexOptions(flat_below=exact_below, queries=500))
    world = World(folder, items, users)
    world.publish("first")
    return world
