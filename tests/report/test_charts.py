"""Charts: specifications that Vega-Lite compiles without a complaint, and that hold the numbers given."""

import json

import pytest
import vl_convert

from nas.report.figures.charts import MOST_EPOCHS, accuracy_chart, epochs_chart
from nas.report.intervals import Interval

ROW = {"genotype": "a_b", "layers": 2, "params": 0.5, "gmac": 0.1, "accuracy": 97.5, "interval": Interval(95.3, 98.7)}
HALVES = {"test": "test_top1", "training": "train_top1"}


def history(epochs: int) -> list[dict]:
    return [{"epoch": i, "test_top1": 90 + i / 300, "train_top1": 80.0, "more": 1} for i in range(1, epochs + 1)]


@pytest.mark.parametrize(
    "chart",
    [
        accuracy_chart([ROW, ROW | {"genotype": "c", "layers": 3}]),
        accuracy_chart([ROW | {"interval": None}]),
        epochs_chart({"a-2-0": history(5), "b.1-2-0": history(1)}, HALVES, "top-1 accuracy (%)"),
    ],
)
def test_a_chart_compiles_and_can_be_drawn(chart: dict) -> None:
    chart = json.loads(json.dumps(chart)) | {"width": 600, "height": 300}  # which the page sets
    svg = vl_convert.vegalite_to_svg(chart)
    assert 'class="mark-symbol role-mark' in svg and 'aria-label="' in svg and "NaN" not in svg


def test_every_network_stands_with_its_interval() -> None:
    (value,) = accuracy_chart([ROW])["data"]["values"]
    assert (value["accuracy"], value["low"], value["high"], value["params"]) == (97.5, 95.3, 98.7, 0.5)
    assert "low" not in accuracy_chart([ROW | {"interval": None}])["data"]["values"][0]


@pytest.mark.parametrize("epochs", [1, 5, MOST_EPOCHS, 600])
def test_a_long_curve_is_thinned_and_keeps_its_end(epochs: int) -> None:
    chart = epochs_chart({"run": history(epochs)}, HALVES, "top-1 accuracy (%)")
    test, training = chart["data"]["values"]
    assert (test["run"], test["half"], training["half"]) == ("run", "test", "training")
    assert test["epoch"][-1] == epochs and test["top1"][-1] == round(90 + epochs / 300, 2)
    assert len(test["epoch"]) == len(test["top1"]) == min(epochs, MOST_EPOCHS)
