"""What is trained (hyper-parameters) and how it is run (run options): closed, frozen, one docstring a field.

Hyper-parameters are stored in every export; run options are not, since they do not change the result.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from watchnext.errors import UsageError

Activation = Literal["relu", "linear", "sigmoid"]
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
    activation: Activation = "relu"
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

    @classmethod
    def linear(
        cls, dim: int, history: int, decay: float | None = None, tied: bool = True, similarity: str = "dot"
    ) -> Self:
        """A tower that only averages; `linear.linear_weights` are its weights.

        Args:
            history: how many of the last watches are averaged.
            decay: how much a watch weighs against the one after it; None weighs all alike.
            tied: whether item vectors and watched vectors are the same.

        Raises UsageError for impossible values.
        """
        mean: dict[str, object] = {"encoder": "mean"} if decay is None else {"encoder": "decay", "decays": (decay,)}
        plain = {"tower": (), "residual": False, "context": False, "searches": False, "item_features": ()}
        given = {"dim": dim, "history": history, "tied": tied, "similarity": similarity, "temperature": 1.0}
        return cls.checked({**mean, **plain, **given})

    @property
    def reads_times(self) -> bool:
        """Whether the network is told of times, so that it must know when its training ended."""
        return self.example_age or self.time_gaps or "uploaded" in self.item_features


class FitConfig(Closed):
    """How any model is fitted, whatever it is."""

    optimizer: Literal["adam", "adagrad", "rowwise_adam", "rowwise_adagrad"] = "adam"
    """All update only the rows of tables that a batch touched. Floats kept beside each row of a table: `adam` twice
    its width, `adagrad` its width, `rowwise_adam` its width and one, `rowwise_adagrad` one."""
    learning_rate: float = Field(3e-3, gt=0)
    """Step size of the optimizer, at the start."""
    final_rate: Share = 1.0
    """The learning rate falls linearly, step by step, to this share of it at the end of `epochs`; 1 is constant."""
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


class TrainingConfig(FitConfig):
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


class Word2vecConfig(FitConfig):
    """word2vec (Mikolov et al. 2013a, b) on histories instead of sentences: item2vec (Barkan and Koenigstein 2016).

    Every item has two vectors: an input vector as the item that is given, an output vector as one that is predicted.
    """

    dim: int = Field(64, ge=1)
    """Dimensions of the vectors."""
    architecture: Literal["skipgram", "cbow"] = "skipgram"
    """`skipgram` predicts each watch of the window from the one in its middle; `cbow` the one in the middle from the
    mean of the window."""
    window: int | None = Field(5, ge=1)
    """How many watches before and after another are predicted from it; None is the whole history, whose order then
    means nothing."""
    dynamic_window: bool = True
    """Whether each watch's window is drawn from 1 to `window`, so that nearer watches count more, or is fixed."""
    loss: Literal["negative", "hierarchical"] = "negative"
    """`negative` sampling, or `hierarchical` softmax over a Huffman tree."""
    negatives: int = Field(10, ge=1)
    """Negative sampling: how many negatives a pair counts (2013b: 5 to 20 for small corpora)."""
    shared_negatives: int = Field(256, ge=1)
    """Negative sampling: how many are drawn for a batch and shared by all its pairs, each weighing `negatives` of
    them; more of them estimate the same loss with less noise and take more time."""
    noise_exponent: float = Field(0.75, ge=0, le=1)
    """Negatives are drawn from (watch count of the item)^this."""
    subsampling: float = Field(0.0, ge=0)
    """Watches of items with a larger share of all watches than this are left out at random, anew in each epoch
    (2013b, 2.3); 0 keeps all, 0.001 is usual for words."""
    activation: Activation = "linear"
    """What is applied to input vectors, the hidden layer; word2vec has none."""
    batch_examples: int = Field(256, ge=1)
    """Watches of a batch; its window's edges and padding come on top."""
    vectors: Literal["input", "output", "average"] = "output"
    """Which vectors are those of the items that are recommended; watched ones always have their input vectors."""
    similarity: Literal["dot", "cosine"] = "dot"
    """Whether vectors of recommended items and of users are scaled to length 1 before the dot product."""
    user: Literal["mean", "decay"] = "mean"
    """The user vector is the `mean` of the input vectors of the last watches, or weighs each `decay` times as much as
    the one after it."""
    last: int = Field(3, ge=1)
    """How many of the last watches the user vector is made of."""
    decay: float = Field(0.8, gt=0, le=1)
    """User vectors `decay`: how much a watch weighs against the one after it."""

    @property
    def model(self) -> ModelConfig:
        """The tower that makes these user vectors."""
        decay = self.decay if self.user == "decay" else None
        return ModelConfig.linear(self.dim, self.last, decay, self.vectors == "input", self.similarity)


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
