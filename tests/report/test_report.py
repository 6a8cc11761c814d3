"""The report shows what the lists name, with the numbers that stand in results/, and needs nothing else."""

import io
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT, Project
from ruamel.yaml import YAML

import stages.report
from nas.pipeline import dvc_yaml, params
from nas.pipeline.errors import UserError
from nas.pipeline.names import Network, Search
from nas.pipeline.records import Alphas, CellPreference, NetworkCost, OperationPreference, Repeatability
from nas.report.contents import Contents, Slimmed
from nas.report.page import write
from nas.report.published import pibconv as published
from nas.report.sections import dnal

RECIPES = {
    "Search": {"algorithms": ["darts"], "epochs": 1, "channels": 2, "layers": 3, "nodes": 1},
    "Evaluation": {"epochs": 2, "channels": 4},
    "Grad-CAM": {"method": "GradCAM", "removed": 0.2},
}


def contents(**changes: object) -> Contents:
    given = {
        "searches": {"darts": Search("darts", "darts", 0)},
        "networks": [("DARTS_V2", 2, [0]), ("darts", 2, [0])],
        "gradcam": [Network("DARTS_V2", 2, 0)],
        "recipes": RECIPES,
        "data": "digits",
        "slimmed": Slimmed([], [], {}),
    }
    return Contents(**(given | changes))


@pytest.fixture
def results(finished: Project, tmp_path: Path) -> Path:
    shutil.copytree(finished.folder / "results", tmp_path / "results")
    return tmp_path / "results"


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without the header."""
    lines = [line for line in section(text, f"## {heading}").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return rows[2 : 2 + next((i for i, row in enumerate(rows[2:]) if len(row) != len(rows[0])), len(rows))]


def test_numbers_are_those_of_the_metrics(results: Path) -> None:
    write(results, contents())
    rows = table((results / "report.md").read_text(), "Test accuracy")
    assert len(rows) == 2
    counted = NetworkCost.read(results / "complexity/table.csv").to_dict("records")
    costs = {(row["genotype"], str(row["layers"])): row for row in counted if row["table"] == "evaluated"}
    for row, run in zip(rows, ("DARTS_V2-2-0", "darts-2-0"), strict=True):
        metrics = json.loads((results / "evaluate" / run / "metrics.json").read_text())
        genotype, layers, top1, interval, params, gmac, top5 = row
        assert f"{genotype}-{layers}-0" == run
        assert top1.strip("*") == f"{metrics['top1']:.2f}"
        assert interval == "–"  # of how many test images is not known
        assert top5 == f"{metrics['top5']:.2f}"
        assert float(params) == pytest.approx(costs[genotype, layers]["params"] / 1e6, rel=1e-3)
        assert float(gmac) == pytest.approx(costs[genotype, layers]["macs"] / 1e9, rel=1e-3)


def test_the_papers_numbers_stand_beside_ours_where_data_and_recipe_are_its_own(results: Path) -> None:
    set_metrics(results, "pibconv-2-0", top1=70.0)
    given = contents(networks=[("DARTS_V2", 2, [0]), ("darts", 2, [0]), ("pibconv", 2, [0])])
    as_theirs = replace(given, recipes=RECIPES | published.PIBCONV_TRAINING)
    write(results, as_theirs)
    text = (results / "report.md").read_text()
    theirs = [[row[i] for i in (3, 6, 8)] for row in table(text, "Test accuracy")]
    assert theirs == [["*54.52*", "*0.082*", "*0.035*"], 3 * ["–"], 3 * ["–"]]  # Table 1, last of DARTS_V2
    assert "| darts | " in text and "*97.24*" in section(text, "## Roadmap")
    assert "do not compare" not in text and "## The paper's" not in text

    limited = {"Data": published.PIBCONV_TRAINING["Data"] | {"train_limit": 100}}
    for other in (given, replace(as_theirs, recipes=as_theirs.recipes | limited)):
        write(results, other)
        text = (results / "report.md").read_text()
        own = section(text, "## Test accuracy").split("### ")[1]
        assert "| DARTS_V2 | 2 | 54.52 | 0.082 | 0.035 |" in own and "do not compare" in own
        assert "| darts | 97.24 | 0.547 |" in section(text, "## Roadmap")
        assert "*" not in "".join(sum(table(text, "Roadmap"), []))


@pytest.mark.parametrize(
    ("preset", "pibconv", "backbones"),
    [
        *(("default", False, []), ("fashion_mnist_quick", False, []), ("efficientnetv2", False, [])),
        *(("pibconv", True, []), ("roadmap", True, []), ("imagenet", False, [])),
        ("dnal_cifar10", False, ["vgg16_cifar", "resnet56", "mobilenet_v2_cifar"]),
        ("dnal_imagenet", False, ["vgg16_bn", "resnet50", "mobilenet_v2", "proxylessnas"]),
    ],
)
def test_a_papers_preset_is_its_own_data_and_recipe(preset: str, pibconv: bool, backbones: list[str], monkeypatch):
    monkeypatch.chdir(ROOT)
    text = io.StringIO()
    YAML().dump(params._preset_tree(preset, [], YAML()), text)
    given = stages.report.contents(params.check(dvc_yaml.parse(text.getvalue())), [])
    given = replace(given, prepared={"classes": ["a"] * 1000})
    assert given.as_in_pibconv is pibconv
    assert [model for model in given.slimmed.models if dnal._compares(given, model)] == backbones


PREPARED = {
    "name": "folder",
    "classes": ["ant", "bee"],
    "shape": [1, 8, 6],
    "train": 23,
    "test": 40,
    "train_per_class": [20, 3],
    "test_per_class": [30, 10],
    "passed_over": {".gif": 80, ".txt": 2},
}


def test_what_was_prepared_is_told(results: Path) -> None:
    write(results, contents(prepared=PREPARED))
    text = (results / "report.md").read_text()
    assert table(text, "Data") == [["ant", "20", "30"], ["bee", "3", "10"]]
    told = " ".join(section(text, "## Data").split())
    assert "folder: 23 training and 40 test images of 8×6 pixels (height×width), grey, 2 classes." in told
    assert "which were not read: 80 .gif, 2 .txt." in told
    assert "## Test accuracy" in text and "mean of the classes" not in text

    write(results, contents(prepared=PREPARED | {"passed_over": {}, "shape": [3, 8, 6]}))
    told = section((results / "report.md").read_text(), "## Data")
    assert "in colour" in told and "not read" not in told


def test_many_classes_are_told_by_their_range(results: Path) -> None:
    many = {"classes": [f"c{i}" for i in range(31)], "train_per_class": [2] * 30 + [9], "test_per_class": [1] * 31}
    write(results, contents(prepared=PREPARED | many))
    assert table((results / "report.md").read_text(), "Data") == [["train", "2", "9"], ["test", "1", "1"]]


def test_of_uneven_classes_the_accuracy_of_each_is_told(results: Path) -> None:
    uneven = {"balanced_top1": 45.0, "class_top1": {"ant": 90.0, "bee": 0.0}}
    for run in ("DARTS_V2-2-0", "darts-2-0"):
        path = results / "evaluate" / run / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | uneven))
    write(results, contents(prepared=PREPARED))
    told = section((results / "report.md").read_text(), "## Test accuracy")
    assert "from 10 to 30 test images" in " ".join(told.split())
    assert "| class | DARTS_V2, 2 layers | darts, 2 layers |" in told
    assert "| mean of the classes | 45.00 | 45.00 |\n| ant | 90.00 | 90.00 |\n| bee | 0.00 | 0.00 |" in told


class Elements(HTMLParser):
    """The tags with their attributes, and the texts of a page's table cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.cells: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == "td" or (self.inside and tag not in ("tr", "table"))
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a|b",
    "**bold**",
    "[x](javascript:alert(1))",
    "![x](nowhere.png)",
    "`code`",
    "back\\slash",
    "a & b &lt;",
    "$math$ \\frac{",
    "{{ 7 * 7 }}",
]


def test_names_that_are_markup_stand_there_as_they_are(results: Path) -> None:
    counts = list(range(1, len(EVIL) + 1))
    many = {"classes": EVIL, "train_per_class": counts, "test_per_class": counts, "passed_over": {".<b>": 2}}
    recipes = RECIPES | {"Data": {"root": EVIL[0], "name": EVIL[4]}}
    path = results / "gradcam/DARTS_V2-2-0/predictions.csv"
    path.write_text(path.read_text().replace("\n0,", f'\n"{EVIL[0]}",'))
    write(results, contents(data=f"folder {EVIL[0]} {EVIL[4]}", prepared=PREPARED | many, recipes=recipes))
    page = Elements((results / "report.html").read_text())
    assert {tag for tag, _ in page.tags}.isdisjoint({"b", "i"})
    count = Counter(tag for tag, _ in page.tags)
    assert (count["script"], count["code"]) == (3, 1)  # charts, Vega, the page's own; the checksum
    assert all(attrs["href"].startswith("#") for tag, attrs in page.tags if tag == "a")
    assert all(attrs["src"].startswith("data:image/") for tag, attrs in page.tags if tag == "img")
    assert all(not name.startswith("on") for _, attrs in page.tags for name in attrs)
    shown = [cell.strip() for cell in page.cells]
    for name, count in zip(EVIL, counts, strict=True):
        assert [str(count)] * 2 == shown[shown.index(name) + 1 :][:2], name


RECIPE = "digits, 2 epochs, C = 4, on cpu"


def test_no_number_of_ours_stands_without_its_recipe(results: Path) -> None:
    networks = [("DARTS_V2", 2, [0]), ("darts", 2, [0]), ("darts_random_0", 2, [0])]
    write(results, contents(networks=networks))
    text = (results / "report.md").read_text()
    for heading in ("# Report", "## Test accuracy", "## Found or random"):
        assert RECIPE in section(text, heading)
    assert "1 epochs (darts, C = 2, 3 layers, 1 nodes) on digits, on cpu" in section(text, "## Search")
    assert "digits, 2 epochs; measured on cpu" in section(text, "## Grad-CAM")


def test_a_random_algorithm_is_said_to_have_searched_nothing(results: Path) -> None:
    drawn = results / "search/darts-random-0"
    (results / "search/darts-darts-0").rename(drawn)
    for file in ("metrics.json", "history.csv"):
        (drawn / file).unlink()
    write(results, contents(searches={"darts": Search("darts", "random", 0)}))
    assert "drawn from its space" in section((results / "report.md").read_text(), "## Search")


def section(text: str, heading: str) -> str:
    """What stands under a heading, before the next of its level."""
    after = f"\n{text}".split(f"\n{heading}\n")[1]
    return after.split("\n## ")[0]


def set_metrics(results: Path, run: str, macs: int = 10**6, **values: float) -> None:
    """Metrics of an evaluated network, copied from DARTS_V2-2-0's and changed."""
    source = results / "evaluate/DARTS_V2-2-0"
    if not (results / "evaluate" / run).exists():
        shutil.copytree(source, results / "evaluate" / run)
    genotype, layers, _ = run.rsplit("-", 2)
    for of_darts in ("cells/darts-normal.png", "cells/darts-reduce.png", "genotypes/darts.json"):
        its = results / of_darts.replace("darts", genotype)
        if not its.exists():
            shutil.copy(results / of_darts, its)
    cost = {"table": "evaluated", "genotype": genotype, "layers": int(layers), "channels": 4, "image": "1x8x8"}
    cost |= {"params": 1000, "macs": macs, "conv_macs": 1}
    table = results / "complexity/table.csv"
    NetworkCost.write(table, [*NetworkCost.read(table).to_dict("records"), cost])
    metrics = json.loads((source / "metrics.json").read_text())
    (results / "evaluate" / run / "metrics.json").write_text(json.dumps(metrics | values))


@pytest.mark.parametrize(
    ("found", "verdict", "difference"), [(91.0, "beats", "+5.00"), (88.0, "does not beat", "+2.00")]
)
def test_the_found_genotype_is_judged_by_the_random_ones(results: Path, found, verdict, difference) -> None:
    drawn = (80.0, 88.0, 90.0)
    set_metrics(results, "darts-3-0", top1=found)
    for i, top1 in enumerate(drawn):
        set_metrics(results, f"darts_random_{i}-3-0", top1=top1)
        set_metrics(results, f"darts_random_{i}-2-0", top1=99.0)  # of another depth: no equal budget
    networks = [(f"darts_random_{i}", layers, [0]) for i in range(3) for layers in (2, 3)] + [("darts", 3, [0])]
    write(results, contents(networks=networks))
    text = section((results / "report.md").read_text(), "## Found or random")
    assert f"| darts | 3 | {found:.2f} | 3 | 86.00 ± 5.29 | 90.00 |" in text
    beaten = sum(found > top1 for top1 in drawn)
    assert f"**{verdict}** the random ones: it is more accurate than {beaten} of 3, {difference} points" in text


def test_the_roadmap_takes_the_deepest_networks_that_all_spaces_share(results: Path) -> None:
    found = {"pibconv": {8: 80.0, 20: 85.0}, "darts": {8: 70.0, 20: 75.0, 30: 99.0}, "pibconv_f3": {20: 79.5}}
    for name, accuracies in found.items():
        for layers, top1 in accuracies.items():
            set_metrics(results, f"{name}-{layers}-0", top1=top1, macs=250_000_000)
    networks = [(name, layers, [0]) for name, accuracies in found.items() for layers in accuracies]
    write(results, contents(networks=networks, searches={}))
    text = (results / "report.md").read_text()
    rows = [row[:4] for row in table(text, "Roadmap")]
    assert rows == [  # in the paper's order
        ["darts", "75.00", "–", "0.25"],
        ["pibconv", "85.00", "–", "0.25"],
        ["pibconv_f3", "79.50", "–", "0.25"],
    ]
    assert "20 layers, digits, 2 epochs" in section(text, "## Roadmap")
    write(results, contents(networks=[("darts", 8, [0]), ("DARTS_V2", 2, [0])], searches={}))
    assert "## Roadmap" not in (results / "report.md").read_text()


@pytest.mark.parametrize(
    "found, told", [(84.0, "+6.00 points from the genotype itself, which is number 2 of 3"), (90.5, "number 1 of 3")]
)
def test_a_genotype_stands_beside_its_single_blocks(results: Path, found: float, told: str) -> None:
    accuracies = {("darts", 3): found, ("darts_all_mb_conv", 3): 80.0, ("darts_all_sep_conv_3x3", 3): 90.0}
    accuracies |= {("darts_all_sep_conv_3x3", 2): 99.0}  # of another depth
    accuracies |= {("DARTS_V2_all_sep_conv_3x3", 3): 99.0}  # of another wiring
    for (name, layers), top1 in accuracies.items():
        set_metrics(results, f"{name}-{layers}-0", top1=top1)
    networks = [(name, layers, [0]) for name, layers in accuracies]
    write(results, contents(networks=networks))
    text = section((results / "report.md").read_text(), "## Single blocks")
    shown = [row[2] for row in table(f"\n## Single blocks\n{text}", "Single blocks")]
    assert shown == [f"{value:.2f}" for value in sorted((found, 80.0, 90.0), reverse=True)]
    assert "the best of the 2 single blocks tried in the cells of darts is **sep_conv_3x3**" in text
    assert told in text
    write(results, contents())
    assert "## Single blocks" not in (results / "report.md").read_text()


SUMMARY = {"margin": 0.1234, "entropy": 0.9876, "verdict": "a mix"}
OPERATIONS = {  # leads, chosen (by the first seed, by the second), weight_mean, weight_max
    "a": (0, (0, 5), 0.125, 0.3),
    "b": (2, (1, 0), 0.25, 0.9),
    "c": (3, (3, 1), 0.625, 0.8),
}
REPEATS = {"agreement": 0.5, "chance": 0.2139, "p_value": 0.0301}


def test_preferences_and_whether_they_repeat(results: Path) -> None:
    shutil.copytree(results / "search/darts-darts-0", results / "search/darts-darts-5")
    for file in [*(results / "genotypes").glob("darts.*"), *(results / "cells").glob("darts-*")]:
        shutil.copy(file, file.with_name(file.name.replace("darts", "darts_seed_5", 1)))
    names, cells, folder = ("darts", "darts_seed_5"), ("normal", "reduce"), results / "preference"
    which = [{"genotype": name, "cell": cell} for name in names for cell in cells]
    CellPreference.write(folder / "cells.csv", [row | SUMMARY for row in which])
    operations = [
        row
        | {"operation": name, "leads": leads, "chosen": chosen[names.index(row["genotype"])]}
        | {"weight_mean": mean, "weight_max": most}
        for row in which
        for name, (leads, chosen, mean, most) in OPERATIONS.items()
    ]
    OperationPreference.write(folder / "operations.csv", operations)
    verdicts = zip(cells, ("repeats", "not told from chance"), strict=True)
    repeats = [
        {"space": "darts", "algorithm": "darts", "cell": cell, "verdict": verdict} | REPEATS
        for cell, verdict in verdicts
    ]
    Repeatability.write(folder / "repeatability.csv", repeats)
    write(
        results, contents(searches={"darts": Search("darts", "darts", 0), "darts_seed_5": Search("darts", "darts", 5)})
    )
    text = (results / "report.md").read_text().replace("\N{NO-BREAK SPACE}", " ")
    rows = table(text, "Preference")
    assert [row[0] for row in rows[:4]] == [
        f"{name}, {cell} cell" for name in names for cell in ("normal", "reduction")
    ]
    assert rows[0][1:] == [
        *("**a mix**", "0.123", "0.988", "c 0.625, b 0.250, a 0.125", "b 0.900", "c 3, b 2", "c 3, b 1")
    ]
    assert rows[2][-2:] == ["c 3, b 2", "a 5, c 1"]
    assert "| darts, normal cell | **repeats** | 50 % | 21 % | 0.030 | a 5, c 4, b 1 |" in text
    assert "| darts, reduction cell | **not told from chance** |" in text
    assert "figures/evolution-darts_seed_5-reduce.gif" in text
    OperationPreference.write(folder / "operations.csv", operations[:4])
    with pytest.raises(UserError, match=r"preference/operations.csv: is missing .* \(it lacks darts_seed_5, normal\)"):
        write(results, contents(searches={"darts_seed_5": Search("darts", "darts", 5)}))
    CellPreference.write(folder / "cells.csv", [])
    with pytest.raises(UserError, match=r"preference/cells.csv: is missing or damaged \(it lacks darts, normal\)"):
        write(results, contents())


def test_the_final_weights_are_those_of_the_last_epoch(results: Path) -> None:
    rows = Alphas.read(results / "search/darts-darts-0/alphas.csv").to_dict("records")
    last = {(r["cell"], r["edge"], r["operation"]): r["weight"] for r in rows if r["epoch"] == 1}
    write(results, contents())
    text = section((results / "report.md").read_text(), "## Search")
    edges = {"**cₖ₋₂ → node 0**": "0-2", "**cₖ₋₁ → node 0**": "1-2"}  # of one node, both are kept
    shown = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| **cₖ")]
    header = next(line for line in text.splitlines() if line.startswith("| edge |")).strip("| ").split(" | ")[1:]
    assert len(shown) == 4
    for i, (edge, *weights) in enumerate(shown):
        expected = [last["normal" if i < 2 else "reduce", edges[edge], operation] for operation in header]
        assert [float(weight.strip("*")) for weight in weights] == pytest.approx(expected, abs=0.0005)
        best = max(w for name, w in zip(header, expected, strict=True) if name != "none")
        assert [weight.startswith("**") for weight in weights] == [w == best for w in expected]


def test_a_papers_numbers_stand_beside_its_own_study_alone(results: Path) -> None:
    set_metrics(results, "efficientnetv2-2-0", top1=50.0)
    shutil.copy(results / "evaluate/DARTS_V2-2-0/history.csv", results / "evaluate/efficientnetv2-2-0")
    write(results, contents(searches={}, networks=[("efficientnetv2", 2, [0])], gradcam=[]))
    text = (results / "report.md").read_text()
    assert "paper" not in text.split("## Recipe")[0]
    assert len(table(text, "Test accuracy")[0]) == 7
    write(results, contents(searches={}, networks=[("DARTS_V2", 2, [0])], gradcam=[]))
    assert "## Complexity of the paper's Table 1" in (results / "report.md").read_text()


@pytest.mark.parametrize("skips, warned", [(0, False), (1, True), (2, True)])
def test_a_cell_that_skip_connections_took_over_is_warned_of(results: Path, skips: int, warned: bool) -> None:
    path = results / "search/darts-darts-0/metrics.json"  # one node: two edges in each cell
    path.write_text(json.dumps(json.loads(path.read_text()) | {"skips_normal": 0, "skips_reduce": skips}))
    write(results, contents())
    text = (results / "report.md").read_text()
    assert (f"In the reduction cell of darts, {skips} of 2 edges are skip connections" in text) is warned
    assert "normal cell of darts, 0" not in text


def test_weights_per_block_stand_beside_the_equations(results: Path) -> None:
    write(results, contents())
    rows = {row[0]: row[1:] for row in table((results / "report.md").read_text(), "Weights per block")}
    # C = 36: 2·4·36² + 9·36; (2 + 1)·36² + 2·9·36, and 9·36 more as built
    assert rows["convnext_3x3"] == ["4", "3", "10692", "*10692*", "+0", "1.00"]
    assert rows["pib_conv_3x3"] == ["2", "3", "4860", "*4536*", "+324", "0.45"]


def test_grad_cam_tells_what_the_heat_is_worth(results: Path) -> None:
    write(results, contents())
    (row,) = table((results / "report.md").read_text(), "Grad-CAM")
    metrics = json.loads((results / "gradcam/DARTS_V2-2-0/metrics.json").read_text())
    keys = ("confidence", "drop", "other_drop", "random_drop")
    assert row == ["DARTS_V2-2-0", *(f"{100 * metrics[key]:.1f}" for key in keys)]
    assert metrics["images"] == 64


def test_complexity_stands_beside_the_papers_table(results: Path) -> None:
    write(results, contents())
    rows = table((results / "report.md").read_text(), "Complexity of the paper's Table 1")
    assert len(rows) == len(published.PIBCONV_TABLE_1) == 20
    assert rows[0][:6] == ["DARTS_V2", "20", "3.3493", "*3.3*", "0.5475", "*0.547*"]
    assert rows[-1][:6] == ["DARTS_PseudoInvBn", "2", "0.3765", "*0.385*", "0.0661", "*0.067*"]
    assert rows[-1][6:8] == ["-2.2 %", "-1.4 %"]


def test_several_seeds_give_mean_and_deviation(results: Path) -> None:
    for seed, top1 in ((1, 80.0), (2, 90.0), (3, 94.0)):
        shutil.copytree(results / "evaluate/DARTS_V2-2-0", results / f"evaluate/DARTS_V2-2-{seed}")
        path = results / f"evaluate/DARTS_V2-2-{seed}/metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"top1": top1}))
    write(results, contents(networks=[("DARTS_V2", 2, [1, 2, 3])]))
    row = table((results / "report.md").read_text(), "Test accuracy")[0]
    assert row[2] == "**88.00 ± 7.21**"  # (80 + 90 + 94) / 3, and with n − 1: √((64 + 4 + 36) / 2)


def test_only_what_the_lists_name_is_shown(results: Path) -> None:
    write(results, contents(searches={}, networks=[("DARTS_V2", 2, [0])], gradcam=[]))
    text = (results / "report.md").read_text()
    assert "\n| darts |" not in text.split("## Recipe")[0]
    assert "\n## Search\n" not in text
    assert "\n## Grad-CAM\n" not in text
    assert sorted(p.name for p in (results / "figures").iterdir()) == ["accuracy.png", "training.png"]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            self.images.append(values["src"])
        if tag in ("link", "script", "a", "iframe"):
            self.links += [value for name, value in values.items() if name in ("href", "src")]


def test_the_page_needs_no_other_file_and_the_markdown_only_those_beside_it(results: Path) -> None:
    write(results, contents())
    html, text = (results / "report.html").read_text(), (results / "report.md").read_text()
    named = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    page = Page(html)
    assert len(page.images) == len(named) >= 10
    kinds = [image.split(";base64,")[0] for image in page.images]
    assert set(kinds) == {"data:image/webp"}
    assert html.count('data-moving="data:image/webp') == 2 == sum(name.endswith(".gif") for name in named)
    assert page.links and all(link.startswith("#") for link in page.links)
    assert all((results / name).is_file() for name in named)
    assert {p.name for p in (results / "figures").iterdir()} == {
        Path(n).name for n in named if n.startswith("figures/")
    }
    assert 'name="viewport"' in html


def test_a_missing_result_leaves_the_earlier_report(results: Path) -> None:
    write(results, contents())
    before = (results / "report.html").read_bytes()
    (results / "evaluate/darts-2-0/history.csv").unlink()
    with pytest.raises(UserError, match=r"darts-2-0/history.csv: is missing or damaged .*dvc repro"):
        write(results, contents())
    assert (results / "report.html").read_bytes() == before
    assert (results / "figures/accuracy.png").exists()
