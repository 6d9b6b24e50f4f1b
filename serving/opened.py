"""One release that answers: opened, checked by asking it, and warm. Knows nothing of other releases."""

from typing import NamedTuple, Self

import numpy as np

from index.askers import Asker
from index.neighbours import Neighbours
from index.recommender import Found, Recommender, open_release
from serving.fragments import Fragments
from serving.telemetry.drift import ScoreReference
from serving.users import FreshAskers
from watchnext.errors import ReleaseRefusedError
from watchnext.features import Float32
from watchnext.release import ReleaseManifest, ReleaseStore

ASKED = 1000
"""Users, evenly spread, that a release must answer before anybody else asks it; this warms it up, too."""
_TOGETHER = 16
"""Users that are asked for at a time. For more FAISS takes threads, which a process that forks must not have."""
_K = 50


class Opened(NamedTuple):
    """An opened release: what it says about itself and what answers from it."""

    manifest: ReleaseManifest
    recommender: Recommender
    neighbours: Neighbours
    askers: FreshAskers
    fragments: Fragments
    reference: ScoreReference | None
    """Best scores of its users; None where no user has a vector."""

    @classmethod
    def open(cls, store: ReleaseStore, name: str) -> Self:
        """Open a release, compare its checksums, and ask it.

        Raises UsageError where there is none of this name, CorruptError where a file is not what the manifest says,
        ReleaseRefusedError where an answer is wrong.
        """
        recommender = open_release(store.path(name))
        scores = best_scores(recommender, _K)
        return cls(
            store.manifest(name),
            recommender,
            Neighbours(recommender.export, recommender.denied),
            FreshAskers(recommender),
            Fragments(recommender.export),
            ScoreReference.of(scores),
        )


def best_scores(recommender: Recommender, k: int) -> Float32:
    """The best scores of answers to `ASKED` users, of those that have a vector; the answers are checked.

    Args:
        recommender: of the release.
        k: as most requests have it: an approximate index finds the best more surely where more are asked for.

    Raises ReleaseRefusedError where an answer is wrong.
    """
    users = len(recommender.export.users)
    drawn = np.unique(np.linspace(0, users, min(users + 1, ASKED)).astype(int)).tolist()
    allowed, best = recommender.allowed(), list[float]()
    findable = len(recommender.export.items) - len(recommender.export.withdrawn)
    for start in range(0, len(drawn), _TOGETHER):
        some = drawn[start : start + _TOGETHER]
        askers = [recommender.askers.stored(user) for user in some]
        for user, asker, found in zip(some, askers, recommender.answers(askers, k, allowed), strict=True):
            if not len(found.numbers) and len(asker.watched) < findable and allowed is None:
                _refuse(user, "no item")
            _check(user, asker, found)
            if found.sources and found.sources[0][0] == "stored":
                best.append(found.scores[0])
    return np.array(best, np.float32)


def _check(user: int, asker: Asker, found: Found) -> None:
    if not np.isfinite(found.scores).all():
        _refuse(user, "scores that are not finite")
    if np.isin(found.numbers, asker.watched).any() or len(np.unique(found.numbers)) != len(found.numbers):
        _refuse(user, "an item that was watched already or comes twice")


def _refuse(user: int, got: str) -> None:
    raise ReleaseRefusedError(f"test question for user number {user}", got, "Publish it again, or roll back.")
