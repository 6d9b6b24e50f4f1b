"""Made-up releases of any size, kept in work/ between runs."""

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from index.build import IndexOptions, build_from_export
from index.publish import publish
from watchnext.catalogue import USER_SCHEMA, Catalogue, empty_table
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.export import Export, ExportManifest, write_export
from watchnext.features import FeatureSpec, Float32
from watchnext.histories import Histories, Int32
from watchnext.release import ReleaseStore
from watchnext.vocabulary import Vocabulary

K, DIM, WATCHES = 50, 64, 30
_DRAWN = 20_000_000
"""So many watches are drawn; longer logs repeat them."""


def released(items: int, users: int, watches: int, build_seconds: float, folder: Path) -> ReleaseStore:
    """The store of a synthetic release; made where `folder` has none of this size and this source.

    Args:
        watches: of each user.
        build_seconds: what `IndexOptions` calls so.
    """
    options = IndexOptions(build_seconds=build_seconds)
    made_by = [items, users, watches, options.model_dump(mode="json"), Path(__file__).read_text()]
    key = hashlib.sha256(json.dumps(made_by).encode()).hexdigest()[:12]
    place = folder / f"{items}x{users}-{key}"
    store = ReleaseStore(place / "releases")
    if not (place / "whole").exists():
        shutil.rmtree(place, ignore_errors=True)
        write_export(synthetic_export(items, users, watches), place / "export")
        build_from_export(place / "export", place / "index", options)
        publish(place / "export", place / "index", store)
        for part in ("export", "index"):
            shutil.rmtree(place / part)
        (place / "whole").touch()
    return store


def synthetic_export(items: int, users: int, watches: int = WATCHES) -> Export:
    """Items and users around shared centres, with items of uneven length, as training leaves them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(300, DIM))

    def around(rows: int, skew: float) -> Float32:
        made = centres[rng.integers(300, size=rows + 1)] + rng.normal(size=(rows + 1, DIM))
        made *= rng.lognormal(0, skew, (rows + 1, 1))
        made[0] = 0
        return made.astype(np.float32)

    count = users * watches
    drawn = (rng.beta(0.5, 2, min(count, _DRAWN)) * items).astype(np.int32) + 1
    watched: Int32 = np.resize(drawn, count)
    manifest = ExportManifest(
        created=datetime.now(UTC),
        files={},
        items=items,
        users=users,
        dim=DIM,
        model=ModelConfig(),
        training=TrainingConfig(),
        features=FeatureSpec(),
        holdout="none",
        holdout_share=0.1,
        epochs=1,
        metrics={},
    )
    return Export(
        manifest=manifest,
        item_vectors=around(items, 0.3),
        user_vectors=around(users, 0),
        watched_vectors=np.zeros((items + 1, 1), np.float32),
        weights={"none": np.zeros(1, np.float32)},
        item_counts=np.bincount(watched, minlength=items + 1),
        items=Vocabulary(f"video-{n}" for n in range(1, items + 1)),
        users=Vocabulary(f"user-{n}" for n in range(1, users + 1)),
        catalogue=Catalogue.empty(items),
        user_table=empty_table(USER_SCHEMA, users),
        histories=Histories(watched, np.arange(count), np.concatenate([[0], np.arange(users + 1) * watches])),
    )
