"""The log of a run: right numbers, the same in both forms, each step once, also after an interruption."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.batches import BatchBuilder
from model.fit import Run
from model.network import Network
from model.prepare import Prepared, Preparer
from model.sampler import NegativeSampler
from model.step import Trainer
from model.telemetry import EVENTS, FILE, Telemetry
from tests.fitting import ITEMS, MODEL, TRAINING, circle, train_on_circle
from watchnext.features import FeatureSpec
from watchnext.inputs import UserInputs

STEPS = {
    "steps",
    "loss",
    "gradient_norm",
    "examples_per_second",
    "waiting",
    "touched",
    "item_norm_mean",
    "item_norm_max",
}


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = map(json.loads, (folder / FILE).read_text().splitlines())
    return [line for line in found if line["kind"] == kind]


def events(folder: Path) -> list[tuple[str, int, float]]:
    """(tag, step, value) of all event files."""
    found = []
    for file in sorted(folder.glob(EVENTS)):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            found += [(v.tag, event.step, float(tf.make_ndarray(v.tensor))) for v in event.summary.value]
    return found


def test_a_run_that_breaks_off_and_goes_on_tells_each_step_once_in_both_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.telemetry.EVERY", 2)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_on_circle(tmp_path / "a", logs=whole, epochs=3)
    save, calls = Run.save, iter(range(100))

    def stop(self: Run) -> None:
        save(self)
        if next(calls) == 1:
            raise RuntimeError("power cut")

    monkeypatch.setattr(Run, "save", stop)
    with pytest.raises(RuntimeError, match="power cut"):
        train_on_circle(tmp_path / "b", logs=broken, epochs=3, steps=3)
    with (broken / FILE).open("a") as file:
        file.write('{"kind": "st')
    # the newest checkpoint is lost, so that steps are trained again
    (max((tmp_path / "b").glob("step-*")) / "manifest.json").unlink()
    train_on_circle(tmp_path / "b", resume=True, logs=broken, epochs=3, steps=3)
    steps, again = lines(whole, "step"), lines(broken, "step")
    assert len(steps) > 3
    assert [line["step"] for line in steps] == list(range(2, 2 * len(steps) + 1, 2))
    assert [line["step"] for line in again] == [line["step"] for line in steps]
    assert [line["epoch"] for line in again] == [line["epoch"] for line in steps]
    epochs = lines(broken, "epoch")
    assert [line["epoch"] for line in epochs] == [1, 2, 3]
    for one, other in zip(lines(whole, "epoch"), epochs, strict=True):
        assert one["ndcg@10"] == pytest.approx(other["ndcg@10"], abs=1e-4)
    for folder in (whole, broken):
        told = [
            (f"{line['kind']}/{name}", line["step"], float(np.float32(value)))
            for kind in ("step", "epoch")
            for line in lines(folder, kind)
            for name, value in line.items()
            if name not in {"kind", "step"}
        ]
        assert sorted(events(folder)) == sorted(told)


def test_the_numbers_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(Network(MODEL, FeatureSpec(), 4, seed=0), TRAINING)
    trainer.network.tables["item"].assign([[9.0] * 16, [1.0] + [0.0] * 15, [2.0] * 16, [3.0] * 16, [0.0] * 16])
    telemetry = Telemetry(tmp_path, trainer)
    telemetry.start(0)
    clock = iter([100.0, 101.0, 104.0, 104.5, 107.5])  # asked, got: waits 1; worked 3; got: waits 0.5; worked 3
    monkeypatch.setattr("model.telemetry.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("model.telemetry.EVERY", 2)
    made: list[Prepared] = [batch([1, 2, 0], 3), batch([1, 3, 0], 4)]
    monkeypatch.setattr(telemetry, "_forget", lambda: None)
    for number, prepared in enumerate(telemetry.waits(iter(made)), start=1):
        telemetry.step(number, 1, loss=2.0 * number, gradient_norm=0.5, batch=prepared)
        if number == 2:
            break
    telemetry.close()
    (line,) = lines(tmp_path, "step")
    assert set(line) == {"kind", "step", "epoch"} | STEPS
    assert (line["step"], line["epoch"], line["steps"]) == (2, 1, 2)
    assert line["loss"] == pytest.approx(3.0)
    assert line["gradient_norm"] == pytest.approx(0.5)
    assert line["examples_per_second"] == pytest.approx(7 / 7.5)
    assert line["waiting"] == pytest.approx(1.5 / 7.5)
    assert line["touched"] == pytest.approx(3 / 4)
    assert line["item_norm_mean"] == pytest.approx((1 + 8 + 12 + 0) / 4)
    assert line["item_norm_max"] == pytest.approx(12)


def batch(rows: list[int], examples: int) -> Prepared:
    """A batch of which only touched rows and weights matter."""
    none = np.zeros(0, np.int32)
    weight = np.array([1.0] * examples + [0.0], np.float32)
    empty = np.zeros(0, np.float32)
    values: dict[str, Any] = dict.fromkeys(Prepared._fields, none) | {"log_q": (empty, empty)}
    return Prepared(**{**values, "rows": np.array(rows, np.int32), "weight": weight})


def test_the_norm_is_that_of_the_whole_gradient() -> None:
    trainer = Trainer(Network(MODEL, FeatureSpec(), ITEMS, seed=0), TRAINING)
    seen: list[dict[str, Any]] = []
    real = trainer.gradients

    def kept(batch: Prepared, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        loss, gradients = real(batch, values)
        seen.append({name: tf.identity(g) for name, g in gradients.items()})
        return loss, gradients

    trainer.gradients = kept  # type: ignore[method-assign]
    trainer._step(next(batches()))  # without tf.function, so that values can be seen
    wanted = np.sqrt(sum(float((g.numpy().astype(np.float64) ** 2).sum()) for g in seen[0].values()))
    assert float(trainer.gradient_norm) == pytest.approx(wanted, rel=1e-5)


def batches() -> Iterator[Prepared]:
    """Batches of the circle."""
    histories = circle()
    sampler = NegativeSampler.of(np.bincount(histories.items), TRAINING)
    prepare = Preparer(sampler, MODEL, FeatureSpec(), UserInputs(histories))
    made = BatchBuilder.of(histories, histories.lengths, MODEL, TRAINING).epoch(0).batches()
    return (prepare(batch, 0, number) for number, batch in enumerate(made))
