"""Plots: what is drawn where, as SVG that keeps its ids and its letters; names that do not cover each other."""

import re
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evaluation.bootstrap import Estimate
from evaluation.index_plot import index_plot
from evaluation.labels import extent, spread
from evaluation.plots import SMALLEST_LOG, Line, Point, bars, lines, scatter, svg
from index.build import IndexOptions, build_from_export
from index.folder import IndexManifest
from index.trial import Trial
from tests.worlds import two_groups
from watchnext.export import write_export

NAN = float("nan")


def parsed(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314  (our own plot)


def texts(figure: Figure) -> list[str]:
    root = parsed(svg(figure, "what is shown"))
    return ["".join(element.itertext()) for element in root.iter("text")]


def rectangles(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_names_keep_their_letters_whatever_they_are() -> None:
    names = ["<b>", "$x^2$", "日本語", "a & b", '"']
    figure = scatter(
        [Point(n, i + 1.0, Estimate(0.1 * i, 0.01)) for i, n in enumerate(names)], "x & y", "<z>", log=True
    )
    assert {*names, "x & y", "<z>"} <= set(texts(figure))
    assert {"$x$", "$y$"} <= set(texts(lines([Line("$x$", [0, 1], [1, 2])], "$y$", "y")))
    assert {"$g$", "$n$"} <= set(texts(bars({"$g$": {"$n$": Estimate(1, 0.1)}}, ["$n$"], "x")))


def test_svg_stands_in_a_page_beside_another() -> None:
    figures = [bars({"all": {"a": Estimate(value, 0.1)}}, ["a"], "x") for value in (1.0, 2.0)]
    one, other = (svg(figure, f"bars {number}") for number, figure in enumerate(figures))
    assert one.startswith("<svg ")
    assert parsed(one).attrib["aria-label"] == "bars 0"
    assert not re.search("http|<style|<metadata|<[?!]", one)
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for text, own in zip((one, other), ids, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= own


def test_the_same_figure_gives_the_same_svg() -> None:
    def drawn() -> str:
        return svg(scatter([Point("a", 1, Estimate(0.1, 0.01))], "x", "y"), "d")

    assert drawn() == drawn()


def test_nothing_is_left_in_matplotlib() -> None:
    before = dict(matplotlib.rcParams)
    texts(lines([Line("a", [0, 1], [1, 2], [0.1, 0.1])], "x", "y"))
    assert dict(matplotlib.rcParams) == before


def test_a_logarithmic_axis_shows_what_took_no_time_at_its_floor() -> None:
    figure = scatter(
        [Point("none", 0, Estimate(0.1, 0.01)), Point("much", 1000, Estimate(0.2, NAN))], "s", "m", log=True
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert sorted(np.asarray(line.get_xdata()).tolist() for line in axes.lines) == [[SMALLEST_LOG], [1000]]
    assert {"0.01", "1", "100"} <= set(texts(figure))


def test_bars_have_the_lengths_of_their_values_and_gaps_where_there_is_none() -> None:
    groups = {"few": {"a": Estimate(0.25, 0.1), "b": Estimate(NAN, NAN)}, "many": {"b": Estimate(0.5, NAN)}}
    few, many = bars(groups, ["a", "b"], "share").axes
    assert [axes.get_title(loc="left") for axes in (few, many)] == ["few", "many"]
    assert [(bar.get_width(), round(bar.get_y() + bar.get_height() / 2)) for bar in rectangles(few)] == [(0.25, 0)]
    assert [(bar.get_width(), round(bar.get_y() + bar.get_height() / 2)) for bar in rectangles(many)] == [(0.5, 1)]
    assert few.get_xlim() == many.get_xlim()
    assert few.get_ylim()[0] > few.get_ylim()[1], "the first name is on top"


def test_the_bar_of_a_ceiling_is_an_outline() -> None:
    (axes,) = bars({"all": {"a": Estimate(1, 0.1), "top": Estimate(2, 0.1)}}, ["a", "top"], "x", {"top"}).axes
    assert [to_rgba(bar.get_facecolor())[3] for bar in rectangles(axes)] == [0.5, 0]


def test_lines_go_through_their_points_with_a_band_where_they_are_many() -> None:
    x = np.arange(40.0)
    figure = lines([Line("few", [0, 1, 2], [1, 3, 2], [0.1, 0.2, 0.3]), Line("many", x, x / 10, x / 99)], "x", "y")
    (axes,) = figure.axes
    assert np.asarray(axes.lines[0].get_xydata()).tolist() == [[0, 1], [1, 3], [2, 2]]
    assert len(axes.collections) == 2
    bars_of_few = axes.collections[0].get_paths()
    assert [np.asarray(path.vertices)[:, 1].tolist() for path in bars_of_few] == [
        pytest.approx([0.9, 1.1]),
        pytest.approx([2.8, 3.2]),
        pytest.approx([1.7, 2.3]),
    ]


def test_names_beside_crowded_points_cover_neither_each_other_nor_the_edge() -> None:
    points = [Point(f"model number {i}", 0.5 + 0.03 * (i % 3), Estimate(0.3 + 0.02 * i, 0.005)) for i in range(8)]
    figure = scatter([*points, Point("far away", 0, Estimate(0, 0.01))], "x", "y")
    (axes,) = figure.axes
    boxes = [extent(name) for name in figure.texts]
    inside = axes.get_window_extent()
    assert len(boxes) == 9
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    for box in boxes:
        assert box.x0 >= inside.x0 - 1
        assert box.x1 <= inside.x1 + 1
    for point, box in zip(points, boxes, strict=False):
        x, y = axes.transData.transform((point.x, point.y.value))
        assert np.hypot(np.clip(x, box.x0, box.x1) - x, np.clip(y, box.y0, box.y1) - y) < 140, "near what it names"


@given(st.lists(st.floats(0, 100), max_size=12), st.floats(0.5, 8))
def test_spread_keeps_the_order_and_the_gaps(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, 100)
    assert len(placed) == len(wanted)
    order = np.argsort(wanted, kind="stable")
    ordered = [placed[i] for i in order]
    assert all(upper - lower >= gap - 1e-9 for lower, upper in pairwise(ordered))
    assert all(p <= 100 for p in placed)


@given(st.lists(st.floats(0, 100), max_size=12))
def test_spread_moves_nothing_that_is_apart(wanted: list[float]) -> None:
    apart = [10.0 * place for place in range(len(wanted))]
    assert spread(apart, 9.5, 10.0 * len(wanted)) == apart


def test_an_index_that_nothing_was_tried_for_has_an_empty_plot(tmp_path: Path) -> None:
    world = two_groups()
    nobody = replace(world, user_vectors=np.zeros_like(world.user_vectors))
    write_export(nobody, tmp_path / "export")
    about = build_from_export(tmp_path / "export", tmp_path / "index", IndexOptions())
    assert about.trials == ()
    assert "recall@50" in texts(index_plot(about))


def test_an_index_is_drawn_with_what_no_other_search_beats() -> None:
    about = SimpleNamespace(
        trials=tuple(
            Trial(
                kind=kind,
                search={"nprobe": n},
                recall_at_50=r,
                recall_error=0,
                microseconds=t,
                megabytes=1,
                build_seconds=1,
            )
            for kind, n, r, t in [
                ("IVF8,Flat", 1, 0.7, 9),
                ("IVF8,Flat", 2, 0.9, 10),
                ("IVF8,Flat", 3, 0.85, 12),
                ("Flat", 1, 1, 80),
            ]
        ),
        target_recall=0.95,
    )
    figure = index_plot(cast(IndexManifest, about))
    drawn = [np.asarray(line.get_xydata()).tolist() for line in figure.axes[0].lines]
    assert drawn == [[[10, 0.9]], [[80, 1]], [[10, 0.95], [80, 0.95]]]
    assert {"IVF8,Flat", "Flat", "target"} <= set(texts(figure))
