"""The roadmap: the numbers given, readable whatever their range."""

import pytest
from figure_checks import (
    LONG_RECIPE,
    RECIPE,
    assert_noted,
    assert_nothing_but_a_picture,
    assert_readable,
    draw,
    legend_labels,
    points,
    repeated_bytes,
)
from matplotlib.colors import to_hex

from nas.report.figures import style
from nas.report.figures.roadmap import plot_roadmap, roadmap_figure

ROADMAP = [("darts", 97.24, 0.547), ("darts_gelu", 97.36, 0.547), ("convnext", 95.97, 2.38), ("pibconv", 97.76, 0.969)]


def roadmap(accuracies, gmacs, deviation=0.0, paper=True):
    """Steps with these results of ours; the paper has four of them, or none."""
    beyond = [(f"pibconv_f{i}.5", None, None) for i in range(len(ROADMAP), len(accuracies))]
    return [
        {"name": name, "accuracy": accuracy, "deviation": deviation, "gmac": gmac}
        | {"paper_accuracy": paper_accuracy if paper else None, "paper_gmac": paper_gmac if paper else None}
        for (name, paper_accuracy, paper_gmac), accuracy, gmac in zip(
            [*ROADMAP, *beyond], accuracies, gmacs, strict=False
        )
    ]


def bars(axes) -> tuple[list[float], list[float]]:
    """The heights of the bars' middles from top to bottom, and where the bars end."""
    places = sorted((bar.get_y() + bar.get_height() / 2, bar.get_x() + bar.get_width()) for bar in axes.patches)
    return pytest.approx([y for y, _ in places]), pytest.approx([end for _, end in places])


def test_the_roadmap_shows_ours_and_the_papers_from_top_to_bottom():
    figure = roadmap_figure(roadmap([97.2, 97.5, 97.1, 97.8, 96.0], [0.5, 0.5, 2.0, 0.9, 1.0]), RECIPE)
    accuracy, gmac = figure.axes
    assert [label.get_text() for label in accuracy.get_yticklabels()] == [*(row[0] for row in ROADMAP), "pibconv_f4.5"]
    bottom, top = accuracy.get_ylim()
    assert bottom > top and accuracy.get_yticks().tolist() == [0, 1, 2, 3, 4]
    heights, ends = bars(accuracy)
    assert ends == [97.2, 97.24, 97.5, 97.36, 97.1, 95.97, 97.8, 97.76, 96.0]
    ours, paper = (points(line) for line in gmac.lines)
    assert [macs for macs, _ in ours] == [0.5, 0.5, 2.0, 0.9, 1.0]
    assert [macs for macs, _ in paper] == [0.547, 0.547, 2.38, 0.969]
    # A marker lies in the row of its bar.
    assert sorted(y for _, y in ours + paper) == heights
    assert legend_labels(figure) == ["ours", "paper"]
    blue, grey = (handle.get_color() for handle in figure.legends[0].get_lines())
    assert grey == style.PAPER != blue
    assert [line.get_color() for line in gmac.lines] == [blue, grey]
    assert [to_hex(bar.get_facecolor()) for bar in accuracy.patches] == [blue.lower()] * 5 + [grey.lower()] * 4


def test_the_roadmap_writes_each_number_in_the_row_of_its_bar():
    figure = roadmap_figure(roadmap([97.2, 30.0], [0.000612, 0.5], deviation=0.25), RECIPE)
    accuracies, gmacs = ["97.20 ± 0.25", "97.24", "30.00 ± 0.25", "97.36"], ["0.000612", "0.547", "0.5", "0.547"]
    for axes, expected in zip(figure.axes, (accuracies, gmacs), strict=True):
        numbers = sorted(axes.texts, key=lambda text: text.get_position()[1])
        assert [text.get_text() for text in numbers] == expected
        assert [text.get_position()[1] for text in numbers] == bars(figure.axes[0])[0]


def test_the_roadmap_has_error_bars_up_to_100_percent():
    assert not roadmap_figure(roadmap([90.0, 95.0], [1, 1]), RECIPE).axes[0].collections
    deviations = roadmap_figure(roadmap([90.0, 99.75], [1, 1], deviation=0.5), RECIPE).axes[0].collections
    assert [bar.get_segments()[0][:, 0].tolist() for bar in deviations] == [[89.5, 90.5], [99.25, 100.0]]


@pytest.mark.parametrize(("accuracies", "inches"), [([97.2, 97.7], 0.4), ([30.0, 97.0], 0.1)])
def test_half_a_percent_can_be_seen_in_the_roadmap(accuracies, inches):
    axes = draw(roadmap_figure(roadmap(accuracies, [1, 1]), RECIPE)).axes[0]
    left, right = (axes.transData.transform((accuracy, 0))[0] / style.DPI for accuracy in (97.2, 97.7))
    assert right - left > inches
    assert all(bar.get_window_extent().width / style.DPI > 0.15 for bar in axes.patches)


@pytest.mark.parametrize(("smallest", "scale"), [(0.5, "linear"), (0.001, "log")])
def test_the_gmac_axis_is_logarithmic_beyond_a_factor_of_a_hundred(smallest, scale):
    gmac = roadmap_figure(roadmap([95.0, 96.0], [smallest, 2 * smallest]), RECIPE).axes[1]
    assert gmac.get_xscale() == scale
    left, right = gmac.get_xlim()
    assert left < smallest and right > 0.547
    assert scale == "log" or left == 0


@pytest.mark.parametrize("note", ["", RECIPE, LONG_RECIPE])
@pytest.mark.parametrize(
    ("accuracies", "gmac", "deviation", "paper"),
    [
        ([97.2, 97.8], 1.0, 0.0, True),
        ([97.2, 97.8], 0.001, 0.0, False),
        ([30.0 + 7 * i for i in range(10)], 0.0001, 0.25, True),
        ([100.0] * 10, 1.0, 0.5, False),
        ([0.0, 10.0, 99.9], 0.0005, 2.0, True),
    ],
)
def test_the_roadmap_is_readable_whatever_its_range(accuracies, gmac, deviation, paper, note):
    steps = roadmap(accuracies, [gmac * (i + 1) for i in range(len(accuracies))], deviation, paper)
    figure = roadmap_figure(steps, note)
    assert_readable(figure)
    assert_noted(figure, note)
    assert len(figure.texts) == {"": 0, RECIPE: 1, LONG_RECIPE: 2}[note]
    assert legend_labels(figure) == (["ours", "paper"] if paper else ["ours"])
    for axes in figure.axes:
        left, right = axes.get_xlim()
        assert sum(left <= tick <= right for tick in axes.get_xticks()) >= 2


def test_a_file_repeats_to_the_byte_and_names_no_version(tmp_path):
    steps = roadmap([91.0, 95.0], [1, 2], 0.5)
    assert_nothing_but_a_picture(repeated_bytes(lambda path: plot_roadmap(steps, path, note=RECIPE), tmp_path))
