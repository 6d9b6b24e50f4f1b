"""Corpus -> Export. The only folder that imports TensorFlow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def _without_stderr() -> Iterator[None]:
    """TensorFlow's libraries write notes about absent GPUs to file descriptor 2 before any setting can stop them."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


with _without_stderr():
    import tensorflow as tf  # noqa: F401
