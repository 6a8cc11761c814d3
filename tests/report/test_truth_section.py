"""The section on ground truth: its numbers are those of the tables, its figures show them, and it needs none of it."""

import json
import math
from pathlib import Path

import pytest
from figure_checks import (
    assert_nothing_but_a_picture,
    assert_readable,
    legend_labels,
    points,
    repeated_bytes,
    visible_texts,
)
from test_report import contents

from nas.analysis.truth import Truth
from nas.pipeline.errors import UserError
from nas.pipeline.names import Search
from nas.pipeline.records import Alias, Alphas, GroundTruth, Opinion, ProxyScore
from nas.report.contents import Contents, Report
from nas.report.figures.truth import distribution_figure, plot_distribution, plot_taus, regret_figure, taus_figure
from nas.report.sections import truth as sections
from nas.report.summary import read_by
from nas.space.genotypes import Genotype, weight_rows

OPERATIONS = ("none", "max_pool_3x3", "sep_conv_3x3", "skip_connect")


def genotype(first: str, second: str) -> Genotype:
    reduce = (("skip_connect", 0), ("skip_connect", 1))
    return Genotype(((first, 0), (second, 1)), (2,), reduce, (2,))


# Accuracies of nine cells: the second edge counts more.
WORTH = {name: 10.0 * i for i, name in enumerate(OPERATIONS[1:])}
SPACE = {(a, b): 50 + WORTH[a] + 2 * WORTH[b] / 2.5 for a in WORTH for b in WORTH}
SPELLED = {pair: json.dumps(genotype(*pair).to_dict()) for pair in SPACE}


def alphas(*picked: tuple[str, str]) -> list[dict]:
    """Of a search that stands for these cells, epoch by epoch."""

    def row(name: str) -> list[float]:
        return [0.1 + 0.6 * (name == operation) for operation in OPERATIONS]

    skips = [row("skip_connect"), row("skip_connect")]
    return [
        line
        for epoch, pair in enumerate(picked)
        for line in weight_rows(OPERATIONS, {"normal": [row(pair[0]), row(pair[1])], "reduce": skips}, epoch)
    ]


SEP, MAX, SKIP = "sep_conv_3x3", "max_pool_3x3", "skip_connect"
SEARCHES = {
    Search("cells", "darts", 0): [(MAX, MAX), (SEP, SKIP), (SKIP, SKIP)],
    Search("cells", "darts", 1): [(MAX, MAX), (MAX, MAX), (SEP, SKIP)],
    Search("cells", "gdas", 0): [(MAX, MAX), (SKIP, MAX), (MAX, MAX)],  # ends after the first epoch
    Search("cells", "random", 0): [(SEP, SEP)],
    Search("elsewhere", "darts", 0): [(SEP, SEP)],
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for searched, picked in SEARCHES.items():
        folder = searched.results(tmp_path / "results")
        Alphas.write(folder / "alphas.csv", alphas(*picked))
        told = dict.fromkeys(("train_loss", "train_top1", "valid_loss", "valid_top1"), 1.0)
        told |= {"entropy_normal": 1.0, "entropy_reduce": 1.0, "skips_normal": 1, "skips_reduce": 2, "device": "cpu"}
        told |= {"epoch": 1} if searched.algorithm == "gdas" else {}
        (folder / "metrics.json").write_text(json.dumps(told))
    trained = [
        {"genotype": SPELLED[pair], "recipe": recipe, "seed": seed, "top1": top1, "params": 9, "macs": 99}
        for recipe, factor in (("short", 1), ("long", -1))
        for seed in (0, 1)
        for pair, worth in SPACE.items()
        for top1 in [50 + factor * (worth - 50) + 0.5 * seed]
    ]
    folder = tmp_path / "results/truth/cells"
    GroundTruth.write(folder / "table.csv", trained)
    other = Genotype(((SEP, 1), (SEP, 0)), (2,), ((SKIP, 1), (MAX, 0)), (2,))  # computes as if it were the best
    same = [{"genotype": text, "trained_as": text} for text in SPELLED.values()]
    Alias.write(
        folder / "aliases.csv",
        [*same, {"genotype": json.dumps(other.to_dict()), "trained_as": SPELLED[SKIP, SKIP]}],
    )
    return tmp_path / "results"


def shown(results: Path) -> Contents:
    """The space, and what of its searches' supernets were asked."""
    asked = [searched for searched in SEARCHES if searched.opinions(results).exists()]
    return contents(searches={searched.key: searched for searched in SEARCHES}, truth=["cells"], asked=asked)


def write_opinions(results: Path, opinions: list[dict]) -> None:
    for search in {row["search"]: None for row in opinions}:
        Opinion.write(Search.of(search).opinions(results), [row for row in opinions if row["search"] == search])


Table = list[list[str]]


def told(results: Path, given: Contents) -> tuple[str, list[Table]]:
    """The section, and its tables, their header first and no rule."""
    folder = results.parent / "figures"
    folder.mkdir(exist_ok=True)
    text = sections.section(Report(results, given, [], folder))
    tables: list[Table] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            tables[-1].append([cell.strip() for cell in line.split("|")[1:-1]])
        elif tables[-1]:
            tables.append([])
    return text, [[table[0], *table[2:]] for table in tables if table]


def rows_of(tables: list[Table], *header: str) -> Table:
    """The rows of the table whose first columns are called that."""
    (found,) = [rows for first, *rows in tables if tuple(first[: len(header)]) == header]
    return found


def test_without_a_truth_there_is_no_section(results: Path) -> None:
    assert told(results, contents(searches={"a": next(iter(SEARCHES))}))[0] == ""
    assert told(results, contents())[0] == ""


def test_searches_are_judged_by_every_recipe(results: Path) -> None:
    text, tables = told(results, shown(results))
    # 50 + {0, 10, 20} + {0, 8, 16}, half a point for the second seed; the best counts twice.
    worst, drawn, best = "50.25", f"{(9 * 68.25 + 86.25) / 10:.2f}", "86.25"
    assert rows_of(tables, "recipe", "genotypes")[0] == ["short", "10", "9", "2", worst, drawn, best, "1.00"]
    rows = rows_of(tables, "algorithm, judged by short")
    assert rows[0][:6] == ["darts", "2", "81.25 ± 7.07", "5.00", "2.0", "70 %"]
    assert rows[1][:6] == ["gdas", "1", "70.25", "16.00", "4.0", "50 %"]
    assert rows[2] == ["random", "1", "68.25", "18.00", "5.0", "40 %", "–"]
    assert rows[3:] == [["a random draw, on average", "–", drawn, "16.20", "–", "–", "–"]]
    # The second recipe ranks the other way round: of the best tenth, one genotype, none in common
    rows = rows_of(tables, "algorithm, judged by long")
    assert [row[0] for row in rows[:3]] == ["random", "gdas", "darts"]
    assert rows[2][3] == "31.00"
    assert rows_of(tables, "recipe", "another") == [
        ["short", "long", "9", "-1.00", "-1.00 to -1.00", "0 of 1", "0.1", "1.000"]
    ]
    assert "scores-cells.png" not in text and "regret-cells.png" in text
    assert {path.name for path in (results.parent / "figures").iterdir()} == {"truth-cells.png", "regret-cells.png"}


def test_curves_are_the_means_over_seeds_beside_a_random_draws_regret(results: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(sections, "plot_regret", lambda curves, path, random: seen.append((curves, random)))
    told(results, shown(results))
    ((curves, random),) = seen
    assert random == pytest.approx(86.25 - (9 * 68.25 + 86.25) / 10)
    assert [(row["epoch"], row["mean"], row["low"], row["high"]) for row in curves["darts"]] == [
        (0, 36.0, 36.0, 36.0), (1, 23.0, 10.0, 36.0), (2, 5.0, 0.0, 10.0),
    ]  # fmt: skip
    assert [row["mean"] for row in curves["gdas"]] == [36.0, 16.0] and set(curves) == {"darts", "gdas"}


def test_a_search_that_ended_early_is_judged_by_its_result(results: Path) -> None:
    """GDAS's metrics name epoch 1, of which α stands for skip_connect and max_pool."""
    _, tables = told(results, shown(results))
    (row,) = [row for row in rows_of(tables, "algorithm, judged by short") if row[0] == "gdas"]
    assert row[2:4] == ["70.25", "16.00"]


def test_p_values_are_of_draws_from_the_space_and_adjusted(results: Path) -> None:
    _, tables = told(results, shown(results))
    table, aliases = (record.read(results / f"truth/cells/{name}.csv").to_dict("records")
                      for record, name in ((GroundTruth, "table"), (Alias, "aliases")))  # fmt: skip
    truth = Truth.of(table, aliases)
    darts, gdas = truth.chance([86.25, 76.25]), truth.chance([70.25])
    assert 2 * darts < gdas  # so Holm doubles the smaller alone
    found = {row[0]: row[6].strip("*") for row in rows_of(tables, "algorithm, judged by short")}
    assert (found["darts"], found["gdas"]) == (f"{2 * darts:.3f}", f"{gdas:.3f}")


def test_scores_are_held_against_the_truth(results: Path) -> None:
    scores = {"params": dict.fromkeys(SPACE, 7.0), "synflow": SPACE, "snip": {p: -w for p, w in SPACE.items()}}
    rows = [
        {"genotype": SPELLED[pair], "proxy": proxy, "score": score}
        for proxy, each in scores.items()
        for pair, score in each.items()
    ]
    ProxyScore.write(results / "truth/cells/proxies.csv", rows)
    opinions = [
        {"search": search, "genotype": SPELLED[pair], "top1": top1}
        for search, each in {
            "cells-darts-0": SPACE,
            "cells-darts-1": {p: 100 - w for p, w in SPACE.items()},
            "cells-gdas-0": {p: float(p == (SEP, SKIP)) for p in SPACE},
        }.items()
        for pair, top1 in each.items()
    ]
    write_opinions(results, opinions)
    _, tables = told(results, shown(results))
    found = {(row[0], row[1]): row[2:] for row in rows_of(tables, "score")}
    assert found["synflow", "untrained"] == ["1.00", "1.00 to 1.00", "86.25", "0.00", "80 %"]
    assert found["snip", "untrained"] == ["-1.00", "-1.00 to -1.00", "50.25", "36.00", "0 %"]
    assert found["params", "untrained"] == ["–", "–", "68.25", "18.00", "40 %"]  # all alike: any might be chosen
    assert found["darts", "its supernet"] == ["0.00", "–", "68.25", "18.00", "40 %"]  # one is right, one is wrong
    assert found["gdas", "its supernet"][2:4] == ["76.25", "10.00"]
    assert list(found)[0] == ("synflow", "untrained") and list(found)[-1] == ("params", "untrained")
    assert (results.parent / "figures/scores-cells.png").is_file()


def test_published_averages_stand_beside_ours(results: Path) -> None:
    """Of NAS-Bench-201, as its paper has them; ours are the regrets of the same algorithms."""
    text, tables = told(results, shown(results))
    rows = {line[0]: line[1:] for line in rows_of(tables, "algorithm")}
    assert rows["darts"][:4] == ["54.30 ± 0.00", "40.07", "–", "5.00"]
    assert rows["gdas"][:4] == ["93.61 ± 0.09", "0.76", "–", "16.00"]
    assert rows["drnas"][:4] == ["94.36 ± 0.00", "0.01", "–", "–"]
    assert "The best of that space has 94.37 %" in text and "200 epochs" in text


def test_with_the_published_table_it_tells_what_share_of_that_space_is_worse(results: Path) -> None:
    three = "nor_conv_3x3"
    table = [
        {"genotype": f"|{a}~0|+|{b}~0|{three}~1|+|skip_connect~0|{three}~1|{three}~2|", "top1": top1}
        for a, b, top1 in (("none", "none", 10.0), (three, "none", 54.30), ("none", three, 93.0), (three, three, 94.37))
    ]
    more = {"recipe": "200 epochs", "seed": 777, "params": 1, "macs": 1}
    folder = results / "truth/nas_bench_201"
    GroundTruth.write(folder / "table.csv", [row | more for row in table])
    Alias.write(folder / "aliases.csv", [{"genotype": r["genotype"], "trained_as": r["genotype"]} for r in table])
    text, tables = told(results, contents(searches={}, truth=["nas_bench_201"]))
    rows = {line[0]: line[1:] for line in rows_of(tables, "algorithm")}
    assert rows["darts"][2] == "25 %" and rows["drnas"][2] == "75 %"
    assert "judged by" not in text and "regret-" not in text


def test_a_search_that_the_truth_does_not_have_is_told_of(results: Path) -> None:
    path = results / "truth/cells/table.csv"
    kept = [row for row in GroundTruth.read(path).to_dict("records") if row["genotype"] != SPELLED[SEP, SKIP]]
    GroundTruth.write(path, kept)
    Alias.write(
        results / "truth/cells/aliases.csv", [{"genotype": r["genotype"], "trained_as": r["genotype"]} for r in kept]
    )
    _, tables = told(results, shown(results))
    (row,) = [row for row in rows_of(tables, "algorithm, judged by short") if row[0] == "darts"]
    assert row[1:4] == ["1 of 2", "86.25", "0.00"]


def test_a_damaged_table_is_one_line(results: Path) -> None:
    path = results / "truth/cells/table.csv"
    rows = GroundTruth.read(path).to_dict("records")
    GroundTruth.write(path, [*rows, rows[0]])
    with pytest.raises(UserError, match="table.csv: is missing or damaged .seed 0 of .* is there twice") as caught:
        told(results, shown(results))
    assert "\n" not in str(caught.value)
    (results / "truth/cells/aliases.csv").unlink()
    with pytest.raises(UserError, match="aliases.csv: is missing"):
        told(results, shown(results))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"search": "cells-darts-0", "genotype": "none of ours", "top1": 1.0},
            "0.csv: is missing or damaged",
        ),
        ({"search": "cells-darts-0", "genotype": SPELLED[SEP, SEP], "top1": math.nan}, "the score of .* is NaN"),
    ],
)
def test_a_damaged_table_of_scores_is_one_line(results: Path, row: dict, message: str) -> None:
    write_opinions(results, [row])
    with pytest.raises(UserError, match=message) as caught:
        told(results, shown(results))
    assert "\n" not in str(caught.value)


def test_a_score_of_a_single_genotype_ranks_nothing(results: Path) -> None:
    row = {"search": "cells-darts-0", "genotype": SPELLED[SEP, SEP], "top1": 1.0}
    write_opinions(results, [row])
    assert "scores-cells" not in told(results, shown(results))[0]


def test_the_report_says_what_it_reads(results: Path) -> None:
    def read() -> list[str]:
        return [path.name for path in read_by(shown(results), results) if "results/truth/cells" in path.as_posix()]

    assert read() == ["table.csv", "aliases.csv"]
    write_opinions(results, [{"search": "cells-darts-0", "genotype": "x", "top1": 1.0}])
    assert read() == ["table.csv", "aliases.csv", "cells-darts-0.csv"]
    assert not [path for path in read_by(contents(), results) if "truth" in path.as_posix()]


# Figures

ACCURACIES, SIZES = [60.0, 70.0, 80.0, 90.0], [1, 2, 3, 4]
ENDS = {"darts": [90.0, 80.0], "gdas": [70.0], "drnas+darts_minus": [90.0]}


def test_the_distribution_is_of_the_whole_space_with_a_row_of_marks_for_each_algorithm() -> None:
    figure = distribution_figure(ACCURACIES, SIZES, ENDS, 80.0)
    assert_readable(figure)
    above, below = figure.axes
    heights = [bar.get_height() for bar in above.patches if bar.get_height()]
    assert heights == pytest.approx([10.0, 20.0, 30.0, 40.0])
    marks = [points(line) for line in below.lines if line.get_marker() == "o"]
    assert marks == [[(90.0, 0.0), (80.0, 0.0)], [(70.0, 1.0)], [(90.0, 2.0)]]
    assert {key.partition("#")[0] for key in visible_texts(figure)} >= {*ENDS, "accuracy (%)"}
    lines = [line.get_xdata()[0] for line in above.lines]
    assert lines == [80.0, 90.0] and legend_labels(figure)[-1] == "what a search found"
    assert len(distribution_figure(ACCURACIES, SIZES, {}, 80.0).axes) == 1
    assert_readable(distribution_figure([50.0], [1], {"random": [50.0]}, 50.0))


def test_regret_is_a_mean_and_a_range_against_epochs() -> None:
    rows = [{"epoch": e, "mean": 3.0 - e, "low": 2.0 - e / 2, "high": 4.0} for e in range(3)]
    figure = regret_figure({"darts": rows, "gdas": rows[:1]}, 2.5)
    assert_readable(figure)
    (axes,) = figure.axes
    assert points(axes.lines[1]) == [(0, 3), (1, 2), (2, 1)]
    assert axes.lines[0].get_ydata()[0] == 2.5
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert {(0, 2.0), (1, 1.5), (2, 1.0), (0, 4.0), (2, 4.0)} <= corners
    assert legend_labels(figure) == ["a random draw, on average", "darts", "gdas"]


def test_taus_are_points_with_their_intervals() -> None:
    figure = taus_figure({"params": [(0.6, 0.5, 0.7)]}, {"darts": [(0.1, 0.0, 0.2), (0.3, 0.2, 0.4)]}, 0.8)
    assert_readable(figure)
    (axes,) = figure.axes
    dots = [points(line)[0] for line in axes.lines if line.get_marker() in "os"]
    assert [x for x, _ in dots] == [0.6, 0.1, 0.3] and len({y for _, y in dots}) == 3
    assert [
        tuple(line.get_xdata()) for line in axes.lines if len({*line.get_ydata()}) == 1 and len(line.get_xdata()) == 2
    ] == [(0.5, 0.7), (0.0, 0.2), (0.2, 0.4)]
    assert legend_labels(figure) == ["proxy, untrained", "supernet", "one seed with another"]
    assert_readable(taus_figure({"params": [(float("nan"),) * 3]}, {}, None))


def test_pictures_repeat_to_the_byte(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    draw = repeated_bytes(lambda path: plot_distribution(ACCURACIES, SIZES, ENDS, path, random=80.0), tmp_path / "one")
    assert_nothing_but_a_picture(draw)
    repeated_bytes(lambda path: plot_taus({"params": [(0.6, 0.5, 0.7)]}, {}, path), tmp_path / "other")
