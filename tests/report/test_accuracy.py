"""Accuracy against size: the numbers given, readable whatever their range."""

import numpy as np
import pytest
from figure_checks import (
    LONG_RECIPE,
    RECIPE,
    assert_noted,
    assert_nothing_but_a_picture,
    assert_readable,
    legend_labels,
    points,
    repeated_bytes,
)

from nas.report.figures import style
from nas.report.figures.accuracy import accuracy_figure, plot_accuracy
from nas.report.figures.scales import from_accuracy, to_accuracy

PAPER = [
    {"genotype": "DARTS_V2", "layers": 20, "accuracy": 97.24, "params": 3.30},
    {"genotype": "DARTS_V2", "layers": 4, "accuracy": 93.74, "params": 0.487},
    {"genotype": "DARTS_V2", "layers": 2, "accuracy": 54.52, "params": 0.082},
    {"genotype": "DARTS_PseudoInvBn", "layers": 20, "accuracy": 97.76, "params": 6.06},
    {"genotype": "DARTS_PseudoInvBn", "layers": 2, "accuracy": 92.15, "params": 0.385},
]


def ours(accuracies, deviation=0.0, genotype="pibconv"):
    return [
        {"genotype": genotype, "layers": n, "params": 0.3 * n, "accuracy": accuracy, "deviation": deviation}
        for n, accuracy in enumerate(accuracies, start=2)
    ]


@pytest.mark.parametrize(
    ("mine", "paper"),
    [
        (ours([95.1]), PAPER),
        (ours([95.1]), []),
        ([], PAPER),
        (ours([99.2, 99.9, 100.0], 0.4), []),
        (ours([0.5, 11.0], 1.0), PAPER),
        (ours([91.0, 93.0], 0.2) + ours([90.0, 97.0], 3.5, "DARTS_V2"), PAPER),
    ],
)
def test_accuracies_stay_readable_whatever_their_range(mine, paper):
    figure = accuracy_figure(mine, paper, LONG_RECIPE)
    assert_readable(figure)
    assert_noted(figure, LONG_RECIPE)
    for axes, key in zip(figure.axes, ("layers", "params"), strict=True):
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        assert all(left < p[key] < right and low < p["accuracy"] < high for p in mine + paper)
        for axis, (start, end) in ((axes.xaxis, (left, right)), (axes.yaxis, (low, high))):
            inside = [tick.label1.get_text() for tick in axis.get_major_ticks() if start <= tick.get_loc() <= end]
            # Only a single number of layers makes do with a single tick.
            assert len(inside) >= (1 if axis is figure.axes[0].xaxis else 2) or axis is axes.xaxis


def test_accuracies_are_those_given_in_order_of_size():
    mine = ours([91.0, 93.0, 95.5], 0.25)
    layers, params = accuracy_figure(mine, PAPER, RECIPE).axes
    lines = {line.get_label(): points(line) for line in layers.lines if not line.get_label().startswith("_")}
    assert lines["pibconv"] == [(2, 91.0), (3, 93.0), (4, 95.5)]
    assert lines["DARTS_V2 (paper)"] == [(2, 54.52), (4, 93.74), (20, 97.24)]
    lines = {line.get_label(): points(line) for line in params.lines}
    assert lines["DARTS_V2 (paper)"] == [(0.082, 54.52), (0.487, 93.74), (3.30, 97.24)]
    assert params.get_xscale() == "log" and layers.get_xscale() == "linear"


def test_the_paper_is_grey_and_shares_its_marker_with_our_run_of_the_same_genotype():
    figure = accuracy_figure(ours([95.0], genotype="DARTS_V2") + ours([94.0]), PAPER, RECIPE)
    handles = dict(zip(legend_labels(figure), figure.legends[0].get_lines(), strict=True))
    assert list(handles) == ["DARTS_V2", "pibconv", "DARTS_V2 (paper)", "DARTS_PseudoInvBn (paper)"]
    marker = {name: handle.get_marker() for name, handle in handles.items()}
    assert marker["DARTS_V2"] == marker["DARTS_V2 (paper)"]
    assert len(set(marker.values())) == 3
    assert {handles[name].get_color() for name in handles if "paper" in name} == {style.PAPER}
    assert style.PAPER not in {handles[name].get_color() for name in handles if "paper" not in name}


def test_error_bars_show_the_deviation_up_to_100_percent():
    assert not accuracy_figure(ours([90.0, 95.0]), PAPER, RECIPE).axes[0].collections
    bars = accuracy_figure(ours([90.0, 99.75], 0.5), PAPER, RECIPE).axes[0].collections
    ends = [bar.get_segments()[0][:, 1].tolist() for bar in bars]
    assert ends == [[89.5, 90.5], [99.25, 100.0]]
    mine = [row | {"interval": (80.0, 99.5)} for row in ours([90.0], 0.5)]
    (bar, _) = (bar for axes in accuracy_figure(mine, PAPER, RECIPE).axes for bar in axes.collections)
    assert bar.get_segments()[0][:, 1].tolist() == [80.0, 99.5]


def test_the_accuracy_scale_rises_and_can_be_inverted():
    accuracy = np.array([0, 10, 54, 90, 97.24, 97.76, 100])
    height = from_accuracy(accuracy)
    assert (np.diff(height) > 0).all()
    assert to_accuracy(height) == pytest.approx(accuracy)


def test_a_file_repeats_to_the_byte_and_names_no_version(tmp_path):
    content = repeated_bytes(lambda path: plot_accuracy(ours([91.0, 95.0], 0.5), PAPER, path, note=RECIPE), tmp_path)
    assert_nothing_but_a_picture(content)
