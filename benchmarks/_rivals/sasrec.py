"""SASRec by RecTools, epoch by epoch: lists for the validation and for the test part, and what training has cost.

Runs in an environment of its own, from requirements/benchmark-sasrec.txt. Imports nothing of this project but the
clock. Kang and McAuley, *Self-Attentive Sequential Recommendation*, ICDM 2018.

    python -m benchmarks._rivals.sasrec FOLDER SETTINGS

In the folder are `train.npz`, `valid.npz` and `test.npz` with `user`, `item` and `place` of each watch that may be
seen, in time order, the latter two only of users that are asked. After each epoch `lists-N.npz` is written there,
with `valid` and `test`: [users + 1, k] item numbers, the best first, 0 where there are no more. A line of JSON on
standard output tells the CPU seconds of training until then, without those that making the lists took.
"""

import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks._rivals.program import Timer

K = 50


def dataset(watches: Any) -> Any:
    """Watches as RecTools takes them, their place in the log as the time."""
    return Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: watches["user"],
                Columns.Item: watches["item"],
                Columns.Weight: 1.0,
                Columns.Datetime: pd.to_datetime(watches["place"], unit="s"),
            }
        )
    )


def lists(model: Any, seen: Any, users: int) -> Any:
    """[users + 1, K] what the model recommends after the watches seen."""
    asked = np.unique(seen.user_id_map.external_ids)
    found = model.recommend(asked, seen, K, filter_viewed=True, on_unsupported_targets="ignore")
    result = np.zeros((users + 1, K), np.int32)
    result[found[Columns.User].to_numpy(), found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
    return result


def main() -> None:
    """Train, and write lists after each epoch."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    users, epochs, seed = (settings.pop(name) for name in ("users", "epochs", "seed"))
    pytorch_lightning.seed_everything(seed)
    train, valid, test = (np.load(folder / f"{name}.npz") for name in ("train", "valid", "test"))
    asked = {name: dataset(watches) for name, watches in (("valid", valid), ("test", test))}
    model, spent = SASRecModel(deterministic=True, **settings), 0.0
    timer = Timer()
    watches = dataset(train)
    for epoch in range(1, epochs + 1):
        model.fit_partial(watches, min_epochs=1, max_epochs=1)
        spent += timer.figures()["cpu_seconds"]
        np.savez(folder / f"lists-{epoch}.npz", **{name: lists(model, seen, users) for name, seen in asked.items()})
        answers.write(json.dumps({"epoch": epoch, "cpu_seconds": spent}) + "\n")
        timer = Timer()


if __name__ == "__main__":
    main()
