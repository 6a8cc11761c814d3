"""Networks in the form in which others run them: what they are worth there, and how long they take."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nas.pipeline.names import Exported, Network
from nas.pipeline.records import Evaluation, Exporting, Latency, Machine, Slimming
from nas.report.contents import Report
from nas.report.figures.latency import plot_latency
from nas.report.published import pibconv as published
from nas.report.render import render

FORMS = {"eager": "PyTorch", "onnx": "ONNX Runtime", "int8": "ONNX Runtime, int8"}
CLAIM = ("DARTS_V2-20", "DARTS_PseudoInvBn-10")  # of the PIBConv paper: the second replaces the first


def exports(report: Report) -> str:
    """Accuracy and size of each file, how far it is from the network, and what int8 leaves in float32."""
    rows = [_exported(report, named) for named in report.contents.exported]
    return render("exports", rows=rows) if rows else ""


def _exported(report: Report, named: Exported) -> tuple[str, ...]:
    told = Exporting.read(named.results(report.results) / "metrics.json")
    int8 = "–" if told.int8_top1 is None else f"{told.int8_top1:.2f}"
    return (
        named.key,
        f"{own_top1(report, named):.2f}",
        f"{told.top1:.2f}",
        int8,
        f"{told.max_relative_error:.1e}",
        *(_kilobytes(size) for size in (told.onnx_bytes, told.int8_bytes, told.program_bytes)),
        left_in_float(told),
    )


def _kilobytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1000:.0f}"


def left_in_float(told: Exporting) -> str:
    """``14 Gelu, 1 ReduceMean``."""
    return ", ".join(f"{count} {kind}" for kind, count in (told.in_float or {}).items()) or "–"


def own_top1(report: Report, named: Exported) -> float:
    """The test accuracy that the training found."""
    record = Evaluation if isinstance(named.source, Network) else Slimming
    return record.read(named.source.results(report.results) / "metrics.json").top1


class Point(NamedTuple):
    """A network in one form: milliseconds for a batch, and percent of the test images."""

    network: str
    form: str
    latency: float
    accuracy: float


def latency(report: Report) -> str:
    """How long each network takes, accuracy against that, and whether multiply-adds tell it."""
    if not report.contents.timed:
        return ""
    folder = report.results / "latency"
    rows = [Latency(**row) for row in Latency.read(folder / "table.csv").to_dict("records")]
    machine = Machine.read(folder / "machine.json")
    settings = list(dict.fromkeys((row.batch, row.threads) for row in rows))
    points = {setting: _points(report, _of(rows, setting)) for setting in settings}
    fronts = [
        (
            *setting,
            FORMS[form],
            ", ".join(f"{p.network} ({p.latency:.2f} ms, {p.accuracy:.2f} %)" for p in front(of_form)),
        )
        for setting, all_points in points.items()
        for form, of_form in by_form(all_points).items()
    ]
    if drawn := {setting: by_form(found) for setting, found in points.items() if found}:
        note = f"{machine.processor}; medians; the lines are the Pareto fronts"
        plot_latency(drawn, FORMS, report.folder / "latency.png", note=note)
    return render(
        "latency",
        machine=machine,
        settings=settings,
        rows=list(_table(rows, settings)),
        drawn=bool(drawn),
        fronts=fronts,
        correlations=[row for setting in settings for row in _correlations(_of(rows, setting), setting)],
        claim=_claim(rows),
        repeats=rows[0].repeats,
    )


def _of(rows: Iterable[Latency], setting: tuple[int, int]) -> list[Latency]:
    return [row for row in rows if (row.batch, row.threads) == setting]


def _table(rows: Sequence[Latency], settings: Sequence[tuple[int, int]]) -> Iterable[tuple[str, ...]]:
    """A row for each network and form: the median and the quartiles of each setting."""
    cells = {(row.network, row.form, row.batch, row.threads): row for row in rows}
    for network, form in dict.fromkeys((row.network, row.form) for row in rows):
        found = [cells[network, form, *setting] for setting in settings]
        times = (f"{row.median:.2f} ({row.lower:.2f} to {row.upper:.2f})" for row in found)
        yield network, FORMS[form], f"{found[0].macs / 1e6:.3g}", *times


def _points(report: Report, rows: Iterable[Latency]) -> list[Point]:
    """Those networks that have an accuracy here: published ones are untrained."""
    accuracies = {}
    for named in report.contents.exported:
        told = Exporting.read(named.results(report.results) / "metrics.json")
        of_forms = {"eager": own_top1(report, named), "onnx": told.top1, "int8": told.int8_top1}
        accuracies |= {(named.key, form): top1 for form, top1 in of_forms.items()}
    known = [row for row in rows if (row.network, row.form) in accuracies]
    return [Point(row.network, row.form, row.median, accuracies[row.network, row.form]) for row in known]


def by_form(points: Iterable[Point]) -> dict[str, list[Point]]:
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.form, []).append(point)
    return groups


def front(points: Iterable[Point]) -> list[Point]:
    """The Pareto front: those that none of the others is as fast as and more accurate, or faster and as accurate."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.latency, -point.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def _correlations(rows: Sequence[Latency], setting: tuple[int, int]) -> Iterable[tuple[object, ...]]:
    """Kendall's rank correlation of multiply-adds and latency, over the networks of one size of image and one form.

    Of three or more, that is.
    """
    from scipy.stats import kendalltau  # takes a second, and most reports show no latency

    for image in dict.fromkeys(row.image for row in rows):
        for form, title in FORMS.items():
            pairs = [(row.macs, row.median) for row in rows if (row.image, row.form) == (image, form)]
            if len(pairs) > 2:
                found = kendalltau(*zip(*pairs, strict=True)).statistic
                yield image, *setting, title, len(pairs), f"{found:.2f}"


def _claim(rows: Iterable[Latency]) -> dict | None:
    """The paper's claim by the clock: 10 layers of its block in the place of 20 of DARTS_V2."""
    measured = {(row.network, row.batch, row.threads, row.form): row.median for row in rows}
    old, new = CLAIM
    both = [
        (batch, threads, FORMS[form], f"{median:.1f}", f"{measured[new, batch, threads, form]:.1f}")
        for (name, batch, threads, form), median in measured.items()
        if name == old and (new, batch, threads, form) in measured
    ]
    told = {f"{row.genotype}-{row.layers}": row.accuracy for row in published.PIBCONV_TABLE_1}
    return {"rows": both, "old": told[old], "new": told[new]} if both else None
