"""From histories and contexts to user vectors, in numpy, on exported weights: serving needs no TensorFlow.

Equal to `model.network` up to float rounding (1e-5), which a test holds. Nothing here knows of TensorFlow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from watchnext.config import ModelConfig
from watchnext.encoders import encode, last_gaps
from watchnext.features import ContextArrays, FeatureSpec, Float32
from watchnext.histories import Int32, Int64

ACTIVATIONS: dict[str, Callable[[Float32], Float32]] = {
    "relu": lambda h: np.maximum(h, 0),
    "linear": lambda h: h,
    "sigmoid": lambda h: 0.5 + 0.5 * np.tanh(0.5 * h),  # 1 / (1 + e^-h) without overflow
}
"""What a hidden layer applies to its sums, by `ModelConfig.activation`."""


def uses_context(config: ModelConfig, features: FeatureSpec) -> bool:
    """Whether a tower reads country, device, age, gender and logged-in state."""
    return config.context and features.has_context


def uses_searches(config: ModelConfig, features: FeatureSpec) -> bool:
    """Whether a tower reads search tokens."""
    return config.searches and features.search_tokens > 0


def uses_example_age(config: ModelConfig, features: FeatureSpec) -> bool:
    """Whether a tower reads the age of an example."""
    return config.example_age and bool(features.example_age_quantiles)


@dataclass(frozen=True)
class UserTower:
    """The network from a history to a user vector.

    Args:
        watched: [items + 1, dim] input embeddings.
        weights: the dense weights by name, as `model.network.Network` names them.
        searched: [search tokens + 1, dim] embeddings of search tokens; None for a model that reads no searches.
    """

    config: ModelConfig
    features: FeatureSpec
    watched: Float32
    weights: dict[str, Float32]
    searched: Float32 | None = None

    def user_vectors(
        self,
        histories: Sequence[Int32],
        context: ContextArrays | None = None,
        tokens: Sequence[Int32] | None = None,
        example_age: Int64 | None = None,
        times: Sequence[Int64] | None = None,
        asked: Int64 | None = None,
    ) -> Float32:
        """[users, dim] one vector for each history, which may be empty.

        Args:
            histories: [users] item numbers in time order, of any length.
            context: [users] rows of features; None where nothing is known.
            tokens: [users] numbers of search tokens in time order; None where nobody searched.
            example_age: [users] seconds before the end of the training window; None is 0, as at serving.
            times: [users] seconds since 1970 of each watch; None is unknown.
            asked: [users] seconds since 1970 of the moment of asking; needed with times, and only with `time_gaps`.
        """
        gaps = None
        if self.config.time_gaps and times is not None and asked is not None:
            gaps = last_gaps(times, asked, self.config.history)
        state = encode(self.config, self.weights, self.watched, histories, gaps)
        return self.from_states(state, context, tokens, example_age)

    def from_states(
        self,
        state: Float32,
        context: ContextArrays | None = None,
        tokens: Sequence[Int32] | None = None,
        example_age: Int64 | None = None,
    ) -> Float32:
        """[users, dim] one vector for each state of the encoder, [users, parts, dim]; see `user_vectors`."""
        inputs = [state.reshape(len(state), -1)]
        if self.searched is not None:
            inputs.append(self._search(self.searched, tokens or [np.zeros(0, np.int32)] * len(state)))
        if uses_context(self.config, self.features):
            inputs.append(self._context(context or self.features.encode_unknown(len(state))))
        if uses_example_age(self.config, self.features):
            age = np.zeros(len(state), np.int64) if example_age is None else example_age
            inputs.append(self.features.encode_example_age(age))
        h, activation = np.concatenate(inputs, 1), ACTIVATIONS[self.config.activation]
        for layer in range(len(self.config.tower)):
            h = activation(h @ self.weights[f"kernel_{layer}"] + self.weights[f"bias_{layer}"])
        u = h @ self.weights["kernel_out"] + self.weights["bias_out"]
        return self._finish(u, state)

    def _finish(self, u: Float32, state: Float32) -> Float32:
        if self.config.output_relu:
            u = np.maximum(u, 0)
        if self.config.residual:
            u = u + np.einsum("p,upd->ud", self.weights["residual"], state)
        if self.config.similarity == "cosine":
            squares = np.maximum((u**2).sum(1, keepdims=True), 1e-12)
            u = u / np.sqrt(squares) / self.config.temperature
        if self.config.bias:
            u = np.concatenate([u, np.ones((len(u), 1), u.dtype)], 1)
        return np.ascontiguousarray(u, np.float32)

    def _search(self, searched: Float32, tokens: Sequence[Int32]) -> Float32:
        """[users, dim] the mean of the last tokens' embeddings, 0 where there is none."""
        recent = [t[-self.config.search_tokens :] for t in tokens]
        return np.array([searched[t].mean(0) if len(t) else np.zeros(searched.shape[1]) for t in recent], np.float32)

    def _context(self, context: ContextArrays) -> Float32:
        country, device = self.weights["country"][context.country], self.weights["device"][context.device]
        return np.concatenate([country, device, context.reals], 1)
