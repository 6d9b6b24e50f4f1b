"""The deny list: what is written is read, at once, whatever the ids; what is broken lifts nothing."""

import errno
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.denied import DeniedItems
from watchnext.denied import DENIED, DenyList, deny, lift, read_denied
from watchnext.errors import CorruptError, UsageError
from watchnext.vocabulary import Vocabulary

id_ = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda text: text.strip(" "))
ids = st.lists(id_, max_size=10)


@given(first=ids, second=ids, lifted=ids)
def test_ids_of_any_text_survive(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str], lifted: list[str]
) -> None:
    store = tmp_path_factory.mktemp("store")
    watching = DenyList(store)
    assert watching.ids() == ()
    assert set(deny(store, first)) == set(first)
    assert set(deny(store, second)) == set(second) - set(first)
    assert set(watching.ids()) == set(first) | set(second)
    assert set(lift(store, lifted)) == (set(first) | set(second)) & set(lifted)
    left = (set(first) | set(second)) - set(lifted)
    assert set(watching.ids()) == set(DenyList(store).ids()) == set(read_denied(store)) == left
    assert len(watching.ids()) == len(left)


def test_the_file_is_an_array_in_the_order_of_denial(tmp_path: Path) -> None:
    deny(tmp_path, ["b\n2", "ü"])
    deny(tmp_path, ["a", "ü"])
    assert json.loads((tmp_path / DENIED).read_bytes()) == ["b\n2", "ü", "a"]
    lift(tmp_path, ["b\n2", "a", "ü"])
    assert json.loads((tmp_path / DENIED).read_bytes()) == []


def test_the_same_list_is_the_same_object(tmp_path: Path) -> None:
    deny(tmp_path, ["a"])
    watching = DenyList(tmp_path)
    assert watching.ids() is watching.ids()


BROKEN = [b"", b'["a"', b'["a", 1]', b'{"a": 1}', b'["\xff"]', b'["\\ud800"]', b'"a"', b"null"]


@pytest.mark.parametrize("content", [*BROKEN, None])
def test_a_broken_file_lifts_nothing_and_is_told_once(
    content: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deny(tmp_path, ["a", "b"])
    watching, path = DenyList(tmp_path), tmp_path / DENIED
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        assert [watching.ids() for _ in range(3)] == [("a", "b")] * 3
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    path.write_text('["c"]')
    assert watching.ids() == ("c",)


def test_a_list_that_could_not_be_read_for_a_moment_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deny(tmp_path, ["a"])
    watching, read_bytes, left = DenyList(tmp_path), Path.read_bytes, iter(range(3))

    def failing(path: Path) -> bytes:
        if next(left, None) is not None:
            raise OSError(errno.EMFILE, "Too many open files")
        return read_bytes(path)

    deny(tmp_path, ["b"])
    monkeypatch.setattr(Path, "read_bytes", failing)
    with caplog.at_level(logging.ERROR):
        assert [watching.ids() for _ in range(3)] == [("a",)] * 3
    assert len(caplog.records) == 1
    assert watching.ids() == ("a", "b")


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_no_list_to_begin_with_and_is_not_replaced(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / DENIED
    path.write_bytes(content)
    for use in (lambda: DenyList(tmp_path), lambda: deny(tmp_path, ["a"]), lambda: lift(tmp_path, ["a"])):
        with pytest.raises(CorruptError, match=r"DENIED: got .* JSON array of item ids"):
            use()
    assert path.read_bytes() == content


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    (tmp_path / DENIED).mkdir()
    with pytest.raises(CorruptError):
        DenyList(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        deny(tmp_path, ["a", "\udcff"])
    with pytest.raises(UsageError, match="more than spaces"):
        deny(tmp_path, ["a", " "])
    assert read_denied(tmp_path) == ()


def test_a_blank_id_that_is_on_the_list_can_be_lifted(tmp_path: Path) -> None:
    (tmp_path / DENIED).write_text('["a", " ", ""]')
    assert lift(tmp_path, [" ", "", "  "]) == (" ", "")
    assert read_denied(tmp_path) == ("a",)


def test_no_denial_is_lost_where_many_deny_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: deny(tmp_path, [f"i{n}", "all"]), range(60)))
    assert set(read_denied(tmp_path)) == {"all", *(f"i{n}" for n in range(60))}


def test_denied_items_of_a_release(tmp_path: Path) -> None:
    denied = DeniedItems(DenyList(tmp_path), Vocabulary(["a", "b", "c"]))
    assert (denied.now().numbers.tolist(), denied.now().allowed) == ([], None)
    deny(tmp_path, ["a later release has it"])
    assert denied.now().allowed is None
    deny(tmp_path, ["c", "a"])
    now = denied.now()
    assert sorted(now.numbers.tolist()) == [1, 3]
    assert now.allowed is not None
    assert now.allowed.tolist() == [False, False, True, False]
    lift(tmp_path, ["c", "a"])
    assert denied.now().allowed is None


def test_a_list_that_is_gone_is_not_taken_for_none(tmp_path: Path) -> None:
    assert lift(tmp_path, ["a"]) == ()  # writes nothing
    assert read_denied(tmp_path) == ()
    deny(tmp_path, ["a"])
    (tmp_path / DENIED).unlink()
    for use in (lambda: DenyList(tmp_path), lambda: deny(tmp_path, ["b"]), lambda: read_denied(tmp_path)):
        with pytest.raises(CorruptError, match=r"DENIED: got No such file.* \[\] for none"):
            use()
    (tmp_path / DENIED).write_text("[]")
    assert deny(tmp_path, ["b"]) == ("b",)
