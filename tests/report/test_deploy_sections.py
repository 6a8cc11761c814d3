"""Exported networks in the report, latency, and the model cards: their numbers are those of the files."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from figure_checks import draw
from PIL import Image

from nas.pipeline.files import write_json
from nas.pipeline.names import Exported, Network
from nas.pipeline.records import Evaluation, Exporting, GradCam, Latency, Machine, NetworkCost, Slimming
from nas.report.cards import write_cards
from nas.report.contents import Contents, Report, Slimmed, evaluated
from nas.report.figures.latency import latency_figure
from nas.report.sections import deploy
from nas.report.sections.deploy import Point, front
from nas.space.published import PUBLISHED

KEYS = ["darts-3-0", "darts-2-0", "vgg16_cifar-0.001"]
RECIPE = {"epochs": 3, "channels": 4, "resized_crop": None}
PREPARED = {"classes": [f"class {i}" for i in range(23)], "shape": [3, 8, 8], "train": 100, "test": 50}


@pytest.fixture
def contents() -> Contents:
    return Contents(
        searches={},
        networks=[("darts", 3, [0, 1]), ("darts", 2, [0])],
        gradcam=[Network("darts", 3, 0)],
        recipes={"Evaluation": RECIPE, "DNAL: vgg16_cifar": {"pretrain.epochs": 7}},
        data="digits",
        slimmed=Slimmed(["vgg16_cifar"], [0.001], {}),
        prepared=PREPARED,
        test_images=50,
        exported=[Exported(key) for key in KEYS],
        timed=[*KEYS, "DARTS_V2-20", "DARTS_PseudoInvBn-10"],
        licence="CC0 | none",
    )


def timed(network: str, form: str, macs: int, median: float, batch: int = 1, image: str = "3x8x8") -> dict:
    around = {"lower": 0.9 * median, "median": median, "upper": 1.2 * median, "repeats": 5}
    return {"network": network, "form": form, "image": image, "macs": macs, "batch": batch, "threads": 1} | around


@pytest.fixture
def report(contents: Contents, tmp_path: Path) -> Report:
    """Three networks: the more multiply-adds, the slower by ONNX Runtime, and the other way round in PyTorch."""
    results = tmp_path / "results"
    costs = {"table": "evaluated", "genotype": "darts", "channels": 4, "image": "3x8x8", "conv_macs": 1}
    rows = [costs | {"layers": n, "params": 100_000 * n, "macs": 2_000_000 * n} for n in (2, 3)]
    NetworkCost.write(results / "complexity/table.csv", rows)
    write_json(results / "genotypes/darts.json", PUBLISHED["DARTS_V2"].to_dict())
    for network, top1 in (
        (Network("darts", 3, 0), 90.0),
        (Network("darts", 3, 1), 94.0),
        (Network("darts", 2, 0), 80.0),
    ):
        Evaluation(top1=top1, top5=99.0, loss=0.1, device="cpu").write(network.results(results) / "metrics.json")
    ratios = dict.fromkeys(("params_ratio", "conv_macs_ratio", "paper_params_ratio", "paper_macs_ratio"), 2.0)
    whole = {"params": 50_000, "conv_macs": 1_500_000, "paper_params": 1, "paper_macs": 1}
    slim = Slimming(top1=70.0, top5=99.0, loss=0.1, device="cpu", **whole, **ratios)
    slim.write(Exported(KEYS[2]).source.results(results) / "metrics.json")
    for key, top1, int8 in ((KEYS[0], 90.0, 88.0), (KEYS[1], 80.0, 81.0), (KEYS[2], 70.0, None)):
        files = {"onnx_bytes": 123_456, "program_bytes": 7_890_000, "int8_bytes": int8 and 45_678}
        left = {"Gelu": 14, "ReduceMean": 1} if int8 else None
        told = Exporting(max_relative_error=3.2e-7, top1=top1, int8_top1=int8, in_float=left, device="cpu", **files)
        told.write(Exported(key).results(results) / "metrics.json")
    GradCam(confidence=0.9, drop=0.3, other_drop=0.2, random_drop=0.1, images=50, device="cpu").write(
        Network("darts", 3, 0).gradcam(results) / "metrics.json"
    )
    latencies = [
        *(timed(KEYS[0], form, 6_000_000, ms) for form, ms in (("eager", 1.0), ("onnx", 0.6), ("int8", 0.3))),
        *(timed(KEYS[1], form, 4_000_000, ms) for form, ms in (("eager", 2.0), ("onnx", 0.4), ("int8", 0.25))),
        *(timed(KEYS[2], form, 1_500_000, ms) for form, ms in (("eager", 3.0), ("onnx", 0.2))),
        timed("DARTS_V2-20", "onnx", 547_000_000, 9.0, image="3x32x32"),
        timed("DARTS_PseudoInvBn-10", "onnx", 461_000_000, 14.9, image="3x32x32"),
    ]
    Latency.write(results / "latency/table.csv", latencies)
    machine = Machine(processor="A *fast* one", cores=2, instructions="cpu (AVX2)", torch="2.15", onnxruntime="1.32")
    machine.write(results / "latency/machine.json")
    folder = results / "figures"
    folder.mkdir()
    return Report(results, contents, evaluated(results, contents.networks, 50), folder)


def rows_of(text: str, header: str) -> list[list[str]]:
    """The cells of the table whose header begins so."""
    (start,) = (i for i, line in enumerate(text.splitlines()) if line.startswith(f"| {header}"))
    lines = text.splitlines()[start + 2 :]
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end]]


def test_exports_are_told_with_accuracy_error_and_size(report: Report) -> None:
    rows = rows_of(deploy.exports(report), "network | top-1")
    assert rows == [
        ["darts-3-0", "90.00", "90.00", "88.00", "3.2e-07", "123", "46", "7890", "14 Gelu, 1 ReduceMean"],
        ["darts-2-0", "80.00", "80.00", "81.00", "3.2e-07", "123", "46", "7890", "14 Gelu, 1 ReduceMean"],
        ["vgg16_cifar-0.001", "70.00", "70.00", "–", "3.2e-07", "123", "–", "7890", "–"],
    ]


def test_nothing_exported_nothing_measured_nothing_shown(report: Report) -> None:
    bare = replace(report, contents=replace(report.contents, exported=[], timed=[]))
    assert deploy.exports(bare) == deploy.latency(bare) == ""


def test_latency_tells_medians_fronts_and_rank_correlations(report: Report) -> None:
    text = deploy.latency(report)
    rows = rows_of(text, "network | by")
    assert rows[0] == ["darts-3-0", "PyTorch", "6", "1.00 (0.90 to 1.20)"]
    assert len(rows) == 10
    fronts = {row[2]: row[3] for row in rows_of(text, "batch | threads | by | Pareto")}
    assert fronts == {
        "PyTorch": "darts-3-0 (1.00 ms, 90.00 %)",  # the fastest is the most accurate
        "ONNX Runtime": "vgg16_cifar-0.001 (0.20 ms, 70.00 %), darts-2-0 (0.40 ms, 80.00 %), "
        "darts-3-0 (0.60 ms, 90.00 %)",
        "ONNX Runtime, int8": "darts-2-0 (0.25 ms, 81.00 %), darts-3-0 (0.30 ms, 88.00 %)",
    }
    # Published networks have images of another size, and no int8 is of three networks.
    correlations = rows_of(text, "image | batch")
    assert correlations == [
        ["3x8x8", "1", "1", "PyTorch", "3", "-1.00"],
        ["3x8x8", "1", "1", "ONNX Runtime", "3", "1.00"],
    ]
    assert rows_of(text, "batch | threads | by | DARTS_V2") == [["1", "1", "ONNX Runtime", "9.0", "14.9"]]
    assert "97.29 %" in text and "97.24 %" in text  # the paper's
    assert "A \\*fast\\* one (2 cores, cpu (AVX2)), torch 2.15" in text
    assert Image.open(report.folder / "latency.png").width > 600


def test_published_networks_alone_have_no_accuracy_to_draw(report: Report) -> None:
    alone = replace(report, contents=replace(report.contents, exported=[]))
    assert "latency.png" not in deploy.latency(alone) and not (report.folder / "latency.png").exists()


def test_a_front_is_what_no_other_beats() -> None:
    points = [Point(str(i), "onnx", *at) for i, at in enumerate([(2, 90), (1, 80), (3, 85), (2, 91), (1, 80), (4, 95)])]
    beaten = {
        p.network
        for p in points
        for q in points
        if q.latency <= p.latency and q.accuracy >= p.accuracy and (q.latency, q.accuracy) != (p.latency, p.accuracy)
    }
    found = front(points)
    assert [(p.latency, p.accuracy) for p in found] == [(1, 80), (2, 91), (4, 95)]
    assert {p.network for p in found}.isdisjoint(beaten)


def test_the_stair_of_a_form_passes_through_its_front() -> None:
    points = [Point("a", "onnx", 1.0, 80.0), Point("b", "onnx", 2.0, 70.0), Point("c", "onnx", 4.0, 95.0)]
    figure = draw(
        latency_figure({(1, 2): {"onnx": points}, (32, 2): {"onnx": points}}, {"onnx": "ONNX Runtime"}, "note")
    )
    first, _ = figure.axes
    scattered, stair = first.lines
    assert [*map(tuple, scattered.get_xydata())] == [(1, 80), (2, 70), (4, 95)]
    assert [*map(tuple, stair.get_xydata())] == [(1, 80), (2, 80), (4, 95)]
    assert first.get_xlabel() == "milliseconds for 1 image on 2 threads"
    assert figure.axes[1].get_xlabel() == "milliseconds for 32 images on 2 threads"


# Cards


def test_a_card_tells_of_its_network(report: Report) -> None:
    cards = report.results / "cards"
    write_cards(report.contents, cards, report.results)
    assert sorted(path.name for path in cards.iterdir()) == sorted(f"{key}.md" for key in KEYS)
    text = (cards / "darts-3-0.md").read_text()
    told = dict(rows_of(text, "measured"))
    assert told["test accuracy (%), mean ± standard deviation of 2 seeds"] == "92.00 ± 2.83"
    assert told["by ONNX Runtime (%)"] == "90.00" and told["the same, int8 (%)"] == "88.00"
    assert told["parameters (M)"] == "0.3000" and told["multiply-adds of an image (M)"] == "6.000"
    assert told["largest relative error of the export"] == "3.2e-07"
    assert "3 cells of the genotype darts, trained with seed 0" in text
    assert "../cells/darts-normal.png" in text and "../cells/darts-reduce.png" in text
    assert "logits of 23 classes: class 0, class 1," in text and "class 19 and 3 more" in text
    assert "N × 3 × 8 × 8" in text and "100 training and 50 test images" in text
    assert "Licence of the data: CC0 \\| none" in text
    assert rows_of(text, "by | batch")[0] == ["PyTorch", "1", "1", "1.00"]
    assert "it loses 30.0 points" in text and "20.0 without those of another image's map, 10.0 without random" in text
    assert ["resized_crop", "–"] in rows_of(text, "parameter |")
    assert 'InferenceSession("models/export/darts-3-0/network.onnx")' in text
    assert "nas predict models/evaluate/darts-3-0.safetensors IMAGE" in text


def test_a_card_of_a_slimmed_network_and_what_is_not_known(report: Report) -> None:
    unknown = replace(report.contents, licence=None, timed=[], gradcam=[], test_images=None)
    write_cards(unknown, report.results / "cards", report.results)
    text = (report.results / "cards/vgg16_cifar-0.001.md").read_text()
    assert "vgg16_cifar, whose widths DNAL learned with the penalty 0.001" in text
    assert "../figures/widths-vgg16_cifar.png" in text
    told = dict(rows_of(text, "measured"))
    assert told["test accuracy (%)"] == "70.00" and told["the same, int8 (%)"] == "–"
    assert told["multiply-adds of an image (M), convolutions and linear layers"] == "1.500"
    assert ["pretrain.epochs", "7"] in rows_of(text, "parameter |")
    assert "Licence of the data: not stated (export.licence in params.yaml)" in text
    assert "Latency" not in text and "Heat maps" not in text


def test_the_code_of_a_card_is_python_that_names_its_files(report: Report) -> None:
    write_cards(report.contents, report.results / "cards", report.results)
    (code,) = re.findall(r"```python\n(.*?)```", (report.results / "cards/darts-2-0.md").read_text(), re.DOTALL)
    compile(code, "card", "exec")
    assert json.dumps("models/export/darts-2-0/network.onnx") in code


def test_cards_of_what_is_no_longer_exported_go(report: Report) -> None:
    cards = report.results / "cards"
    write_cards(report.contents, cards, report.results)
    write_cards(replace(report.contents, exported=[]), cards, report.results)
    assert list(cards.iterdir()) == []
