"""Algorithms side by side: the figure, the tables, and the test that tells a difference from chance."""

import math
import shutil
from pathlib import Path

import pytest
from figure_checks import assert_readable, legend_labels, points
from test_report import contents, results, section, table  # noqa: F401, a fixture

from nas.pipeline.names import Search
from nas.pipeline.records import MeasuredHistory, Repeatability, SearchHistory
from nas.report.figures.algorithms import algorithms_figure
from nas.report.intervals import holm, welch
from nas.report.page import write


def density(t: float, freedom: float) -> float:
    """Of Student's t distribution."""
    log = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    return math.exp(log - (freedom + 1) / 2 * math.log1p(t * t / freedom))


def test_welch_is_the_tail_of_the_t_distribution() -> None:
    """Means 2 and 4, squared errors 1/3 and 4/3: t = 2/√(5/3), freedom (5/3)²/((1/9 + 16/9)/2) = 50/17."""
    one, other = [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]
    t, freedom, step = 2 / math.sqrt(5 / 3), 50 / 17, 1e-3
    inside = sum(density((i + 0.5) * step, freedom) * step for i in range(round(t / step)))
    assert welch(one, other) == welch(other, one) == pytest.approx(1 - 2 * inside, abs=1e-3)
    assert welch(one, one) == 1.0
    assert (welch([1.0, 1.0], [2.0, 2.0]), welch([1.0, 1.0], [1.0, 1.0])) == (0.0, 1.0)


def test_holm_multiplies_each_by_what_is_left_and_never_falls() -> None:
    """0.01·4, 0.005·... in rising order: 0.005·4, 0.01·3, 0.03·2, 0.04·1 → at least the one before."""
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}


@pytest.mark.parametrize("measured", [False, True])
def test_the_figure_has_a_line_of_means_for_each_algorithm(measured: bool) -> None:
    def history(skips: list[int], more: bool = False) -> list[dict]:
        rows = [{"epoch": i + 1, "skips_normal": n} for i, n in enumerate(skips)]
        return [row | {"eigenvalue": 0.5 * row["epoch"]} for row in rows] if more else rows

    figure = algorithms_figure(
        {
            "darts": [history([0, 2, 4]), history([1, 2, 3])],
            "darts_plus": [history([0, 2]), history([1, 1, 2])],
            "r_darts": [history([3, 3, 3], more=measured)],
        }
    )
    assert_readable(figure)
    assert legend_labels(figure) == ["darts", "darts_plus", "r_darts"]
    drawn = [points(line) for line in figure.axes[0].lines]
    assert drawn[0] == [(1, 0.5), (2, 2), (3, 3.5)]
    assert drawn[1] == [(1, 0.5), (2, 1.5), (3, 2)]  # of the searches that have come so far
    assert len(figure.axes) == 1 + measured
    if measured:
        assert [points(line) for line in figure.axes[1].lines] == [[(1, 0.5), (2, 1.0), (3, 1.5)]]


def searches(results: Path) -> dict[str, Search]:  # noqa: F811
    """As if DARTS and R-DARTS had searched with two seeds, and two genotypes were drawn."""
    kept = results / "search/darts-darts-0"
    found = {}
    for algorithm in ("darts", "r_darts", "random"):
        for seed in (0, 1):
            search = Search("darts", algorithm, seed)
            name = search.genotype(["darts", "r_darts", "random"], [0, 1])
            found[name] = search
            folder = results / "search" / search.key
            if folder != kept:
                shutil.copytree(kept, folder)
            for file in [*(results / "genotypes").glob("darts.*"), *(results / "cells").glob("darts-*")]:
                if name != "darts":
                    shutil.copy(file, file.with_name(file.name.replace("darts", name, 1)))
    rows = SearchHistory.read(kept / "history.csv").to_dict("records")
    measured = [row | {"eigenvalue": 0.25} for row in rows]
    for seed in (0, 1):
        MeasuredHistory.write(results / f"search/darts-r_darts-{seed}/history.csv", measured)
    agreement = {"agreement": 0.25, "chance": 0.2, "p_value": 0.5, "verdict": "not told from chance"}
    which = [{"space": "darts", "algorithm": a, "cell": c} for a in ("darts", "r_darts") for c in ("normal", "reduce")]
    Repeatability.write(results / "preference/repeatability.csv", [row | agreement for row in which])
    return found


def test_the_section_tells_of_every_algorithm(results: Path, monkeypatch) -> None:  # noqa: F811
    found = searches(results)
    accuracies = {
        "darts": 90.0, "darts_seed_1": 92.0, "darts_by_r_darts": 60.0, "darts_by_r_darts_seed_1": 61.0,
        "darts_by_random": 60.0, "darts_by_random_seed_1": 62.0, "darts_random_0": 61.0,
    }  # fmt: skip
    rows = [
        {"genotype": name, "layers": 2, "seeds": [0], "accuracy": accuracy, "deviation": 0.0, "interval": None}
        | {"top5": 99.0, "classes": {}, "params": 1.0, "gmac": 0.1, "devices": {"cpu"}}
        for name, accuracy in accuracies.items()
    ]
    from nas.report.contents import Report
    from nas.report.sections import algorithms

    shown = contents(searches=found, networks=[])
    (results / "drawn").mkdir()
    text = algorithms.section(Report(results, shown, rows, results / "drawn"))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    searched, worth = lines[2:4], lines[6:]
    assert [line[:3] for line in searched] == [["darts", "2", "1"], ["r_darts", "2", "1"]]
    assert [line[-2:] for line in searched] == [["25 %", "25 %"]] * 2
    assert [line[:5] for line in worth] == [
        ["darts", "2", "91.00 ± 1.41", "92.00", "+30.00"],
        ["r_darts", "2", "60.50 ± 0.71", "61.00", "-0.50"],
        ["random", "3", "61.00 ± 1.00", "62.00", "–"],
    ]
    chances = [welch([90.0, 92.0], [60.0, 62.0, 61.0]), welch([60.0, 61.0], [60.0, 62.0, 61.0])]
    assert worth[0][5] == f"**{2 * chances[0]:.3f}**" and worth[1][5] == f"{chances[1]:.3f}"
    assert (results / "drawn/algorithms-darts.png").is_file()


def test_one_algorithm_has_no_section(results: Path) -> None:  # noqa: F811
    write(results, contents())
    assert "## Algorithms" not in (results / "report.md").read_text()
