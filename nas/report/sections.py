"""One page from all that stands in results/: report.md for a code host, report.html for anywhere else."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from PIL import Image

from nas.analysis import preference
from nas.pipeline.files import whole_folder, write_text
from nas.pipeline.records import damaged, evaluated, read_json, read_rows
from nas.report import figures
from nas.report.dnal import Slimmed
from nas.report.dnal import section as slimmed_section
from nas.report.page import page, table
from nas.report.published import pibconv as published
from nas.space import genotypes
from nas.space.genotypes import CELLS, Label, favourite
from nas.space.spaces import SPACES


@dataclass(frozen=True)
class Contents:
    """What the report shows: names, in the order of the lists in params.yaml.

    `searches` maps a found genotype's name to its folder, SPACE-SEED; `networks` are (genotype, layers, seeds);
    `gradcam` are GENOTYPE-LAYERS-SEED; `recipes` maps a heading (Run, Data,
    Search, Evaluation, Grad-CAM) to the parameters that produced the results; `data` says what they were measured on;
    `slimmed` is what DNAL's section shows.
    """

    searches: Mapping[str, str]
    networks: Sequence[tuple[str, int, Sequence[int]]]
    gradcam: Sequence[str]
    recipes: Mapping[str, Mapping[str, object]]
    data: str
    slimmed: Slimmed

    @property
    def searched(self) -> bool:
        """Whether there are searches, which genotypes drawn at random are not."""
        return bool(self.searches) and self.recipes["Search"]["algorithm"] != "random"

    def evaluation(self, rows: Sequence[Mapping]) -> str:
        """How the accuracies of `rows` came about: ``digits, 8 epochs, C = 16, on cpu``."""
        recipe, devices = self.recipes["Evaluation"], set().union(*(row["devices"] for row in rows))
        seeds = {len(row["seeds"]) for row in rows}
        repeated = f", mean of {max(seeds)} seeds" if max(seeds) > 1 else ""
        channels = f"C = {recipe['channels']}"
        return f"{self.data}, {recipe['epochs']} epochs, {channels}, on {_names(devices)}{repeated}"


@dataclass(frozen=True)
class Report:
    """What every section is made from; each draws its figures into `folder` and returns its text, "" for none."""

    results: Path
    contents: Contents
    evaluated: Sequence[Mapping]
    folder: Path

    @property
    def pibconv(self) -> bool:
        """Whether anything shown is of the PIBConv study, so that its paper's numbers belong beside ours."""
        labels = map(Label.of, [*self.contents.searches, *(genotype for genotype, _, _ in self.contents.networks)])
        shown = {label.base for label in labels if label.kind != "all"}
        return not shown.isdisjoint(published.PIBCONV_NAMES)


def write(results: Path, contents: Contents) -> None:
    """Draw the figures into ``results/figures``, write ``results/report.md`` and ``results/report.html``.

    Raises
    ------
    UserError
        If a result that `contents` names is missing or damaged.
    """
    rows = [evaluated(results, *network) for network in contents.networks]
    with whole_folder(results / "figures") as folder:
        report = Report(results, contents, rows, folder)
        text = "\n\n".join(part for part in (section(report) for section in SECTIONS) if part) + "\n"
        html = page(text, {"figures": folder, "genotypes": results / "genotypes"})
    write_text(results / "report.md", text)
    write_text(results / "report.html", html)


def _percent(row: Mapping) -> str:
    return f"**{row['accuracy']:.2f}**" + (f" ± {row['deviation']:.2f}" if len(row["seeds"]) > 1 else "")


def _names(devices: set[str]) -> str:
    return " and ".join(sorted(devices))


# Evaluation


def _summary(report: Report) -> str:
    if not report.evaluated:
        return f"# Report\n\nData: {report.contents.data}."
    best = max(report.evaluated, key=lambda row: row["accuracy"])
    return (
        f"# Report\n\nOf {len(report.evaluated)} networks, {best['genotype']} with {best['layers']} layers is the most "
        f"accurate: {best['accuracy']:.2f} % of the test images ({report.contents.evaluation(report.evaluated)})."
    )


def _accuracy(report: Report) -> str:
    if not report.evaluated:
        return ""
    recipe = report.contents.evaluation(report.evaluated)
    paper = [row._asdict() for row in published.PIBCONV_TABLE_1] if report.pibconv else []
    note = f"ours: {recipe}" + (f"; paper: {published.PIBCONV_RECIPE}" if paper else "")
    source = f"The paper's: {published.PIBCONV_SOURCE}. " if paper else ""
    figures.plot_accuracy(report.evaluated, paper, report.folder / "accuracy.png", note=note)
    runs = [f"{genotype}-{layers}-{seed}" for genotype, layers, seeds in report.contents.networks for seed in seeds]
    columns = ("epoch", "train_top1", "train_loss", "test_top1", "test_loss")
    tables = {run: report.results / "evaluate" / run / "history.csv" for run in runs}
    histories = {run: read_rows(table, columns) for run, table in tables.items()}
    figures.plot_training(histories, report.folder / "training.png")
    return "\n\n".join(
        [
            "## Test accuracy",
            _accuracy_table(report.evaluated, paper),
            f"Ours: {recipe}. {source}{_origins(report)}",
            "![Accuracy against layers and parameters](figures/accuracy.png)",
            "![Training of the evaluated networks](figures/training.png)",
        ]
    )


def _origins(report: Report) -> str:
    """What the names of the evaluated genotypes say, of the kinds that there are."""
    kinds = {Label.of(row["genotype"]).kind for row in report.evaluated}
    seeds = report.contents.recipes["Search"].get("seeds", [])
    told = (
        f"Published genotypes are {', '.join(genotypes.PUBLISHED)}; the others are of the space of their name, found "
    )
    told += "in it or drawn from it (random)"
    if len(seeds) > 1:
        told += f"; SPACE is the genotype of seed {seeds[0]}, SPACE_seed_N of seed N"
    if "all" in kinds:
        told += "; NAME_all_OPERATION has that operation on every edge of NAME's cells"
    return f"{told}."


def _accuracy_table(rows: Sequence[Mapping], paper: Sequence[Mapping]) -> str:
    """A row a network, with the paper's numbers beside ours where `paper` holds any."""
    papers = {(row["genotype"], row["layers"]): row for row in paper}
    lines = []
    for row in rows:
        ours = (_percent(row), f"{row['params']:.4g}", f"{row['gmac']:.4g}")
        same = papers.get((row["genotype"], row["layers"]))
        theirs = (f"*{same['accuracy']:.2f}*", f"*{same['params']:g}*", f"*{same['gmac']:.3f}*") if same else 3 * ("–",)
        pairs = [value for pair in zip(ours, theirs, strict=True) for value in pair] if paper else ours
        lines.append((row["genotype"], row["layers"], *pairs, f"{row['top5']:.2f}"))
    columns = ("test acc. (%)", "params (M)", "GMAC")
    header = [name for column in columns for name in (column, "paper's")] if paper else columns
    return table(("genotype", "eval. layers", *header, "top-5 acc. (%)"), lines)


def _deepest(report: Report, names: Iterable[str]) -> list[Mapping]:
    """The rows of the genotypes `names` at the largest layer count that all evaluated of them share."""
    rows = [row for row in report.evaluated if row["genotype"] in names]
    depths = [{row["layers"] for row in rows if row["genotype"] == name} for name in {row["genotype"] for row in rows}]
    shared = set.intersection(*depths) if depths else set()
    return [row for row in rows if row["layers"] == max(shared)] if shared else []


def _roadmap(report: Report) -> str:
    rows = sorted(_deepest(report, SPACES), key=lambda row: list(SPACES).index(row["genotype"]))
    if len(rows) < 2:
        return ""
    papers = {step.space: step for step in published.PIBCONV_FIG_1}
    steps, lines = [], []
    for row in rows:
        paper = papers.get(row["genotype"])
        theirs = {"paper_accuracy": paper and paper.accuracy, "paper_gmac": paper and paper.gmac}
        steps.append({key: row[key] for key in ("accuracy", "deviation", "gmac")} | {"name": row["genotype"]} | theirs)
        shown = (f"*{paper.accuracy:.2f}*", f"*{paper.gmac:g}*") if paper else ("–", "–")
        lines.append((row["genotype"], _percent(row), shown[0], f"{row['gmac']:.4g}", shown[1], f"{row['params']:.4g}"))
    recipe = f"ours: {rows[0]['layers']} layers, {report.contents.evaluation(rows)}"
    note = f"{recipe}; paper: {published.PIBCONV_FIG_1_RECIPE}"
    figures.plot_roadmap(steps, report.folder / "roadmap.png", note=note)
    origin = "drawn from" if report.contents.recipes["Search"]["algorithm"] == "random" else "found in"
    header = ("space", "test acc. (%)", "paper's", "GMAC", "paper's", "params (M)")
    return "\n\n".join(
        [
            "## Roadmap",
            "![Accuracy and GMAC of the genotype found in each space](figures/roadmap.png)",
            table(header, lines),
            f"The genotype {origin} each space{_first_seed(report)}; {recipe}. The paper's: "
            f"{published.PIBCONV_FIG_1_SOURCE}.",
        ]
    )


def _first_seed(report: Report) -> str:
    """What to add where several seeds were searched with but one is shown."""
    seeds = report.contents.recipes["Search"].get("seeds", [])
    return f" with the first of {len(seeds)} seeds, {seeds[0]}" if len(seeds) > 1 else ""


def _baseline(report: Report) -> str:
    """Every found genotype beside those drawn from its space, with the same layers, epochs and seeds."""
    algorithm, lines, verdicts = report.contents.recipes["Search"]["algorithm"], [], []
    if algorithm == "random":
        return ""
    for row in report.evaluated:
        label = Label.of(row["genotype"])
        drawn = [
            other["accuracy"]
            for other in report.evaluated
            if other["layers"] == row["layers"] and Label.of(other["genotype"])[:2] == (label.base, "random")
        ]
        if label.kind not in ("", "seed"):
            continue
        if not drawn:
            continue
        ours, beaten = row["accuracy"], sum(row["accuracy"] > accuracy for accuracy in drawn)
        spread = f" ± {stdev(drawn):.2f}" if len(drawn) > 1 else ""
        lines.append(
            (
                row["genotype"],
                row["layers"],
                _percent(row),
                len(drawn),
                f"{mean(drawn):.2f}{spread}",
                f"{max(drawn):.2f}",
            )
        )
        verdict = "beats" if beaten == len(drawn) else "does not beat"
        verdicts.append(
            f"- With {row['layers']} layers, the found genotype {row['genotype']} **{verdict}** the random ones: "
            f"it is more accurate than {beaten} of {len(drawn)}, {ours - mean(drawn):+.2f} points from their mean. "
            f"One more draw would beat them all with probability 1/{len(drawn) + 1}."
        )
    if not lines:
        return ""
    header = ("genotype", "layers", f"found by {algorithm} (%)", "drawn", "their mean (%)", "their best (%)")
    return "\n\n".join(
        [
            "## Found or random",
            table(header, lines),
            "\n".join(verdicts),
            f"Test accuracy, all trained alike: {report.contents.evaluation(report.evaluated)}. The random genotypes "
            "are drawn uniformly from the space and cost no search; beside their mean, the standard deviation over "
            "them.",
        ]
    )


def _single_blocks(report: Report) -> str:
    """Every genotype beside its own cells with one operation on all edges, with the same layers, epochs and seeds."""
    lines, verdicts = [], []
    for row in report.evaluated:
        alike = [
            other
            for other in report.evaluated
            if other["layers"] == row["layers"] and Label.of(other["genotype"])[:2] == (row["genotype"], "all")
        ]
        if not alike:
            continue
        group = sorted([row, *alike], key=lambda one: -one["accuracy"])
        lines += [
            (one["genotype"], one["layers"], _percent(one), f"{one['params']:.4g}", f"{one['gmac']:.4g}")
            for one in group
        ]
        best = max(alike, key=lambda one: one["accuracy"])
        verdicts.append(
            f"- With {row['layers']} layers, the best of the {len(alike)} single blocks tried in the cells of "
            f"{row['genotype']} is **{Label.of(best['genotype']).argument}**, "
            f"{best['accuracy'] - row['accuracy']:+.2f} points from the genotype itself, which is number "
            f"{group.index(row) + 1} of {len(group)}."
        )
    if not lines:
        return ""
    single = all(len(row["seeds"]) == 1 for row in report.evaluated)
    caution = " One training each: how much another seed would change is not known." if single else ""
    return "\n\n".join(
        [
            "## Single blocks",
            table(("genotype", "layers", "test acc. (%)", "params (M)", "GMAC"), lines),
            "\n".join(verdicts),
            "The genotype, and its cells with one operation on every edge, trained alike, at equal layers but not at "
            f"equal cost: {report.contents.evaluation(report.evaluated)}.{caution}",
        ]
    )


# Search


def _search(report: Report) -> str:
    if not report.contents.searches:
        return ""
    recipe = report.contents.recipes["Search"]
    if recipe["algorithm"] == "random":
        return "## Search\n\nNone: each genotype was drawn from its space (search.algorithm: random)."
    keys = ("valid_top1", "train_top1", "valid_loss", "entropy_normal", "entropy_reduce")
    skips = ("skips_normal", "skips_reduce")
    folders = {name: report.results / "search" / folder for name, folder in report.contents.searches.items()}
    scores = {
        name: read_json(folder / "metrics.json", (*keys, *skips), ("device",)) for name, folder in folders.items()
    }
    rows = [
        (name, *(f"{score[key]:.2f}" for key in keys), *(score[key] for key in skips)) for name, score in scores.items()
    ]
    header = (
        *("search", "validation top\N{NON-BREAKING HYPHEN}1 (%)", "training top\N{NON-BREAKING HYPHEN}1 (%)"),
        *("validation loss", "entropy, normal", "entropy, reduction", "skips, normal", "skips, reduction"),
    )
    devices = _names({score["device"] for score in scores.values()})
    how = f"{recipe['algorithm']}, {recipe['order']} order" if recipe["algorithm"] == "darts" else recipe["algorithm"]
    sampled = (
        " Training scores are of the operations drawn, validation scores of the strongest on every edge, whose batch "
        "norms have seen other draws."
        if recipe["algorithm"] == "gdas"
        else ""
    )
    columns = ("epoch", "train_top1", "train_loss", "valid_top1", "valid_loss")
    histories = {name: read_rows(folder / "history.csv", columns) for name, folder in folders.items()}
    figures.plot_search(histories, report.folder / "search.png")
    figures.plot_error(histories, report.folder / "search_error.png")
    parts = [
        "## Search",
        table(header, rows),
        f"The supernet at the end of {recipe['epochs']} epochs ({how}, C = {recipe['channels']}, "
        f"{recipe['layers']} layers, {recipe['nodes']} nodes) on {report.contents.data}, on {devices}. Validation: "
        "the half of the training images that α is trained on. Entropy: of the softmax weights, mean over edges, in "
        "nats. Skips: skip connections in the genotype derived." + sampled,
        *(warning for name, score in scores.items() for warning in _collapses(name, score, 2 * recipe["nodes"])),
        "![Search accuracy and loss](figures/search.png)",
        "![Search error](figures/search_error.png)",
        "Below, of each search: how the choice of operations evolves, a frame an epoch, played once (on the HTML page "
        "a click plays it again); the softmax weights against epochs; and those at the end, in bold the strongest "
        "operation of an edge and the edges that the genotype keeps.",
        *(_evolution(report, name, folder) for name, folder in folders.items()),
    ]
    return "\n\n".join(parts)


def _collapses(name: str, score: Mapping, edges: int) -> list[str]:
    """A warning for each cell of which skip connections hold at least half of the edges."""
    return [
        f"**Warning: the search collapsed.** In the {title} of {name}, {score[f'skips_{cell}']} of {edges} edges are "
        "skip connections. The genotype says more of how the search was trained than of the space: search for fewer "
        "epochs, or with a smaller alpha_learning_rate."
        for cell, title in CELLS.items()
        if 2 * score[f"skips_{cell}"] >= edges
    ]


def _evolution(report: Report, name: str, folder: Path) -> str:
    """The softmax weights of a search: as they evolve, at the end, and where skip_connect would win."""
    rows = read_rows(folder / "alphas.csv", ("epoch", "cell", "edge", "operation", "weight"))
    found = genotypes.load(report.results / "genotypes" / f"{name}.json")
    skippable = _can_skip(rows)
    parts = [f"### Search of {name}", _pair(f"How the choice of {name} evolves", f"figures/evolution-{name}", "gif")]
    tables = []
    for cell, title in CELLS.items():
        own = [row for row in rows if row["cell"] == cell]
        kept = [f"{state}-{2 + i // 2}" for i, (_, state) in enumerate(getattr(found, cell))]
        figures.animate_cell(own, report.folder / f"evolution-{name}-{cell}.gif", title=f"{name}: {title}")
        figures.plot_alphas(own, report.folder / f"alphas-{name}-{cell}.png", title=f"{name}: {title}")
        if skippable:
            path = report.folder / f"decision-{name}-{cell}.png"
            figures.plot_decision(own, kept, path, title=f"{name}: {title}")
        tables += [f"Softmax weights at the end, {title}:", _final_weights(own, kept)]
    parts += [_pair(f"Softmax weights of {name}", f"figures/alphas-{name}"), *tables]
    if skippable:
        parts.append(_pair(f"Decision boundary of {name}", f"figures/decision-{name}"))
    return "\n\n".join(parts)


def _final_weights(rows: Sequence[Mapping], kept: Sequence[str]) -> str:
    """A row an edge, the strongest operation other than none in bold, the edges of the genotype in bold."""
    last = max(row["epoch"] for row in rows)
    edges: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["epoch"] == last:
            edges.setdefault(row["edge"], {})[row["operation"]] = row["weight"]
    lines = []
    for edge, weights in edges.items():
        best = favourite(weights)
        shown = (f"**{weight:.3f}**" if name == best else f"{weight:.3f}" for name, weight in weights.items())
        lines.append((f"**{_edge(edge)}**" if edge in kept else _edge(edge), *shown))
    return table(("edge", *weights), lines)


def _edge(edge: str) -> str:
    """``1-3`` as ``cₖ₋₁ → node 1``."""
    names = {"0": "cₖ₋₂", "1": "cₖ₋₁"}
    source, target = (names.get(state, f"node {int(state) - 2}") for state in edge.split("-"))
    return f"{source} → {target}"


def _can_skip(rows: Iterable[Mapping]) -> bool:
    operations = {row["operation"] for row in rows}
    return "skip_connect" in operations and bool(operations - {"none", "skip_connect"})


def _preference(report: Report) -> str:
    """Does a search prefer an operation, and would another seed have it prefer the same?"""
    if not report.contents.searched:
        return ""
    path = report.results / "preference" / "metrics.json"
    told = read_json(path)
    try:
        rows = [
            _preferred(f"{name}, {title}", told["searches"][name][cell])
            for name in report.contents.searches
            for cell, title in CELLS.items()
        ]
        repeats = [
            _repeated(f"{space}, {title}", cells[cell])
            for space, cells in told["spaces"].items()
            for cell, title in CELLS.items()
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise damaged(path, ValueError(f"it lacks {error}")) from None
    header = ("search", "verdict", "margin", "normalized entropy", "largest mean weights", "largest weight")
    parts = [
        "## Preference",
        table((*header, "strongest on edges", "in the genotype"), rows),
        "Of the softmax weights at the end, none left out and the others scaled to 1: the margin between an edge's "
        "strongest and second operation, the normalized entropy (1: all weights are equal) and each operation's "
        f"weight, means over edges. The verdict's rule, a convention of this project: {preference.RULE}.",
    ]
    if repeats:
        parts += [
            table(("space", "verdict", "edges in common", "by chance", "p-value", "in the genotypes"), repeats),
            "Do searches that differ by their seed alone choose alike? The edges (node, source and operation) that two "
            "of the genotypes have in common, mean over pairs; the same of genotypes drawn uniformly; and the "
            "probability that such have at least as many in common (p-value, for each cell by itself). The choice "
            f"repeats if that is at most {preference.SIGNIFICANT:g}; otherwise these seeds do not tell it from chance.",
        ]
    return "\n\n".join(parts)


def _preferred(name: str, told: Mapping) -> tuple[str, ...]:
    largest = max(told["weights_max"], key=told["weights_max"].get)
    return (
        name,
        f"**{told['verdict']}**",
        f"{told['margin']:.3f}",
        f"{told['entropy']:.3f}",
        _ranked(told["weights_mean"], ".3f", most=3),
        f"{largest} {told['weights_max'][largest]:.3f}",
        _ranked(told["leads"]),
        _ranked(told["chosen"]),
    )


def _repeated(name: str, told: Mapping) -> tuple[str, ...]:
    shares = (f"{100 * told['agreement']:.0f} %", f"{100 * told['chance']:.0f} %", f"{told['p_value']:.3f}")
    return (name, f"**{told['verdict']}**", *shares, _ranked(told["chosen"]))


def _ranked(values: Mapping[str, float], form: str = "", most: int | None = None) -> str:
    """``b 3, a 1``: from the largest down, at most so many, zeros left out."""
    ranked = sorted(values.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} {value:{form}}" for name, value in ranked if value)


def _genotypes(report: Report) -> str:
    evaluated = (genotype for genotype, _, _ in report.contents.networks)
    names = list(dict.fromkeys([*evaluated, *report.contents.searches]))
    if not names:
        return ""
    parts = ["## Genotypes"]
    for name in names:
        parts += [f"### {name}", _pair(name, f"genotypes/{name}")]
    return "\n\n".join(parts)


def _pair(what: str, files: str, kind: str = "png") -> str:
    """The pictures of a normal and a reduction cell, side by side where there is room."""
    return " ".join(f"![{what}, {title}]({files}-{cell}.{kind})" for cell, title in CELLS.items())


# Complexity


def _complexity(report: Report) -> str:
    if not report.pibconv:
        return ""
    path = report.results / "complexity" / "metrics.json"
    counted = read_json(path)
    rows = []
    for row in published.PIBCONV_TABLE_1:
        try:
            ours = counted["pibconv_table_1"][f"{row.genotype}-{row.layers}"]
            params, gmac, conv_gmac = ours["params"] / 1e6, ours["macs"] / 1e9, ours["conv_macs"] / 1e9
        except (KeyError, TypeError):
            raise damaged(path, ValueError(f"it lacks {row.genotype}-{row.layers}")) from None
        differences = [f"{100 * (a / b - 1):+.1f} %" for a, b in ((params, row.params), (gmac, row.gmac))]
        pairs = (f"{params:.4f}", f"*{row.params:g}*", f"{gmac:.4f}", f"*{row.gmac:.3f}*")
        rows.append((row.genotype, row.layers, *pairs, *differences, f"{conv_gmac:.4f}"))
    header = (
        *("genotype", "layers", "params (M)", "paper's", "GMAC", "paper's"),
        *("params against the paper", "GMAC against the paper", "GMAC of conv and linear alone"),
    )
    return "\n\n".join(
        [
            "## Complexity of the paper's Table 1",
            table(header, rows),
            f"C = {published.PIBCONV_CHANNELS}, 3×32×32 images, counted by ptflops over modules, without the auxiliary "
            f"tower. The paper's: {published.PIBCONV_SOURCE}.",
        ]
    )


def _blocks(report: Report) -> str:
    if not report.pibconv:
        return ""
    columns = ("operation", "expansion", "kernel", "channels", "weights", "equation")
    counted = read_rows(report.results / "complexity" / "blocks.csv", columns)
    convnext = {row["kernel"]: row["weights"] for row in counted if row["operation"].startswith("convnext")}
    rows = [
        (
            row["operation"],
            f"{row['expansion']:g}",
            f"{row['kernel']:g}",
            f"{row['weights']:.0f}",
            f"*{row['equation']:.0f}*",
            f"{row['weights'] - row['equation']:+.0f}",
            f"{row['weights'] / convnext[row['kernel']]:.2f}",
        )
        for row in counted
    ]
    header = ("block", "F", "K", "weights", "equation's", "difference", "of the ConvNeXt block's")
    return "\n\n".join(
        [
            "## Weights per block",
            table(header, rows),
            f"C = {counted[0]['channels']:.0f}, convolutions alone. Equation 1 of the paper, 2FC² + K²C, is the "
            "ConvNeXt block's as built. Equation 2, (F + 1)C² + 2K²C, counts the second depthwise convolution of the "
            "pseudo-inverted bottleneck as K²C, but C groups over F·C channels hold F·K²C weights (with F = 1.5: C/2 "
            "groups of 3 to 2 channels, 3K²C; with F = 4.5: 9K²C), hence the difference. The paper's 0.63 compares the "
            "coefficients of C² at the same F = 4, (F + 1)/2F; the block it chooses has F = 2.",
        ]
    )


# Grad-CAM


def _gradcam(report: Report) -> str:
    networks = report.contents.gradcam
    if not networks:
        return ""
    recipe = report.contents.recipes["Grad-CAM"]
    keys = ("confidence", "drop", "other_drop", "random_drop", "images")
    files = {network: report.results / "gradcam" / network / "metrics.json" for network in networks}
    scores = {network: read_json(file, keys, ("device",)) for network, file in files.items()}
    rows = [(network, *(f"{100 * score[key]:.1f}" for key in keys[:-1])) for network, score in scores.items()]
    share = f"{100 * recipe['removed']:g} %"
    header = ("network", "confidence (%)", "drop, hottest", "drop, another image's hottest", "drop, random")
    images, devices = next(iter(scores.values()))["images"], _names({score["device"] for score in scores.values()})
    trained = f"{report.contents.data}, {report.contents.recipes['Evaluation']['epochs']} epochs"
    _draw_gradcam(report, f"{recipe['method']}; {trained}")
    return "\n\n".join(
        [
            "## Grad-CAM",
            "![Grad-CAM heat maps](figures/gradcam.png)",
            f"What in the last cell {_looks_at(recipe['method'])}, by {recipe['method']}; below each picture the "
            "predicted class and its softmax probability. All networks see the same test images.",
            table(header, rows),
            f"Mean softmax probability of the image's own class over {images} test images, and what it loses, in "
            f"points, when {share} of an image's pixels are removed: the hottest of its heat map, those that another "
            "image's map calls the hottest, or random ones. The more the first exceeds the second, the better the heat "
            f"map finds what the network decides by. Networks trained on {trained}; measured on {devices}.",
        ]
    )


def _looks_at(method: str) -> str:
    return "varies most, whatever the class" if method == "EigenCAM" else "speaks for the image's own class"


def _draw_gradcam(report: Report, note: str) -> None:
    networks, keys = report.contents.gradcam, (("confidence",), ("class", "predicted"))
    folders = {network: report.results / "gradcam" / network / "pictures" for network in networks}
    told = {network: read_json(folder / "predictions.json", *keys, many=True) for network, folder in folders.items()}
    columns = [f"class {entry['class']}" if entry["class"].isdigit() else entry["class"] for entry in told[networks[0]]]

    def row(network: str, kind: str) -> list[np.ndarray]:
        try:
            files = [folders[network] / f"{i}-{kind}.png" for i in range(len(columns))]
            return [np.asarray(Image.open(file).convert("RGB")) for file in files]
        except OSError as error:
            raise damaged(folders[network], error) from None

    rows = [("input", row(networks[0], "input"), None)]
    for network in networks:
        genotype, layers, _ = network.rsplit("-", 2)
        captions = [f"{entry['predicted']}: {100 * entry['confidence']:.0f} %" for entry in told[network]]
        rows.append((f"{genotype}, {layers} layers", row(network, "heat"), captions))
    figures.gradcam_grid(columns, rows, report.folder / "gradcam.png", note=note)


# DNAL


def _slimmed(report: Report) -> str:
    return slimmed_section(report.contents.slimmed, report.results, report.folder, report.contents.data)


def _recipes(report: Report) -> str:
    parts = ["## Recipe"]
    for title, recipe in report.contents.recipes.items():
        parts += [f"### {title}", table(("parameter", "value"), ((k, _plain(v)) for k, v in recipe.items()))]
    return "\n\n".join(parts)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


SECTIONS = (
    *(_summary, _accuracy, _roadmap, _baseline, _single_blocks, _preference, _search, _genotypes),
    *(_complexity, _blocks, _gradcam, _slimmed, _recipes),
)
