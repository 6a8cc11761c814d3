"""The curves of architecture weights, and the decision against skip_connect: the numbers given, readable."""

import random

import pytest
from figure_checks import assert_nothing_but_a_picture, assert_readable, legend_labels, points, repeated_bytes

from nas.report.figures import style
from nas.report.figures.alphas import alphas_figure, comparable, crossings, decision_figure, plot_alphas, plot_decision


def alpha_rows(nodes: int, operations: list[str], epochs: int) -> list[dict]:
    rng = random.Random(0)
    edges = [f"{source}-{target}" for target in range(2, nodes + 2) for source in range(target)]
    return [
        {"epoch": epoch, "edge": edge, "operation": operation, "weight": rng.random()}
        for epoch in range(1, epochs + 1)
        for edge in edges
        for operation in operations
    ]


@pytest.mark.parametrize(("nodes", "count", "epochs"), [(4, 10, 115), (4, 3, 1), (1, 8, 2), (3, 12, 50), (8, 12, 5)])
def test_alphas_have_a_panel_an_edge_and_a_colour_an_operation(nodes, count, epochs):
    operations = [f"pseudo_inv_bn_{i}x{i}" for i in range(count)]
    rows = alpha_rows(nodes, operations, epochs)
    figure = alphas_figure(rows, "pibconv, normal cell")
    assert_readable(figure)
    assert len(figure.axes) == sum(range(2, nodes + 2))
    assert legend_labels(figure) == operations
    colours = [handle.get_color() for handle in figure.legends[0].get_lines()]
    assert len(set(colours)) == count
    for axes in figure.axes:
        assert [line.get_color() for line in axes.lines] == colours
        assert axes.get_ylim() == figure.axes[0].get_ylim()
    first = [row for row in rows if row["edge"] == "0-2" and row["operation"] == operations[1]]
    assert points(figure.axes[0].lines[1]) == [(row["epoch"], row["weight"]) for row in first]


def test_a_single_edge_fills_one_large_panel():
    operations = [f"pseudo_inv_bn_{i}x{i}" for i in range(10)]
    rows = [row for row in alpha_rows(4, operations, 115) if row["edge"] == "2-4"]
    figure = alphas_figure(rows, "pibconv, normal cell")
    assert_readable(figure)
    (panel,) = figure.axes
    assert panel.get_title() == "node 0 → node 2"
    width, height = panel.get_window_extent().size / style.DPI
    assert width > 5 and height > 4
    for low, high, ticks in ((*panel.get_xlim(), panel.get_xticks()), (*panel.get_ylim(), panel.get_yticks())):
        assert sum(low <= tick <= high for tick in ticks) >= 5
    for line, operation in zip(panel.lines, operations, strict=True):
        assert points(line) == [(row["epoch"], row["weight"]) for row in rows if row["operation"] == operation]


def test_panels_of_alphas_name_their_edges_in_node_order():
    rows = alpha_rows(2, ["a", "b"], 2)
    random.Random(1).shuffle(rows)
    titles = [axes.get_title() for axes in alphas_figure(rows, "").axes]
    c2, c1 = "$c_{k{-}2}$", "$c_{k{-}1}$"
    nodes = [(c2, "node 0"), (c1, "node 0"), (c2, "node 1"), (c1, "node 1"), ("node 0", "node 1")]
    assert titles == [f"{source} → {target}" for source, target in nodes]


def test_alphas_lie_within_their_axes():
    for spread in (1e-5, 0.3):
        rows = [
            {"epoch": e, "edge": "0-2", "operation": o, "weight": 0.4 + spread * e * i}
            for i, o in enumerate("ab")
            for e in (1, 2)
        ]
        low, high = alphas_figure(rows, "").axes[0].get_ylim()
        weights = [row["weight"] for row in rows]
        assert low < min(weights) and max(weights) < high
        assert high - low >= 0.01


def margin_rows(margins: dict[str, list[float]], epochs: list[int] | None = None) -> list[dict]:
    """Rows in which conv is the favoured operation, by these margins over skip_connect; none is above both."""
    return [
        {"epoch": epoch, "edge": edge, "operation": operation, "weight": weight}
        for edge, values in margins.items()
        for epoch, margin in zip(epochs or range(len(values)), values, strict=True)
        for operation, weight in {"none": 4.0, "skip_connect": 1.0, "conv": 1 + margin, "pool": -4.0}.items()
    ]


@pytest.mark.parametrize(
    ("margins", "expected"),
    [
        ([-0.25, 0.25], [0.5]),
        ([0.25, 0.125, -0.375], [1.25]),
        ([0.5, -0.5, 1.5], [0.5, 1.25]),
        ([0.5, 0.25, 0.125], []),
        ([-0.5], []),
        ([0.25, 0.0, -0.25], [1.0]),
        ([0.25, 0.0, 0.0, -0.25], [1.0]),
        ([0.25, 0.0, 0.25], []),  # touches the boundary
        ([0.0, 0.0, 0.25], []),  # leaves it
        ([0.25, 0.0], []),  # arrives
    ],
)
def test_a_crossing_lies_where_the_margin_changes_sign(margins, expected):
    for start in (-9.0, 9.0):  # α's random start does not count
        found = crossings(margin_rows({"0-2": [start, *margins]}))
        assert found == {"0-2": [epoch + 1 for epoch in expected]}


def test_crossings_follow_the_epochs_given_in_any_order_of_rows():
    rows = margin_rows({"1-2": [9, 0.5, -0.5, -0.25], "0-2": [9, 0.25, 0.25, -0.75]}, epochs=[1, 3, 5, 13])
    random.Random(0).shuffle(rows)
    assert crossings(rows) == {"0-2": [7.0], "1-2": [4.0]}


def test_the_favoured_operation_is_the_one_that_leads_at_the_last_epoch():
    weights = {"none": (0.9, 0.9), "skip_connect": (0.5, 0.8), "early": (0.75, 0.25), "late": (0.25, 0.5)}
    rows = [
        {"epoch": epoch, "edge": "0-2", "operation": operation, "weight": weights[operation][epoch]}
        for epoch in (0, 1)
        for operation in weights
    ]
    rows = [row | {"epoch": row["epoch"] + 1} for row in rows] + [row for row in rows if row["epoch"] == 0]
    figure = decision_figure(rows, ["0-2"], "")
    assert legend_labels(figure) == ["$c_{k{-}2}$ → node 0: late"]
    assert crossings(rows) == {"0-2": []}  # early would cross


@pytest.mark.parametrize("draws", [crossings, lambda rows: decision_figure(rows, [], "")])
def test_a_decision_needs_skip_connect_and_an_operation_to_favour(draws):
    rows = margin_rows({"0-2": [0.25, 0.5]})
    with pytest.raises(ValueError, match="no row is of skip_connect"):
        draws([row for row in rows if row["operation"] != "skip_connect"])
    with pytest.raises(ValueError, match="other than none and skip_connect"):
        draws([row for row in rows if row["operation"] in ("none", "skip_connect")])
    with pytest.raises(ValueError, match="skip_connect"):
        draws([])


def test_a_kept_edge_without_rows_is_refused():
    with pytest.raises(ValueError, match="2-7"):
        decision_figure(margin_rows({"0-2": [0.25, 0.5]}), ["0-2", "2-7"], "")


def test_the_decision_shows_margins_crossings_and_kept_edges():
    later = {"0-2": [-0.25, 0.75, 0.5], "1-2": [0.25, 0.5, 0.125], "0-3": [0.5, 0.5, 0.5], "2-3": [0.5, -0.5, 1.5]}
    margins = {edge: [-0.125, *values] for edge, values in later.items()}
    figure = decision_figure(margin_rows(margins), ["1-2", "2-3"], "pibconv")
    assert_readable(figure)
    (axes,) = figure.axes
    lines = {tuple(points(line)): line for line in axes.lines if line.get_linestyle() != "None"}
    assert ((0.0, 0.0), (1.0, 0.0)) in lines  # the boundary, from side to side
    assert "decision\nboundary" in [text.get_text() for text in axes.texts]
    of = {edge: lines[tuple(enumerate(values))] for edge, values in margins.items()}
    assert of["0-2"].get_color() == of["0-3"].get_color() == style.FAINT
    assert of["0-3"].get_linewidth() < of["1-2"].get_linewidth() == of["2-3"].get_linewidth()
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    marked = {point: line.get_markeredgecolor() for line in marks for point in points(line)}
    kept = of["2-3"].get_color()
    assert marked == {(1.25, 0.0): style.FAINT, (1.5, 0.0): kept, (2.25, 0.0): kept}
    labels = ["$c_{k{-}1}$ → node 0: conv", "node 0 → node 1: conv", "edges not kept", "crossing"]
    assert legend_labels(figure) == labels
    assert [line.get_color() for line in figure.legends[0].get_lines()[:2]] == [of["1-2"].get_color(), kept]
    assert axes.get_title("left") == "boundary crossed by 2 of 4 edges (1 of 2 kept), last at epoch 2.2"


def test_the_decision_says_that_no_edge_crosses():
    figure = decision_figure(margin_rows({"0-2": [0.25, 0.5], "1-2": [0.5, 0.5]}), ["0-2", "1-2"], "pibconv")
    assert figure.axes[0].get_title("left") == "boundary crossed by none of 2 edges"
    assert figure.axes[0].get_ylim()[0] < 0  # the boundary shows all the same
    assert len(legend_labels(figure)) == 2
    assert [points(line) for line in figure.axes[0].lines if line.get_linestyle() == "None"] in ([[], []], [])


@pytest.mark.parametrize(("nodes", "epochs"), [(4, 116), (1, 1), (8, 3)])
def test_a_decision_is_readable(nodes, epochs):
    rows = alpha_rows(nodes, ["skip_connect", "pseudo_inv_bn_7x7", "dil_conv_5x5", "none"], epochs)
    kept = [f"{source}-{target}" for target in range(2, nodes + 2) for source in (target - 2, target - 1)]
    figure = decision_figure(rows, kept, "pibconv, normal cell")
    assert_readable(figure)
    assert len(legend_labels(figure)) >= len(kept)
    styles = {(handle.get_color(), handle.get_linestyle()) for handle in figure.legends[0].get_lines()[: len(kept)]}
    assert len(styles) == len(kept)
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert all(low < y < high for line in axes.lines for _, y in points(line))


@pytest.mark.parametrize(
    "plot",
    [
        lambda path: plot_alphas(alpha_rows(2, ["a", "b", "c"], 3), path, title="alphas"),
        lambda path: plot_decision(margin_rows({"0-2": [-0.5, 0.5]}), ["0-2"], path, title="a"),
    ],
)
def test_a_file_repeats_to_the_byte_and_names_no_version(plot, tmp_path):
    assert_nothing_but_a_picture(repeated_bytes(plot, tmp_path))


def own_edges_rows() -> list[dict]:
    """Of S1's kind: one edge has no skip_connect, another nothing but it and none."""
    weights = {
        "0-2": {"none": [0.0, 0.0], "a": [0.4, 0.3], "skip_connect": [0.6, 0.7], "b": [0.0, 0.0]},
        "1-2": {"none": [0.0, 0.0], "a": [0.5, 0.8], "skip_connect": [0.0, 0.0], "b": [0.5, 0.2]},
        "0-3": {"none": [0.5, 0.6], "a": [0.0, 0.0], "skip_connect": [0.5, 0.4], "b": [0.0, 0.0]},
    }
    return [
        {"epoch": epoch, "edge": edge, "operation": operation, "weight": series[epoch]}
        for epoch in (0, 1)
        for edge, operations in weights.items()
        for operation, series in operations.items()
    ]


def test_curves_are_of_the_operations_that_an_edge_has():
    figure = alphas_figure(own_edges_rows(), "s1, normal cell")
    colours = dict(
        zip(legend_labels(figure), [line.get_color() for line in figure.legends[0].get_lines()], strict=True)
    )
    assert list(colours) == ["none", "a", "skip_connect", "b"]  # all, in the order that the animation has too
    shown = [[line.get_color() for line in axes.lines] for axes in figure.axes]
    expected = [["a", "skip_connect"], ["a", "b"], ["none", "skip_connect"]]
    assert shown == [[colours[name] for name in names] for names in expected]


def test_a_decision_is_of_edges_that_have_both():
    rows = own_edges_rows()
    assert comparable(rows) == {"0-2"}
    assert crossings(rows).keys() == {"0-2"}
    (axes,) = decision_figure(rows, ["0-2", "1-2"], "s1").axes
    assert "of 1 edges" in axes.get_title(loc="left")
    assert points(axes.lines[1]) == [(0, pytest.approx(-0.2)), (1, pytest.approx(-0.4))]
