"""A warm start keeps what both vocabularies know, wherever it stands, and nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.huffman import HuffmanTree
from model.network import Network
from model.warm import WarmStart, old_numbers, old_places
from tests.commands import run, run_json
from tests.worlds import make_export
from watchnext.config import ModelConfig
from watchnext.errors import UsageError
from watchnext.export import Export
from watchnext.features import FeatureSpec, UserContext
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


def test_a_day_more_is_learned_from_the_export_of_the_day_before(tmp_path: Path) -> None:
    starts = np.random.default_rng(0).integers(0, 20, 80).tolist()

    def ingested(name: str, length: int, items: int) -> Path:
        """Histories on a circle of items; a longer one brings another order by frequency."""
        rows = [f"u{u},i{(s + i) % items},{1000 * i + u}" for u, s in enumerate(starts) for i in range(length)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
        run("ingest", tmp_path / f"{name}.csv", "--to", tmp_path / name)
        return tmp_path / name

    first, second = ingested("first", 7, 20), ingested("second", 8, 21)
    small = [f"--set={s}" for s in ("dim=8", "tower=16", "encoder=mean", "batch_examples=128", "learning_rate=0.02")]
    run("train", first, "--to", tmp_path / "old", "--epochs", "25", "--set=patience=25", *small)
    one = ["--epochs", "1", *small]
    cold = run_json("train", second, "--to", tmp_path / "cold", *one)
    warm = run_json("train", second, "--to", tmp_path / "warm", "--warm-from", tmp_path / "old", *one)
    assert warm["ndcg@10"] > cold["ndcg@10"] + 0.2
    with pytest.raises(UsageError, match="Add --set dim=8"):
        run("train", second, "--to", tmp_path / "x", "--warm-from", tmp_path / "old", "--set=dim=4")
