"""`watchnext keys`: a key is shown once, listed without its secret, and revoked."""

from pathlib import Path

import pytest

from serving.guard.keys import KeyRing
from tests.commands import run, run_json
from watchnext.errors import UsageError


def test_create_list_and_revoke(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    words = ("--scope", "read", "--scope", "write", "--rate", "50", "--file", file)
    made = run_json("keys", "create", "--name", "[bold]web", *words)
    assert made["written"] == str(file)
    found = KeyRing(file).find(f"Bearer {made['key']}".encode())
    assert found is not None
    assert (found.id, found.name, found.scopes, found.rate) == (
        made["id"],
        "[bold]web",
        frozenset({"read", "write"}),
        50.0,
    )
    (row,) = run_json("keys", "list", "--file", file)["keys"]
    assert row == {name: made[name] for name in ("id", "name", "scopes", "created", "requests_per_second")}
    shown = run("keys", "list", "--file", file)
    assert "[bold]web" in shown
    assert made["key"][12:] not in shown
    assert run_json("keys", "revoke", made["id"], "--file", file) == row
    assert run_json("keys", "list", "--file", file) == {"keys": []}
    with pytest.raises(UsageError, match="the file has no keys"):
        run("keys", "revoke", made["id"], "--file", file)


def test_for_people(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    shown = run("keys", "create", "--name", "web", "--scope", "admin", "--file", file)
    key = next(word for word in shown.split() if word.startswith("wn_"))
    assert KeyRing(file).find(f"Bearer {key}".encode()) is not None
    assert "default" in shown
    revoked = run("keys", "revoke", key[3:11], "--file", file)
    assert "Revoked" in revoked
    assert "None" not in shown + revoked


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="watchnext keys create"):
        run("keys", "list", "--file", tmp_path / "keys.json")
