"""One release that answers: opened, checked by asking it, and warm. Knows nothing of other releases."""

from typing import NamedTuple, Self

import numpy as np

from index.neighbours import Neighbours
from index.recommender import Recommender, open_release
from serving.fragments import Fragments
from serving.telemetry.drift import ScoreReference, best_scores
from serving.users import FreshAskers
from watchnext.errors import ReleaseRefusedError
from watchnext.release import ReleaseManifest, ReleaseStore

ASKED = 100
"""Users, evenly spread, that a release must answer before anybody else asks it; this warms it up, too."""
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
        _ask(recommender)
        return cls(
            store.manifest(name),
            recommender,
            Neighbours(recommender.export, recommender.denied),
            FreshAskers(recommender),
            Fragments(recommender.export),
            ScoreReference.of(best_scores(recommender, _K)),
        )


def _ask(recommender: Recommender) -> None:
    users = len(recommender.export.users)
    allowed = recommender.allowed()
    for user in np.unique(np.linspace(0, users, min(users + 1, ASKED)).astype(int)).tolist():
        asker = recommender.askers.stored(user)
        found = recommender.answer(asker, _K, allowed)
        if not len(found.numbers) and len(asker.watched) < len(recommender.export.items) and allowed is None:
            _refuse(user, "no item")
        if not np.isfinite(found.scores).all():
            _refuse(user, "scores that are not finite")
        if np.isin(found.numbers, asker.watched).any() or len(np.unique(found.numbers)) != len(found.numbers):
            _refuse(user, "an item that was watched already or comes twice")


def _refuse(user: int, got: str) -> None:
    raise ReleaseRefusedError(f"test question for user number {user}", got, "Publish it again, or roll back.")
