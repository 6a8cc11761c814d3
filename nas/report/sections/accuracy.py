"""The summary, and the evaluated networks: accuracy, size and training."""

from collections.abc import Mapping, Sequence

from nas.pipeline.names import Label
from nas.pipeline.records import History
from nas.report.contents import Report
from nas.report.figures.accuracy import plot_accuracy
from nas.report.figures.charts import accuracy_chart, epochs_chart
from nas.report.figures.curves import plot_training
from nas.report.intervals import ties
from nas.report.published import pibconv as published
from nas.report.render import accuracy, bold, interval, italic, render
from nas.space.published import PUBLISHED

MOST = 6  # ties that the summary names
HEADER = "genotype | layers | test acc. (%) | 95 % interval | params (M) | GMAC | top-5 acc. (%)"
BESIDE = (
    "genotype | layers | test acc. (%) | paper's | 95 % interval | params (M) | paper's | GMAC | paper's | "
    "top-5 acc. (%)"
)


def summary(report: Report) -> str:
    """The most accurate network and what ties with it, in a few sentences."""
    rows = report.evaluated
    best, *others = ties(rows) or [None]
    return render(
        "summary",
        networks=len(rows),
        best=best,
        ties=others,
        most=MOST,
        evidence=report.contents.evidence(rows),
        trained_once=_trained_once(rows),
        recipe=report.contents.evaluation(rows) if rows else None,
        data=report.contents.data,
    )


def _trained_once(rows: Sequence[Mapping]) -> bool:
    return all(len(row["seeds"]) == 1 for row in rows)


def section(report: Report) -> str:
    """Every network, with the paper's numbers beside ours if anything shown is of its study."""
    if not report.evaluated:
        return ""
    contents, recipe = report.contents, report.contents.evaluation(report.evaluated)
    beside = contents.pibconv and contents.as_in_pibconv
    paper = [row._asdict() for row in published.PIBCONV_TABLE_1] if beside else []
    bars = "; bars: 95 % intervals" if contents.test_images else ""
    note = f"ours: {recipe}{bars}" + (f"; paper: {published.PIBCONV_RECIPE}" if paper else "")
    plot_accuracy(report.evaluated, paper, report.folder / "accuracy.png", note=note)
    tables = {run.key: History.read(run.results(report.results) / "history.csv") for run in contents.runs}
    histories = {key: table.to_dict("records") for key, table in tables.items()}
    plot_training(histories, report.folder / "training.png")
    halves = {"test": "test_top1", "training": "train_top1"}
    report.charts["accuracy"] = accuracy_chart(report.evaluated)
    report.charts["training"] = epochs_chart(histories, halves, "top-1 accuracy (%)")
    return render(
        "accuracy",
        header=HEADER if not beside else BESIDE,
        rows=_rows(report.evaluated, paper),
        beside=beside,
        apart=[] if beside else _papers(report.evaluated),
        recipe=recipe,
        images=contents.test_images,
        trained_once=_trained_once(report.evaluated),
        source=published.PIBCONV_SOURCE,
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
    papers, first = {(row["genotype"], row["layers"]): row for row in paper}, ties(ours)
    rows = []
    for row in ours:
        shown = bold(accuracy(row)) if row in first else accuracy(row)
        values = (shown, f"{row['params']:.4g}", f"{row['gmac']:.4g}")
        same = papers.get((row["genotype"], row["layers"]))
        theirs = (
            (italic(f"{same['accuracy']:.2f}"), italic(f"{same['params']:g}"), italic(f"{same['gmac']:.3f}"))
            if same
            else 3 * ("–",)
        )
        pairs = [value for pair in zip(values, theirs, strict=True) for value in pair] if paper else [*values]
        pairs.insert(2 if paper else 1, interval(row["interval"]))
        rows.append((row["genotype"], row["layers"], *pairs, f"{row['top5']:.2f}"))
    return rows


def _papers(ours: Sequence[Mapping]) -> list[tuple]:
    """The rows of the paper's table that are of the same genotypes and layers."""
    shown = {(row["genotype"], row["layers"]) for row in ours}
    return [
        (row.genotype, row.layers, f"{row.accuracy:.2f}", f"{row.params:g}", f"{row.gmac:.3f}")
        for row in published.PIBCONV_TABLE_1
        if (row.genotype, row.layers) in shown
    ]
