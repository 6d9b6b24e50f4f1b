"""Folders are whole or not there, manifests notice every change, and config refuses what it does not know."""

import json
import os
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.worlds import random_export
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.errors import CorruptError, UsageError
from watchnext.export import Export, write_export
from watchnext.files import MANIFEST, Manifest, atomic_folder, write_atomic
from watchnext.presets import PRESETS, changed, preset


class Note(Manifest):
    made_by: ClassVar[str] = "watchnext note"
    format: Literal["note-1"] = "note-1"
    text: str


class Other(Manifest):
    format: Literal["other-1"] = "other-1"


def note(folder: Path, text: str = "hello") -> Path:
    with atomic_folder(folder, Note) as temporary:
        (temporary / "inside").mkdir()
        (temporary / "inside" / "data").write_bytes(bytes(range(200)))
        Note.seal(temporary, text=text)
    return folder


def test_a_sealed_folder_reads_back(tmp_path: Path) -> None:
    folder = note(tmp_path / "note")
    manifest = Note.read(folder)
    manifest.verify(folder)
    assert manifest.text == "hello"
    assert manifest.files["inside/data"].bytes == 200
    assert [p.name for p in tmp_path.iterdir()] == ["note"]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    folder = note(tmp_path / "note", "old")

    def write_half() -> None:
        with atomic_folder(folder, Note) as temporary:
            (temporary / "half").write_text("written")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert Note.read(folder).text == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["note"]


def test_a_new_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    folder = note(tmp_path / "note", "old")
    (folder / "left-over").write_text("x")
    note(folder, "new")
    assert Note.read(folder).text == "new"
    assert not (folder / "left-over").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["note"]


@pytest.mark.parametrize("there", ["file", "file inside", "another kind", "damaged"])
def test_nothing_but_a_folder_of_the_same_kind_is_replaced(tmp_path: Path, there: str) -> None:
    target, kept = tmp_path / "mine", tmp_path / "mine"
    if there == "another kind":
        with atomic_folder(target, Other) as temporary:
            Other.seal(temporary)
    elif there != "file":
        target.mkdir()
        kept = target / (MANIFEST if there == "damaged" else "thesis.txt")
        kept.write_text("[all my work]")
    else:
        kept.write_text("all my work")
    with pytest.raises(UsageError, match="something there that `watchnext note` did not write"):
        note(target)
    assert kept.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "note").mkdir()
    assert Note.read(note(tmp_path / "note")).text == "hello"


def test_everybody_may_read_a_folder_whoever_wrote_its_files(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "note", Note) as temporary:
        (temporary / "inside").mkdir(0o700)
        (temporary / "inside" / "private").touch(0o600)
        Note.seal(temporary, text="hello")
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "note").rglob("*")}
    assert modes == {"inside": 0o755, "private": 0o644, MANIFEST: 0o644}


@given(place=st.integers(0, 199), what=st.sampled_from(["flip", "cut", "grow", "delete"]))
def test_every_change_of_a_file_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, what: str) -> None:
    folder = note(tmp_path_factory.mktemp("files") / "note")
    path = folder / "inside" / "data"
    content = bytearray(path.read_bytes())
    if what == "delete":
        path.unlink()
    else:
        content[place] ^= 1
        path.write_bytes({"flip": content, "cut": content[:place], "grow": content + b"x"}[what])
    with pytest.raises(CorruptError):
        Note.read(folder).verify(folder)


def test_a_manifest_cut_anywhere_is_refused(tmp_path: Path) -> None:
    folder = note(tmp_path / "note")
    whole = (folder / MANIFEST).read_bytes().rstrip()
    for size in range(len(whole)):
        (folder / MANIFEST).write_bytes(whole[:size])
        with pytest.raises(CorruptError):
            Note.read(folder)


@pytest.mark.parametrize("name", ["../data", "/etc/passwd", "inside/../../data", "inside//data", "./data", "", "."])
def test_a_manifest_names_files_of_its_folder_only(name: str, tmp_path: Path) -> None:
    folder = note(tmp_path / "note")
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"inside/data"', json.dumps(name)))
    with pytest.raises(CorruptError, match="no file of the folder"):
        Note.read(folder)


def test_the_working_folder_is_no_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for target in (Path(), Path("../here"), tmp_path / "here"):
        with pytest.raises(UsageError, match="the working folder"):
            note(target)
    assert list(tmp_path.iterdir()) == [tmp_path / "here"]


def test_a_manifest_of_endless_brackets_is_refused(tmp_path: Path) -> None:
    folder = note(tmp_path / "note")
    (folder / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(CorruptError):
        Note.read(folder)


def test_a_folder_of_another_kind_is_refused_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no manifest\.json\. Give a folder written by `watchnext note`"):
        Note.read(tmp_path)
    with atomic_folder(tmp_path / "other", Other) as temporary:
        Other.seal(temporary)
    with pytest.raises(
        UsageError, match=r"a folder of the format other-1\. Give a folder written by `watchnext note`"
    ):
        Note.read(tmp_path / "other")


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pointer"
    write_atomic(path, b"old")

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["pointer"]


def test_settings_are_changed_by_name_and_typed() -> None:
    new = changed(preset("default"), ["dim=32", "tower=64,16", "tied=false", "examples_per_user=none", "seed=3"])
    assert (new.model.dim, new.model.tower, new.model.tied) == (32, (64, 16), False)
    assert isinstance(new.training, TrainingConfig)
    assert (new.training.examples_per_user, new.training.seed) == (None, 3)
    assert changed(preset("default"), ["tower="]).model.tower == ()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("dims=3", "Give NAME=VALUE"),
        ("dim", "Give NAME=VALUE"),
        ("dim=0", "greater than or equal to 1"),
        ("dim=many", "valid integer"),
        ("encoder=lstm", "'mean', 'decay' or 'attention'"),
        ("dropout=1", "less than 1"),
        ("decays=0.5,2", "less than or equal to 1"),
    ],
)
def test_impossible_settings_are_refused_with_the_cure(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed(preset("default"), [setting])


def test_heads_must_divide_the_dimensions_of_attention_and_of_nothing_else() -> None:
    with pytest.raises(UsageError, match="dim, now 30, must be a multiple of it"):
        changed(preset("default"), ["encoder=attention", "dim=30", "attention_heads=4"])
    with pytest.raises(ValidationError):
        ModelConfig(encoder="attention", dim=9)
    assert ModelConfig(dim=9).attention_heads == 2


def test_unknown_presets_and_fields_are_refused() -> None:
    with pytest.raises(UsageError, match="default, youtube2016"):
        preset("tiktok")
    with pytest.raises(ValidationError):
        ModelConfig.model_validate({"dims": 3})


def test_the_papers_preset_follows_the_paper() -> None:
    model = PRESETS["youtube2016"].model
    assert (model.encoder, model.history, model.tower, model.dim) == ("mean", 50, (1024, 512), 256)
    assert (model.tied, model.bias, model.similarity, model.output_relu) == (False, False, "dot", True)


def test_an_export_from_before_there_was_a_choice_of_activations_has_relu(tmp_path: Path) -> None:
    write_export(random_export(5, 3), tmp_path / "export")
    manifest = tmp_path / "export" / MANIFEST
    said = json.loads(manifest.read_text())
    del said["model"]["activation"]
    manifest.write_text(json.dumps(said))
    assert Export.open(tmp_path / "export").manifest.model.activation == "relu"


def test_every_setting_is_documented() -> None:
    for config in (ModelConfig, TrainingConfig):
        for name, field in config.model_fields.items():
            assert field.description, name
