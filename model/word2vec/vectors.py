"""The two tables of word2vec, and what is exported of them."""

import numpy as np
import tensorflow as tf

from model.hierarchical import linear_item_vectors
from model.huffman import HuffmanTree
from model.network import ACTIVATIONS
from model.parameters import Parameters, Tensor, read
from watchnext.config import Word2vecConfig
from watchnext.features import FeatureSpec, Float32
from watchnext.linear import linear_weights
from watchnext.tower import UserTower


class WordVectors(Parameters):
    """Input and output vectors of items; with hierarchical softmax inner nodes have the output vectors.

    Args:
        items: in the vocabulary.
        tree: of hierarchical softmax.
        features: what is known of users beside their histories, which an export has though nothing here reads it.
    """

    watched = "watched"
    """The table of input vectors."""

    def __init__(
        self, config: Word2vecConfig, items: int, tree: HuffmanTree | None = None, features: FeatureSpec | None = None
    ) -> None:
        self.config, self.items, self.tree, self.dense = config, items, tree, {}
        self.features = features or FeatureSpec()
        rng = np.random.default_rng([config.seed, 3])
        start = (rng.random((items + 1, config.dim), np.float32) - 0.5) / config.dim  # as word2vec's own program
        predicted, rows = ("node", tree.inner + 1) if tree else ("item", items + 1)
        self.tables = {
            "watched": tf.Variable(start, name="watched"),
            predicted: tf.Variable(tf.zeros([rows, config.dim]), name=predicted),
        }

    def hidden(self, inputs: Tensor) -> Tensor:
        """The hidden layer of input vectors."""
        return ACTIVATIONS[self.config.activation](inputs)

    def input_vectors(self) -> Float32:
        """[items + 1, dim] the hidden layer of every item; rows of zeros stay zero."""
        inputs = read(self.tables["watched"])
        hidden: Float32 = self.hidden(inputs).numpy()
        hidden[~inputs.any(1)] = 0
        return hidden

    def output_vectors(self) -> Float32:
        """[items + 1, dim] what products with a hidden layer score; with a tree, their first-order approximation."""
        if self.tree:
            return linear_item_vectors(self.tree, read(self.tables["node"]))[0]
        return read(self.tables["item"])

    def item_vectors(self) -> Float32:
        """[items + 1, dim] the vectors of items that are recommended, by the configuration."""
        kind = self.config.vectors
        vectors = self.input_vectors() if kind == "input" else self.output_vectors()
        if kind == "average":
            vectors = (vectors + self.input_vectors()) * np.float32(0.5)
        if self.config.similarity == "cosine":
            lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            vectors = (vectors / lengths).astype(np.float32)
        return vectors

    def tower(self) -> UserTower:
        """The mean of the last watches' input vectors as a tower."""
        model = self.config.model
        return UserTower(model, self.features, self.input_vectors(), linear_weights(model))
