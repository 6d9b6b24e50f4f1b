"""The whole API, asked what its own description allows and forbids, over HTTP: all checks of schemathesis."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from serving.app import create_app
from serving.guard.heads import Limits
from serving.guard.key_file import Scope, create_key
from serving.guard.protocol import limited
from tests.schemathesis_hooks import MOST
from tests.servers import running, settings, wait_ready
from tests.worlds import mean_world, vectors, write_release
from watchnext.catalogue import ITEM_SCHEMA, Catalogue
from watchnext.export import Export

IDS = ["toy-story", "heat", "madrid", "france", "spain", *(f"i{n}" for n in range(195))]
"""Those of the description's examples are among them."""


def world() -> Export:
    """Items of the examples, uploaded in January 2026, and of the category drama."""
    export = mean_world(vectors(len(IDS), 4, seed=0), {"u-1042": [(1, 100), (2, 200)]}, ids=IDS)
    uploaded = [int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) + 3600 * n for n in range(len(IDS))]
    columns = [[None, *IDS], [None, *[["drama"]] * len(IDS)], [None, *uploaded]]
    return replace(export, catalogue=Catalogue(pa.table(columns, schema=ITEM_SCHEMA)))


REFUSALS = """[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 413, 415, 422, 431]
"""
"""Of what is against the description; by default schemathesis does not count 413, 415 and 431."""


def test_the_api_does_what_it_says(tmp_path: Path) -> None:
    write_release(world(), tmp_path, "20260131-120000")
    (tmp_path / "schemathesis.toml").write_text(REFUSALS)
    _, key = create_key(tmp_path / "keys.json", "all", (Scope.READ, Scope.WRITE, Scope.ADMIN))
    how = settings(
        tmp_path / "releases",
        keys=tmp_path / "keys.json",
        without_keys=False,
        fresh=str(tmp_path / "fresh.sqlite"),
        max_k=MOST,
    )
    with running(create_app(how), http=limited(Limits())) as client:
        wait_ready(client)
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{client.base_url}/openapi.json"]
        options = ["--checks=all", "--seed=1", "--max-examples=25", "--generation-database=none", "--no-color"]
        done = subprocess.run(
            [*command, *options, "--continue-on-failure", "--header", f"Authorization: Bearer {key}"],
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks",
                "PYTHONPATH": str(Path(__file__).parents[1]),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 12" in done.stdout
