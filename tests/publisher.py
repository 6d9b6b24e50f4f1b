"""Publishes or updates again and again, to be killed. A fork server imports it, so that it starts at once."""

from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa

from index.publish import publish
from index.update import update
from watchnext.release import ReleaseStore

pa.array(np.arange(2))  # pyarrow imports pandas, where installed, at the first array: a second that hides the kills


def publish_forever(export: Path, index: Path, root: Path, started: Connection) -> None:
    """Tell `started`, then publish until killed."""
    started.send("go")
    while True:
        publish(export, index, ReleaseStore(root))


def update_forever(files: tuple[Path, Path], root: Path, started: Connection) -> None:
    """Tell `started`, then update the current release from two files in turn until killed."""
    started.send("go")
    while True:
        for items in files:
            update(ReleaseStore(root), items)
