"""The settings that a search found best: a JSON file that `watchnext train --settings` reads."""

from pathlib import Path
from typing import Self

from pydantic import ValidationError

from watchnext.config import Closed
from watchnext.errors import UsageError
from watchnext.files import write_atomic
from watchnext.presets import Preset, changed, preset
from watchnext.split import HoldoutName


class TunedSettings(Closed):
    """A preset with the settings that were changed, and what they were judged by."""

    preset: str
    """The preset that was started from."""
    settings: tuple[str, ...]
    """What to change in it, each as `name=value`, as `watchnext train --set` takes it."""
    metrics: dict[str, float]
    """What validation measured for them."""
    holdout: HoldoutName
    """Which watches were held back; the test part among them was not looked at."""
    holdout_share: float
    """`temporal` and `users`: the share of watches or users in each of the two held-out parts."""
    holdout_seed: int
    """`users` only: what the held-out users were drawn by."""
    corpus: str
    """The checksum of the corpus."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises UsageError where there is none or it is another kind of file."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            got = "no such file" if isinstance(error, OSError) else "not a file of `watchnext tune`"
            raise UsageError(
                "--settings", f"{path}, {got}", "Name the best.json that `watchnext tune` wrote."
            ) from error

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_atomic(path, self.model_dump_json(indent=2).encode() + b"\n")

    def chosen(self, settings: tuple[str, ...] = ()) -> Preset:
        """The configuration, with further changes."""
        return changed(preset(self.preset), [*self.settings, *settings])
