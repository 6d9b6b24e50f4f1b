"""A warm start keeps what both vocabularies know, wherever it stands, and nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.corpus import Corpus
from model.batches import BatchBuilder
from model.fit import Run, Stopped
from model.huffman import HuffmanTree
from model.network import Network
from model.prepare import Preparer
from model.sampler import NegativeSampler
from model.step import Trainer
from model.train import training_data
from model.trainer import STEP
from model.warm import WarmStart, beside_export, known_watches, old_numbers, old_places
from tests.commands import run, run_json
from tests.fitting import ITEMS, MODEL, TRAINING, circle, stopped_in_the_second
from tests.worlds import make_export
from watchnext.cli.planning import planned
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.errors import CorruptError, TrainingError, UsageError
from watchnext.export import OPTIMIZER, Export, open_optimizer, write_export
from watchnext.features import FeatureSpec, UserContext
from watchnext.histories import Histories
from watchnext.inputs import UserInputs
from watchnext.item_changes import read_changes
from watchnext.item_features import item_bags
from watchnext.presets import changed, preset
from watchnext.release import export_in
from watchnext.update import ItemUpdate, write_update
from watchnext.vocabulary import Vocabulary

OLD_ITEMS, NEW_ITEMS = ["a", "b", "c", "d"], ["d", "new", "a", "c", "b"]
OLD_TOKENS, NEW_TOKENS = ["cat", "dog"], ["dog", "owl", "cat"]
BEFORE = FeatureSpec(countries=("NO", "PT"), devices=("tv", "phone"), search_tokens=2)
NOW = FeatureSpec(countries=("SE", "PT", "NO"), devices=("phone", "tv"), search_tokens=3)
PLAIN = FeatureSpec()


def exported(config: ModelConfig, features: FeatureSpec = BEFORE) -> Export:
    """An export of a network with random weights that has not trained item `d`."""
    network = Network(config, features, len(OLD_ITEMS), seed=1)
    for variable in network.dense.values():
        variable.assign(np.random.default_rng(5).normal(size=variable.shape).astype(np.float32))
    tower = network.tower()
    vectors = network.item_vectors()
    vectors[[0, 4]] = 0
    made = make_export(vectors, np.zeros((2, vectors.shape[1]), np.float32), [[1, 2, 3]])
    return replace(
        made,
        manifest=made.manifest.model_copy(update={"model": config, "features": features}),
        watched_vectors=tower.watched,
        weights=tower.weights,
        items=Vocabulary(OLD_ITEMS),
        search_vectors=tower.searched,
        search_tokens=Vocabulary(OLD_TOKENS),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False, "similarity": "dot"},
        {"tied": False},
        {"bias": True, "encoder": "mean", "residual": False},
        {"similarity": "dot", "bias": True, "tied": False},
    ],
)
def test_the_same_histories_give_the_same_vectors_and_scores(changes: dict[str, object]) -> None:
    config = ModelConfig.model_validate({"dim": 8, "tower": (12,), "history": 4, **changes})
    export = exported(config)
    network = Network(config, NOW, len(NEW_ITEMS), seed=2)
    network.set_arrays(WarmStart(export, Vocabulary(NEW_ITEMS), Vocabulary(NEW_TOKENS)).arrays(network))
    users = [UserContext("NO", "tv"), UserContext("PT", "phone"), UserContext(None, "radio"), UserContext("DE", None)]
    histories = [["a", "b"], ["c"], [], ["c", "a", "b", "b", "a"]]
    searched = [["dog"], ["cat", "dog", "dog"], [], ["cat"]]

    def vectors(tower: object, items: list[str], tokens: list[str], features: FeatureSpec) -> np.ndarray:
        numbers = [np.array([items.index(i) + 1 for i in h], np.int32) for h in histories]
        words = [np.array([tokens.index(t) + 1 for t in s], np.int32) for s in searched]
        return np.asarray(tower.user_vectors(numbers, features.encode(users), words))  # type: ignore[attr-defined]

    before = vectors(export.tower(), OLD_ITEMS, OLD_TOKENS, BEFORE)
    after = vectors(network.tower(), NEW_ITEMS, NEW_TOKENS, NOW)
    assert np.allclose(before, after, atol=1e-5)
    # c is 3 before, 4 now; a is 1 and 3; b is 2 and 5.
    assert np.allclose(
        before @ export.item_vectors[[1, 2, 3]].T, after @ network.item_vectors()[[3, 5, 4]].T, atol=1e-4
    )


def test_what_is_new_or_was_never_trained_starts_as_usual() -> None:
    config = ModelConfig(dim=8, tower=(12,), tied=False)
    network = Network(config, NOW, len(NEW_ITEMS), seed=2)
    cold = network.arrays()
    warm = WarmStart(exported(config), Vocabulary(NEW_ITEMS), Vocabulary(NEW_TOKENS)).arrays(network)
    for table in ("table/item", "table/watched"):  # d is 1 now, new is 2
        assert np.array_equal(warm[table][[0, 1, 2]], cold[table][[0, 1, 2]])
        assert not np.isclose(warm[table][3:], cold[table][3:]).all(1).any()
    assert np.array_equal(warm["table/search"][[0, 2]], cold["table/search"][[0, 2]])
    assert np.array_equal(warm["dense/country"][1], cold["dense/country"][1])  # SE


def test_numbers_are_found_by_id() -> None:
    assert old_numbers(Vocabulary(NEW_ITEMS), Vocabulary(OLD_ITEMS)).tolist() == [0, 4, 0, 1, 3, 2]
    assert old_places(("SE", "PT", "NO"), ("NO", "PT")).tolist() == [0, 0, 2, 1]


@pytest.mark.parametrize(
    ("changes", "features", "said"),
    [
        ({"dim": 4}, NOW, "an export of dim=8, where dim=4 is to be trained. Add --set dim=8"),
        ({"tower": (12, 12)}, NOW, "Add --set tower=12"),
        ({"activation": "linear"}, NOW, "Add --set activation=relu"),
        ({"encoder": "mean"}, NOW, "Add --set encoder=decay"),
        ({"tied": False}, NOW, "Add --set tied=true"),
        ({"learned_decays": True}, NOW, "Add --set learned_decays=false"),
        ({"time_gaps": True}, NOW, "Add --set time_gaps=false"),
        ({"context": False}, NOW, "reads context, unlike what is to be trained"),
        ({}, PLAIN, "reads context, unlike what is to be trained"),
    ],
)
def test_another_shape_is_told_with_the_cure(changes: dict[str, object], features: FeatureSpec, said: str) -> None:
    config = ModelConfig(dim=8, tower=(12,))
    network = Network(ModelConfig.model_validate(config.model_dump() | changes), features, len(NEW_ITEMS), seed=2)
    with pytest.raises(UsageError, match="--warm-from") as error:
        WarmStart(exported(config), Vocabulary(NEW_ITEMS), Vocabulary(NEW_TOKENS)).arrays(network)
    assert said in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("attention_heads", 4), ("attention_blocks", 2), ("history", 9)])
def test_the_shape_of_attention_is_told_too(name: str, value: int) -> None:
    config = ModelConfig(dim=8, tower=(12,), encoder="attention", attention_heads=2, history=5)
    network = Network(config.model_copy(update={name: value}), NOW, len(NEW_ITEMS), seed=2)
    with pytest.raises(UsageError, match=f"Add --set {name}="):
        WarmStart(exported(config), Vocabulary(NEW_ITEMS), Vocabulary(NEW_TOKENS)).arrays(network)


@pytest.mark.parametrize("changes", [{"tied": False}, {"tied": False, "bias": True}, {"bias": True}])
def test_a_tree_in_place_of_predicted_items_takes_the_watched_ones(changes: dict[str, bool]) -> None:
    config = ModelConfig.model_validate({"dim": 8, "tower": (12,), **changes})
    network = Network(config, NOW, len(NEW_ITEMS), seed=2, tree=HuffmanTree.of(np.array([0, 5, 4, 3, 2, 1])))
    export = exported(config)
    network.set_arrays(WarmStart(export, Vocabulary(NEW_ITEMS), Vocabulary(NEW_TOKENS)).arrays(network))
    assert np.array_equal(network.tower().watched[[3, 5, 4]], export.watched_vectors[[1, 2, 3]])


def test_what_an_export_does_not_read_is_told_with_the_setting_that_switches_it_off() -> None:
    config = ModelConfig(dim=8, tower=(12,))
    network = Network(config, NOW, len(NEW_ITEMS), seed=2)
    start = WarmStart(exported(config, PLAIN), Vocabulary(NEW_ITEMS), Vocabulary(NEW_TOKENS))
    with pytest.raises(UsageError, match=r"does not read context.*--set context=false"):
        start.arrays(network)


@pytest.mark.parametrize(
    ("model", "training"),
    [
        ({}, {}),
        ({"tied": False}, {"optimizer": "rowwise_adam"}),
        ({"similarity": "dot", "bias": True, "tied": False}, {"optimizer": "adagrad"}),
        ({"encoder": "attention", "item_features": ()}, {"optimizer": "rowwise_adagrad"}),
        ({"tied": False, "item_features": ()}, {}),
    ],
)
def test_a_warm_start_on_the_same_log_goes_on_as_if_nothing_had_been(
    tmp_path: Path, model: dict[str, object], training: dict[str, object]
) -> None:
    config, chosen = MODEL.model_copy(update=model), TRAINING.model_copy(update=training)
    histories = circle()
    counts = np.bincount(histories.items, minlength=ITEMS + 1)
    catalogue = make_export(np.zeros((ITEMS + 1, 1), np.float32), np.zeros((2, 1), np.float32), [[1]], True).catalogue
    bags = item_bags(config, catalogue.table, 0)  # of the titles' word that they share
    assert (bags is not None) == bool(config.item_features)
    batches = BatchBuilder.of(histories, histories.lengths, config, chosen)
    preparer = Preparer(NegativeSampler.of(counts, chosen), config, PLAIN, UserInputs(histories), None, bags)

    def trainer() -> Trainer:
        return Trainer(Network(config, PLAIN, ITEMS, chosen.seed, None, bags), chosen)

    def epoch(trainer: Trainer, number: int) -> None:
        for i, batch in enumerate(batches.epoch(number).batches()):
            trainer.step(preparer(batch, number, i))

    whole, warm = trainer(), trainer()
    epoch(whole, 0)
    tower, vectors = whole.network.tower(), whole.network.item_vectors()
    made = make_export(vectors, np.zeros((2, vectors.shape[1]), np.float32), [[1]])
    export = replace(
        made,
        manifest=made.manifest.model_copy(update={"model": config, "training": chosen}),
        watched_vectors=tower.watched,
        weights=tower.weights,
        item_counts=counts,
        catalogue=catalogue,
        optimizer=beside_export(whole.arrays(), config),
    )
    write_export(export, tmp_path / "export")
    update_items(tmp_path / "export", tmp_path / "updated")
    for start in ("updated", "export"):
        warm.set_arrays(WarmStart.open(tmp_path / start, export.items, None).state(warm))
        before, after = whole.arrays(), warm.arrays()
        assert before.keys() == after.keys()
        assert [name for name, value in before.items() if not np.array_equal(value, after[name])] == []
    epoch(whole, 1)
    epoch(warm, 1)
    before, after = whole.arrays(), warm.arrays()
    assert [name for name, value in before.items() if not np.allclose(value, after[name], atol=1e-6)] == []


def update_items(folder: Path, target: Path) -> None:
    """Make an export of another one with a new item and other titles."""
    export, items = Export.open(folder), target.with_suffix(".jsonl")
    rows: list[dict[str, object]] = [{"item_id": id_, "title": "Another name"} for id_ in export.items.all_ids()]
    rows.append({"item_id": "new", "vector": [1] * export.manifest.dim, "title": "Another name"})
    items.write_text("\n".join(map(json.dumps, rows)))
    target.mkdir()
    write_update(export, folder, ItemUpdate.of(export, read_changes(items, export.manifest.dim), []), target)


@pytest.mark.parametrize(("optimizer", "width"), [("adam", 8), ("rowwise_adam", 1), ("adagrad", 8)])
def test_the_optimizers_state_is_found_by_id_and_new_rows_begin_anew(
    tmp_path: Path, optimizer: str, width: int
) -> None:
    config, training = ModelConfig(dim=8, tower=(12,)), TrainingConfig.checked({"optimizer": optimizer})
    old = Trainer(Network(config, BEFORE, len(OLD_ITEMS), seed=1), training)
    rng = np.random.default_rng(3)
    slots = {n: rng.random(v.shape).astype(np.float32) for n, v in old.optimizer_arrays().items() if n != STEP}
    made = replace(exported(config), searches=Histories.of([[1]]))
    manifest = made.manifest.model_copy(update={"training": training})
    write_export(replace(made, manifest=manifest, optimizer={STEP: np.array(70), **slots}), tmp_path / "export")
    trainer = Trainer(Network(config, NOW, len(NEW_ITEMS), seed=2), training)
    state = WarmStart.open(tmp_path / "export", Vocabulary(NEW_ITEMS), Vocabulary(NEW_TOKENS)).state(trainer)
    assert state[STEP] == 70
    last = len(trainer.slots["table/item"]) - 1
    item, search, country = (f"slot/{name}/{last}" for name in ("table/item", "table/search", "dense/country"))
    fresh = 0.1 if optimizer == "adagrad" else 0
    assert state[item].shape == (6, width)
    assert np.array_equal(state[item][3:], slots[item][[1, 3, 2]])  # a, c, b
    assert (state[item][:3] == np.float32(fresh)).all()  # none; d, which was never trained; new
    assert np.array_equal(state[search][[1, 3]], slots[search][[2, 1]])
    assert (state[search][[0, 2]] == np.float32(fresh)).all()
    assert np.array_equal(state[country][[0, 2, 3]], slots[country][[0, 2, 1]])  # unknown, PT, NO
    assert (state[country][1] == np.float32(fresh)).all()  # SE
    assert np.array_equal(state["slot/dense/kernel_0/0"], slots["slot/dense/kernel_0/0"])
    other = Trainer(trainer.network, TrainingConfig(optimizer="rowwise_adagrad"))
    anew = WarmStart.open(tmp_path / "export", Vocabulary(NEW_ITEMS), Vocabulary(NEW_TOKENS)).state(other)
    assert anew[STEP] == 0
    assert not any(value.any() for name, value in anew.items() if name.startswith("slot/"))


moments = st.lists(st.lists(st.integers(0, 6), max_size=8).map(sorted), min_size=1, max_size=5)


@given(moments, st.data())
def test_known_watches_are_those_that_were_learned_even_if_the_log_lost_its_beginning(
    rows: list[list[int]], data: st.DataObject
) -> None:
    """A log that was learned up to some watch of each user, then lost its first watches and got later ones."""
    then, now, learned, wanted = [], [], [0], [0]
    for times in rows:
        end = data.draw(st.integers(0, len(times)))
        lost = data.draw(st.integers(0, times.index(times[end - 1]) if end else 0))
        then.append(times)
        learned.append(end)
        later = data.draw(st.lists(st.sampled_from([0, 1]), max_size=3).map(sorted))
        now.append(times[lost:] + [times[-1] + more for more in later] if times else [9])
        wanted.append(end - lost)
    before, after = (Histories.of([[1] * len(row) for row in log], log) for log in (then, now))
    users = np.arange(len(rows) + 1, dtype=np.int32)
    assert known_watches(after, before, np.array(learned), users).tolist() == wanted
    assert not known_watches(after, before, np.array(learned), 0 * users).any()


CIRCLE = [f"--set={s}" for s in ("dim=8", "tower=16", "encoder=mean", "batch_examples=128", "learning_rate=0.02")]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora of histories on a circle: the second has a watch more of everybody, another item, another order."""
    folder = tmp_path_factory.mktemp("days")
    starts = np.random.default_rng(0).integers(0, 20, 80).tolist()
    for name, length, items in (("first", 7, 20), ("second", 8, 21)):
        rows = [f"u{u},i{(s + i) % items},{1000 * i + u}" for u, s in enumerate(starts) for i in range(length)]
        (folder / f"{name}.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
        run("ingest", folder / f"{name}.csv", "--to", folder / name)
    run("train", folder / "first", "--to", folder / "old", "--epochs", "25", "--set=patience=25", *CIRCLE)
    return folder


@pytest.mark.parametrize("replay", ["0", "0.1", "1"])
def test_a_day_more_is_learned_from_the_export_of_the_day_before(days: Path, tmp_path: Path, replay: str) -> None:
    one = ["--epochs", "1", *CIRCLE]
    cold = run_json("train", days / "second", "--to", tmp_path / "cold", *one)
    warm = run_json(
        "train", days / "second", "--to", tmp_path / "warm", "--warm-from", days / "old", "--replay", replay, *one
    )
    assert (warm["optimizer"], warm["new_watches"]) == ("kept", 80)
    assert warm["ndcg@10"] > cold["ndcg@10"] + 0.2


def test_only_what_the_export_has_not_learned_is_trained_on(days: Path) -> None:
    """Both days hold back each user's last watch: the first export has learned 6 of 7, so that one of 8 is new."""
    corpus = Corpus.open(days / "second")
    warm = WarmStart.open(days / "old", corpus.items, None)
    assert warm.known(corpus.users, corpus.histories).tolist() == [0, *[6] * 80]
    chosen = changed(preset("default"), ["replay=0", "averaged=0"])
    _, _, plan = planned(corpus, chosen, "last", 0.1, 0, warm=warm)
    assert plan.validate is not None
    data = training_data(corpus, FeatureSpec(), plan)
    assert data.known is not None
    assert isinstance(chosen.training, TrainingConfig)
    made = BatchBuilder.of(corpus.histories, data.ends, chosen.model, chosen.training, known=data.known).epoch(0)
    places = np.concatenate([batch.place[batch.weight > 0] for batch in made.batches()])
    assert sorted(places.tolist()) == (corpus.histories.offsets[1:-1] + 6).tolist()


def test_a_warm_run_that_was_interrupted_ends_like_one_that_was_not(
    days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[str | Path] = ["--warm-from", days / "old", "--epochs", "3", "--replay", "0.5", *CIRCLE]
    run("train", days / "second", "--to", tmp_path / "whole", *options)
    with monkeypatch.context() as patched:
        patched.setattr("model.fit.Run._end_of_epoch", stopped_in_the_second(Run._end_of_epoch))
        with pytest.raises(Stopped):
            run("train", days / "second", "--to", tmp_path / "cut", *options)
    run("train", days / "second", "--to", tmp_path / "cut", "--resume", *options)
    whole, cut = (Export.open(tmp_path / name) for name in ("whole", "cut"))
    assert np.allclose(whole.item_vectors, cut.item_vectors, atol=1e-5)
    saved, again = (open_optimizer(tmp_path / name) for name in ("whole", "cut"))
    assert saved.keys() == again.keys()
    assert all(np.allclose(value, again[name], atol=1e-5) for name, value in saved.items())


def test_a_release_is_started_from_and_serving_does_not_read_the_optimizers_state(days: Path, tmp_path: Path) -> None:
    run("index", days / "old", "--to", tmp_path / "index")
    run("publish", days / "old", tmp_path / "index", "--to", tmp_path / "releases", "--name", "monday")
    for place in (tmp_path / "releases", tmp_path / "releases" / "monday"):
        options: list[str | Path] = ["--to", tmp_path / "warm", "--warm-from", place, "--epochs", "1", *CIRCLE]
        assert run_json("train", days / "second", *options)["optimizer"] == "kept"
    assert export_in(days / "old") == days / "old"
    assert Export.open(days / "old").optimizer is None
    (tmp_path / "releases" / "monday" / "export" / OPTIMIZER).write_bytes(b"nothing")
    assert Export.open(tmp_path / "releases" / "monday" / "export", verify=False).items.number("i3")
    with pytest.raises(CorruptError, match=OPTIMIZER):
        open_optimizer(tmp_path / "releases" / "monday" / "export")


def test_an_export_without_the_optimizers_state_starts_it_anew(days: Path, tmp_path: Path) -> None:
    options = ["--epochs", "1", *CIRCLE]
    run("train", days / "first", "--to", tmp_path / "small", "--no-optimizer-state", *options)
    assert not (tmp_path / "small" / OPTIMIZER).exists()
    warm = run_json("train", days / "second", "--to", tmp_path / "w", "--warm-from", tmp_path / "small", *options)
    assert warm["optimizer"] == "new"


def test_what_a_warm_start_cannot_do_is_told(days: Path, tmp_path: Path) -> None:
    old: list[str | Path] = ["--warm-from", days / "old"]
    with pytest.raises(UsageError, match="Add --set dim=8"):
        run("train", days / "second", "--to", tmp_path / "x", *old, "--set=dim=4")
    with pytest.raises(UsageError, match=r"--replay.*no --warm-from"):
        run("train", days / "second", "--to", tmp_path / "x", "--replay", "0.5")
    with pytest.raises(UsageError, match="--set replay"):
        run("train", days / "second", "--to", tmp_path / "x", *old, "--set=replay=2")
    with pytest.raises(UsageError, match="learned watches of 8 users which --holdout users holds back"):
        run("train", days / "first", "--to", tmp_path / "x", *old, "--holdout", "users", *CIRCLE)
    for options in (["--replay", "0"], [], ["--holdout", "leave-one-out"]):
        with pytest.raises(
            TrainingError, match="no watch that the earlier export has not learned, beside those that"
        ):
            run("train", days / "first", "--to", tmp_path / "x", *old, *options, *CIRCLE)
    with pytest.raises(UsageError, match="learned every watch that --holdout leave-one-out validates on"):
        run("train", days / "first", "--to", tmp_path / "x", *old, "--replay=1", "--holdout=leave-one-out", *CIRCLE)
