"""Tables and the HTML report against results written by hand, and the report in a real browser."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder
from rich.console import Console

from evaluation.bootstrap import Difference, Estimate
from evaluation.comparison import Comparison, comparisons
from evaluation.protocol import Report
from evaluation.report import TEMPLATE, html, write_report
from evaluation.results import Cell, Cost, Result, ResultStore
from evaluation.tables import PROTOCOLS, markdown, print_tables, protocol, verdict
from watchnext.split import TESTED, HoldoutName

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAN = float("nan")
EVIL = '<script>alert("1")</script> & $x$ | *y*'

NDCG = {"popularity": 0.02, "ease": 0.0812, "default": 0.0799, EVIL: 0.05, "oracle": 0.3}
DIFFERENCES = {
    "popularity": Difference(-0.0612, 0.003, -0.0671, -0.0553, 0.001),
    "default": Difference(-0.0013, 0.001, -0.0033, 0.0007, 0.212),
    EVIL: Difference(-0.0312, 0.003, -0.0371, -0.0253, 0.049),
    "oracle": Difference(0.2188, 0.003, 0.2129, 0.2247, 0.001),
}


def metrics(ndcg: float) -> dict[str, Estimate]:
    """HR is twice, MAP a half, MRR three quarters of NDCG, recalls 2.5 to 3 times."""
    return {
        "hr@10": Estimate(2 * ndcg, 0.0101),
        "recall@10": Estimate(2 * ndcg, 0.0102),
        "ndcg@10": Estimate(ndcg, 0.0103),
        "mrr@10": Estimate(0.75 * ndcg, 0.0104),
        "map@10": Estimate(0.5 * ndcg, 0.0105),
        "novelty@10": Estimate(5.25, 0.12),
        "popularity@10": Estimate(1234.5, 6.7),
        "recall@20": Estimate(2.5 * ndcg, 0.0107),
        "capped_recall@20": Estimate(2.75 * ndcg, 0.0108),
        "recall@50": Estimate(3 * ndcg, 0.0106),
    }


def result(model: str, holdout: HoldoutName = "leave-one-out", data: str = "films", seed: int = 0) -> Result:
    ndcg = NDCG[model]
    return Result(
        created=datetime(2024, 5, 6, 7, 8, tzinfo=UTC),
        files={},
        cell=Cell(data=data, corpus="c0ffee", holdout=holdout, holdout_share=0.2, model=model, seed=seed),
        users=1200,
        targets=3400,
        untrained_targets=56,
        without_history=0,
        chosen={"regularisation": "<500>"} if model == "ease" else {},
        cost=Cost(fit_cpu_seconds=100 * ndcg, tune_cpu_seconds=30_000 * ndcg, peak_megabytes=1536.4),
        metrics=metrics(ndcg),
        by_activity={"1-4": {"ndcg@10": Estimate(0.017, 0.004)}, "50+": {"ndcg@10": Estimate(0.123, NAN)}},
        by_popularity={"head": {"recall@10": Estimate(0.5, 0.1), "recall@20": Estimate(0.625, 0.1)}},
        catalogue={"coverage@10": 0.25 + ndcg, "gini@10": 0.75},
    )


class Known(ResultStore):
    """A store that knows the differences to the best, which is EASE."""

    def difference(self, one: Cell, other: Cell) -> dict[str, Difference]:
        assert other.model == "ease"
        return {"ndcg@10": DIFFERENCES[one.model]}


STORE = Known(Path("nowhere"))


@pytest.fixture(scope="module")
def compared() -> list[Comparison]:
    results = [result(model) for model in NDCG]
    results += [result(model, "temporal", "a <b> world") for model in ("ease", "default")]
    return comparisons(results, STORE)


@pytest.fixture(scope="module")
def page(compared: list[Comparison]) -> str:
    return html(compared, "Films & worlds")


def parsed(page: str) -> Element:
    """A page, which must be well-formed XML too."""
    return ElementTree.fromstring(page)  # noqa: S314  (our own page)


@pytest.fixture(scope="module")
def root(page: str) -> Element:
    return parsed(page)


def text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def rows(table: Element) -> list[list[str]]:
    return [[text(cell) for cell in row] for row in table.iter("tr")]


def test_the_order_is_by_ndcg_and_an_oracle_is_never_best(compared: list[Comparison]) -> None:
    films, world = compared
    assert [(e.label, e.standing) for e in films.entries] == [
        ("ease", "best"),
        ("default", "level"),
        (EVIL, "behind"),
        ("popularity", "behind"),
        ("oracle", "ceiling"),
    ]
    assert films.entries[0].difference is None
    assert (world.title, [e.label for e in world.entries]) == ("a <b> world, temporal", ["ease", "default"])


def test_the_verdict_names_the_best_its_equals_and_the_ceiling(compared: list[Comparison]) -> None:
    assert verdict(compared[0]) == (
        "Highest NDCG@10: ease, 0.0812 ± 0.0103. Not distinguishable from it: default. "
        "oracle, which knows the true preferences, reaches 0.3000 ± 0.0103."
    )
    (clear,) = comparisons([result("ease"), result("popularity")], STORE)
    assert verdict(clear).endswith("All others are distinguishably lower.")


def test_an_oracle_alone_has_no_best_to_be_compared_with() -> None:
    (alone,) = comparisons([result("oracle")], STORE)
    assert [(e.standing, e.difference) for e in alone.entries] == [("ceiling", None)]
    assert "Highest" not in verdict(alone)
    assert len(list(parsed(html([alone], "alone")).iter("svg"))) == 4


def test_models_that_differ_in_their_seed_only_are_told_apart_and_repetitions_count_once() -> None:
    store = ResultStore(Path("nowhere"))
    object.__setattr__(store, "difference", lambda one, other: {"ndcg@10": DIFFERENCES["default"]})
    (compared,) = comparisons([result("ease"), result("ease", seed=3), result("ease")], store)
    assert [e.label for e in compared.entries] == ["ease, seed 0", "ease, seed 3"]


def test_every_protocol_that_tests_is_explained(compared: list[Comparison]) -> None:
    assert set(PROTOCOLS) == set(TESTED)
    said = protocol(compared[0])
    assert said.startswith("1,200 users and 3,400 held-out watches. Each user's last watch is asked for")
    assert "56 of the held-out watches are of items that no training watch shows" in said
    assert "before the cut are left out" not in said
    assert said.endswith("ranked, none sampled; ties count by their expected value.")
    assert "the last 20% of all watches are asked for" in protocol(compared[1])


RECALLS = ["capped recall@20", "recall@20", "recall@50"]
ACCURACY = ["model", "HR@10", "NDCG@10", "MAP@10", *RECALLS, "NDCG@10 minus the best's", "p"]
LISTS = ["model", "coverage@10", "Gini@10", "novelty@10, bits", "popularity@10, watches"]
COSTS = ["fit, CPU s", "tuning, CPU s", "peak, MB"]
EASE = ["0.1624 ± 0.0101", "0.0812 ± 0.0103", "0.0406 ± 0.0105"]
EASE += ["0.2233 ± 0.0108", "0.2030 ± 0.0107", "0.2436 ± 0.0106", "-", "-"]
ORACLE = ["0.6000 ± 0.0101", "0.3000 ± 0.0103", "0.1500 ± 0.0105"]
ORACLE += ["0.8250 ± 0.0108", "0.7500 ± 0.0107", "0.9000 ± 0.0106"]


def test_the_page_has_the_numbers_in_their_places(root: Element) -> None:
    accuracy, lists, *_ = map(rows, root.iter("table"))
    assert accuracy[0] == ACCURACY
    assert [row[0] for row in accuracy[1:]] == ["ease best", "default ≈ best", EVIL, "popularity", "oracle ceiling"]
    assert accuracy[1][1:] == EASE
    assert accuracy[2][7:] == ["-0.0013 [-0.0033, +0.0007]", "0.212"]
    assert accuracy[3][7:] == ["-0.0312 [-0.0371, -0.0253]", "0.049"]
    assert accuracy[5][1:] == [*ORACLE, "+0.2188 [+0.2129, +0.2247]", "0.001"]
    assert lists[0] == LISTS + COSTS
    numbers = ["0.3312", "0.7500", "5.25 ± 0.12", "1,234.5 ± 6.7", "8.12", "2,436", "1,536"]
    assert lists[1] == ["ease best", *numbers]


def test_the_ceiling_stands_apart(root: Element) -> None:
    table = next(root.iter("table"))
    bodies = [[text(row[0]) for row in body] for body in table.findall("tbody")]
    assert [len(body) for body in bodies] == [4, 1]
    assert bodies[1] == ["oracle ceiling"]


def test_chosen_settings_are_folded_away(root: Element) -> None:
    details = [rows(element) for element in root.iter("details")]
    assert len(details) == 2
    assert details[0][:3] == [["model", "settings"], ["ease", "regularisation = <500>"], ["default", "-"]]


def test_names_are_escaped_everywhere(page: str, root: Element) -> None:
    assert "<script" not in page.lower()
    assert next(root.iter("script"), None) is None
    assert text(next(root.iter("title"))) == "Films & worlds"
    assert EVIL in " ".join(text(cell) for cell in root.iter("th"))
    assert [text(h) for h in root.iter("h2")] == ["films, leave-one-out", "a <b> world, temporal"]


def test_the_page_refers_to_nothing_outside(page: str, root: Element) -> None:
    assert not re.search(r"https?:|//\w|\ssrc=|@import|<link|<iframe|<img", page)
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    referred = re.findall(r"(?:href=\"|url\()#([^\")]+)", page)
    assert referred
    assert set(referred) <= set(ids)
    assert {e.attrib["href"][0] for e in root.iter() if "href" in e.attrib} == {"#"}


def test_every_plot_is_there_and_described(root: Element) -> None:
    sections = list(root.iter("section"))
    for section in sections:
        plots = list(section.iter("svg"))
        assert [plot.attrib["role"] for plot in plots] == ["img"] * 4
        starts = [
            "NDCG@10 against the CPU seconds",
            "NDCG@10 against the share of items",
            "NDCG@10 by",
            "recall@20 by",
        ]
        for plot, start in zip(plots, starts, strict=True):
            assert plot.attrib["aria-label"].startswith(start)
        assert len(list(section.iter("figcaption"))) == 4
    names = [[text(t) for t in plot.iter("text")] for plot in sections[0].iter("svg")]
    for shown in names[:2]:
        assert {"ease", "default", "popularity", "oracle, the ceiling"} <= set(shown)
    assert {"ease", "oracle", "1-4", "50+", "0.017", "0.123"} <= set(names[2])
    assert {"head", "0.625"} <= set(names[3])


def test_what_was_not_measured_is_left_out() -> None:
    few = {"ndcg@5": Estimate(0.1, NAN), "recall@5": Estimate(0.2, 0.01)}
    bare = result("ease").model_copy(
        update={"metrics": few, "catalogue": {}, "by_activity": {}, "by_popularity": {}, "without_history": 7}
    )
    compared = comparisons([bare], STORE)
    root = parsed(html(compared, "bare"))
    accuracy, lists, _ = map(rows, root.iter("table"))
    assert accuracy == [
        ["model", "NDCG@5", "recall@5", "NDCG@5 minus the best's", "p"],
        ["ease best", "0.1000", "0.2000 ± 0.0100", "-", "-"],
    ]
    assert lists[0] == ["model", *COSTS]
    assert len(list(root.iter("svg"))) == 1
    assert "7 users without any watch before the cut are left out." in protocol(compared[0])


def test_results_without_a_common_ndcg_cannot_be_ranked() -> None:
    other = result("default").model_copy(update={"metrics": {"ndcg@5": Estimate(0.1, 0.01)}})
    with pytest.raises(ValueError, match="films, leave-one-out have no NDCG in common"):
        comparisons([result("ease"), other], STORE)


def test_of_one_watch_a_user_the_reciprocal_rank_is_told_and_no_capped_recall(tmp_path: Path) -> None:
    single = [result(model).model_copy(update={"targets": 1200}) for model in ("ease", "default")]
    shown = markdown(comparisons(single, Known(tmp_path)))
    assert "MRR@10" in shown
    assert "capped" not in shown


def test_markdown_has_the_same_numbers(compared: list[Comparison]) -> None:
    lines = markdown(compared).splitlines()
    assert lines[0] == "### films, leave-one-out"
    first = lines.index(f"| {' | '.join(ACCURACY)} |")
    assert lines[first + 1] == "| --- |" + " ---: |" * (len(ACCURACY) - 1)
    assert lines[first + 2] == f"| **ease (best)** | {' | '.join(EASE)} |"
    assert lines[first + 3].startswith("| default (≈ best) | 0.1598 ± 0.0101 | 0.0799 ± 0.0103 |")
    assert lines[first + 4].startswith(r'| \<script\>alert("1")\</script\> \& $x$ \| \*y\* | 0.1000 ± 0.0101 |')
    assert lines[first + 6].startswith("| *oracle (ceiling)* | 0.6000")
    assert "### a \\<b\\> world, temporal" in lines


@pytest.mark.parametrize("width", [80, 200])
def test_terminal_tables_fit_and_lose_nothing(compared: list[Comparison], width: int) -> None:
    out = StringIO()
    print_tables(compared, Console(file=out, width=width))
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    for number in ("0.1624", "± 0.0101", "[-0.0371,", "-0.0253]", "0.212", "1,234.5", "± 6.7", "2,436", "1,536"):
        assert number in shown
    if width == 200:
        (line,) = [line.split() for line in shown.splitlines() if line.startswith(" ease") and "0.1624" in line][:1]
        assert line == ["ease", "(best)", *" ".join(EASE).split()]
        assert EVIL in shown


def saved(store: ResultStore, model: str, ndcg: list[float], data: str = "made", corpus: str = "one") -> Result:
    report = Report(
        users=np.arange(1, len(ndcg) + 1, dtype=np.int32),
        given=np.full(len(ndcg), 7),
        without_history=0,
        targets=len(ndcg),
        untrained_targets=0,
        metrics={"ndcg@10": np.array(ndcg), "age@10": np.full(len(ndcg), NAN)},
        by_popularity={},
        targets_by_popularity={},
        catalogue={"coverage@10": 0.5, "gini@10": NAN},
    )
    cell = Cell(data=data, corpus=corpus, holdout="users", holdout_share=0.1, model=model)
    store.save(cell, report, Cost(fit_cpu_seconds=0, tune_cpu_seconds=0, peak_megabytes=1), {})
    return store.load(cell)


def test_differences_come_from_the_store_user_by_user(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results")
    rng = np.random.default_rng(0)
    base = rng.random(200)
    results = [
        saved(store, "worse", list(base - 0.25)),
        saved(store, "best", list(base)),
        saved(store, "same", list(base + rng.normal(-0.001, 0.1, 200))),
    ]
    write_report(comparisons(results, store), tmp_path / "there" / "report.html", "Made")
    root = parsed((tmp_path / "there" / "report.html").read_text())
    accuracy, lists, _ = map(rows, root.iter("table"))
    by_name = {row[0]: row for row in accuracy}
    assert accuracy[1][0] == "best best"
    # Each user's difference is exactly -0.25, so every resample's is.
    assert by_name["worse"][2:] == ["-0.2500 [-0.2500, -0.2500]", "0.001"]
    assert "same ≈ best" in by_name
    # Nothing to average, in the file and in the table.
    assert np.isnan(results[0].metrics["age@10"].value)
    assert lists[1][1:4] == ["0.5000", "-", "-"]


def test_corpora_of_the_same_name_are_not_mixed(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    results = [saved(store, "a", [0.1, 0.2], corpus="one"), saved(store, "a", [0.1, 0.2, 0.3], corpus="two")]
    assert [len(c.entries) for c in comparisons(results, store)] == [1, 1]


def test_the_wheel_holds_the_template() -> None:
    packed = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert f"evaluation/{TEMPLATE}" in packed


def test_nothing_draws_where_no_report_is_written() -> None:
    code = "import sys, watchnext.cli, serving.app; print(sorted({'matplotlib', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys, evaluation.report; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_opens_it(page: str, tmp_path: Path) -> None:
    assert CHROMIUM
    probe = """<script>addEventListener("load", () => {
        const box = (e) => e.getBoundingClientRect();
        const plots = [...document.querySelectorAll("svg")].map(box);
        const texts = [...document.querySelectorAll("svg text")];
        document.body.dataset.found = JSON.stringify([
          document.compatMode, plots.length, plots.every(b => b.width > 300 && b.height > 100), texts.length > 50,
          texts.every(t => getComputedStyle(t).fill === getComputedStyle(document.body).color),
          document.documentElement.scrollWidth <= innerWidth,
          performance.getEntriesByType("resource").length, document.querySelectorAll("script").length]);
      });</script></body>"""
    (tmp_path / "report.html").write_text(page.replace("</body>", probe), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-quic"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,900", "--dump-dom"]
    command += [(tmp_path / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found
    # Standards mode; two sections of four plots, whose text has the page's colour; no sideways scrolling of the page
    # itself; nothing was fetched; no script but this one, so no name became one.
    assert found[1].replace("&quot;", '"') == '["CSS1Compat",8,true,true,true,true,0,1]'
