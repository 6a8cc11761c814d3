"""The summary, and the evaluated networks: accuracy, size and training."""

from collections.abc import Mapping, Sequence

from nas.pipeline.names import Label
from nas.pipeline.records import History
from nas.report.contents import Report
from nas.report.figures.accuracy import plot_accuracy
from nas.report.figures.curves import plot_training
from nas.report.published import pibconv as published
from nas.report.render import accuracy, italic, render
from nas.space.published import PUBLISHED


def summary(report: Report) -> str:
    """The most accurate network, in a sentence."""
    rows = report.evaluated
    return render(
        "summary",
        networks=len(rows),
        best=max(rows, key=lambda row: row["accuracy"], default=None),
        recipe=report.contents.evaluation(rows) if rows else None,
        data=report.contents.data,
    )


def section(report: Report) -> str:
    """Every network, with the paper's numbers beside ours if anything shown is of its study."""
    if not report.evaluated:
        return ""
    contents, recipe = report.contents, report.contents.evaluation(report.evaluated)
    paper = [row._asdict() for row in published.PIBCONV_TABLE_1] if contents.pibconv else []
    note = f"ours: {recipe}" + (f"; paper: {published.PIBCONV_RECIPE}" if paper else "")
    plot_accuracy(report.evaluated, paper, report.folder / "accuracy.png", note=note)
    tables = {run.key: History.read(run.results(report.results) / "history.csv") for run in contents.runs}
    histories = {key: table.to_dict("records") for key, table in tables.items()}
    plot_training(histories, report.folder / "training.png")
    return render(
        "accuracy",
        rows=_rows(report.evaluated, paper),
        recipe=recipe,
        source=published.PIBCONV_SOURCE if paper else None,
        published=PUBLISHED,
        seeds=contents.seeds,
        classes=_by_class(report),
        single_blocks=any(Label.of(row["genotype"]).kind == "all" for row in report.evaluated),
    )


def _by_class(report: Report) -> dict | None:
    """A table with a column for each network and a row for each class, if the classes are uneven."""
    networks = [row for row in report.evaluated if row["classes"]]
    if not networks:
        return None
    names = networks[0]["classes"]
    counts = [count for count in (report.contents.prepared or {}).get("test_per_class", []) if count]
    return {
        "header": " | ".join(["class", *(f"{row['genotype']}, {row['layers']} layers" for row in networks)]),
        "rows": [(name, *(f"{row['classes'][name]:.2f}" for row in networks)) for name in names],
        "fewest": min(counts, default="few"),
        "most": max(counts, default="many"),
    }


def _rows(ours: Sequence[Mapping], paper: Sequence[Mapping]) -> list[tuple]:
    """A row a network; each of our numbers is followed by the paper's where `paper` holds any."""
    papers = {(row["genotype"], row["layers"]): row for row in paper}
    rows = []
    for row in ours:
        values = (accuracy(row), f"{row['params']:.4g}", f"{row['gmac']:.4g}")
        same = papers.get((row["genotype"], row["layers"]))
        theirs = (
            (italic(f"{same['accuracy']:.2f}"), italic(f"{same['params']:g}"), italic(f"{same['gmac']:.3f}"))
            if same
            else 3 * ("–",)
        )
        pairs = [value for pair in zip(values, theirs, strict=True) for value in pair] if paper else values
        rows.append((row["genotype"], row["layers"], *pairs, f"{row['top5']:.2f}"))
    return rows
