"""Releases: immutable folders of an export and its index, of which one is current.

    STORE/
      CURRENT              the name of the current release; replaced by rename
      DENIED               items that no release may recommend; see watchnext.denied
      20260131-120000/
        manifest.json      checksums of everything below
        export/            see watchnext.export
        index/             see index.folder

Who publishes one, and checks it before, is `index.publish`; here is only where releases lie.
"""

import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal

from watchnext.errors import CorruptError, UsageError, WatchnextError
from watchnext.files import MANIFEST, Manifest, write_atomic

CURRENT = "CURRENT"
EXPORT, INDEX = "export", "index"


class ReleaseManifest(Manifest):
    """What a release says about itself."""

    made_by: ClassVar[str] = "watchnext publish"
    format: Literal["watchnext-release-1"] = "watchnext-release-1"
    name: str
    items: int
    users: int
    dim: int
    index: str
    """What kind of index answers, for people: `Flat`, `IVF1024,Flat nprobe=64`."""
    recall_at_50: float
    """Share of the exact 50 best that the index found, for a sample of the user vectors."""
    metrics: dict[str, float]
    """What validation measured when the export was trained."""
    updated_from: str | None = None
    """The release that `watchnext update` made this one of."""
    replaced: str | None = None
    """The release that was current before this one; None for the first."""


def store_of(folder: Path) -> Path | None:
    """The folder of releases that a folder is or that it is a release of; None for any other, such as an export."""
    if (folder / CURRENT).is_file():
        return folder
    return root_of(folder) if (folder / EXPORT / MANIFEST).is_file() else None


def root_of(release: Path) -> Path:
    """The folder of releases that a release belongs to, whether it is a link there or a link from elsewhere."""
    beside = release.absolute().parent
    return beside if (beside / CURRENT).is_file() else release.resolve().parent


def export_in(folder: Path) -> Path:
    """The export of a release, or of the current one of a folder of releases; any other folder is returned as it is.

    Raises what `ReleaseStore.current` raises.
    """
    if (folder / CURRENT).is_file():
        folder /= ReleaseStore(folder).current()
    return folder / EXPORT if (folder / EXPORT / MANIFEST).is_file() else folder


@dataclass(frozen=True)
class ReleaseStore:
    """A folder of releases."""

    root: Path

    def names(self) -> list[str]:
        """All readable releases, oldest first. Hidden folders, which a killed publication leaves, are none.

        Raises UsageError where the store is a file.
        """
        if not self.root.exists():
            return []
        if not self.root.is_dir():
            raise UsageError(str(self.root), "a file", "Give the folder that `watchnext publish --to` names.")
        found = [p.name for p in self.root.iterdir() if (p / MANIFEST).is_file() and p.name[0] != "."]
        created = {name: self._created(name) for name in found}
        return sorted((name for name in found if created[name]), key=lambda name: (created[name], name))

    def _created(self, name: str) -> datetime | None:
        """When a release was published; None where its manifest is unusable, so that the others stay usable."""
        try:
            return self.manifest(name).created
        except WatchnextError:
            return None

    def path(self, name: str) -> Path:
        """The folder of a release. Raises UsageError if there is no such release."""
        path = self.root / name
        if Path(name).name != name or name.startswith(".") or not (path / MANIFEST).is_file():
            known = ", ".join(self.names()) or "none yet"
            raise UsageError("release", repr(name), f"Choose one of the releases in {self.root}: {known}.")
        return path

    def manifest(self, name: str) -> ReleaseManifest:
        """What a release says about itself."""
        return ReleaseManifest.read(self.root / name)

    def current(self) -> str:
        """The name of the current release. Raises UsageError where nothing was published yet."""
        pointer = self.root / CURRENT
        if not pointer.is_file():
            raise UsageError(
                str(self.root), "no current release", f"Publish one: watchnext publish --to {self._quoted}"
            )
        name = pointer.read_text().strip()
        if not (self.root / name / MANIFEST).is_file():
            raise CorruptError(str(pointer), repr(name), f"That release is gone. {self._another()}")
        return name

    def _another(self) -> str:
        """The command that makes another release current."""
        names = self.names()
        if not names:
            return f"Publish another: watchnext publish --to {self._quoted}"
        return f"Make another current: watchnext releases rollback {self._quoted} --to {shlex.quote(names[-1])}"

    @property
    def _quoted(self) -> str:
        return shlex.quote(str(self.root))

    def current_if_any(self) -> str | None:
        """The name of the current release; None where there is none, or it is gone."""
        try:
            return self.current()
        except WatchnextError:
            return None

    def make_current(self, name: str) -> None:
        """Flip the pointer to a release that exists, by rename: readers see the old name or the new one."""
        self.path(name)
        write_atomic(self.root / CURRENT, f"{name}\n".encode())

    def previous(self) -> str:
        """The release that the current one replaced, or, if that is gone, the one published before it.

        So the way back never leads to a release that was itself rolled back from. Raises UsageError if there is none.
        """
        names, current = self.names(), self.current()
        replaced = self.manifest(current).replaced
        if replaced in names:
            return replaced
        before = names[: names.index(current)]
        if not before:
            newer = ", ".join(name for name in names if name != current)
            cure = f"Name another with --to: {newer}." if newer else "Publish another one first: watchnext publish."
            raise UsageError(str(self.root), f"no release older than {current}", cure)
        return before[-1]
