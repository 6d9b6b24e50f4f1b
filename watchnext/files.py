"""Folders and files that are either whole or not there, and manifests that prove it.

Knows nothing of what is inside them. All stages write through `atomic_folder`, `atomic_file` and `write_atomic`.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from watchnext.errors import CorruptError, UsageError

MANIFEST = "manifest.json"
_READ_AT_ONCE = 4
"""Files whose checksums are computed side by side."""
Stamp = tuple[int, int, int, int] | None


class FileEntry(BaseModel):
    """Size and checksum of one file of a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


def _inside(name: str) -> str:
    """The name of a file of a folder, whoever wrote it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name or not path.name:
        raise ValueError(f"{name!r} is no file of the folder")
    return name


class Manifest(BaseModel):
    """What every folder says about itself; each stage adds fields of its own in a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_by: ClassVar[str] = "watchnext"
    """The command that writes such folders, for messages."""
    file_name: ClassVar[str] = MANIFEST
    """What the manifest's file is called."""

    format: str
    """What kind of folder this is, with the version of its layout: `watchnext-export-1`."""
    created: datetime
    """When it was written, UTC."""
    files: dict[Annotated[str, AfterValidator(_inside)], FileEntry]
    """Every other file of the folder, by its path relative to it."""

    @classmethod
    def seal(cls, folder: Path, known: Mapping[str, FileEntry] | None = None, /, **fields: object) -> Self:
        """Take the checksums of all files in `folder`, write the manifest beside them, return it.

        Args:
            folder: of the files.
            known: checksums that were taken or compared already, by names; these files are not read.
            fields: of the manifest.
        """
        known = known or {}
        names = (name for name in _file_names(folder) if name != cls.file_name)
        entries = {name: known.get(name) or _entry(folder / name) for name in names}
        manifest = cls.model_validate({"created": datetime.now(UTC), "files": entries, **fields})
        (folder / cls.file_name).write_text(manifest.model_dump_json(indent=2) + "\n")
        return manifest

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder's manifest.

        Raises UsageError if there is none or one of another kind, CorruptError if it is damaged.
        """
        path = folder / cls.file_name
        cure = f"Give a folder written by `{cls.made_by}`."
        if not path.is_file():
            raise UsageError(str(folder), f"no {cls.file_name}", cure)
        found = _format_in(path)
        if found not in {None, cls._format()}:
            raise UsageError(str(folder), f"a folder of the format {found}", cure)
        try:
            manifest = cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            cure = f"Restore the folder, or write it again: {cls.made_by}."
            raise CorruptError(str(path), f"{where}: {first['msg']}", cure) from error
        return manifest

    @property
    def checksum(self) -> str:
        """64 hexadecimal digits that change with any file of the folder, but not with when or how it was written."""
        files = sorted((name, entry.sha256) for name, entry in self.files.items())
        return hashlib.sha256(repr(files).encode()).hexdigest()

    @classmethod
    def check_target(cls, folder: Path) -> None:
        """Raise UsageError unless a folder of this kind may be written there: nothing else is ever replaced."""
        if folder.resolve() == Path.cwd():
            raise UsageError(f"target {folder}", "the working folder", "Name a folder in it, or beside it.")
        empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        if not empty and _format_in(folder / cls.file_name) != cls._format():
            got = f"something there that `{cls.made_by}` did not write"
            raise UsageError(f"target {folder}", got, "Name a new folder, or delete this one.")

    @classmethod
    def _format(cls) -> str:
        return str(cls.model_fields["format"].default)

    def verify(self, folder: Path, unread: Collection[str] = ()) -> None:
        """Compare every file with its size, then its checksum. Raises CorruptError naming the first that differs.

        Args:
            unread: names of files that the caller does not read; their checksums are not computed.
        """
        for name, entry in self.files.items():
            path = folder / name
            if not path.is_file():
                raise CorruptError(str(path), "no such file", "Restore the folder or write it again.")
            size = path.stat().st_size
            if size != entry.bytes:
                raise CorruptError(
                    str(path),
                    f"{size} bytes where the manifest says {entry.bytes}",
                    "Restore the file or write the folder again.",
                )
        with ThreadPoolExecutor(_READ_AT_ONCE) as threads:  # hashlib holds no lock
            read = [name for name in self.files if name not in unread]
            found = threads.map(lambda name: sha256(folder / name), read)
            for name, checksum in zip(read, found, strict=True):
                if checksum != self.files[name].sha256:
                    raise CorruptError(
                        str(folder / name),
                        "another checksum than the manifest's",
                        "Restore the file or write it again.",
                    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part, even after a crash."""
    with atomic_file(path, mode) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Yield a temporary sibling of `path` to write to; when the block ends well, sync it and rename it to `path`.

    When the block raises, `path` is as it was. Nobody but the owner may read it before it gets `mode`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def atomic_folder(path: Path, kind: type[Manifest]) -> Iterator[Path]:
    """Yield an empty temporary sibling of `path`; when the block ends well, sync it and rename it to `path`.

    An earlier folder at `path` is moved aside first and deleted only after the rename. When the block raises,
    the temporary folder is deleted and `path` is as it was. A crash leaves at most a hidden `.NAME.*` sibling,
    which nothing reads. All files become readable for everybody, whoever wrote them.

    Raises UsageError if there is anything at `path` but an empty folder or one of the same kind.
    """
    kind.check_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        place_folder(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def place_folder(folder: Path, path: Path) -> None:
    """Make a whole folder on the same disk readable for everybody, sync it and rename it to `path`.

    An earlier folder at `path` is moved aside first and deleted only after the rename.
    """
    for inside in (*folder.rglob("*"), folder):
        inside.chmod(0o755 if inside.is_dir() else 0o644)
        sync(inside)
    _move_into_place(folder, path)
    sync(path.parent)


def _move_into_place(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.rename(path)
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    path.rename(aside / path.name)
    try:
        temporary.rename(path)
    except OSError:
        (aside / path.name).rename(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def stamp(path: Path) -> Stamp:
    """What changes whenever a file or its rights do; None where there is none, or none can be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def share(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`, which nobody changes any more; a copy where links are impossible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sync(path: Path) -> None:
    """Have the operating system put a file's content, or a folder's entries, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _format_in(manifest: Path) -> str | None:
    """The format that a manifest names; None where there is no manifest or it names none."""
    try:
        return str(json.loads(manifest.read_bytes())["format"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _file_names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _entry(path: Path) -> FileEntry:
    return FileEntry(bytes=path.stat().st_size, sha256=sha256(path))
