"""item2vec by gensim: skip-gram with negative sampling over the same histories, in one thread a core.

An example is a watch: gensim trains on all pairs of a watch and those around it.
"""

import os
from collections.abc import Callable

import numpy as np
from gensim.models.word2vec import Word2Vec

from benchmarks._rivals.program import Figures, Task, Timer, compete
from benchmarks._rivals.world import make
from evaluation.baselines.item2vec import Item2vecTraining


def prepare(task: Task) -> Callable[[], Figures]:
    """Give it the whole catalogue as its vocabulary."""
    world, settings = make(task.items), Item2vecTraining(dim=task.dim)
    model = Word2Vec(
        sg=1,
        vector_size=task.dim,
        window=settings.window,
        negative=settings.negatives,
        ns_exponent=settings.noise_exponent,
        sample=settings.subsampling,
        alpha=settings.learning_rate,
        min_count=1,
        workers=os.cpu_count() or 1,
        seed=0,
    )
    model.build_vocab_from_freq({str(i): int(n) for i, n in enumerate(world.counts) if n})
    users = np.split(world.items, np.cumsum(world.lengths)[:-1])
    sentences = [[str(item) for item in items] for items in users]

    def measure() -> Figures:
        timer = Timer()
        model.train(sentences, total_examples=len(sentences), epochs=1)
        return {"examples": len(world.items), **timer.figures()}

    measure()
    return measure


if __name__ == "__main__":
    compete(prepare)
