"""Which releases of a folder answer beside the current one, and for how many users.

    STORE/VARIANTS    JSON: {"split": {"current": 90, "20260131-120000": 10}, "shadow": null}; replaced by rename

`current` stands for whatever CURRENT names. A user always gets the same variant: the place of the user's hash on a
line from 0 to 1 decides, so that another weight moves as few users as it can.
"""

from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from watchnext.config import Closed
from watchnext.errors import CorruptError
from watchnext.files import write_atomic

VARIANTS = "VARIANTS"
CURRENT_VARIANT = "current"
MOST_VARIANTS = 8
"""In a split."""
_HASHES = 2**64
Weight = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Variants(Closed):
    """What a server answers from."""

    split: dict[str, Weight] = Field({CURRENT_VARIANT: 1.0}, min_length=1, max_length=MOST_VARIANTS)
    """Weights of variants by name: `current`, or the name of a release. Their order matters: see above."""
    shadow: str | None = None
    """A release that is asked, too, and whose answers are compared and thrown away."""

    @model_validator(mode="after")
    def _shadow_is_not_shown(self) -> Self:
        if self.shadow is not None and self.shadow in self.split:
            raise ValueError(f"the shadow {self.shadow!r} is part of the split: take it out of one of them")
        return self

    def of(self, user_id: str) -> str:
        """The name of the variant that a user gets.

        >>> Variants(split={"current": 1, "new": 1}).of("ann")
        'new'
        """
        if len(self.split) == 1:
            return next(iter(self.split))
        place = place_of(user_id) * sum(self.split.values())
        for name, weight in self.split.items():
            place -= weight
            if place < 0:
                return name
        return name


def place_of(user_id: str) -> float:
    """From 0 to below 1, the same for the same user everywhere and always, evenly spread."""
    return int.from_bytes(blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()) / _HASHES


def read_variants(store: Path) -> Variants:
    """The variants of a folder of releases; the current release alone where there is no file.

    Raises CorruptError where the file cannot be read.
    """
    path = store / VARIANTS
    try:
        return Variants.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Variants()
    except OSError as error:
        raise CorruptError(str(path), error.strerror, _CURE) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise CorruptError(str(path), f"{where}: {first['msg']}", _CURE) from error


def write_variants(store: Path, variants: Variants) -> None:
    """Replace the variants of a folder of releases; running servers heed it within a second or so."""
    write_atomic(store / VARIANTS, (variants.model_dump_json(indent=1) + "\n").encode())


_CURE = "Set it anew: watchnext releases split, with --reset, or with shares and --shadow or --no-shadow."
