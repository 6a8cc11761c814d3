"""DNAL: what each penalty leaves of each backbone."""

from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from nas.pipeline import names
from nas.pipeline.records import Channels, Gates, Slimming
from nas.report.contents import Contents, Report, Slimmed, listed
from nas.report.figures.dnal import plot_gates, plot_pareto, plot_widths
from nas.report.intervals import wilson
from nas.report.published import dnal as published
from nas.report.render import bold, interval, italic, render


def section(report: Report) -> str:
    """Each backbone with every penalty, the paper's numbers below ours."""
    slimmed = report.contents.slimmed
    if not slimmed.models or not slimmed.penalties:
        return ""
    backbones = [_backbone(report, model) for model in slimmed.models]
    return render("dnal", source=published.SOURCE, backbones=backbones, images=report.contents.test_images)


def _backbone(report: Report, model: str) -> dict:
    """Draw the figures of a backbone; return what its subsection tells."""
    slimmed = report.contents.slimmed
    folders = {penalty: names.Slimmed(model, penalty).results(report.results) for penalty in slimmed.penalties}
    ours = {penalty: Slimming.read(path / "metrics.json") for penalty, path in folders.items()}
    devices = listed(row.device for row in ours.values())
    width, cost = slimmed.recipes[model]["pretrain.width"], slimmed.cost(model)
    recipe = f"{report.contents.data}, width {width:g}, {cost} epochs, on {devices}"
    beside = _compares(report.contents, model)
    _draw_pareto(model, ours, report.folder, f"ours: {recipe}", beside)
    gated = {penalty: path for penalty, path in folders.items() if penalty}
    _draw_gates(model, gated, report.folder)
    papers = _papers(model)
    rows = _ours(slimmed, model, ours, report.contents.test_images)
    if beside:
        lined_up = [(name, "–", "–", *numbers[:3], "–", *numbers[3:]) for name, *numbers in papers]
        rows += [tuple(map(italic, row)) for row in lined_up]
    return {
        "model": model,
        "rows": rows,
        "beside": beside,
        "papers": papers,
        "recipe": recipe,
        "penalties": list(gated),
    }


def _compares(contents: Contents, model: str) -> bool:
    """Whether our data, width and epochs of a backbone are the paper's."""
    data = contents.recipes.get("Data", {})
    whole = data.get("train_limit") is None and data.get("test_limit") is None
    cifar10 = model in published.CIFAR10 and data.get("name") == "cifar10"
    imagenet = model not in published.CIFAR10 and len((contents.prepared or {}).get("classes", [])) == 1000
    same = contents.slimmed.recipes[model]["pretrain.width"] == 1
    return whole and (cifar10 or imagenet) and same and contents.slimmed.cost(model) == published.COSTS[model]


def _draw_pareto(model: str, ours: Mapping[float, Slimming], folder: Path, note: str, beside: bool) -> None:
    points = [
        {
            "penalty": penalty,
            "top1": row.top1,
            "macs": (row.paper_macs if beside else row.conv_macs) / 1e6,
            "params": (row.paper_params if beside else row.params) / 1e6,
        }
        for penalty, row in ours.items()
    ]
    paper = [row._asdict() | {"penalty": row.penalty or 0.0} for row in published.TABLES[model]] if beside else []
    others = [row._asdict() for row in published.OTHERS[model]] if beside else []
    note += f" (the paper's count); paper: {published.SOURCE}" if beside else ""
    plot_pareto(points, paper, folder / f"pareto-{model}.png", title=model, note=note, others=others)


def _draw_gates(model: str, folders: Mapping[float, Path], folder: Path) -> None:
    """Draw what became of the gates with each penalty."""
    if not folders:
        return
    widths = {penalty: Channels.read(path / "channels.csv").to_dict("records") for penalty, path in folders.items()}
    plot_widths(widths, folder / f"widths-{model}.png", title=f"{model}: channels kept")
    for penalty, path in folders.items():
        title = f"{model}, λ = {penalty:g}: gates"
        plot_gates(_histograms(path / "gates.csv"), folder / f"gates-{model}-{penalty}.png", title=title)


def _ours(slimmed: Slimmed, model: str, ours: Mapping[float, Slimming], images: int | None) -> list[tuple]:
    return [
        (
            bold(f"{penalty:g}") if penalty else Markup("**0** (dense)"),
            f"{row.conv_macs / 1e6:.4g} ({row.conv_macs_ratio:.2f}×)",
            f"{row.params / 1e6:.4g} ({row.params_ratio:.2f}×)",
            f"{row.paper_macs / 1e6:.4g} ({row.paper_macs_ratio:.2f}×)",
            f"{row.paper_params / 1e6:.4g} ({row.paper_params_ratio:.2f}×)",
            bold(f"{row.top1:.2f}"),
            interval(wilson(row.top1, images) if images else None),
            f"{row.top5:.2f}",
            slimmed.cost(model, dense=not penalty),
        )
        for penalty, row in ours.items()
    ]


def _papers(model: str) -> list[tuple]:
    """The paper's rows: method or λ, the costs that its count gives, accuracies, search cost."""
    whole, rows = published.TABLES[model][0], []
    for row in (*published.TABLES[model], *published.OTHERS[model]):
        shown = (
            (f"{row.penalty:g}" if row.penalty is not None else row.method)
            + (f" ({row.search})" if row.search else ""),
            f"{row.macs:g} ({whole.macs / row.macs:.2f}×)" if row.macs and whole.macs else "–",
            f"{row.params:g} ({whole.params / row.params:.2f}×)" if row.params else "–",
            f"{row.top1:g}",
            f"{row.top5:g}" if row.top5 is not None else "–",
            row.search_cost or "–",
        )
        rows.append(shown)
    return rows


def _histograms(path: Path) -> list[dict]:
    """The rows of gates.csv, an entry an epoch: epoch, scale and counts."""
    epochs = Gates.read(path).groupby(["epoch", "scale"])["count"]
    return [{"epoch": epoch, "scale": scale, "counts": list(counts)} for (epoch, scale), counts in epochs]
