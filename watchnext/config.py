"""What is trained (hyper-parameters) and how it is run (run options): closed, frozen, one docstring a field.

Hyper-parameters are stored in every export; run options are not, since they do not change the result.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from watchnext.errors import UsageError

Fraction = Annotated[float, Field(ge=0, lt=1)]
ItemFeature = Literal["categories", "title", "uploaded"]
Share = Annotated[float, Field(ge=0, le=1)]


class Closed(BaseModel):
    """A frozen model that refuses unknown fields; the docstring below a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def checked(cls, values: Mapping[str, object], settings: Collection[str] = ()) -> Self:
        """Make one of what a user gave.

        Args:
            settings: the fields given by `--set NAME=VALUE`; each other has an option of its own name.

        Raises UsageError naming the option of the first impossible value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            option = f"--set {name}" if name in settings else "--" + name.replace("_", "-")
            raise UsageError(
                option, repr(first["input"]), f"{first['msg'].removeprefix('Value error, ')}."
            ) from error


class ModelConfig(Closed):
    """The network: from a history and a context to a user vector, and from there to scores of items."""

    dim: int = Field(64, ge=1)
    """Dimensions of embeddings, user vectors and item vectors."""
    init_scale: float = Field(0.3, gt=0)
    """Length that embeddings of items start with, about. With similarity `cosine` only their direction counts, and
    short ones turn faster at first."""
    encoder: Literal["mean", "decay", "attention"] = "decay"
    """How a history becomes one vector: `mean` of the last watches (paper, 3.2); `decay`: several means whose
    weights fall with the distance from now, side by side with the last watch; or `attention`: beside these means
    causal self-attention, whose weights follow from the watches themselves."""
    decays: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.5, 0.8, 0.95)
    """Encoders `decay` and `attention`: how much a watch weighs against the one after it, a mean for each. Heads of
    attention begin with them, in turn."""
    learned_decays: bool = False
    """Encoders `decay` and `attention`: whether training changes the decays; 1 then starts just below."""
    attention_blocks: int = Field(1, ge=1, le=2)
    """Encoder `attention`: how many blocks follow one another. Two see half as far each, so that both together
    see `history` watches."""
    attention_heads: int = Field(2, ge=1, validate_default=True)
    """Encoder `attention`: how many weightings of the past a block has; `dim` is divided among them."""
    time_gaps: bool = False
    """Whether the encoder is told how long after each watch the next one came, and after the last one the moment of
    asking: an embedding of the time's power of two is added to the watch's. Needs a log with real times."""
    history: int = Field(50, ge=1)
    """How many of the last watches the encoder sees (paper, 3.2: 50)."""
    tower: tuple[Annotated[int, Field(ge=1)], ...] = (128,)
    """Widths of the hidden layers between the encoder and the user vector (paper, 3.2: 1024, 512, 256)."""
    activation: Literal["relu", "linear", "sigmoid"] = "relu"
    """What hidden layers apply to their sums: `relu` (paper, 3.2), `sigmoid`, or with `linear` nothing, so that all
    layers together are one matrix."""
    output_relu: bool = False
    """Whether the user vector itself is the output of a ReLU, as the paper's last hidden layer is."""
    residual: bool = True
    """Whether the encoder's means are added to the tower's output, so that the tower learns a correction."""
    tied: bool = True
    """Whether watched items and predicted items share one table. The paper (3.5) keeps two; one does better on
    logs of up to a few million watches."""
    similarity: Literal["cosine", "dot"] = "cosine"
    """Whether vectors are scaled to length 1 before the dot product. The paper's formula (3.1) has the bare dot."""
    temperature: float = Field(0.07, gt=0)
    """Similarity `cosine`: scores are cosines divided by this."""
    bias: bool = False
    """Whether every item has a bias; it becomes one more dimension of the item vectors (paper, 3.1: none)."""
    item_features: tuple[ItemFeature, ...] = ("categories", "title")
    """What is embedded and added to the embeddings of items where the corpus has it, so that an item with few watches
    or none has a vector, too: `categories`, the words of the `title`, the age since it was `uploaded`, which needs a
    log with real times. The paper has none."""
    most_item_features: int = Field(100_000, ge=1)
    """Only so many categories, words and ages are embedded, those of the most items; none that only one item has."""
    context: bool = True
    """Whether country, device, age, gender and logged-in state enter the tower where the corpus has them (3.3)."""
    searches: bool = True
    """Whether the words and pairs of words of recent searches are embedded, averaged and enter the tower when the
    corpus has searches (paper, 3.3)."""
    search_tokens: int = Field(50, ge=1)
    """How many of a user's last search tokens are averaged (paper, 3.5: 50)."""
    example_age: bool = False
    """Whether the tower is told in training how old an example is, and 0 at serving, so that it does not prefer what
    was popular in the middle of the training window (paper, 3.3). Needs a log with real times."""

    @field_validator("attention_heads")
    @classmethod
    def _heads_divide_dim(cls, heads: int, fields: ValidationInfo) -> int:
        dim = fields.data.get("dim", heads)
        if fields.data.get("encoder") == "attention" and dim % heads:
            raise ValueError(f"dim, now {dim}, must be a multiple of it")
        return heads

    @property
    def reads_times(self) -> bool:
        """Whether the network is told of times, so that it must know when its training ended."""
        return self.example_age or self.time_gaps or "uploaded" in self.item_features


class TrainingConfig(Closed):
    """How the network is fitted. Together with `ModelConfig`, a corpus and a holdout this decides the result."""

    loss: Literal["sampled", "full", "hierarchical"] = "sampled"
    """`sampled` softmax (paper, 3.1); `full` softmax over all items, for catalogues of up to some ten thousand; or
    `hierarchical` softmax over a Huffman tree, which the paper (3.1) found less accurate."""
    negatives: int = Field(1000, ge=1)
    """Sampled softmax: how many negatives a batch shares (paper, 3.1: several thousand, for a million videos)."""
    noise_exponent: float = Field(0.75, ge=0, le=1)
    """Negatives are drawn from (watch count of the item)^this; 0 is uniform. log Q corrects for it."""
    in_batch: Fraction = 0.0
    """Sampled softmax: share of the negatives that are drawn from the labels of the batch instead (Yang et al. 2020,
    mixed negative sampling). log Q is that of the mixture."""
    corrected_positive: bool = True
    """Sampled softmax: whether log Q corrects the score of the true item like those of the negatives. It is not
    drawn, so it needs no correction (Khrylchenko et al. 2025, arXiv 2507.09331): false leaves it alone."""
    order: Literal["given", "random"] = "given"
    """`random` shuffles every history anew each epoch, so that the network learns to predict any part of a set of
    watches from any other: for logs whose order means nothing, and for users who are not in the log."""
    batch_examples: int = Field(1024, ge=1)
    """Positions a batch has room for, padding included."""
    examples_per_user: int | None = Field(None, ge=1)
    """At most this many examples a user and epoch, drawn anew each epoch (paper, 3.4); None is no limit."""
    replay: Share = 0.1
    """Warm starts: beside all new watches, this share of those that the earlier export has learned is learned again,
    drawn anew each epoch, so that it is not forgotten (Robins 1995, rehearsal); 1 is all of them."""
    dropout: Fraction = 0.3
    """Share of watched embeddings (whole watches) and of hidden units left out in training."""
    optimizer: Literal["adam", "adagrad", "rowwise_adam", "rowwise_adagrad"] = "adam"
    """All update only the rows of tables that a batch touched. Floats kept beside each row of a table: `adam` twice
    its width, `adagrad` its width, `rowwise_adam` its width and one, `rowwise_adagrad` one."""
    learning_rate: float = Field(3e-3, gt=0)
    """Step size of the optimizer."""
    epochs: int = Field(60, ge=1)
    """Most passes over the corpus; early stopping usually ends before."""
    averaged: Fraction = 0.85
    """What is validated and kept is a running average of the weights at the ends of epochs, in which the past weighs
    this much, less in the first ones; 0 is none (Polyak and Juditsky 1992; Izmailov et al. 2018)."""
    patience: int = Field(15, ge=1)
    """Stop when the validation metric has not risen for this many epochs; the best epoch's weights are kept."""
    validation_users: int = Field(5000, ge=1)
    """At most this many users, drawn once, are ranked for validation."""
    seed: int = Field(0, ge=0)
    """Everything random follows from it."""


class RunOptions(Closed):
    """Where and how training runs; nothing here changes what is learned."""

    checkpoints: Path
    """Folder of the checkpoints; deleted when training has ended well."""
    checkpoint_minutes: float = Field(5, gt=0)
    """A checkpoint is written at the end of a step after this many minutes, and after every epoch."""
    checkpoint_steps: int | None = Field(None, ge=1)
    """Also after this many steps, when given."""
    logs: Path | None = None
    """Folder of the logs, for TensorBoard and as lines of JSON; None writes none."""
    optimizer_state: bool = False
    """Keep the optimizer's state in the export, for warm starts; with Adam twice the size of the tables."""
    resume: bool = False
    """Go on from the newest whole checkpoint, or start anew where there is none."""
    progress: bool = True
    """Show a progress bar on standard error."""


class Preset(Closed):
    """A named pair of model and training configuration."""

    model: ModelConfig
    training: TrainingConfig


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
}
"""`default` is the most accurate of one size for all logs; `youtube2016` follows the paper's section 3."""


def preset(name: str) -> Preset:
    """A preset by its name. Raises UsageError for an unknown one."""
    if name not in PRESETS:
        raise UsageError("--preset", repr(name), f"Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]


def changed(base: Preset, settings: Sequence[str]) -> Preset:
    """A preset with some settings changed, each given as `name=value`; lists are separated by commas.

    Raises UsageError for an unknown name or an impossible value.

    >>> changed(preset("default"), ["tower=16", "tower=64,32"]).model.tower
    (64, 32)
    """
    values = base.model_dump()
    for setting in settings:
        name, equals, text = setting.partition("=")
        group = next((g for g in ("model", "training") if name in values[g]), None)
        if group is None or not equals:
            known = ", ".join([*ModelConfig.model_fields, *TrainingConfig.model_fields])
            raise UsageError("--set", repr(setting), f"Give NAME=VALUE with one of the names: {known}.")
        many = isinstance(values[group][name], tuple)
        values[group][name] = tuple(part for part in text.split(",") if part) if many else _none_or(text)
    model, training = values["model"], values["training"]
    return Preset(model=ModelConfig.checked(model, model), training=TrainingConfig.checked(training, training))


def text_of(value: object) -> str:
    """A setting's value as `changed` reads it.

    >>> text_of((64, 32)), text_of(True), text_of(None)
    ('64,32', 'true', 'none')
    """
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _none_or(text: str) -> str | None:
    return None if text == "none" else text
