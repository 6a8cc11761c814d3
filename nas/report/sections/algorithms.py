"""Algorithms side by side: what each finds in a space, at what cost, and whether it is more than chance finds."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from nas.pipeline.names import Search, genotype_file
from nas.pipeline.params import RANDOM
from nas.pipeline.records import MeasuredHistory, Repeatability, SearchHistory
from nas.report.contents import Report
from nas.report.figures.algorithms import History, plot_algorithms
from nas.report.intervals import LEVEL, holm, welch
from nas.report.render import bold, render
from nas.space.genotypes import CELLS, load


def section(report: Report) -> str:
    """Of every space that several algorithms searched, if any is."""
    algorithms = list(dict.fromkeys(searched.algorithm for searched in report.contents.searches.values()))
    if len(algorithms) < 2:
        return ""
    spaces = list(dict.fromkeys(searched.space for searched in report.contents.searches.values()))
    repeats = Repeatability.read(report.results / "preference" / "repeatability.csv")
    agreement = repeats.set_index(["space", "algorithm", "cell"])["agreement"].to_dict()
    parts = [_space(report, space, algorithms, agreement) for space in spaces]
    recipe = report.contents.evaluation(report.evaluated) if report.evaluated else ""
    return render("algorithms", spaces=parts, level=LEVEL, recipe=recipe)


def _space(
    report: Report, space: str, algorithms: Sequence[str], agreement: Mapping[tuple[str, str, str], float]
) -> dict:
    """Draw the figure of a space; return what its subsection tells."""
    searches = {
        algorithm: {
            name: searched
            for name, searched in report.contents.searches.items()
            if (searched.space, searched.algorithm) == (space, algorithm)
        }
        for algorithm in algorithms
    }
    histories = {
        algorithm: [_history(report, searched) for searched in found.values()]
        for algorithm, found in searches.items()
        if algorithm != RANDOM
    }
    plot_algorithms(histories, report.folder / f"algorithms-{space}.png")
    return {
        "name": space,
        "rows": [
            (
                *_searched(report, algorithm, searches[algorithm], rows),
                *(_percent(agreement.get((space, algorithm, cell))) for cell in CELLS),
            )
            for algorithm, rows in histories.items()
        ],
        "tables": [
            _accuracies(report, space, layers, searches)
            for layers in sorted({row["layers"] for row in report.evaluated})
        ],
    }


def _history(report: Report, searched: Search) -> History:
    path = searched.results(report.results) / "history.csv"
    kind = MeasuredHistory if "eigenvalue" in path.read_text().partition("\n")[0] else SearchHistory
    return kind.read(path).to_dict("records")


def _searched(
    report: Report, algorithm: str, searches: Mapping[str, Search], histories: Sequence[History]
) -> tuple[str, ...]:
    """A line of what the searches of one algorithm ended with, means over their seeds."""
    genotypes = [load(genotype_file(name, report.results)) for name in searches]
    skips = [genotype.skips() for genotype in genotypes]
    return (
        algorithm,
        len(searches),
        f"{mean(len(rows) for rows in histories):.4g}",
        f"{mean(rows[-1]['valid_top1'] for rows in histories):.2f}",
        *(_mean_of([each[f"skips_{cell}"] for each in skips if f"skips_{cell}" in each]) for cell in CELLS),
    )


def _accuracies(report: Report, space: str, layers: int, searches: Mapping[str, Mapping[str, Search]]) -> dict:
    """What the genotypes found are worth at a number of layers, an accuracy each, beside those drawn at random."""
    rows = {row["genotype"]: row["accuracy"] for row in report.evaluated if row["layers"] == layers}
    found = {name: [rows[genotype] for genotype in each if genotype in rows] for name, each in searches.items()}
    found.pop(RANDOM, None)
    drawn = [row["accuracy"] for row in report.drawn(space, layers)]
    compared = {name: each for name, each in found.items() if min(len(each), len(drawn)) > 1}
    chances = holm({name: welch(each, drawn) for name, each in compared.items()})
    lines = [
        (
            *(name, len(each), _mean(each), f"{max(each):.2f}"),
            f"{mean(each) - mean(drawn):+.2f}" if drawn else "–",
            _verdict(chances[name]) if name in chances else "–",
        )
        for name, each in sorted(found.items(), key=lambda item: -mean(item[1] or [0]))
        if each
    ]
    if drawn:
        lines.append((RANDOM, len(drawn), _mean(drawn), f"{max(drawn):.2f}", "–", "–"))
    return {"layers": layers, "rows": lines}


def _mean_of(counts: Sequence[int]) -> str:
    return f"{mean(counts):.1f}" if counts else "–"


def _mean(accuracies: Sequence[float]) -> str:
    return f"{mean(accuracies):.2f}" + (f" ± {stdev(accuracies):.2f}" if len(accuracies) > 1 else "")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _verdict(chance: float) -> str:
    return bold(f"{chance:.3f}") if chance <= LEVEL else f"{chance:.3f}"
