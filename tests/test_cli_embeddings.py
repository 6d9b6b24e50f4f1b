"""`watchnext study embeddings` on a circle of items and a text of its own: from end to end, interrupted, misused."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import model.train
from tests.commands import run, run_json
from watchnext.cli.embeddings import QUESTIONS
from watchnext.errors import UsageError

ITEMS = 20
SMALL = [
    "--model=default:dim=8:encoder=mean:negatives=20:batch_examples=128:learning_rate=0.01",
    "--model=item2vec:dim=8:batch_examples=128:similarity=cosine",
    "--model=word2vec:dim=8:batch_examples=128",
]
FOUR = ["--question", "4", "--question"]
PAIRS = "paris madrid 9\nparis river 1\nmadrid river 2\nfrance spain 8\n"
QUESTION = ": capitals\nmadrid spain paris france\nparis france madrid unknown\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora of a circle, whose items have one of two categories, and of a text, with what judges its words."""
    folder = tmp_path_factory.mktemp("embeddings")
    starts = np.random.default_rng(0).integers(0, ITEMS, 60).tolist()
    rows = [f"u{u:02d},{(s + i) % ITEMS:02d},{1000 * i + u}" for u, s in enumerate(starts) for i in range(7)]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    items = [f"{i:02d},{'War' if i < ITEMS // 2 else 'Drama'}" for i in range(ITEMS)]
    (folder / "items.csv").write_text("\n".join(["item,categories", *items]) + "\n")
    run("ingest", folder / "log.csv", "--items", folder / "items.csv", "--to", folder / "circle")
    (folder / "text.txt").write_text("paris is in france and madrid in spain by a river\n" * 20)
    run("ingest", folder / "text.txt", "--format", "text", "--to", folder / "text")
    (folder / "pairs.txt").write_text(PAIRS)
    (folder / "questions.txt").write_text(QUESTION)
    return folder


def words(work: Path) -> list[str | Path]:
    return ["--words", work / "text", "--similarity", work / "pairs.txt", "--analogies", work / "questions.txt"]


def test_all_questions_from_end_to_end(work: Path, tmp_path: Path) -> None:
    to = tmp_path / "study"
    found = run_json("study", "embeddings", work / "circle", *words(work), *SMALL, "--quick", "--to", to)
    assert found["written"] == str(to)
    text = (to / "embeddings.md").read_text()
    assert text.startswith("A trial (`--quick`)")
    for number in QUESTIONS:
        assert f"\n## {number}. " in f"\n{text}"
    first = found["question_1"]
    assert first["circle, one-hot"]["updated"] == 1
    assert first["circle, rows"]["updated"] == first["circle, one-hot"]["with_gradient"] < 1
    assert found["question_2"]["circle, input"]["chance"]["value"] == pytest.approx(9 / 19)
    assert found["question_2"]["circle, output"]["hr@10"] == found["question_3"]["circle, output, cosine"]["hr@10"]
    assert found["question_4"]["circle, both"]["hr@10"] == found["question_2"]["circle, output"]["hr@10"]
    table = 21 * 8 * 4 / 2**20
    assert found["question_4"]["circle, both"]["megabytes"] == {
        "items": table,
        "stored": 61 * 8 * 4 / 2**20,
        "fresh": table,
    }
    assert found["question_4"]["circle, only input"]["megabytes"]["fresh"] == 0
    assert (
        found["question_5"]["circle, tower 128, relu"]["ndcg@10"] == found["question_6"]["circle, random"]["ndcg@10"]
    )
    assert found["question_5"]["circle, tower 128, linear"]["minus"] is not None
    assert found["question_5"]["words, linear, output"] == found["question_2"]["words, output"]
    assert found["question_6"]["circle, random"]["epochs_until"] == 1
    assert "known are 4 of pairs, 1 of analogies" in text
    plots = sorted(path.name for path in to.glob("*.svg"))
    assert [name.split("-")[1] for name in plots] == ["1", "2", "3", "4", "5", "6"]
    for name in plots:
        assert f"]({name})" in text
        assert "svg" in ElementTree.parse(to / name).getroot().tag  # noqa: S314  (our own plot)


def test_an_interrupted_study_goes_on_with_what_is_missing(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls, most = model.train.train, list[int](), 1

    def counted(*arguments: Any, **named: Any) -> Any:
        if len(calls) >= most:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments, **named)

    monkeypatch.setattr(model.train, "train", counted)
    command = ["study", "embeddings", work / "circle", *SMALL, "--quick", "--to", tmp_path / "study", "--question", 4]
    options = [str(word) for word in command]
    with pytest.raises(BaseException):  # noqa: B017, PT011  (Typer makes an exit of it)
        run(*options)
    assert len(calls) == 1
    assert not (tmp_path / "study" / "embeddings.md").exists()
    most = 2
    found = run_json(*options)
    kept = [json.loads(path.read_bytes())["about"] for path in (tmp_path / "study" / "measured").glob("*.json")]
    assert [(about["data"], about["model"], about["holdout"]) for about in kept] == [
        ("circle", "item2vec", "leave-one-out")
    ]
    assert len(calls) == 2  # the fit that chooses epochs was not done again
    document = tmp_path / "docs" / "answers.md"
    document.parent.mkdir()
    document.write_text("Before\n<!-- question 4 -->\n<!-- end 4 -->\nAfter\n")
    assert run_json(*options, "--into", document) == found
    assert len(calls) == 2
    assert "Before\n<!-- question 4 -->\n**circle**, 20 items, 60 users" in document.read_text()
    assert (document.parent / "embeddings-4-kept.svg").is_file()


def test_a_changed_preset_is_measured_anew(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, trained = model.train.train, list[int]()

    def counted(*arguments: Any, **named: Any) -> Any:
        trained.append(arguments[2].training.dim)
        return real(*arguments, **named)

    monkeypatch.setattr(model.train, "train", counted)
    options = ["--quick", "--to", str(tmp_path), "--question", "4"]
    for dim in (8, 4, 8):
        run("study", "embeddings", work / "circle", *SMALL, f"--model=item2vec:dim={dim}", *options)
    assert trained == [8, 8, 4, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--question", "7"], "--question"),
        (["--analogies", "x.txt"], "no --words beside them"),
        (["--words", "x"], "neither --similarity nor --analogies"),
        (["--model", "default:tower=8"], "The study chooses"),
        (["--model", "youtube2016:dim=8"], "Choose from"),
        (["--model", "item2vec:dim=0"], "dim"),
        (["--into", "nowhere.md"], "nowhere.md"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_trained(
    work: Path, tmp_path: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.train, "train", None)
    with pytest.raises(UsageError, match=message):
        run("study", "embeddings", work / "circle", "--to", tmp_path / "study", *options)
    assert not (tmp_path / "study").exists()


def test_a_document_without_a_place_is_told_before_anything_is_trained(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.train, "train", None)
    (tmp_path / "answers.md").write_text("<!-- question 4 -->\n<!-- end 4 -->\n")
    with pytest.raises(UsageError, match="<!-- question 5 -->"):
        run(
            "study",
            "embeddings",
            work / "circle",
            "--to",
            tmp_path / "s",
            "--into",
            tmp_path / "answers.md",
            *FOUR,
            "5",
        )


def test_corpora_are_needed_and_told_apart(work: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one folder"):
        run("study", "embeddings", "--to", tmp_path / "study")
    with pytest.raises(UsageError, match="one folder name twice"):
        run("study", "embeddings", work / "circle", work / "circle", "--to", tmp_path / "study")
    with pytest.raises(UsageError, match=r"no manifest\.json"):
        run("study", "embeddings", tmp_path, "--to", tmp_path / "study")
