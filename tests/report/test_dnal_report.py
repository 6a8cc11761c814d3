"""The report's section on DNAL: its numbers are those of results/slim, the paper's beside them."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from conftest import Project

from nas.pipeline.errors import UserError
from nas.report.contents import Contents, Report, Slimmed
from nas.report.sections import dnal

RECIPE = {"pretrain.width": 0.0625, "pretrain.epochs": 1, "slim.gate_epochs": 2, "slim.epochs": 2}
SLIMMED = Slimmed(["vgg16_cifar"], [0.0, 0.01], {"vgg16_cifar": RECIPE})


@pytest.fixture
def results(finished: Project, tmp_path: Path) -> Path:
    shutil.copytree(finished.folder / "results", tmp_path / "results")
    return tmp_path / "results"


def section(slimmed: Slimmed, results: Path, folder: Path) -> str:
    return dnal.section(Report(results, Contents({}, [], [], {}, "digits", slimmed), [], folder))


def rows(text: str) -> list[list[str]]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return lines[2:]


def test_ours_are_the_metrics_and_the_papers_stand_below(results: Path, tmp_path: Path) -> None:
    text = section(SLIMMED, results, tmp_path)
    for row, penalty in zip(rows(text), ("0.0", "0.01"), strict=False):
        told = json.loads((results / f"slim/vgg16_cifar-{penalty}/metrics.json").read_text())
        macs, times = row[1].rstrip("×)").split(" (")
        assert float(macs) == pytest.approx(told["conv_macs"] / 1e6, rel=1e-3)
        assert float(times) == pytest.approx(told["conv_macs_ratio"], abs=0.005)
        assert row[3].startswith(f"{told['paper_macs'] / 1e6:.4g} (")
        assert row[4].startswith(f"{told['paper_params'] / 1e6:.4g} (")
        assert row[5] == f"**{told['top1']:.2f}**"
        assert row[6] == "–"  # of how many test images is not known
        assert row[8] == ("1+2+2" if penalty == "0.01" else "1+0+2")  # the dense network has no second phase
    assert ["0.0002", "61.23 (5.12×)", "0.6 (24.98×)", "92.33", "99.69", "–"] in rows(text)  # a table of its own
    assert ["HRank", "73.7 (4.25×)", "1.78 (8.42×)", "91.23", "–", "–"] in rows(text)
    assert "digits, width 0.0625, 1+2+2 epochs, on cpu" in text
    shown = {"pareto-vgg16_cifar.png", "widths-vgg16_cifar.png", "gates-vgg16_cifar-0.01.png"}
    assert {path.name for path in tmp_path.glob("*.png")} == shown
    assert all(f"(figures/{name})" in text for name in shown)


def test_gates_split_and_what_is_kept_is_what_was_open(results: Path) -> None:
    folder = results / "slim/vgg16_cifar-0.01"
    with (folder / "gates.csv").open() as file:
        counts = list(csv.DictReader(file))
    with (folder / "channels.csv").open() as file:
        layers = list(csv.DictReader(file))
    total = sum(int(layer["channels"]) for layer in layers)
    for epoch in ("1", "2"):
        assert sum(int(row["count"]) for row in counts if row["epoch"] == epoch) == total
    assert {row["scale"] for row in counts} == {"100.0", "10000.0"}  # 10000^(1/2), twice
    last = [int(row["count"]) for row in counts if row["epoch"] == "2"]
    assert last[0] + last[-1] > 0.8 * total
    assert sum(int(layer["kept"]) for layer in layers) <= last[-1] + last[-2] + len(layers)


def test_nothing_is_shown_of_no_backbone(results: Path, tmp_path: Path) -> None:
    assert section(Slimmed([], [0.0], {}), results, tmp_path) == ""
    assert section(Slimmed(["resnet56"], [], {"resnet56": RECIPE}), results, tmp_path) == ""


def test_a_missing_result_is_named(results: Path, tmp_path: Path) -> None:
    (results / "slim/vgg16_cifar-0.01/channels.csv").unlink()
    with pytest.raises(UserError, match="slim/vgg16_cifar-0.01/channels.csv: is missing or damaged"):
        section(SLIMMED, results, tmp_path)


def test_rows_of_the_supernets_table_say_how_they_were_searched() -> None:
    papers = dnal._papers("proxylessnas")
    assert ("6e-05 (gradient)", "–", "3.6 (4.44×)", "75", "92.5", "100+10+110") in papers
    assert ("DARTS (gradient)", "–", "4.7 (3.40×)", "73.3", "91.3", "600+250") in papers
    assert ("NASNet-A (RL)", "–", "5.3 (3.02×)", "74", "91.6", "–") in papers


@pytest.mark.parametrize(
    ("changes", "beside"),
    [({}, True), ({"pretrain.width": 0.25}, False), ({"slim.epochs": 7}, False), ({"train_limit": 20000}, False)],
)
def test_the_papers_rows_stand_beside_ours_where_data_width_and_epochs_are_its_own(
    changes: dict, beside: bool, results: Path, tmp_path: Path
) -> None:
    recipe = {"pretrain.width": 1.0, "pretrain.epochs": 30, "slim.gate_epochs": 10, "slim.epochs": 70} | changes
    slimmed = Slimmed(["vgg16_cifar"], [0.0, 0.01], {"vgg16_cifar": recipe})
    data = {"Data": {"name": "cifar10", "train_limit": changes.get("train_limit"), "test_limit": None}}
    contents = Contents({}, [], [], data, "cifar10", slimmed, test_images=64)
    text = dnal.section(Report(results, contents, [], tmp_path))
    papers = ["*0.0002*", "*–*", "*–*", "*61.23 (5.12×)*", "*0.6 (24.98×)*", "*92.33*", "*–*", "*99.69*", "*–*"]
    assert (papers in rows(text)) is beside
    assert ("do not compare" in text) is not beside
    assert "Wilson's for 64 test images" in text and all(" to " in row[6] for row in rows(text)[:2])
