"""Words by gensim's word2vec, with its own learning rate; all else as the task says. The steady part is `train`."""

from pathlib import Path

import numpy as np
from gensim.models.word2vec import Word2Vec

from benchmarks._rivals.program import Figures, Timer
from benchmarks._rivals.words import Text, Vectors, WordTask, answer


def run(task: WordTask) -> tuple[Vectors, Figures]:
    """Count the words, then train."""
    text, settings = Text.open(Path(task.text)), task.settings
    sentences, hierarchical = text.sentences(), settings["loss"] == "hierarchical"
    model = Word2Vec(
        sg=int(settings["architecture"] == "skipgram"),
        hs=int(hierarchical),
        negative=0 if hierarchical else settings["negatives"],
        ns_exponent=settings["noise_exponent"],
        vector_size=settings["dim"],
        window=settings["window"],
        shrink_windows=settings["dynamic_window"],
        sample=settings["subsampling"],
        min_count=1,
        workers=task.threads,
        seed=settings["seed"],
    )
    model.build_vocab(sentences)
    timer, epochs = Timer(), settings["epochs"]
    model.train(sentences, total_examples=len(sentences), epochs=epochs)
    steady = {f"steady_{name}": value for name, value in timer.figures().items()}
    known = [number for number, word in enumerate(text.words.tolist()) if word in model.wv.key_to_index]
    vectors = np.zeros((len(text.words), settings["dim"]), np.float32)
    vectors[known] = model.wv[text.words[known].tolist()]
    return vectors, {"steady_words": len(text.numbers) * epochs, **steady}


if __name__ == "__main__":
    answer(run)
