"""What a report shows, and what its sections are made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from nas.pipeline import names
from nas.pipeline.names import Exported, Label, Network, Search
from nas.pipeline.params import RANDOM
from nas.pipeline.records import Evaluation, NetworkCost, damaged
from nas.report.intervals import seeds_half_width, widened, wilson
from nas.report.published import pibconv as published


@dataclass(frozen=True)
class Slimmed:
    """What DNAL's section shows: backbones, penalties λ_a, and of each backbone pretrain's and slim's parameters."""

    models: Sequence[str]
    penalties: Sequence[float]
    recipes: Mapping[str, Mapping[str, object]]

    @property
    def networks(self) -> list[names.Slimmed]:
        """One for each backbone and penalty."""
        return [names.Slimmed(model, penalty) for model in self.models for penalty in self.penalties]

    def cost(self, model: str, *, dense: bool = False) -> str:
        """Epochs of the three phases, as the paper's column "search cost" has them; a dense network has no second."""
        recipe = self.recipes[model]
        return f"{recipe['pretrain.epochs']}+{0 if dense else recipe['slim.gate_epochs']}+{recipe['slim.epochs']}"


@dataclass(frozen=True)
class Contents:
    """What the report shows: names, in the order of the lists in params.yaml.

    Parameters
    ----------
    searches : mapping of str to Search
        A found genotype's name, and the search that found it.
    networks : sequence of (genotype, layers, seeds)
    gradcam : sequence of Network
    recipes : mapping of str to mapping
        A heading (Run, Data, Search, Evaluation, Grad-CAM) and the parameters that produced the results.
    data : str
        What the results were measured on.
    slimmed : Slimmed
    prepared : mapping, optional
        What `nas.data.meta.read_meta` tells of the data; None if it is not known.
    test_images : int, optional
        How many there are; None if it is not known, and then no accuracy has an interval.
    parameters : str
        All of params.yaml.
    truth : sequence of str
        The spaces whose genotypes were all trained.
    asked : sequence of Search
        Whose supernets were asked what those genotypes are worth.
    exported : sequence of Exported
    timed : sequence of str
        Whose latency was measured: keys of exported networks, and GENOTYPE-LAYERS of published ones.
    licence : str, optional
        Of the data, as the user states it.
    """

    searches: Mapping[str, Search]
    networks: Sequence[tuple[str, int, Sequence[int]]]
    gradcam: Sequence[Network]
    recipes: Mapping[str, Mapping[str, object]]
    data: str
    slimmed: Slimmed
    prepared: Mapping[str, Any] | None = None
    test_images: int | None = None
    parameters: str = ""
    truth: Sequence[str] = ()
    asked: Sequence[Search] = ()
    exported: Sequence[Exported] = ()
    timed: Sequence[str] = ()
    licence: str | None = None

    @property
    def runs(self) -> list[Network]:
        """The evaluated networks, one for each seed."""
        return [Network(genotype, layers, seed) for genotype, layers, seeds in self.networks for seed in seeds]

    @property
    def trained(self) -> dict[str, Search]:
        """Those of the searches that trained something: where genotypes are drawn at random, none is searched."""
        return {name: searched for name, searched in self.searches.items() if searched.algorithm != RANDOM}

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds that were searched with."""
        return self.recipes["Search"].get("seeds", [])

    @property
    def pibconv(self) -> bool:
        """Whether anything shown is of the PIBConv study, so that its paper's numbers belong beside ours."""
        labels = map(Label.of, [*self.searches, *(genotype for genotype, _, _ in self.networks)])
        shown = {label.root for label in labels if label.kind != "all"}
        return not shown.isdisjoint(published.PIBCONV_NAMES)

    @property
    def as_in_pibconv(self) -> bool:
        """Whether data and recipe are the PIBConv paper's, so that its accuracies compare with ours."""
        return self.has(published.PIBCONV_TRAINING)

    def has(self, recipes: Mapping[str, Mapping[str, object]]) -> bool:
        """Whether the parameters under each heading have those values."""
        return all(
            key in self.recipes.get(heading, {}) and self.recipes[heading][key] == value
            for heading, values in recipes.items()
            for key, value in values.items()
        )

    def evidence(self, rows: Sequence[Mapping]) -> str:
        """What tells the accuracies of `rows` apart: ``360 test images and 3 seeds``; "" if it is not known."""
        seeds = max((len(row["seeds"]) for row in rows), default=0)
        if not self.test_images:
            return ""
        return f"{self.test_images} test images" + (f" and {seeds} seeds" if seeds > 1 else "")

    def evaluation(self, rows: Sequence[Mapping]) -> str:
        """How the accuracies of `rows` came about: ``digits, 8 epochs, C = 16, on cpu``."""
        recipe, devices = self.recipes["Evaluation"], set().union(*(row["devices"] for row in rows))
        seeds = max(len(row["seeds"]) for row in rows)
        repeated = f", mean of {seeds} seeds" if seeds > 1 else ""
        return f"{self.data}, {recipe['epochs']} epochs, C = {recipe['channels']}, on {listed(devices)}{repeated}"


@dataclass(frozen=True)
class Report:
    """What every section is made from; each draws its figures into `folder` and returns its text, "" for none.

    Parameters
    ----------
    results : Path
        Where the stages left their results.
    contents : Contents
    evaluated : sequence of mapping
        The rows of `evaluated`, one for each network of the contents.
    folder : Path
    charts : dict of str to mapping
        Vega-Lite specifications of `nas.report.figures.charts`, which a section adds by the name of the figure that
        they stand for on the HTML page.
    """

    results: Path
    contents: Contents
    evaluated: Sequence[Mapping]
    folder: Path
    charts: dict[str, Mapping] = field(default_factory=dict)

    def drawn(self, space: str, layers: int) -> list[Mapping]:
        """The rows of `evaluated` of genotypes drawn from `space`, of so many layers."""
        searches = self.contents.searches.items()
        by_search = {name for name, found in searches if found.space == space and found.algorithm == RANDOM}
        rows = [row for row in self.evaluated if row["layers"] == layers]
        by_name = [row for row in rows if Label.of(row["genotype"])[:2] == (space, "random")]
        return by_name + [row for row in rows if row["genotype"] in by_search]


def listed(devices: Iterable[str]) -> str:
    """``cpu and cuda``."""
    return " and ".join(sorted(set(devices)))


def evaluated(
    results: Path, networks: Iterable[tuple[str, int, Sequence[int]]], test_images: int | None = None
) -> list[dict]:
    """Of each network its scores, averaged over its seeds, and its cost.

    Accuracy ± deviation and top5 are in percent, params in millions, gmac in 10⁹ multiply-adds. `interval` is the 95 %
    interval of the accuracy, by Wilson for the `test_images`, widened by what another seed changes as far as networks
    were trained with several; None if their number is not known.
    """
    costs = network_costs(results, "evaluated", networks) if networks else []
    rows = []
    for (genotype, layers, seeds), cost in zip(networks, costs, strict=True):
        folders = [Network(genotype, layers, seed).results(results) for seed in seeds]
        runs = [Evaluation.read(folder / "metrics.json") for folder in folders]
        row = {
            "genotype": genotype,
            "layers": layers,
            "seeds": seeds,
            "accuracy": mean(run.top1 for run in runs),
            "deviation": stdev(run.top1 for run in runs) if len(runs) > 1 else 0.0,
            "top5": mean(run.top5 for run in runs),
            "classes": _by_class(runs),
            "params": cost.params / 1e6,
            "gmac": cost.macs / 1e9,
            "devices": {run.device for run in runs},
        }
        rows.append(row)
    half = seeds_half_width((len(row["seeds"]), row["deviation"]) for row in rows)
    for row in rows:
        by_seeds = half / len(row["seeds"]) ** 0.5
        accuracy = row["accuracy"]
        row["interval"] = widened(accuracy, wilson(accuracy, test_images), by_seeds) if test_images else None
    return rows


def _by_class(runs: Sequence[Evaluation]) -> dict[str, float]:
    """Of uneven classes the balanced accuracy and each class's, averaged over the runs; {} of even ones."""
    if any(run.class_top1 is None for run in runs):
        return {}
    balanced = {"mean of the classes": mean(run.balanced_top1 for run in runs)}
    return balanced | {name: mean(run.class_top1[name] for run in runs) for name in runs[0].class_top1}


def network_costs(results: Path, table: str, networks: Iterable[tuple[str, int, ...]]) -> list[NetworkCost]:
    """The rows of the complexity table's part `table` that are of `networks`: genotype, layers and what else.

    Raises
    ------
    UserError
        If one of them is not there.
    """
    path = results / "complexity" / "table.csv"
    rows = [NetworkCost(**row) for row in NetworkCost.read(path).to_dict("records")]
    costs = {(row.genotype, row.layers): row for row in rows if row.table == table}
    try:
        return [costs[genotype, layers] for genotype, layers, *_ in networks]
    except KeyError as error:
        raise damaged(path, ValueError("it lacks {}-{}".format(*error.args[0]))) from None
