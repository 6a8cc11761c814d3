"""One page from all that stands in results/: report.md for a code host, report.html for anywhere else."""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from markdown import markdown
from PIL import Image

from nas import figures, published
from nas.errors import UserError, reason
from nas.files import read_csv, whole_folder, write_text

HISTORY_TEXT = ("epoch", "cell", "edge", "operation")


@dataclass(frozen=True)
class Contents:
    """What the report shows: names, in the order of the lists in params.yaml.

    `networks` are (genotype, layers, seeds); `gradcam` are GENOTYPE-LAYERS-SEED; `recipes` maps a heading to the
    parameters that produced the results.
    """

    spaces: Sequence[str]
    networks: Sequence[tuple[str, int, Sequence[int]]]
    gradcam: Sequence[str]
    recipes: Mapping[str, Mapping[str, object]]
    data: str


def write(results: Path, contents: Contents) -> None:
    """Draw the figures into ``results/figures``, write ``results/report.md`` and ``results/report.html``.

    Raises
    ------
    UserError
        If a result that `contents` names is missing or damaged.
    """
    evaluated = [_evaluated(results, *network) for network in contents.networks]
    sections = [
        "# Report",
        _summary(contents, evaluated),
        _accuracy_section(contents, evaluated),
        _search_section(results, contents),
        _genotype_section(contents),
        _complexity_section(results),
        _gradcam_section(contents),
        _recipe_section(contents),
    ]
    text = "\n\n".join(section for section in sections if section) + "\n"
    with whole_folder(results / "figures") as folder:
        _draw(results, contents, evaluated, folder)
        page = _page(text, {"figures": folder, "genotypes": results / "genotypes"})
    write_text(results / "report.md", text)
    write_text(results / "report.html", page)


# What stands in results/


def _evaluated(results: Path, genotype: str, layers: int, seeds: Sequence[int]) -> dict:
    """One network's scores, averaged over its seeds, and the paper's row if it has one."""
    folders = [results / "evaluate" / f"{genotype}-{layers}-{seed}" for seed in seeds]
    runs = [_read_json(folder / "metrics.json", ("top1", "top5", "params", "gmac"), ("device",)) for folder in folders]
    top1 = [run["top1"] for run in runs]
    row = {
        "genotype": genotype,
        "layers": layers,
        "seeds": seeds,
        "accuracy": mean(top1),
        "deviation": stdev(top1) if len(top1) > 1 else 0.0,
        "top5": mean(run["top5"] for run in runs),
        "params": runs[0]["params"] / 1e6,
        "gmac": runs[0]["gmac"],
        "devices": {run["device"] for run in runs},
    }
    paper = [r for r in published.PIBCONV_TABLE_1 if (r.genotype, r.layers) == (genotype, layers)]
    return row | {"paper": paper[0] if paper else None}


def _read_json(path: Path, numbers: Sequence[str] = (), texts: Sequence[str] = (), *, many: bool = False) -> Any:
    """A mapping, or `many` in a list, each with `numbers` and `texts` as keys of such values."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        holders = read if many and isinstance(read, list) and read else [read]
        for key, kind in [*((key, int | float) for key in numbers), *((key, str) for key in texts)]:
            if not all(isinstance(holder, dict) and isinstance(holder.get(key), kind) for holder in holders):
                raise ValueError(f"it lacks {key}")
        return read
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: is missing or damaged ({reason(error)}); `dvc repro` makes it anew")


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict]:
    """A history or α table, its numbers as numbers; `columns` are those that it must have."""
    try:
        rows = read_csv(path)
        if not all(row.get(column) for row in rows for column in columns):
            raise ValueError(f"not every row has the columns {', '.join(columns)}")
        return [
            {k: int(v) if k == "epoch" else v if k in HISTORY_TEXT else float(v) for k, v in row.items()}
            for row in rows
        ]
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from None


# Figures


def _draw(results: Path, contents: Contents, evaluated: list[dict], folder: Path) -> None:
    if contents.gradcam:
        _draw_gradcam(results, contents.gradcam, folder / "gradcam.png")
    if contents.spaces:
        columns = ("epoch", "train_top1", "train_loss", "valid_top1", "valid_loss")
        tables = {space: results / "search" / space / "history.csv" for space in contents.spaces}
        histories = {space: _read_rows(table, columns) for space, table in tables.items()}
        figures.plot_search(histories, folder / "search.png")
    for space in contents.spaces:
        alphas = _read_rows(results / "search" / space / "alphas.csv", (*HISTORY_TEXT, "weight"))
        for cell, title in (("normal", "normal cell"), ("reduce", "reduction cell")):
            rows = [row for row in alphas if row["cell"] == cell]
            figures.plot_alphas(rows, folder / f"alphas-{space}-{cell}.png", title=f"{space}: {title}")
    if evaluated:
        paper = [row._asdict() for row in published.PIBCONV_TABLE_1]
        figures.plot_accuracy(evaluated, paper, folder / "accuracy.png")
        runs = [f"{genotype}-{layers}-{seed}" for genotype, layers, seeds in contents.networks for seed in seeds]
        columns = ("epoch", "train_top1", "train_loss", "test_top1", "test_loss")
        histories = {run: _read_rows(results / "evaluate" / run / "history.csv", columns) for run in runs}
        figures.plot_training(histories, folder / "training.png")


def _draw_gradcam(results: Path, networks: Sequence[str], path: Path) -> None:
    keys = ("confidence",), ("class", "predicted")
    files = {network: results / "gradcam" / network / "predictions.json" for network in networks}
    told = {network: _read_json(file, *keys, many=True) for network, file in files.items()}
    columns = [f"class {entry['class']}" if entry["class"].isdigit() else entry["class"] for entry in told[networks[0]]]

    def row(network: str, kind: str) -> list[np.ndarray]:
        files = [results / "gradcam" / network / f"{i}-{kind}.png" for i in range(len(columns))]
        try:
            return [np.asarray(Image.open(file).convert("RGB")) for file in files]
        except OSError as error:
            raise _damaged(results / "gradcam" / network, error) from None

    rows = [("input", row(networks[0], "input"), None)]
    for network in networks:
        genotype, layers, _ = network.rsplit("-", 2)
        captions = [f"{entry['predicted']}: {100 * entry['confidence']:.0f} %" for entry in told[network]]
        rows.append((f"{genotype}, {layers} layers", row(network, "heat"), captions))
    figures.gradcam_grid(columns, rows, path)


# Sections of the page, as Markdown


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; columns after the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _summary(contents: Contents, evaluated: list[dict]) -> str:
    if not evaluated:
        return f"Data: {contents.data}."
    best = max(evaluated, key=lambda row: row["accuracy"])
    return (
        f"Data: {contents.data}. Of {len(evaluated)} networks, {best['genotype']} with {best['layers']} layers "
        f"is the most accurate: {best['accuracy']:.2f} % on the test images."
    )


def _accuracy_section(contents: Contents, evaluated: list[dict]) -> str:
    if not evaluated:
        return ""
    rows = [
        (
            row["genotype"],
            row["layers"],
            f"**{row['accuracy']:.2f}**" + (f" ± {row['deviation']:.2f}" if len(row["seeds"]) > 1 else ""),
            f"{row['top5']:.2f}",
            f"{row['params']:.4f}",
            f"{row['gmac']:.4f}",
            f"*{row['paper'].accuracy:.2f}*" if row["paper"] else "–",
        )
        for row in evaluated
    ]
    header = ("genotype", "layers", "top-1 (%)", "top-5 (%)", "params (M)", "GMAC", "paper's top-1 (%)")
    seeds, devices = len(evaluated[0]["seeds"]), _names(set.union(*(row["devices"] for row in evaluated)))
    note = f"Mean ± standard deviation over {seeds} seeds. " if seeds > 1 else ""
    return "\n\n".join(
        [
            "## Test accuracy",
            _table(header, rows),
            f"{note}Ours: {contents.data}, {contents.recipes['Evaluation']['epochs']} epochs, "
            f"C = {contents.recipes['Evaluation']['channels']}, on {devices}. "
            f"The paper's: {published.PIBCONV_SOURCE}.",
            "![Accuracy against layers and parameters](figures/accuracy.png)",
            "![Training of the evaluated networks](figures/training.png)",
        ]
    )


def _search_section(results: Path, contents: Contents) -> str:
    if not contents.spaces:
        return ""
    keys = ("valid_top1", "train_top1", "valid_loss", "entropy_normal", "entropy_reduce")
    numbers = (*keys, "skips_normal", "skips_reduce")
    files = {space: results / "search" / space / "metrics.json" for space in contents.spaces}
    scores = {space: _read_json(file, numbers, ("device",)) for space, file in files.items()}
    rows = [
        (space, *(f"{score[key]:.2f}" for key in keys), score["skips_normal"], score["skips_reduce"])
        for space, score in scores.items()
    ]
    header = (
        *(
            "space",
            "validation top\N{NON-BREAKING HYPHEN}1 (%)",
            "training top\N{NON-BREAKING HYPHEN}1 (%)",
            "validation loss",
        ),
        *("entropy, normal", "entropy, reduction", "skips, normal", "skips, reduction"),
    )
    recipe, devices = contents.recipes["Search"], _names({score["device"] for score in scores.values()})
    parts = [
        "## Search",
        _table(header, rows),
        f"The supernet at the end of {recipe['epochs']} epochs ({recipe['order']} order, C = {recipe['channels']}, "
        f"{recipe['layers']} layers, {recipe['nodes']} nodes), on {devices}. Validation: "
        "the half of the training images that α is trained on. Entropy: of the softmax weights, mean over edges, in "
        "nats. Skips: skip connections in the genotype derived.",
        "![Search accuracy and loss](figures/search.png)",
    ]
    for space in contents.spaces:
        parts.append(_pair(f"Softmax weights of {space}", f"figures/alphas-{space}"))
    return "\n\n".join(parts)


def _genotype_section(contents: Contents) -> str:
    names = list(dict.fromkeys([*(genotype for genotype, _, _ in contents.networks), *contents.spaces]))
    if not names:
        return ""
    parts = ["## Genotypes"]
    for name in names:
        parts += [f"### {name}", _pair(name, f"genotypes/{name}")]
    return "\n\n".join(parts)


def _pair(what: str, files: str) -> str:
    """The pictures of a normal and a reduction cell, side by side where there is room."""
    return f"![{what}, normal cell]({files}-normal.png) ![{what}, reduction cell]({files}-reduce.png)"


def _complexity_section(results: Path) -> str:
    path = results / "complexity" / "metrics.json"
    counted = _read_json(path)
    rows = []
    for row in published.PIBCONV_TABLE_1:
        try:
            ours = counted["pibconv_table_1"][f"{row.genotype}-{row.layers}"]
            params, gmac, conv_gmac = ours["params"] / 1e6, ours["macs"] / 1e9, ours["conv_macs"] / 1e9
        except (KeyError, TypeError):
            raise _damaged(path, ValueError(f"it lacks {row.genotype}-{row.layers}")) from None
        rows.append(
            (
                row.genotype,
                row.layers,
                f"{params:.4f}",
                f"*{row.params:g}*",
                f"{gmac:.4f}",
                f"*{row.gmac:.3f}*",
                f"{100 * (params / row.params - 1):+.1f} %",
                f"{100 * (gmac / row.gmac - 1):+.1f} %",
                f"{conv_gmac:.4f}",
            )
        )
    header = (
        *("genotype", "layers", "params (M)", "paper's", "GMAC", "paper's"),
        *("params against the paper", "GMAC against the paper", "GMAC of conv and linear alone"),
    )
    return "\n\n".join(
        [
            "## Complexity of the paper's Table 1",
            _table(header, rows),
            f"C = {published.PIBCONV_CHANNELS}, 3×32×32 images, counted by ptflops over modules, without the auxiliary "
            f"tower. The paper's: {published.PIBCONV_SOURCE}.",
        ]
    )


def _gradcam_section(contents: Contents) -> str:
    if not contents.gradcam:
        return ""
    return "\n\n".join(
        [
            "## Grad-CAM",
            "![Grad-CAM heat maps](figures/gradcam.png)",
            "What in the last cell speaks for the image's own class; below each picture the predicted class and its "
            "softmax probability. All networks see the same test images.",
        ]
    )


def _recipe_section(contents: Contents) -> str:
    parts = ["## Recipe"]
    for title, recipe in contents.recipes.items():
        parts += [f"### {title}", _table(("parameter", "value"), ((k, _plain(v)) for k, v in recipe.items()))]
    return "\n\n".join(parts)


def _names(devices: set[str]) -> str:
    return " and ".join(sorted(devices))


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


# The page

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .3rem; }
img { max-width: 100%; height: auto; display: block; margin: 1rem auto; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th { background: #f6f6f6; text-align: left; vertical-align: bottom; white-space: normal; }
tr:hover td { background: #fafafa; }
td em { color: #777; font-style: normal; }
@media (min-width: 50rem) { p img:not(:only-child) { display: inline-block; width: 49%; } }
"""


def _page(text: str, folders: Mapping[str, Path]) -> str:
    """The Markdown as one HTML file: style inline, pictures as data, tables that scroll sideways on a phone.

    `folders` tells where the pictures lie whose paths begin with a name of theirs.
    """

    def embedded(match: re.Match) -> str:
        folder, name = match[1].split("/")
        return f'src="{_data_uri(folders[folder] / name)}"'

    body = markdown(text, extensions=["tables"])
    body = re.sub(r'src="([^"]+)"', embedded, body)
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Report</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _data_uri(path: Path) -> str:
    try:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; `dvc repro` makes it anew") from None
