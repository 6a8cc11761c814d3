"""The pictures: that they show the numbers given, that their text can be read, and that their bytes repeat."""

import random
import struct
import subprocess
import sys
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox

from nas import figures

NAMES = ["none", "skip_connect", "sep_conv_3x3", "conv_7x1_1x7", "pseudo_inv_bn_7x7", "dil_conv_5x5_with_a_long_name"]


def draw(figure: Figure) -> Figure:
    with matplotlib.rc_context(figures.STYLE):
        figure.canvas.draw()
    return figure


def visible_texts(figure: Figure) -> dict[str, Bbox]:
    """Every text that is drawn, by a unique key that starts with the text, with its place in pixels."""
    draw(figure)
    texts = [text for text in (figure._suptitle, figure._supxlabel, figure._supylabel) if text]
    texts += figure.texts + [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes._left_title, axes._right_title] if axes.axison else axes.texts
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            texts += [axis.label] + [
                label
                for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
                for label in (tick.label1, tick.label2)
                if low <= tick.get_loc() <= high and label.get_visible()
            ]
    renderer = figure.canvas.get_renderer()
    unique = {id(text): text for text in texts if text.get_text() and text.get_visible()}
    return {f"{text.get_text()}#{i}": text.get_window_extent(renderer) for i, text in enumerate(unique.values())}


def meet(one: Bbox, other: Bbox) -> bool:
    return one.x0 < other.x1 and other.x0 < one.x1 and one.y0 < other.y1 and other.y0 < one.y1


def holds(outer: Bbox, inner: Bbox) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def assert_readable(figure: Figure) -> None:
    texts = visible_texts(figure)
    assert texts
    assert [key for key, box in texts.items() if not holds(figure.bbox, box)] == []
    assert [(a, b) for a, b in combinations(texts, 2) if meet(texts[a], texts[b])] == []
    panels = [axes.get_window_extent() for axes in figure.axes if axes.axison]
    legends = [legend.get_window_extent() for legend in figure.legends]
    assert not any(meet(legend, panel) for legend in legends for panel in panels)


def legend_labels(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    assert isinstance(legend, Legend)
    return [text.get_text() for text in legend.get_texts()]


def points(line) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in line.get_xydata()]


# Cells.


def random_cell(nodes: int, seed: int) -> tuple[list[tuple[str, int]], list[int]]:
    rng = random.Random(100 * nodes + seed)
    edges = [(rng.choice(NAMES), source) for node in range(nodes) for source in rng.sample(range(node + 2), 2)]
    lowest = 0 if seed % 2 else 2  # the inputs may be part of the output, though no published cell has that
    states = range(lowest, nodes + 2)
    return edges, sorted(rng.sample(states, rng.randint(1, len(states))))


def chain(nodes: int) -> tuple[list[tuple[str, int]], list[int]]:
    """Each node reads the two states before it: every node needs a track."""
    return [("pseudo_inv_bn_7x7", node + late) for node in range(nodes) for late in (1, 0)], [nodes + 1]


def fan(nodes: int) -> tuple[list[tuple[str, int]], list[int]]:
    """All nodes read the inputs alone."""
    return [("none", source) for _ in range(nodes) for source in (0, 1)], list(range(2, nodes + 2))


CELLS = [random_cell(nodes, seed) for nodes in range(1, 9) for seed in range(4)] + [
    pattern(nodes) for pattern in (chain, fan) for nodes in range(1, 9)
]


class Drawing:
    """What a cell's drawing consists of, in inches, y downwards."""

    def __init__(self, edges, concat, title="DARTS_V2, normal cell"):
        self.edges, self.concat = edges, concat
        self.figure = draw(figures._cell_figure(edges, concat, title))
        (self.axes,) = self.figure.axes
        self.to_inches = self.axes.transData.inverted()
        self.labels = [self.place(text) for text in self.axes.texts if text.get_gid() == "label"]
        self.operations = [text.get_text() for text in self.axes.texts if text.get_gid() == "label"]
        self.names = {
            text.get_text(): self.place(text) for text in self.axes.texts[1:] if text.get_gid() is None
        }  # the first is the title
        self.pills = [self.place(patch) for patch in self.patches("pill")]
        self.boxes = [self.place(patch) for patch in self.patches("box")]
        self.lines = [(patch.get_path().vertices, to_hex(patch.get_edgecolor())) for patch in self.patches("line")]
        self.arrows = [
            (*patch._posA_posB[0], *patch._posA_posB[1], to_hex(patch.get_edgecolor()))
            for patch in self.patches("arrow")
        ]

    def patches(self, gid):
        return [patch for patch in self.axes.patches if patch.get_gid() == gid]

    def place(self, artist) -> Bbox:
        corners = self.to_inches.transform(artist.get_window_extent(self.figure.canvas.get_renderer()))
        return Bbox([corners.min(axis=0), corners.max(axis=0)])

    def box_named(self, name: str) -> Bbox:
        (box,) = [box for box in self.boxes if holds(box, self.names[name])]
        return box

    def segments(self):
        """All straight pieces of lines and arrows, with their colours."""
        for vertices, colour in self.lines:
            for start, end in zip(vertices, vertices[1:], strict=False):
                yield *sorted((start[0], end[0])), *sorted((start[1], end[1])), colour
        for x0, y0, x1, y1, colour in self.arrows:
            yield *sorted((x0, x1)), *sorted((y0, y1)), colour


@pytest.fixture(scope="module", params=CELLS)
def drawing(request) -> Drawing:
    return Drawing(*request.param)


def test_labels_of_a_cell_stand_free(drawing):
    assert drawing.operations == [operation for operation, _ in drawing.edges]
    assert all(holds(pill, label) for pill, label in zip(drawing.pills, drawing.labels, strict=True))
    obstacles = drawing.boxes + [drawing.place(drawing.axes.texts[0])]
    assert not any(meet(a, b) for a, b in combinations(drawing.pills + obstacles, 2))
    for x0, x1, y0, y1, _ in drawing.segments():
        thick = Bbox([[x0 - 0.01, y0 - 0.01], [x1 + 0.01, y1 + 0.01]])
        assert not any(meet(thick, label) for label in drawing.labels)
    canvas = Bbox([[0, 0], drawing.figure.get_size_inches()])
    assert all(holds(canvas, box) for box in drawing.pills + obstacles)


def test_each_operation_of_a_cell_joins_its_source_to_its_node(drawing):
    tracks = {vertices[-1][0] if len(vertices) > 4 else None: colour for vertices, colour in drawing.lines}
    for i, (_, source) in enumerate(drawing.edges):
        pill, y = drawing.pills[i], (drawing.pills[i].y0 + drawing.pills[i].y1) / 2
        (branch,) = [v for v, _ in drawing.lines if len(v) == 4 and abs(v[-1] - (pill.x0, y)).max() < 0.02]
        (arrow,) = [a for a in drawing.arrows if abs(a[0] - pill.x1) < 0.02 and abs(a[1] - y) < 0.02]
        node = drawing.box_named(str(i // 2))
        assert arrow[2] == pytest.approx(node.x0, abs=0.02) and node.y0 < arrow[3] < node.y1
        if source < 2:
            box = drawing.box_named("$c_{k{-}2}$" if source == 0 else "$c_{k{-}1}$")
            assert box.x0 < branch[0][0] < box.x1
        else:
            assert tracks[branch[0][0]] == figures.COLOURS[source].lower()
    into_output = [a for a in drawing.arrows if a[2] == pytest.approx(drawing.box_named("$c_k$").x0, abs=0.02)]
    assert sorted(a[4] for a in into_output) == sorted(figures.COLOURS[state].lower() for state in drawing.concat)


def test_lines_of_different_states_never_run_along_each_other(drawing):
    def along(a, b, one, other):
        """Whether two segments lie on one line of constant coordinate `one` and overlap in the `other`."""
        flat = all(abs(s[one] - s[one + 1]) < 1e-9 for s in (a, b)) and abs(a[one] - b[one]) < 0.05
        return flat and a[other] < b[other + 1] - 1e-9 and b[other] < a[other + 1] - 1e-9

    for a, b in combinations(drawing.segments(), 2):
        if a[4] != b[4]:
            assert not along(a, b, 0, 2) and not along(a, b, 2, 0)


def test_the_way_back_of_a_node_crosses_no_line_and_tracks_lead_downwards(drawing):
    runs = [vertices for vertices, _ in drawing.lines if len(vertices) == 2]
    assert all(start[1] < end[1] for start, end in runs)
    for way in (vertices for vertices, _ in drawing.lines if len(vertices) == 7):
        (right, y), (left, _) = way[3], way[4]
        assert not any(left < start[0] < right and start[1] < y < end[1] for start, end in runs)


def test_a_long_title_widens_the_drawing_of_a_cell():
    edges, concat = fan(1)
    title = "a title, much longer than the drawing of a cell with one node, and with $ and _ in it"
    narrow, wide = Drawing(edges, concat), Drawing(edges, concat, title)
    assert wide.figure.get_figwidth() > narrow.figure.get_figwidth()
    assert wide.place(wide.axes.texts[0]).x1 < wide.figure.get_figwidth()


# Curves.


def alpha_rows(nodes: int, operations: list[str], epochs: int) -> list[dict]:
    rng = random.Random(0)
    edges = [f"{source}-{target}" for target in range(2, nodes + 2) for source in range(target)]
    return [
        {"epoch": epoch, "edge": edge, "operation": operation, "weight": rng.random()}
        for epoch in range(1, epochs + 1)
        for edge in edges
        for operation in operations
    ]


def history(epochs: int, halves: tuple[str, str], seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    keys = [f"{half}_{measure}" for half in halves for measure in ("loss", "top1")]
    return [
        {"epoch": e} | {key: rng.uniform(20, 90) if "top1" in key else rng.uniform(0.1, 2) for key in keys}
        for e in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(("nodes", "count", "epochs"), [(4, 10, 115), (4, 3, 1), (1, 8, 2), (3, 12, 50), (8, 12, 5)])
def test_alphas_have_a_panel_an_edge_and_a_colour_an_operation(nodes, count, epochs):
    operations = [f"pseudo_inv_bn_{i}x{i}" for i in range(count)]
    rows = alpha_rows(nodes, operations, epochs)
    figure = figures._alphas_figure(rows, "pibconv, normal cell")
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


def test_panels_of_alphas_name_their_edges_in_node_order():
    rows = alpha_rows(2, ["a", "b"], 2)
    random.Random(1).shuffle(rows)
    titles = [axes.get_title() for axes in figures._alphas_figure(rows, "").axes]
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
        low, high = figures._alphas_figure(rows, "").axes[0].get_ylim()
        weights = [row["weight"] for row in rows]
        assert low < min(weights) and max(weights) < high
        assert high - low >= 0.01


@pytest.mark.parametrize(("searches", "epochs"), [(1, 1), (5, 50), (12, 115)])
def test_a_search_shows_both_halves(searches, epochs):
    histories = {f"darts_gelu_{i}": history(epochs, ("train", "valid"), i) for i in range(searches)}
    figure = figures._search_figure(histories)
    assert_readable(figure)
    assert legend_labels(figure) == [*histories, "validation half", "training half"]
    for axes, measure in zip(figure.axes, ("top1", "loss"), strict=True):
        assert len(axes.lines) == 2 * searches
        assert len({line.get_color() for line in axes.lines}) == searches
        for half, style in (("train", "--"), ("valid", "-")):
            drawn = [points(line) for line in axes.lines if line.get_linestyle() == style]
            given = [[(row["epoch"], row[f"{half}_{measure}"]) for row in rows] for rows in histories.values()]
            assert drawn == given


@pytest.mark.parametrize(
    ("genotypes", "depths", "seeds", "epochs"),
    [(["DARTS_V2"], [10], 1, 1), (["DARTS_V2", "DARTS_PseudoInvBn", "pib-conv"], range(2, 12), 2, 40)],
)
def test_training_has_a_row_of_panels_for_each_genotype(genotypes, depths, seeds, epochs):
    runs = {
        f"{genotype}-{layers}-{seed}": history(epochs, ("train", "test"), seed)
        for genotype in genotypes
        for layers in depths
        for seed in range(seeds)
    }
    figure = figures._training_figure(runs)
    assert_readable(figure)
    assert [axes.get_title("left") for axes in figure.axes[::2]] == genotypes
    assert legend_labels(figure) == [*(f"{layers} layers" for layers in depths), "test", "training"]
    assert all(len(axes.lines) == 2 * len(depths) * seeds for axes in figure.axes)
    brightness = [sum(handle.get_color()[:3]) for handle in figure.legends[0].get_lines()[: len(depths)]]
    assert brightness == sorted(set(brightness), reverse=True)  # the deeper the darker, all different
    rows = runs[f"{genotypes[0]}-{depths[0]}-0"]
    assert points(figure.axes[0].lines[1]) == [(row["epoch"], row["test_top1"]) for row in rows]
    assert points(figure.axes[1].lines[0]) == [(row["epoch"], row["train_loss"]) for row in rows]


@pytest.mark.parametrize("name", ["DARTS_V2", "DARTS_V2-10", "DARTS-V2-ten-0", "a-1-"])
def test_a_run_with_another_name_is_refused(name):
    with pytest.raises(ValueError, match="GENOTYPE-LAYERS-SEED"):
        figures._training_figure({name: history(2, ("train", "test"))})


# Accuracy against size.

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
    figure = figures._accuracy_figure(mine, paper)
    assert_readable(figure)
    for axes, key in zip(figure.axes, ("layers", "params"), strict=True):
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        assert all(left < p[key] < right and low < p["accuracy"] < high for p in mine + paper)
        for axis, (start, end) in ((axes.xaxis, (left, right)), (axes.yaxis, (low, high))):
            inside = [tick.label1.get_text() for tick in axis.get_major_ticks() if start <= tick.get_loc() <= end]
            # Only a single number of layers makes do with a single tick.
            assert len(inside) >= (1 if axis is figure.axes[0].xaxis else 2) or axis is axes.xaxis


def test_accuracies_are_those_given_in_order_of_size():
    mine = ours([91.0, 93.0, 95.5], 0.25)
    layers, params = figures._accuracy_figure(mine, PAPER).axes
    lines = {line.get_label(): points(line) for line in layers.lines if not line.get_label().startswith("_")}
    assert lines["pibconv"] == [(2, 91.0), (3, 93.0), (4, 95.5)]
    assert lines["DARTS_V2 (paper)"] == [(2, 54.52), (4, 93.74), (20, 97.24)]
    lines = {line.get_label(): points(line) for line in params.lines}
    assert lines["DARTS_V2 (paper)"] == [(0.082, 54.52), (0.487, 93.74), (3.30, 97.24)]
    assert params.get_xscale() == "log" and layers.get_xscale() == "linear"


def test_the_paper_is_grey_and_shares_its_marker_with_our_run_of_the_same_genotype():
    figure = figures._accuracy_figure(ours([95.0], genotype="DARTS_V2") + ours([94.0]), PAPER)
    handles = dict(zip(legend_labels(figure), figure.legends[0].get_lines(), strict=True))
    assert list(handles) == ["DARTS_V2", "pibconv", "DARTS_V2 (paper)", "DARTS_PseudoInvBn (paper)"]
    marker = {name: handle.get_marker() for name, handle in handles.items()}
    assert marker["DARTS_V2"] == marker["DARTS_V2 (paper)"]
    assert len(set(marker.values())) == 3
    assert {handles[name].get_color() for name in handles if "paper" in name} == {figures.PAPER}
    assert figures.PAPER not in {handles[name].get_color() for name in handles if "paper" not in name}


def test_error_bars_show_the_deviation_up_to_100_percent():
    assert not figures._accuracy_figure(ours([90.0, 95.0]), PAPER).axes[0].collections
    bars = figures._accuracy_figure(ours([90.0, 99.75], 0.5), PAPER).axes[0].collections
    ends = [bar.get_segments()[0][:, 1].tolist() for bar in bars]
    assert ends == [[89.5, 90.5], [99.25, 100.0]]


def test_the_accuracy_scale_rises_and_can_be_inverted():
    accuracy = np.array([0, 10, 54, 90, 97.24, 97.76, 100])
    height = figures._from_accuracy(accuracy)
    assert (np.diff(height) > 0).all()
    assert figures._to_accuracy(height) == pytest.approx(accuracy)


# Pictures.


def pictures(count: int, height: int = 8, width: int = 8) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize(
    ("columns", "titles", "shape"),
    [
        (["dog", "automobile", "airplane", "ship"], ["DARTS_V2, 20 layers", "DARTS_PseudoInvBn, 10 layers"], (32, 32)),
        (["a_class_with_a_very_long_name"], ["a row title that is longer than all the pictures are wide"], (20, 40)),
        ([str(i) for i in range(8)], ["pibconv"], (8, 8)),
    ],
)
def test_the_grid_shows_all_pictures_with_their_captions(columns, titles, shape):
    captions = [f"{name} 100 %" for name in columns]
    inputs, maps = pictures(len(columns), *shape), pictures(len(columns), *shape)
    figure = figures._gradcam_figure(columns, [("input", inputs, None), *((title, maps, captions) for title in titles)])
    texts = visible_texts(figure)
    canvas, *panels = figure.axes
    assert [text.get_text() for text in canvas.texts] == [
        "input", *columns, *(text for title in titles for text in (title, *captions))
    ]  # fmt: skip
    assert all(holds(figure.bbox, box) for box in texts.values())
    places = list(texts.values()) + [panel.images[0].get_window_extent() for panel in panels]
    assert not any(meet(a.padded(-0.5), b.padded(-0.5)) for a, b in combinations(places, 2))
    shown = [panel.images[0].get_array() for panel in panels]
    assert all((a == b).all() for a, b in zip(shown, inputs + maps * len(titles), strict=True))


def test_a_caption_stands_under_its_picture():
    figure = draw(figures._gradcam_figure(["a", "b"], [("net", pictures(2), ["left 1 %", "right 2 %"])]))
    places = visible_texts(figure)
    for panel, caption in zip(figure.axes[1:], ("left 1 %", "right 2 %"), strict=True):
        (text,) = [place for key, place in places.items() if key.startswith(caption)]
        picture = panel.get_window_extent()
        assert (text.x0 + text.x1) / 2 == pytest.approx((picture.x0 + picture.x1) / 2, abs=1)
        assert 0 <= picture.y0 - text.y1 < 0.2 * figures.DPI


@pytest.mark.parametrize(("count", "captions"), [(1, None), (3, None), (2, ["one"])])
def test_a_row_that_does_not_fit_the_columns_is_refused(count, captions):
    with pytest.raises(ValueError, match="zip"):
        figures._gradcam_figure(["a", "b"], [("input", pictures(count), captions)])


# Files.

CALLS = {
    "draw_cell": lambda path: figures.draw_cell(*chain(4), path, title="chain"),
    "plot_alphas": lambda path: figures.plot_alphas(alpha_rows(2, ["a", "b", "c"], 3), path, title="alphas"),
    "plot_search": lambda path: figures.plot_search({"darts": history(5, ("train", "valid"))}, path),
    "plot_accuracy": lambda path: figures.plot_accuracy(ours([91.0, 95.0], 0.5), PAPER, path),
    "plot_training": lambda path: figures.plot_training({"DARTS_V2-10-0": history(5, ("train", "test"))}, path),
    "gradcam_grid": lambda path: figures.gradcam_grid(["a", "b"], [("input", pictures(2), None)], path),
}


def png_chunks(content: bytes) -> list[str]:
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, names = 8, []
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        names.append(content[at + 4 : at + 8].decode())
        at += length + 12
    return names


@pytest.mark.parametrize("name", CALLS)
def test_a_file_repeats_to_the_byte_and_names_no_version(name, tmp_path):
    settings = dict(matplotlib.rcParams)
    first, second = tmp_path / "first.png", tmp_path / "deeper" / "second.png"
    CALLS[name](first)
    # What a caller has set for pictures of its own neither changes these nor is changed by them.
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        CALLS[name](second)
    assert first.read_bytes() == second.read_bytes()
    assert set(png_chunks(first.read_bytes())) <= {"IHDR", "pHYs", "IDAT", "IEND"}
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["first.png", "second.png"]
    assert dict(matplotlib.rcParams) == settings


def test_neither_pyplot_nor_torch_is_imported():
    code = "import sys, nas.figures; print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
