"""API keys: only what was created and not revoked is found, whatever is sent and whatever happens to the file."""

import hmac
import json
import logging
import re
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import serving.guard.keys
from serving.guard.key_file import MAX_RATE, Scope, create_key, read_keys, revoke_key
from serving.guard.keys import LOOK_SECONDS, Key, KeyRing
from watchnext.errors import CorruptError, UsageError

SECRET = "A" * 43
KEY = f"wn_abcd1234_{SECRET}"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one known key, hashed by hand."""
    path = tmp_path / "keys.json"
    known = {"name": "web", "scopes": ["read"], "sha256": sha256(KEY.encode()).hexdigest()}
    path.write_text(json.dumps({"abcd1234": known | {"created": "2026-01-31T12:00:00Z"}}))
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bearer(key: str) -> bytes:
    return f"Bearer {key}".encode()


def test_a_known_key(path: Path) -> None:
    ring = KeyRing(path)
    for header in (bearer(KEY), f"bearer {KEY}".encode(), f"BEARER   {KEY}".encode()) * 2:
        assert ring.find(header) == Key("abcd1234", "web", frozenset({"read"}), None)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        KEY.encode(),
        f"Basic {KEY}".encode(),
        f"Bearer  {KEY} ".encode(),
        f" Bearer {KEY}".encode(),
        f"Bearer {KEY}\n".encode(),
        f"Bearer {KEY}A".encode(),
        f"Bearer {KEY[:-1]}".encode(),
        f"Bearer {KEY[:-1]}B".encode(),
        f"Bearer {KEY.swapcase()}".encode(),
        f"Bearer {KEY.replace('abcd', 'abce')}".encode(),
        f"Bearer {KEY}, Bearer {KEY}".encode(),
        f"Bearer wn_abcd1234_{'A' * 42}é".encode(),
        b"Bearer \xff\xfe\0",
        b"Bearer wn__",
        b"Bearer " + b"A" * 100_000,
    ],
)
def test_no_other_is_found(header: bytes | None, path: Path) -> None:
    assert KeyRing(path).find(header) is None


@given(header=st.binary(max_size=80) | st.from_regex(rb"[Bb]earer wn_abcd1234_A{41}[A-Za-z0-9_-]{2}", fullmatch=True))
def test_only_the_key_itself_is_found(header: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    known = {"name": "w", "scopes": ["read"], "sha256": sha256(KEY.encode()).hexdigest()}
    path.write_text(json.dumps({"abcd1234": known | {"created": "2026-01-31T12:00:00Z"}}))
    assert (KeyRing(path).find(header) is not None) == (
        header[:7].lower() == b"bearer " and header[7:] == KEY.encode()
    )


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ((Scope.READ,), {"read"}),
        ((Scope.WRITE,), {"write"}),
        ((Scope.READ, Scope.WRITE), {"read", "write"}),
        ((Scope.ADMIN,), {"read", "write", "admin"}),
    ],
)
def test_scopes(scopes: tuple[Scope, ...], expected: set[str], tmp_path: Path) -> None:
    _, key = create_key(tmp_path / "keys.json", "n", scopes)
    found = KeyRing(tmp_path / "keys.json").find(bearer(key))
    assert found is not None
    assert found.scopes == expected


def test_what_is_created_is_found_and_the_secret_is_not_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"
    made = [create_key(path, f"näme {n}", (Scope.READ,), rate=n or None) for n in range(5)]
    ring = KeyRing(path)
    assert [ring.find(bearer(key)) for _, key in made] == [
        Key(id_, f"näme {n}", frozenset({"read"}), n or None) for n, (id_, _) in enumerate(made)
    ]
    assert list(read_keys(path)) == [id_ for id_, _ in made]
    assert len({key for _, key in made}) == 5
    for id_, key in made:
        assert re.fullmatch(r"wn_[A-Za-z0-9]{8}_[\w-]{43}", key)
        assert key.startswith(f"wn_{id_}_")
        assert key[-20:].encode() not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_same_work_is_done_whether_the_id_is_known_or_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    hashed: list[int] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    def digest(content: bytes) -> object:
        hashed.append(len(content))
        return sha256(content)

    ring = KeyRing(path)
    monkeypatch.setattr(serving.guard.keys, "hmac", type("", (), {"compare_digest": staticmethod(compare)}))
    monkeypatch.setattr(serving.guard.keys, "sha256", digest)
    for key in (f"wn_abcd1234_{'B' * 43}", f"wn_zzzzzzzz_{'B' * 43}", f"wn_abcd1234_{'A' * 42}B", KEY):
        ring.find(bearer(key))
    assert compared == [(32, 32)] * 4
    assert hashed == [len(KEY)] * 4


def test_keys_hold_and_end_within_a_second(path: Path, clock: Clock) -> None:
    ring = KeyRing(path, clock)
    assert ring.find(bearer(KEY))
    _, key = create_key(path, "new", (Scope.READ,))
    revoke_key(path, "abcd1234")
    assert (ring.find(bearer(key)), bool(ring.find(bearer(KEY)))) == (None, True)
    clock.now += LOOK_SECONDS
    assert (bool(ring.find(bearer(key))), ring.find(bearer(KEY))) == (True, None)


def test_the_file_is_looked_at_once_a_second(path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    ring = KeyRing(path, clock)
    monkeypatch.setattr(serving.guard.keys, "stamp", lambda _: looks.append(clock.now))
    for _ in range(300):
        clock.now += 1 / 64
        ring.find(bearer(KEY))
    assert len(looks) == 4


BROKEN = [
    b"",
    b"[]",
    b"null",
    b'{"abcd1234": 1}',
    b'{"abcd1234": {"name": "web"}}',
    b"\xff",
    b'{"short": {"name": "w", "scopes": ["read"], "sha256": "%s", "created": "2026-01-31T12:00:00Z"}}' % (b"0" * 64),
    b'{"abcd1234": {"name": "w", "scopes": ["root"], "sha256": "%s", "created": "2026-01-31T12:00:00Z"}}'
    % (b"0" * 64),
    b'{"abcd1234": {"name": "w", "scopes": [], "sha256": "%s", "created": "2026-01-31T12:00:00Z"}}' % (b"0" * 64),
    b'{"abcd1234": {"name": "w", "scopes": ["read"], "sha256": "0", "created": "2026-01-31T12:00:00Z"}}',
]


@pytest.mark.parametrize("content", [*BROKEN, None])
def test_a_broken_file_changes_nothing_and_is_told_once(
    content: bytes | None, path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ring = KeyRing(path, clock)
    good = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            clock.now += LOOK_SECONDS
            assert ring.find(bearer(KEY))
    assert [str(path) in message for message in caplog.messages] == [True]
    path.write_bytes(good.replace(b"web", b"other"))
    clock.now += LOOK_SECONDS
    found = ring.find(bearer(KEY))
    assert found is not None
    assert found.name == "other"


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_no_start_and_is_not_replaced(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    uses: list[Callable[[], object]] = [
        lambda: KeyRing(path),
        lambda: create_key(path, "n", (Scope.READ,)),
        lambda: revoke_key(path, "abcd1234"),
    ]
    for use in uses:
        with pytest.raises(CorruptError, match=r"keys\.json: got .* JSON object of keys"):
            use()
    assert path.read_bytes() == content


@given(data=st.data())
def test_a_damaged_file_opens_to_nobody_else(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    _, key = create_key(path, "web", (Scope.READ,))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "extend", "insert"])):
        case "flip":
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del content[place:]
        case "extend":
            content += data.draw(st.binary(min_size=1, max_size=20))
        case _:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=5))
    path.write_bytes(content)
    try:
        ring = KeyRing(path)
    except CorruptError:
        return
    found = ring.find(bearer(key))
    assert found is None or "admin" not in found.scopes
    assert ring.find(bearer(KEY)) is None


def test_no_file(tmp_path: Path) -> None:
    for use in (lambda: KeyRing(tmp_path / "keys.json"), lambda: revoke_key(tmp_path / "keys.json", "a")):
        with pytest.raises(UsageError, match="watchnext keys create"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(path: Path) -> None:
    for rate in (0.0, -1.0, float("nan"), float("inf"), 2 * MAX_RATE):
        with pytest.raises(UsageError, match="--rate"):
            create_key(path, "n", (Scope.READ,), rate)
    for name in ("", "n" * 101):
        with pytest.raises(UsageError, match="--name"):
            create_key(path, name, (Scope.READ,))
    with pytest.raises(UsageError, match="--scopes"):
        create_key(path, "n", ())
    with pytest.raises(UsageError, match="abcd1234"):
        revoke_key(path, "abcd1235")
    assert list(read_keys(path)) == ["abcd1234"]


def test_no_key_is_lost_where_many_are_made_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        ids = {id_ for id_, _ in pool.map(lambda n: create_key(path, f"n{n}", (Scope.READ,)), range(40))}
    assert set(read_keys(path)) == ids
    assert len(ids) == 40


def test_remembered_headers_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.guard.keys, "_CACHED", 4)
    ring = KeyRing(path)
    for spaces in range(1, 20):
        assert ring.find(b"Bearer" + b" " * spaces + KEY.encode())
        assert len(ring._found) <= 4
    ring.find(bearer(KEY[:-1] + "B"))
    assert all(KEY.encode() in header for header in ring._found)
