"""The report's section on DNAL: what each penalty leaves of each backbone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.pipeline.records import read_json, read_rows
from nas.report.figures import dnal as figures
from nas.report.page import table
from nas.report.published import dnal as published


@dataclass(frozen=True)
class Slimmed:
    """What is shown: backbones, penalties λ_a, and the recipe (pretrain's and slim's parameters, by name)."""

    models: Sequence[str]
    penalties: Sequence[float]
    recipe: Mapping[str, object]

    @property
    def cost(self) -> str:
        """Epochs of the three phases, as the paper's column "search cost" has them."""
        return f"{self.recipe['pretrain.epochs']}+{self.recipe['slim.gate_epochs']}+{self.recipe['slim.epochs']}"

    @property
    def dense_cost(self) -> str:
        """`cost` of the dense network, which has no second phase."""
        return f"{self.recipe['pretrain.epochs']}+0+{self.recipe['slim.epochs']}"


def section(slimmed: Slimmed, results: Path, folder: Path, data: str) -> str:
    """The section's text, "" without backbones; its figures go to `folder`. `data` is what ours was measured on."""
    if not slimmed.models or not slimmed.penalties:
        return ""
    parts = ["## DNAL: learned widths", *(_backbone(slimmed, model, results, folder, data) for model in slimmed.models)]
    return "\n\n".join(parts)


def _backbone(slimmed: Slimmed, model: str, results: Path, folder: Path, data: str) -> str:
    keys = ("top1", "top5", "params", "macs", "params_ratio", "macs_ratio")
    folders = {penalty: results / "slim" / f"{model}-{penalty}" for penalty in slimmed.penalties}
    ours = {penalty: read_json(path / "metrics.json", keys, ("device",)) for penalty, path in folders.items()}
    devices = " and ".join(sorted({row["device"] for row in ours.values()}))
    how = f"{data}, width {slimmed.recipe['pretrain.width']:g}, {slimmed.cost} epochs, on {devices}"
    _draw_pareto(slimmed, model, ours, folder, f"ours: {how}")
    header = ("penalty λ", "MACs (M)", "params (M)", "top-1 (%)", "top-5 (%)", "search cost (epochs)")
    parts = [
        f"### {model}",
        table(header, _rows(slimmed, model, ours)),
        f"Ours: {how}. λ = 0 is the dense network, whose weights are trained for as many epochs. Search cost: "
        "epochs of phase 1 (weights), 2 (gates) and 3 (what remains). MACs and parameters are counted in the network "
        "that remains, gates excepted; in brackets how many times the whole one has. The paper's, in grey: "
        f"{published.SOURCE}.",
        f"![Accuracy of {model} against its cost](figures/pareto-{model}.png)",
        *_draw_gates(model, {penalty: path for penalty, path in folders.items() if penalty}, folder),
    ]
    return "\n\n".join(parts)


def _draw_pareto(slimmed: Slimmed, model: str, ours: Mapping[float, Mapping], folder: Path, note: str) -> None:
    points = [
        {"penalty": penalty, "top1": row["top1"], "macs": row["macs"] / 1e6, "params": row["params"] / 1e6}
        for penalty, row in ours.items()
    ]
    # Narrower networks than the paper's would lie far from its points.
    whole = slimmed.recipe["pretrain.width"] == 1
    paper = [row._asdict() | {"penalty": row.penalty or 0.0} for row in published.TABLES[model]] if whole else []
    note += f"; paper: {published.SOURCE}" if paper else ""
    figures.plot_pareto(points, paper, folder / f"pareto-{model}.png", title=model, note=note)


def _draw_gates(model: str, folders: Mapping[float, Path], folder: Path) -> list[str]:
    """Draw what became of the gates with each penalty; the figures' Markdown."""
    if not folders:
        return []
    widths = {penalty: _widths(path / "channels.csv") for penalty, path in folders.items()}
    figures.plot_widths(widths, folder / f"widths-{model}.png", title=f"{model}: channels kept")
    shown = [f"![Channels kept in each layer of {model}](figures/widths-{model}.png)"]
    for penalty, path in folders.items():
        name, what = f"gates-{model}-{penalty}.png", f"{model}, λ = {penalty:g}"
        figures.plot_gates(_histograms(path / "gates.csv"), folder / name, title=f"{what}: gates")
        shown.append(f"![Gate values over phase 2, {what}](figures/{name})")
    return shown


def _rows(slimmed: Slimmed, model: str, ours: Mapping[float, Mapping]) -> list[tuple]:
    rows = [
        (
            f"**{penalty:g}**" if penalty else "**0** (dense)",
            f"{row['macs'] / 1e6:.4g} ({row['macs_ratio']:.2f}×)",
            f"{row['params'] / 1e6:.4g} ({row['params_ratio']:.2f}×)",
            f"**{row['top1']:.2f}**",
            f"{row['top5']:.2f}",
            slimmed.cost if penalty else slimmed.dense_cost,
        )
        for penalty, row in ours.items()
    ]
    whole = published.TABLES[model][0]
    for row in published.TABLES[model]:
        macs = f"{row.macs:g} ({whole.macs / row.macs:.2f}×)" if row.macs and whole.macs else "–"
        name = f"{row.penalty:g}" if row.penalty is not None else row.method
        shown = (name, macs, f"{row.params:g} ({whole.params / row.params:.2f}×)", f"{row.top1:g}")
        shown = (*shown, f"{row.top5:g}" if row.top5 is not None else "–", row.search_cost or "–")
        rows.append(tuple(f"*{value}*" for value in shown))
    return rows


def _widths(path: Path) -> list[dict]:
    rows = read_rows(path, ("layer", "channels", "kept"))
    return [row | {"channels": int(row["channels"]), "kept": int(row["kept"])} for row in rows]


def _histograms(path: Path) -> list[dict]:
    """The rows of gates.csv, an entry an epoch: epoch, scale and counts."""
    epochs: dict[int, dict] = {}
    for row in read_rows(path, ("epoch", "scale", "bin", "count")):
        entry = epochs.setdefault(row["epoch"], {"epoch": row["epoch"], "scale": row["scale"], "counts": []})
        entry["counts"].append(int(row["count"]))
    return list(epochs.values())
