"""The space of settings that a search draws from: for each setting some values to choose from, or a range.

Both are given as text: `NAME=a,b,c` or `NAME=low..high`. A list as a value has its parts joined by `+`, so that
`tower=128,256+128` is a choice of two towers. Ranges are drawn from on a logarithmic scale, except where 0 is a usual
value.
"""

from collections.abc import Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from watchnext.config import Word2vecConfig
from watchnext.errors import UsageError
from watchnext.presets import Preset, changed, text_of

Space = dict[str, BaseDistribution]

DEFAULT = {
    "learning_rate": "0.0005..0.02",
    "dropout": "0..0.6",
    "dim": "32,64,128",
    "tower": "64,128,256,256+128",
    "decays": "0.5+0.8+0.95,0.8,0.3+0.9,0.5+0.8+0.95+0.99",
    "residual": "true,false",
    "tied": "true,false",
    "temperature": "0.03..0.2",
    "negatives": "250..4000",
    "noise_exponent": "0..1",
    "batch_examples": "512,1024,2048",
}
"""What is searched where nothing else is said."""
WORD2VEC = {
    "learning_rate": "0.005..0.5",
    "dim": "32,64,128",
    "architecture": "skipgram,cbow",
    "window": "2,5,10,none",
    "dynamic_window": "true,false",
    "negatives": "2..50",
    "noise_exponent": "0..1",
    "subsampling": "0.0,0.01,0.001",
    "vectors": "input,output,average",
    "similarity": "dot,cosine",
    "last": "1..100",
}
"""The same for item2vec and word2vec."""
NEEDS = {"decays": ("encoder", "decay"), "temperature": ("similarity", "cosine")}
"""Settings that only another setting's value brings to use."""
LINEAR = frozenset({"dropout", "noise_exponent"})
"""Settings whose ranges are not drawn from on a logarithmic scale."""
FIXED = frozenset({"seed", "validation_users"})
"""Settings that decide what a trial is judged by rather than how good it is."""


def space_of(base: Preset, given: Sequence[str], fixed: Sequence[str]) -> Space:
    """The space around a preset.

    Args:
        given: `NAME=a,b,c` or `NAME=low..high` each; of one name the last counts.
        fixed: names that are not searched unless given. The preset's own values of the others are always among the
            choices of `DEFAULT`, or `WORD2VEC`.

    Raises UsageError for an unknown name, a value that its setting cannot have, or a range of what has no order.
    """
    own = dict(parsed(text, base) for text in given)
    space: Space = {}
    usual = WORD2VEC if isinstance(base.training, Word2vecConfig) else DEFAULT
    for name, text in usual.items():
        setting, wanted = NEEDS.get(name, (name, None))
        useful = wanted is None or setting in own or value(base, setting) == wanted
        if useful and name not in (*own, *fixed):
            present = text_of(value(base, name)).replace(",", "+")
            choices = text if ".." in text or present in text.split(",") else f"{text},{present}"
            space[name] = parsed(f"{name}={choices}", base)[1]
    return space | own


def parsed(text: str, base: Preset) -> tuple[str, BaseDistribution]:
    """A setting's name and what is drawn for it."""
    name, equals, values = text.partition("=")
    names = [name for group in base.groups for name in type(group).model_fields if name not in FIXED]
    if not (equals and values) or name not in names:
        cure = f"Give NAME=a,b,c or NAME=low..high with one of the names: {', '.join(names)}."
        raise UsageError("--space", repr(text), cure)
    low, dots, high = values.partition("..")
    try:
        return name, _range(text, name, _checked(base, name, low), _checked(base, name, high)) if dots else (
            CategoricalDistribution([text_of(_checked(base, name, part)) for part in values.split(",")])
        )
    except UsageError as error:
        if error.argument == "--space":
            raise
        raise UsageError("--space", f"{text!r}, of which {error.got}", error.cure) from error


def _checked(base: Preset, name: str, text: str) -> object:
    """The value of a setting that a text stands for. Raises UsageError if the setting cannot have it."""
    many = isinstance(value(base, name), tuple)
    return value(changed(base, [f"{name}={text.replace('+', ',') if many else text}"]), name)


def _range(text: str, name: str, low: object, high: object) -> BaseDistribution:
    log = name not in LINEAR
    for number in (low, high):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UsageError("--space", repr(text), f"{name} has no order: give NAME=a,b,c.")
    assert isinstance(low, int | float)  # noqa: S101  (the loop has seen to it)
    assert isinstance(high, int | float)  # noqa: S101
    if low >= high or (log and low <= 0):
        raise UsageError("--space", repr(text), f"Give a range from low to high{', above 0' if log else ''}.")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log)
    return FloatDistribution(low, high, log)


def value(of: Preset, name: str) -> object:
    """The value of a setting, whichever of the configurations it belongs to."""
    return next(getattr(group, name) for group in of.groups if name in type(group).model_fields)


def drawn(space: Space, trial: Trial) -> list[str]:
    """Draw every setting for a trial, as `name=value`; what an earlier trial of the same settings had is kept."""
    return [f"{name}={_draw(trial, name, distribution)}" for name, distribution in space.items()]


def _draw(trial: Trial, name: str, d: BaseDistribution) -> str:
    if isinstance(d, CategoricalDistribution):
        return str(trial.suggest_categorical(name, d.choices))
    if isinstance(d, IntDistribution):
        return str(trial.suggest_int(name, d.low, d.high, log=d.log))
    assert isinstance(d, FloatDistribution)  # noqa: S101  (the third and last kind)
    return f"{trial.suggest_float(name, d.low, d.high, log=d.log):.4g}"


def position(space: Space, base: Preset) -> dict[str, object] | None:
    """Where in the space a preset is; None where it lies outside."""
    found: dict[str, object] = {}
    for name, d in space.items():
        own = value(base, name)
        if isinstance(d, CategoricalDistribution):
            own, inside = text_of(own), text_of(own) in d.choices
        else:
            assert isinstance(d, IntDistribution | FloatDistribution)  # noqa: S101
            inside = isinstance(own, int | float) and d.low <= own <= d.high
        if not inside:
            return None
        found[name] = own
    return found
