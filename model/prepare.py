"""What is done to a batch beside the step, in numpy, by another thread: negatives, touched rows, features."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from model.batches import Batch
from model.huffman import HuffmanTree, Paths
from model.item_features import TouchedFeatures
from model.sampler import NegativeSampler
from model.searches import Bags
from model.touched import touched
from watchnext.config import ModelConfig
from watchnext.features import FeatureSpec, Float32, gap_buckets
from watchnext.histories import Int32, Int64
from watchnext.inputs import UserInputs
from watchnext.item_features import ItemBags
from watchnext.tower import uses_context, uses_example_age, uses_searches


class Prepared(NamedTuple):
    """A batch as the step wants it: item numbers replaced by places in the list of touched rows."""

    rows: Int32
    """[positions + examples + negatives] touched rows of the item tables, each once; the rest is 0."""
    watched: Int32
    """[length, rows] places in `rows`."""
    depth: Int32
    """[length, rows] as in `Batch`."""
    gaps: Int32 | None
    """[length, rows] buckets of the time to the next watch, 0 for padding; None without `time_gaps`."""
    position: Int32
    """[examples] as in `Batch`."""
    label: Int32
    """[examples] places in `rows`."""
    negative: Int32
    """[negatives] places in `rows`."""
    weight: Float32
    """[examples] as in `Batch`."""
    hits: Float32
    """[examples] how many of the negatives are the label, see `loss.sampled_softmax`."""
    log_q: tuple[Float32, Float32]
    """[examples] and [negatives], of the labels and of the negatives."""
    context: dict[str, Int32 | Float32]
    """`country`, `device`, `reals`, `age`: those that the network reads, [examples] rows each."""
    features: TouchedFeatures | None
    """Of the items in `rows`; None for a network that reads none."""
    searches: Bags | None
    """What was searched before each example; None for a network that does not read it."""
    paths: Paths | None
    """Hierarchical softmax: the ways to the labels, with places in `nodes`."""
    nodes: Int32 | None
    """[touched] inner nodes on these ways, each once; the rest is 0."""


@dataclass(frozen=True)
class Preparer:
    """Turns batches into what the step wants."""

    sampler: NegativeSampler
    model: ModelConfig
    features: FeatureSpec
    inputs: UserInputs
    tree: HuffmanTree | None = None
    bags: ItemBags | None = None

    def __call__(self, batch: Batch, epoch: int, number: int) -> Prepared:
        """Prepare batch `number` of an epoch."""
        negatives = self.sampler.draw(batch.label, epoch, number)
        numbers = np.concatenate([batch.watched.ravel(), batch.label, negatives.items])
        rows, places = touched(numbers, len(numbers))
        positions, examples = batch.watched.size, batch.label.size
        watched, label, drawn = np.split(places, [positions, positions + examples])
        odds = np.bincount(drawn, np.exp(-negatives.log_q, dtype=np.float64), len(rows))
        hits = odds[label] * np.exp(negatives.label_log_q)
        paths, nodes = (None, None) if self.tree is None else touched_paths(self.tree, batch.label)
        return Prepared(
            rows=rows,
            watched=watched.reshape(batch.watched.shape),
            depth=batch.depth,
            gaps=self.gaps(batch) if self.model.time_gaps else None,
            position=batch.position,
            label=label,
            negative=drawn,
            weight=batch.weight,
            hits=hits.astype(np.float32),
            log_q=(negatives.label_log_q, negatives.log_q),
            context=self.context(batch),
            features=None if self.bags is None else TouchedFeatures.of(self.bags, rows),
            searches=self.searches(batch) if uses_searches(self.model, self.features) else None,
            paths=paths,
            nodes=nodes,
        )

    def gaps(self, batch: Batch) -> Int32:
        """[length, rows] the bucket of the time from each watch to the next one of its user, 0 for padding."""
        times = self.inputs.histories.times
        place = np.where(batch.depth > 0, batch.watch, 0)
        return np.where(batch.depth > 0, gap_buckets(times[place + 1] - times[place]), 0).astype(np.int32)

    def context(self, batch: Batch) -> dict[str, Int32 | Float32]:
        """The features of every example that the network reads."""
        found: dict[str, Int32 | Float32] = {}
        if uses_context(self.model, self.features) and self.inputs.context is not None:
            found |= self.inputs.context.rows(batch.user)._asdict()
        if uses_example_age(self.model, self.features):
            seconds = self.features.window_end - self.inputs.histories.times[batch.place]
            found["age"] = self.features.encode_example_age(seconds)
        return found

    def searches(self, batch: Batch) -> Bags:
        """The search tokens before every example."""
        searches = self.inputs.searches
        if searches is None:
            return Bags.of(np.zeros(0, np.int32), *np.zeros((2, batch.user.size), np.int64))
        ends = self._token_ends[batch.place]
        first = searches.offsets[batch.user]
        starts = np.where(batch.weight > 0, np.maximum(ends - self.model.search_tokens, first), ends)
        return Bags.of(searches.items, starts, ends)

    @cached_property
    def _token_ends(self) -> Int64:
        return self.inputs.token_ends()


def touched_paths(tree: HuffmanTree, labels: Int32) -> tuple[Paths, Int32]:
    """The ways to the labels, with places in a list of the nodes on them, and this list."""
    found, which = np.unique(labels, return_inverse=True)
    paths = tree.paths(found)
    nodes, places = touched(paths.nodes.ravel())
    return Paths(places.reshape(paths.nodes.shape)[which], paths.signs[which]), nodes
