"""Opens the current release beside the running server, so that it can answer for its health meanwhile."""

import logging
import threading
from typing import NamedTuple

from index.neighbours import Neighbours
from index.recommender import Recommender, open_release
from serving.problems import NoReleaseError
from watchnext.denied import read_denied
from watchnext.errors import WatchnextError
from watchnext.release import ReleaseManifest, ReleaseStore

log = logging.getLogger("uvicorn.error")


class Loaded(NamedTuple):
    """An opened release: what it says about itself and what answers from it."""

    manifest: ReleaseManifest
    recommender: Recommender
    neighbours: Neighbours


class ReleaseLoader:
    """Waits in a thread until the store has a current release that opens.

    Args:
        store: where releases lie.
        retry_seconds: how often to look where there is none. One that is corrupt is not read again until another
            becomes current.
    """

    def __init__(self, store: ReleaseStore, retry_seconds: float) -> None:
        self._store, self._retry_seconds = store, retry_seconds
        self._loaded: Loaded | None = None
        self._reason = "The release is being loaded; ask again in a moment."
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="release-loader", daemon=True)

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, once a release that it is just opening is open."""
        self._stopped.set()
        self._thread.join()

    @property
    def loaded(self) -> Loaded:
        """The loaded release. Raises NoReleaseError while there is none."""
        if self._loaded is None:
            raise NoReleaseError(self._reason)
        return self._loaded

    def _run(self) -> None:
        failed = told = None
        while not self._stopped.is_set():
            name = None
            try:
                read_denied(self._store.root)  # what is wrong with it is mended without another release
                name = self._store.current()
                if name != failed:
                    recommender = open_release(self._store.path(name))
                    recommender.recommend("", 1)  # what loads late should not be waited for by a user
                    neighbours = Neighbours(recommender.export, recommender.denied)
                    self._loaded = Loaded(self._store.manifest(name), recommender, neighbours)
                    log.info("Release %s is loaded.", name)
                    return
            except (WatchnextError, OSError) as error:
                failed = name
                if str(error) != told:
                    log.warning("No release to answer from: %s", error)
                    told, self._reason = str(error), "No release can be opened; the server's log says why."
            self._stopped.wait(self._retry_seconds)
