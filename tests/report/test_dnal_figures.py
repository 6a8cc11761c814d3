"""DNAL's pictures: that they show the numbers given, that their text can be read, and that their bytes repeat."""

from itertools import combinations

import numpy as np
import pytest
from figure_checks import (
    LONG_RECIPE,
    assert_noted,
    assert_nothing_but_a_picture,
    assert_readable,
    draw,
    holds,
    legend_labels,
    meet,
    points,
    repeated_bytes,
)
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from nas.report.figures import dnal as figures
from nas.report.figures.style import COLOURS, PAPER, WIDTH
from nas.report.published.dnal import OTHERS, TABLES


def published(name: str) -> list[dict]:
    rows = TABLES[name]
    return [{"penalty": r.penalty or 0.0, "top1": r.top1, "macs": r.macs, "params": r.params} for r in rows]


def others(name: str) -> list[dict]:
    return [row._asdict() for row in OTHERS[name]]


def random_rows(count: int, seed: int) -> list[dict]:
    """A dense network and `count` − 1 slimmed ones, with accuracies and sizes that fall roughly with the penalty."""
    rng = np.random.default_rng(seed)
    shares = np.sort(rng.uniform(0.02, 0.8, count - 1))[::-1]
    rows = [
        {
            "penalty": (i + 1) * 1e-5,
            "top1": 94 - 8 * (1 - share) ** 2 + rng.normal(0, 0.2),
            "macs": 313 * share,
            "params": 15 * share * rng.uniform(0.6, 1),
        }
        for i, share in enumerate(shares)
    ]
    return [*rows, {"penalty": 0.0, "top1": 93.8, "macs": 313.0, "params": 15.0}]


def row(penalty: float, top1: float, macs: float | None, params: float) -> dict:
    return {"penalty": penalty, "top1": top1, "macs": macs, "params": params}


# In no order of penalties
OURS = [row(2e-4, 90.0, 20.0, 0.5), row(0, 94.0, 300.0, 15.0), row(1e-5, 93.5, 100.0, 2.5), row(5e-2, 80.0, 40.0, 1.0)]
THEIRS = [row(0, 94.5, None, 16.0), row(6 * 1e-5, 92.5, 90.0, 3.5)]  # 6.000000000000001e-05


def labels(axes) -> list[tuple[str, tuple[float, float], Bbox]]:
    """Of each label of a point: its text, its point, its place in pixels without the line to the point."""
    renderer = axes.figure.canvas.get_renderer()
    return [(text.get_text(), text.xy, Text.get_window_extent(text, renderer)) for text in axes.texts]


def gap(box: Bbox, point) -> float:
    x, y = point
    return float(np.hypot(max(box.x0 - x, x - box.x1, 0), max(box.y0 - y, y - box.y1, 0)))


# Accuracy against size.


def test_points_are_joined_from_the_smallest_penalty_to_the_largest_and_the_dense_network_stands_beside():
    macs, params = figures.pareto_figure(OURS, THEIRS, "vgg16", "").axes
    for axes, joined, dense in (
        (macs, [(100.0, 93.5), (20.0, 90.0), (40.0, 80.0)], (300.0, 94.0)),
        (params, [(2.5, 93.5), (0.5, 90.0), (1.0, 80.0)], (15.0, 94.0)),
    ):
        lines = [line for line in axes.lines if line.get_color() == COLOURS[0]]
        assert [points(line) for line in lines] == [joined, [dense]]
        assert lines[0].get_linestyle() == "-" and lines[1].get_linestyle() == "None"
        assert lines[0].get_marker() != lines[1].get_marker()
        assert axes.get_xscale() == "log"
    grey = [[points(line) for line in axes.lines if line.get_color() == PAPER] for axes in (macs, params)]
    assert grey == [[[(90.0, 92.5)]], [[(3.5, 92.5)], [(16.0, 94.5)]]]  # no multiply–adds, no point
    assert [axes.get_xlabel() for axes in (macs, params)] == ["multiply–adds (millions)", "parameters (millions)"]


def test_each_point_is_labelled_with_its_penalty():
    macs, params = draw(figures.pareto_figure(OURS, THEIRS, "vgg16", "")).axes
    names = {0: "dense", 1e-5: "1e-5", 2e-4: "2e-4", 5e-2: "0.05", 6 * 1e-5: "6e-5"}
    for axes, size in ((macs, "macs"), (params, "params")):
        expected = {(r[size], r["top1"]): names[r["penalty"]] for r in OURS + THEIRS if r[size] is not None}
        assert {point: text for text, point, _ in labels(axes)} == expected


@pytest.mark.parametrize(("mine", "paper"), [(OURS, []), ([], THEIRS), (OURS, THEIRS), (OURS[1:2], [])])
def test_the_legend_names_what_is_shown(mine, paper):
    figure = figures.pareto_figure(mine, paper, "vgg16, $λ$", LONG_RECIPE)
    assert_readable(figure)
    shown = [f"{name}, labelled with λ" for name, rows in (("ours", mine), ("paper", paper)) if rows]
    assert legend_labels(figure) == shown
    assert figure._suptitle.get_text() == "vgg16, $λ$"
    figure.texts = [text for text in figure.texts if text is not figure._suptitle]
    assert_noted(figure, LONG_RECIPE)


def test_without_multiply_adds_the_parameters_alone_are_shown():
    figure = figures.pareto_figure([], published("proxylessnas"), "ProxylessNAS", "")
    assert_readable(figure)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "parameters (millions)" and axes.get_ylabel()
    assert [points(line) for line in axes.lines] == [[(3.6, 75.0)], [(16.0, 75.7)]]


@pytest.mark.parametrize(
    ("mine", "paper"),
    [(random_rows(count, seed), []) for count in range(3, 9) for seed in range(4)]
    + [(random_rows(3 + seed % 6, seed), published(name)) for seed, name in enumerate(list(TABLES)[:6])],
)
def test_labels_meet_no_other_label_and_hide_no_point(mine, paper):
    figure = draw(figures.pareto_figure(mine, paper, "accuracy against size", ""))
    for axes in figure.axes:
        panel, placed = axes.get_window_extent(), labels(axes)
        assert len(placed) == len(mine + paper)
        dots = [axes.transData.transform(point) for _, point, _ in placed]
        assert all(holds(panel, box) for _, _, box in placed)
        assert [(a[0], b[0]) for a, b in combinations(placed, 2) if meet(a[2], b[2])] == []
        assert min(gap(box, dot) for _, _, box in placed for dot in dots) > 3  # pixels; a marker's radius is 6
        plain = [(text.arrow_patch is None, *of) for text, of in zip(axes.texts, placed, strict=True)]
        for _, _, point, box in (of for of in plain if of[0]):
            own = gap(box, axes.transData.transform(point))
            assert own < 32 and all(own <= gap(box, dot) + 1e-6 for dot in dots)


@pytest.mark.parametrize("name", TABLES)
def test_other_methods_are_small_crosses_with_their_names(name):
    """Below ours and the paper's points; where they crowd around ours, up to half of the names find no room."""
    mine = published(name)
    for row in mine:
        row |= {"macs": row["macs"] and 0.9 * row["macs"], "params": 0.9 * row["params"], "top1": row["top1"] - 0.3}
    rows = others(name)
    figure = draw(figures.pareto_figure(mine, published(name), name, LONG_RECIPE, rows))
    assert legend_labels(figure)[-1] == "other methods, as the paper quotes them"
    for axes, size in zip(figure.axes, ["macs", "params"][-len(figure.axes) :], strict=True):
        there = [row for row in rows if row[size] is not None]
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        assert [points(line) for line in crosses] == [[(row[size], row["top1"]) for row in there]] * bool(there)
        assert all(line.get_zorder() > cross.get_zorder() for cross in crosses for line in set(axes.lines) - {cross})
        placed = labels(axes)
        small = [text for text in axes.texts if text.get_fontsize() < figures.LABEL_SIZE]
        names = {((row[size], row["top1"]), row["method"]) for row in there}
        assert {(text.xy, text.get_text()) for text in small} <= names
        assert len(small) >= len(there) / 2 and all(text.get_fontsize() >= 7 for text in small)
        assert [(a[0], b[0]) for a, b in combinations(placed, 2) if meet(a[2], b[2])] == []
        dots = [axes.transData.transform(point) for line in axes.lines for point in points(line)]
        assert min(gap(box, dot) for _, _, box in placed for dot in dots) > 3  # pixels


@pytest.mark.parametrize("name", TABLES)
def test_the_published_tables_are_readable(name):
    figure = figures.pareto_figure([], published(name), name, "")
    assert_readable(figure)
    for axes in figure.axes:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        assert all(left < x < right and low < y < high for line in axes.lines for x, y in points(line))


# Widths.


def table(channels, kept) -> list[dict]:
    pairs = zip(channels, kept, strict=True)
    return [{"layer": f"features.{i}", "channels": c, "kept": k} for i, (c, k) in enumerate(pairs)]


def heights(axes) -> dict[str, list[float]]:
    """The bars' heights by their colour."""
    bars: dict[str, list[float]] = {}
    for bar in axes.patches:
        bars.setdefault(to_hex(bar.get_facecolor()), []).append(float(bar.get_height()))
    return bars


def test_widths_are_bars_over_the_original_ones_in_order_of_penalties():
    tables = {1e-3: table([16, 32, 64], [1, 0, 8]), 5e-5: table([16, 32, 64], [16, 30, 40])}
    figure = figures.widths_figure(tables, "vgg16_cifar")
    assert_readable(figure)
    first, second = figure.axes
    assert first.get_title("left") == "λ = 5e-5: 86 of 112 channels (76.8 %)"
    assert second.get_title("left") == "λ = 1e-3: 9 of 112 channels (8.04 %)"
    assert legend_labels(figure) == ["original", "kept"]
    original, kept = (to_hex(line.get_color()) for line in figure.legends[0].get_lines())
    assert heights(first) == {original: [16, 32, 64], kept: [16, 30, 40]}
    assert heights(second) == {original: [16, 32, 64], kept: [1, 0, 8]}
    middles = [bar.get_x() + bar.get_width() / 2 for bar in first.patches]
    assert middles == pytest.approx([1, 2, 3, 1, 2, 3])
    assert sum(to_rgb(original)) > sum(to_rgb(kept))  # the pale one


@pytest.mark.parametrize(("count", "named"), [(16, True), (17, False)])
def test_up_to_sixteen_gates_are_named(count, named):
    figure = draw(figures.widths_figure({1e-4: table([8] * count, [4] * count)}, "names"))
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    texts = [tick.label1.get_text() for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    assert texts == [f"features.{i}" for i in range(16)] if named else all(text.isdecimal() for text in texts)
    assert len(texts) >= 3 and axes.get_xlabel() == "gate"


@pytest.mark.parametrize(("widest", "scale"), [(128, "linear"), (129, "function")])
def test_the_axis_of_channels_follows_the_square_root_beyond_a_factor_of_eight(widest, scale):
    figure = draw(figures.widths_figure({1e-4: table([16, widest], [8, widest])}, "scale"))
    (axes,) = figure.axes
    assert axes.get_yscale() == scale
    assert figure._supylabel.get_text() == ("channels" if scale == "linear" else "channels, square-root scale")
    to_pixels = axes.transData.transform
    base, quarter, whole = (to_pixels((1, share * widest))[1] for share in (0, 0.25, 1))
    assert (quarter - base) / (whole - base) == pytest.approx(0.25 if scale == "linear" else 0.5)


@pytest.mark.parametrize(("gates", "penalties"), [(1, 1), (14, 3), (54, 7), (255, 4)])
def test_widths_are_readable(gates, penalties):
    rng = np.random.default_rng(gates)
    channels = [int(c) for c in np.geomspace(16, 1280, gates)]
    tables = {(i + 1) * 1e-5: table(channels, [int(rng.integers(c + 1)) for c in channels]) for i in range(penalties)}
    figure = figures.widths_figure(tables, "proxylessnas, widths kept")
    assert_readable(figure)
    assert figure.get_figwidth() == WIDTH
    for axes in figure.axes:
        left, right = axes.get_xlim()
        assert all(left < bar.get_x() + bar.get_width() / 2 < right for bar in axes.patches)
        assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] >= max(channels)
    assert min(bar.get_window_extent().width for bar in figure.axes[0].patches) > 2  # pixels


@pytest.mark.parametrize("tables", [{1e-5: table([8, 8], [4, 4]), 1e-4: table([8], [4])}, {}])
def test_penalties_with_other_layers_are_refused(tables):
    with pytest.raises(ValueError, match="same layers"):
        figures.widths_figure(tables, "")


# Gate values.


def gate_rows(epochs: int, bins: int = 20, channels: int = 4224) -> list[dict]:
    """The values of evenly spread s, as δ grows."""
    s = np.linspace(-0.1, 0.05, channels)
    deltas = [1e4 ** ((epoch + 1) / epochs) for epoch in range(epochs)]
    counts = [np.histogram(0.5 + 0.5 * np.tanh(0.5 * delta * s), bins, (0, 1))[0].tolist() for delta in deltas]
    return [{"epoch": i + 1, "scale": d, "counts": c} for i, (d, c) in enumerate(zip(deltas, counts, strict=True))]


def test_the_threshold_is_that_of_the_gates():
    from nas.dnal.gates import THRESHOLD

    assert THRESHOLD == figures.THRESHOLD
    for axes in figures.gates_figure(gate_rows(3), "gates").axes:
        (line,) = axes.lines
        assert set(line.get_xdata()) == {0.9}


def test_each_epoch_has_a_histogram_of_shares_with_its_delta():
    rows = [
        {"epoch": 2, "scale": 1e4, "counts": [60, 0, 0, 20]},
        {"epoch": 1, "scale": 2.5119, "counts": [0, 40, 40, 0]},
    ]
    figure = figures.gates_figure(rows, "gates")
    first, second = figure.axes
    assert_readable(figure)
    assert [bar.get_height() for bar in first.patches] == [0, 0.5, 0.5, 0]
    assert [bar.get_height() for bar in second.patches] == [0.75, 0, 0, 0.25]
    assert [(bar.get_x(), bar.get_width()) for bar in first.patches] == [(i / 4, 1 / 4) for i in range(4)]
    assert [text.get_text() for text in first.texts] == ["1", "2.51", "epoch", "δ", "removed", "kept", "share"]
    assert [text.get_text() for text in second.texts] == ["2", "10,000"]
    assert second.get_xlabel() == "σ(δ·s) of 80 channels"
    draw(figure)
    base, quarter, whole = (first.transData.transform((0, share))[1] for share in (0, 0.25, 1))
    assert (quarter - base) / (whole - base) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("epochs", "shown"),
    [(1, [1]), (10, range(1, 11)), (12, range(1, 13)), (23, range(1, 24, 2)), (100, range(1, 101, 9))],
)
def test_up_to_twelve_epochs_are_chosen_evenly(epochs, shown):
    figure = figures.gates_figure(gate_rows(epochs), "gates, λ = 1e-4")
    assert_readable(figure)
    assert [axes.texts[0].get_text() for axes in figure.axes] == [str(epoch) for epoch in shown]


# Files.

CALLS = {
    "plot_pareto": lambda path: figures.plot_pareto(OURS, THEIRS, path, title="vgg16", note="ours: digits"),
    "plot_widths": lambda path: figures.plot_widths({1e-4: table([8, 80], [4, 40])}, path, title="vgg16"),
    "plot_gates": lambda path: figures.plot_gates(gate_rows(3), path, title="vgg16"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_file_repeats_to_the_byte_and_names_no_version(name, tmp_path):
    assert_nothing_but_a_picture(repeated_bytes(CALLS[name], tmp_path))
