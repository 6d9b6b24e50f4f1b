"""Named configurations of models, and how single settings of them are changed."""

from collections.abc import Sequence
from typing import Self

from watchnext.config import Closed, ModelConfig, TrainingConfig, Word2vecConfig
from watchnext.errors import UsageError


class Preset(Closed):
    """A named pair of model and training configuration."""

    model: ModelConfig
    training: TrainingConfig | Word2vecConfig

    @classmethod
    def word2vec(cls, training: Word2vecConfig) -> Self:
        """A preset whose model follows from how it is trained."""
        return cls(model=training.model, training=training)

    @property
    def groups(self) -> tuple[Closed, ...]:
        """Where its settings are."""
        return (self.training,) if isinstance(self.training, Word2vecConfig) else (self.model, self.training)


PRESETS = {
    "default": Preset(model=ModelConfig(), training=TrainingConfig()),
    "youtube2016": Preset(
        model=ModelConfig(
            dim=256,
            init_scale=1.0,
            encoder="mean",
            tower=(1024, 512),
            output_relu=True,
            residual=False,
            tied=False,
            similarity="dot",
            item_features=(),
            example_age=True,
        ),
        training=TrainingConfig(examples_per_user=100, learning_rate=1e-3, averaged=0, patience=5),
    ),
    "item2vec": Preset.word2vec(Word2vecConfig(optimizer="rowwise_adagrad", learning_rate=0.2, patience=10)),
    "word2vec": Preset.word2vec(
        Word2vecConfig(
            dim=100,
            shared_negatives=128,
            subsampling=1e-3,
            batch_examples=1024,
            vectors="input",
            similarity="cosine",
            learning_rate=0.02,
            final_rate=0.2,
            epochs=5,
            averaged=0,
        )
    ),
}
"""`default` is the most accurate of one size for all logs; `youtube2016` follows the paper's section 3;
`item2vec` learns from which items stand near each other in histories, `word2vec` the same for words of texts."""
RECOMMENDERS = tuple(name for name in PRESETS if name != "word2vec")
"""Those whose items are recommended."""


def preset(name: str) -> Preset:
    """A preset by its name. Raises UsageError for an unknown one."""
    if name not in PRESETS:
        raise UsageError("--model", repr(name), f"Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]


def changed(base: Preset, settings: Sequence[str]) -> Preset:
    """A preset with some settings changed, each given as `name=value`; lists are separated by commas.

    Raises UsageError for an unknown name or an impossible value.

    >>> changed(preset("default"), ["tower=16", "tower=64,32"]).model.tower
    (64, 32)
    """
    groups = [group.model_dump() for group in base.groups]
    for setting in settings:
        name, equals, text = setting.partition("=")
        values = next((values for values in groups if name in values), None)
        if values is None or not equals:
            known = ", ".join(name for values in groups for name in values)
            raise UsageError("--set", repr(setting), f"Give NAME=VALUE with one of the names: {known}.")
        many = isinstance(values[name], tuple)
        values[name] = tuple(part for part in text.split(",") if part) if many else _none_or(text)
    if isinstance(base.training, Word2vecConfig):
        return Preset.word2vec(Word2vecConfig.checked(groups[0], groups[0]))
    model, training = groups
    return Preset(model=ModelConfig.checked(model, model), training=TrainingConfig.checked(training, training))


def text_of(value: object) -> str:
    """A setting's value as `changed` reads it.

    >>> text_of((64, 32)), text_of(True), text_of(None)
    ('64,32', 'true', 'none')
    """
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _none_or(text: str) -> str | None:
    return None if text == "none" else text
