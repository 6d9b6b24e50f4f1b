"""The paper's figures: curves and grids against sums by hand, and the whole way on a tiny simulated world."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from corpus.ingest import ingest
from corpus.options import IngestOptions
from evaluation.figure4 import DAY, Curve, Videos, probabilities, watched
from evaluation.figure6 import FEATURES, PAPER, WIDTHS, settings
from evaluation.protocol import Report
from evaluation.results import Cost, ResultStore
from simulation.config import WorldConfig
from simulation.write import simulate
from watchnext.cli.compare import make_job
from watchnext.cli.study import figure4, figure6
from watchnext.errors import UsageError
from watchnext.histories import Histories
from watchnext.presets import changed, preset


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    config = WorldConfig(items=300, users=150, watches=4000, topics=5, days=20, catalogue_days=5)
    simulate(config, folder / "world", 1)
    ingest(
        IngestOptions(
            logs=(f"{folder}/world/watches/*.parquet",),
            items=folder / "world" / "items.parquet",
            users=folder / "world" / "users.parquet",
            searches=(f"{folder}/world/searches/*.parquet",),
            to=folder / "corpus",
        )
    )
    return folder


def test_a_curve_is_the_mean_over_videos_by_their_age_by_hand() -> None:
    videos = Videos(
        items=np.array([1, 2], np.int32),
        uploaded=np.array([0.0, 1.5 * DAY]),
        moments=np.array([0, 1, 2]) * DAY,
        days=np.array([-2, -1, 0, 1, 2, 3]),
    )
    popularity = np.array(
        [[2.0, 0.0], [4.0, 0.0], [6.0, 9.0]]
    )  # relative to the means 4 and 3: .5, 1, 1.5 and 0, 0, 3
    curve = videos.curve(popularity)
    assert curve.value[:5] == pytest.approx([0, 0, (0.5 + 3) / 2, 1, 1.5])
    assert np.isnan(curve.value[5])


def test_correlation_and_variation_by_hand() -> None:
    days = np.arange(3)
    rising, falling, flat = (Curve(days, np.array(v, float)) for v in ([1, 2, 3], [6, 4, 2], [2, 2, 2]))
    assert rising.correlation(falling) == pytest.approx(-1)
    assert flat.correlation(rising) == 0
    assert flat.variation == 0
    assert rising.variation == pytest.approx((2 / 3) ** 0.5 / 2)


def test_watched_is_the_share_of_a_day_by_hand() -> None:
    histories = Histories.of([[1, 2, 1], [2]], [[0, DAY - 1, DAY], [5 * DAY]])
    shares = watched(histories, np.array([0, DAY]), np.array([1, 2], np.int32))
    assert shares.tolist() == [[0.5, 0.5], [1, 0]]


def test_probabilities_are_a_softmax_over_items_with_a_vector() -> None:
    items = np.array([[0, 0], [1, 0], [0, 0], [0, 2]], np.float32)
    users = np.array([[1, 0], [0, 1]], np.float32)
    (found,) = probabilities([users], items, np.array([3, 1], np.int32))
    e = np.e
    assert found == pytest.approx([(1 / (e + 1) + e**2 / (1 + e**2)) / 2, (e / (e + 1) + 1 / (1 + e**2)) / 2])


def test_every_point_of_figure_6_is_a_network_of_the_paper_scaled_down() -> None:
    for name in FEATURES:
        assert len(PAPER[name]) == len(WIDTHS)
        for depth, widths in enumerate(WIDTHS):
            model = changed(preset("youtube2016"), list(settings(name, depth, 8))).model
            layers = [*model.tower, model.dim] if model.output_relu else []
            assert layers == [width // 8 for width in widths]
            assert model.dim == 32
            assert (model.searches, model.example_age, model.context) == {
                "watches only": (False, False, False),
                "+ searches": (True, False, False),
                "+ example age": (True, True, False),
                "all features": (True, True, True),
            }[name]


def test_figure_6_shows_what_is_in_the_store(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, users = ResultStore(tmp_path), np.arange(1, 41, dtype=np.int32)
    for number, name in enumerate(FEATURES):
        for depth in (0, 1):
            changes = settings(name, depth, 4)
            job = make_job(world / "corpus", tmp_path, "temporal-next", 0.1, "youtube2016", changes, 0, shown=False)
            metric = np.linspace(0, 0.1, 40) + 0.1 * min(number, 2) + 0.01 * depth  # the last adds nothing
            report = Report(
                users=users,
                given=np.full(40, 3),
                without_history=0,
                targets=40,
                untrained_targets=0,
                metrics={"map@50": metric},
                by_popularity={},
                targets_by_popularity={},
                catalogue={},
            )
            store.save(job.cell, report, Cost(fit_cpu_seconds=1, tune_cpu_seconds=1, peak_megabytes=1), {})
    figure6(world / "corpus", to=tmp_path, depths=1, json_=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["map"]["+ example age, depth 1"]["value"] == pytest.approx(0.26)
    assert facts["gains"]["+ example age"]["value"] == pytest.approx(0.1)
    assert "- all features: no difference for any user" in (tmp_path / "figure6.md").read_text()
    assert "| + searches | 0.1500 ± " in (tmp_path / "figure6.md").read_text()
    drawn = ElementTree.parse(tmp_path / "figure6.svg").getroot()  # noqa: S314  (our own plot)
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"  # a browser shows a file only with its namespace
    assert "all features" in "".join(drawn.itertext())


def test_figure_4_on_a_tiny_world(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few, folder = ["epochs=8", "learning_rate=0.01", "negatives=50"], world / "world"
    figure4(world / "corpus", folder, to=tmp_path, scale=32, first=-2, last=8, users=20, set_=few, json_=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["truth"]["correlation with truth"] == pytest.approx(1)
    assert facts["log"]["correlation with truth"] > 0.6
    assert facts["without example age"]["variation"] < 1e-6
    assert facts["with example age"]["variation"] > 1e-3
    assert "with example age" in (tmp_path / "figure4.svg").read_text()


def test_what_a_study_varies_cannot_be_set(world: Path, tmp_path: Path) -> None:
    for study, setting in ((figure4, "example_age=true"), (figure6, "searches=false"), (figure6, "tower=8")):
        with pytest.raises(UsageError, match="The study chooses"):
            study(world / "corpus", to=tmp_path, set_=["epochs=1", setting])
    assert not list(tmp_path.iterdir())


def test_a_corpus_without_upload_times_or_with_too_few_days_is_refused(world: Path, tmp_path: Path) -> None:
    ingest(IngestOptions(logs=(f"{world}/world/watches/*.parquet",), to=tmp_path / "bare"))
    with pytest.raises(UsageError, match="without upload times"):
        figure4(tmp_path / "bare", to=tmp_path / "figure")
    with pytest.raises(UsageError, match="--first and --last"):
        figure4(world / "corpus", to=tmp_path / "figure", last=400)
