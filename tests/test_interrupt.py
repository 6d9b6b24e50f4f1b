"""Ctrl-C waits for a moment when the state is whole: what goes on afterwards ends as if nothing had been."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.protocol import Validator
from model.interrupt import Interrupted, deferred
from model.step import Trainer
from tests.fitting import train_on_circle


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def calls(real: Any, at: int) -> Any:
    """The function, with Ctrl-C pressed while its call number `at` runs."""
    count = iter(range(10_000))

    def called(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        if next(count) == at:
            press()
        return found

    return called


def in_a_step(patched: pytest.MonkeyPatch) -> None:
    real = Trainer.__init__

    def built(self: Trainer, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.step = calls(self.step, 3)

    patched.setattr(Trainer, "__init__", built)


def in_validation(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(Validator, "__call__", calls(Validator.__call__, 1))


@pytest.mark.parametrize("pressed", [in_a_step, in_validation])
def test_training_ends_as_if_it_had_not_been_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pressed: Callable[[pytest.MonkeyPatch], None]
) -> None:
    whole = train_on_circle(tmp_path / "whole", epochs=4)
    with monkeypatch.context() as patched:
        pressed(patched)
        with pytest.raises(KeyboardInterrupt):
            train_on_circle(tmp_path / "cut", epochs=4)
    resumed = train_on_circle(tmp_path / "cut", resume=True, epochs=4)
    assert np.array_equal(resumed.item_vectors, whole.item_vectors)
    assert resumed.metrics == whole.metrics


def test_the_first_is_kept_and_the_second_acts_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred() as interrupt:
        interrupt.check()
        press()
        with pytest.raises(Interrupted):
            interrupt.check()
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) is before
