"""From one search space to the next: the genotype of each, beside Fig. 1 of the PIBConv paper."""

from collections.abc import Iterable, Mapping

from nas.report.contents import Report
from nas.report.figures.roadmap import plot_roadmap
from nas.report.published import pibconv as published
from nas.report.render import accuracy, interval, italic, render
from nas.space.spaces import SPACES

HEADER = "space | test acc. (%) | 95 % interval | GMAC | params (M)"
BESIDE = "space | test acc. (%) | paper's | 95 % interval | GMAC | paper's | params (M)"


def section(report: Report) -> str:
    """The spaces in their own order, if the genotypes of at least two were evaluated with equally many layers."""
    spaces = [*dict.fromkeys([*SPACES, *(searched.space for searched in report.contents.searches.values())])]
    rows = sorted(_deepest(report, spaces), key=lambda row: spaces.index(row["genotype"]))
    if len(rows) < 2:
        return ""
    beside = report.contents.as_in_pibconv
    papers = {step.space: step for step in published.PIBCONV_FIG_1}
    steps, lines = [], []
    for row in rows:
        paper = papers.get(row["genotype"]) if beside else None
        theirs = {"paper_accuracy": paper and paper.accuracy, "paper_gmac": paper and paper.gmac}
        steps.append({key: row[key] for key in ("accuracy", "deviation", "gmac")} | {"name": row["genotype"]} | theirs)
        shown = (italic(f"{paper.accuracy:.2f}"), italic(f"{paper.gmac:g}")) if paper else ("–", "–")
        cells = [accuracy(row), shown[0], interval(row["interval"]), f"{row['gmac']:.4g}", shown[1]]
        lines.append((row["genotype"], *(cells if beside else (cells[0], *cells[2:4])), f"{row['params']:.4g}"))
    recipe = f"ours: {rows[0]['layers']} layers, {report.contents.evaluation(rows)}"
    note = f"{recipe}; paper: {published.PIBCONV_FIG_1_RECIPE}" if beside else recipe
    plot_roadmap(steps, report.folder / "roadmap.png", note=note)
    paper = [papers[row["genotype"]] for row in rows if row["genotype"] in papers]
    return render(
        "roadmap",
        header=BESIDE if beside else HEADER,
        rows=lines,
        beside=beside,
        apart=[] if beside else [(step.space, f"{step.accuracy:.2f}", f"{step.gmac:g}") for step in paper],
        drawn=bool(report.contents.searches) and not report.contents.trained,
        seeds=report.contents.seeds,
        recipe=recipe,
        source=published.PIBCONV_FIG_1_SOURCE,
    )


def _deepest(report: Report, names: Iterable[str]) -> list[Mapping]:
    """The rows of the genotypes `names` at the largest layer count that all evaluated of them share."""
    rows = [row for row in report.evaluated if row["genotype"] in names]
    depths = [{row["layers"] for row in rows if row["genotype"] == name} for name in {row["genotype"] for row in rows}]
    shared = set.intersection(*depths) if depths else set()
    return [row for row in rows if row["layers"] == max(shared)] if shared else []
