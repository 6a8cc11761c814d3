"""The pictures: that they show the numbers given, that their text can be read, and that their bytes repeat."""

import random
import struct
import subprocess
import sys
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox
from PIL import Image

from nas.report import figures

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


RECIPE = "ours: digits, 8 epochs, C = 16, on cpu"
LONG_RECIPE = (
    "ours: CIFAR-10, 600 epochs, batch 96, C = 36, $cutout$ 16, auxiliary tower 0.4, drop path 0.2, three seeds"
)


def assert_noted(figure: Figure, note: str) -> None:
    """The figure's own texts, from top to bottom, are the lines of the note, below everything else."""
    lines = sorted(figure.texts, key=lambda text: text.get_position()[1], reverse=True)
    assert " ".join(line.get_text() for line in lines) == note
    assert not any(line.get_parse_math() for line in lines)
    texts = visible_texts(figure)
    top = max((line.get_window_extent().y1 for line in lines), default=0)
    own = {line.get_text() for line in lines}
    assert all(box.y0 >= top for key, box in texts.items() if key.rsplit("#", 1)[0] not in own)
    assert all(legend.get_window_extent().y0 >= top for legend in figure.legends)


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


# The animation of a cell.

THREE = ["ds_conv", "mb_conv", "fused_mb_conv"]
TEN = ["none", "skip_connect", "max_pool_3x3", *(f"sep_conv_gelu_ln_{k}x{k}" for k in range(3, 17, 2))]
EDGES = ["0-2", "1-2", "0-3", "1-3", "2-3"]  # of two nodes


def rows_of(epochs: dict[int, list[tuple[float, ...]]], operations: list[str]) -> list[dict]:
    """Rows of a cell of two nodes, from the weights of its edges at each epoch."""
    return [
        {"epoch": epoch, "edge": edge, "operation": operation, "weight": weight}
        for epoch, table in epochs.items()
        for edge, weights in zip(EDGES, table, strict=True)
        for operation, weight in zip(operations, weights, strict=True)
    ]


def search_rows(nodes: int, operations: list[str], epochs: int) -> list[dict]:
    """The softmax of α that drift apart."""
    rng = np.random.default_rng(nodes)
    edges = [f"{source}-{target}" for target in range(2, nodes + 2) for source in range(target)]
    drift = rng.normal(0, 0.08, (len(edges), len(operations)))
    exponentials = [np.exp(epoch * drift + rng.normal(0, 0.05, drift.shape)) for epoch in range(epochs + 1)]
    weights = [table / table.sum(axis=1, keepdims=True) for table in exponentials]
    return [
        {"epoch": epoch, "edge": edge, "operation": operation, "weight": float(weights[epoch][i, k])}
        for epoch in range(epochs + 1)
        for i, edge in enumerate(edges)
        for k, operation in enumerate(operations)
    ]


WEIGHTS = {  # epoch -> edge -> weights of none, a and b
    0: [(0.25, 0.25, 0.5), (0.25, 0.5, 0.25), (0.25, 0.375, 0.375), (0.125, 0.25, 0.625), (0.5, 0.125, 0.375)],
    1: [(0.5, 0.375, 0.125), (0.0, 0.25, 0.75), (0.25, 0.25, 0.5), (0.875, 0.0625, 0.0625), (0.125, 0.75, 0.125)],
}
STRONGEST = {0: ["b", "a", "a", "b", "b"], 1: ["a", "b", "b", "a", "a"]}  # other than none; a before b if equal
KEPT = {0: [True, True, True, True, False], 1: [True, True, True, False, True]}  # of equal edges the earlier one
A_AND_B = {"a": "#d55e00", "b": "#009e73"}  # the second and the third colour


@pytest.fixture(params=[0, 1])
def shown(request) -> tuple[int, figures._CellAnimation]:
    """An epoch of WEIGHTS, and the animation at that epoch, reached from the other one."""
    animation = figures._CellAnimation(rows_of(WEIGHTS, ["none", "a", "b"]), "darts, normal cell")
    for epoch in (1 - request.param, request.param):
        animation.show(epoch)
    return request.param, animation


def whiteness(colour, of: str) -> float:
    """The share of white in a mixture of white and the colour `of`."""
    mixed, full = (1 - np.array(to_rgb(c)) for c in (colour, of))
    share = mixed @ full / (full @ full)
    assert mixed == pytest.approx(share * full, abs=0.01)
    return 1 - share


def test_rows_of_the_animation_follow_the_strongest_operation_and_the_genotype(shown):
    epoch, animation = shown
    assert [row.label.get_text() for row in animation.rows] == STRONGEST[epoch]
    for row, operation, kept in zip(animation.rows, STRONGEST[epoch], KEPT[epoch], strict=True):
        strokes = (row.line.get_edgecolor(), row.arrow.get_edgecolor(), row.pill.get_edgecolor())
        white = [whiteness(colour, A_AND_B[operation]) for colour in strokes]
        assert white == pytest.approx([0, 0, 0], abs=0.01) if kept else min(white) > 0.5
        assert row.label.get_color() == (figures.INK if kept else figures.PAPER)
        assert (to_hex(row.pill.get_facecolor()) == "#ffffff") != kept


def test_lines_of_the_animation_widen_with_the_weight_on_one_scale_for_all_epochs(shown):
    epoch, animation = shown
    weights = [max(a, b) for _, a, b in WEIGHTS[epoch]]
    expected = [np.interp(w, (0.0625, 0.75), (figures.THIN, figures.THICK)) for w in weights]
    assert [row.line.get_linewidth() for row in animation.rows] == pytest.approx(expected)
    assert figures.THICK > 4 * figures.THIN
    note = (
        "Line width: softmax weight of the strongest operation other than none, from 0.06 to 0.75. "
        "Bar: weights of all operations. Faint: edges that the genotype of the epoch leaves out."
    )
    assert_noted(animation.figure, note)


def test_small_leads_do_not_look_like_decisions():
    epochs = {epoch: [(0.334 + i / 1000, 0.333, 0.333 - i / 1000) for i in range(5)] for epoch in (0, 1)}
    animation = figures._CellAnimation(rows_of(epochs, THREE), "mb, normal cell")
    animation.show(1)
    assert max(row.line.get_linewidth() for row in animation.rows) < 1.1 * figures.THIN
    assert "strongest operation, from 0.33 to 0.67." in " ".join(
        text.get_text() for text in animation.figure.texts[::-1]
    )


def test_bars_of_the_animation_are_divided_by_the_weights_of_all_operations(shown):
    epoch, animation = shown
    for row, weights, kept in zip(animation.rows, WEIGHTS[epoch], KEPT[epoch], strict=True):
        left, width = row.pill.get_x(), row.pill.get_width()
        edges = [(part.get_x() - left) / width for part in row.bar]
        assert edges == pytest.approx([0, weights[0], weights[0] + weights[1]])
        assert [part.get_width() / width for part in row.bar] == pytest.approx(list(weights))
        none, *others = (part.get_facecolor() for part in row.bar)
        assert min(to_rgb(none)) == max(to_rgb(none)) > 0.8
        white = [whiteness(colour, of) for colour, of in zip(others, A_AND_B.values(), strict=True)]
        assert white == pytest.approx([0, 0] if kept else [0.5, 0.5], abs=0.01)


def test_operations_have_the_colours_of_their_curves():
    rows = search_rows(1, TEN, 1)
    curves, animation = (draws(rows, "darts") for draws in (figures._alphas_figure, figures._CellAnimation))
    assert legend_labels(animation.figure) == legend_labels(curves) == TEN
    (_, *ours), (_, *theirs) = (
        [line.get_color() for line in figure.legends[0].get_lines()] for figure in (animation.figure, curves)
    )
    assert ours == theirs
    animation.show(1)
    assert [to_hex(part.get_facecolor()) for part in animation.rows[0].bar[1:]] == [colour.lower() for colour in ours]


@pytest.mark.parametrize(("nodes", "operations", "epochs"), [(1, THREE, 1), (2, THREE, 0), (4, TEN, 50), (7, TEN, 2)])
def test_the_animation_is_readable_and_nothing_moves_but_what_changes(nodes, operations, epochs):
    animation = figures._CellAnimation(search_rows(nodes, operations, epochs), "darts_ln, normal cell")
    figure = animation.figure
    assert figure.get_figwidth() <= 7.5 or nodes > 4
    places = []
    for epoch in (0, epochs):
        animation.show(epoch)
        assert_readable(figure)
        total = f" of {epochs}" if epochs else ""
        assert animation.counter.get_text() == f"epoch {epoch}{total}"
        pills, labels, bars = (
            [artist.get_window_extent() for artist in artists]
            for artists in (
                [row.pill for row in animation.rows],
                [row.label for row in animation.rows],
                [part for row in animation.rows for part in row.bar],
            )
        )
        assert all(holds(pill, label) for pill, label in zip(pills, labels, strict=True))
        assert not any(meet(a, b) for a, b in combinations(pills, 2))
        assert not any(meet(pill, bar.padded(-0.5)) for pill in pills for bar in bars if bar.width > 1)
        boxes = [patch.get_window_extent() for patch in figure.axes[0].patches if patch.get_gid() == "box"]
        assert not any(meet(box, animation.counter.get_window_extent().padded(10)) for box in boxes)
        progress = animation.past_epochs.get_width() / (animation.all_epochs.get_width() or 1)
        assert progress == pytest.approx(epoch / epochs if epochs else 0)
        places.append([pill.bounds for pill in pills])
    assert places[0] == places[1]


def test_rows_of_the_animation_lead_from_their_source_to_their_node():
    animation = figures._CellAnimation(search_rows(3, THREE, 0), "mb, normal cell")
    animation.show(0)
    boxes = [patch for patch in animation.figure.axes[0].patches if patch.get_gid() == "box"]
    c2, c1, _, *nodes = boxes
    edges = [(source, target) for target in range(2, 5) for source in range(target)]
    starts = {}
    for row, (source, target) in zip(animation.rows, edges, strict=True):
        (start, y), (_, end) = row.line.get_path().vertices
        node = nodes[target - 2]
        assert y == end and node.get_y() < y < node.get_y() + node.get_height()
        (tail, _), (head, height) = row.arrow._posA_posB
        assert height == y and head == pytest.approx(node.get_x())
        assert row.pill.get_y() < y < row.pill.get_y() + row.pill.get_height()
        assert start < row.pill.get_x() < tail
        starts.setdefault(source, set()).add(start)
    first, second, *tracks = (start for (start,) in starts.values())
    for start, box in ((first, c2), (second, c1)):
        assert box.get_x() < start < box.get_x() + box.get_width()
    assert [second, *tracks] == sorted({second, *tracks})
    heights = [row.pill.get_y() for row in animation.rows]
    assert heights == sorted(heights)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (lambda row: (row["epoch"], row["edge"], row["operation"]) == (1, "1-3", "a"), "edge 1-3 .* of a at epoch 1"),
        (lambda row: row["edge"] == "0-3", "edge 0-3 .* of none at epoch 0"),
        (lambda row: row["epoch"] == 1 and row["operation"] == "b", "edge 0-2 .* of b at epoch 1"),
    ],
)
def test_an_animation_needs_every_weight(missing, message, tmp_path):
    rows = [row for row in rows_of(WEIGHTS, ["none", "a", "b"]) if not missing(row)]
    with pytest.raises(ValueError, match=message):
        figures.animate_cell(rows, tmp_path / "cell.gif", title="")
    assert not list(tmp_path.iterdir())


def gif_blocks(content: bytes) -> list[str]:
    """What a GIF consists of after its header and its colours, by the specification of GIF89a."""
    assert content[:6] == b"GIF89a" and content[10] & 0x80  # one table of colours for all frames
    at, blocks = 13 + 3 * 2 ** (content[10] % 8 + 1), []
    while content[at] != 0x3B:
        if content[at] == 0x21:
            blocks.append(f"extension {content[at + 1]:02x}")
            at += 2
        else:
            assert content[at] == 0x2C
            blocks.append("frame with colours" if content[at + 9] & 0x80 else "frame")
            at += 11
        while content[at]:
            at += 1 + content[at]
        at += 1
    assert at == len(content) - 1
    return blocks


CONTROL = "extension f9"  # holds the duration; a loop would be an extension ff, a comment fe


@pytest.mark.parametrize(("frames", "duration"), [(1, 500), (6, 500), (13, 460), (51, 110), (61, 100), (200, 100)])
def test_a_gif_plays_once_slowly_enough_to_follow(frames, duration, tmp_path):
    pictures = [figures._palette().resize((4, 4)) for _ in range(frames)]
    for i, picture in enumerate(pictures):
        picture.putpixel((i % 4, i // 4 % 4), 1 + i % 100)
    figures._save_gif(pictures, tmp_path / "cell.gif")
    assert gif_blocks((tmp_path / "cell.gif").read_bytes()) == [CONTROL, "frame"] * frames
    with Image.open(tmp_path / "cell.gif") as gif:
        for i in range(frames):
            gif.seek(i)
            assert gif.info["duration"] == duration


def test_every_frame_of_a_gif_shows_its_epoch(tmp_path):
    rows = rows_of(WEIGHTS | {2: WEIGHTS[0], 7: WEIGHTS[1]}, ["none", "a", "b"])
    figures.animate_cell(random.Random(0).sample(rows, len(rows)), tmp_path / "cell.gif", title="darts")
    random.Random(0).shuffle(rows)
    animation = figures._CellAnimation(rows, "darts")
    with Image.open(tmp_path / "cell.gif") as gif:
        assert gif.n_frames == 4
        for i, epoch in enumerate((0, 1, 2, 7)):
            gif.seek(i)
            animation.show(epoch)
            drawn = np.asarray(draw(animation.figure).canvas.buffer_rgba())[..., :3].astype(int)
            error = abs(np.asarray(gif.convert("RGB")) - drawn).max(axis=-1)
            assert error.max() < 48 and (error > 8).mean() < 0.005
            assert error[:5].max() == 0  # the background


def test_a_gif_of_many_frames_is_small(tmp_path):
    path = tmp_path / "cell.gif"
    figures.animate_cell(search_rows(4, THREE, 16), path, title="mb, normal cell")
    assert gif_blocks(path.read_bytes()) == [CONTROL, "frame"] * 17
    assert path.stat().st_size < 250_000


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


def test_a_single_edge_fills_one_large_panel():
    operations = [f"pseudo_inv_bn_{i}x{i}" for i in range(10)]
    rows = [row for row in alpha_rows(4, operations, 115) if row["edge"] == "2-4"]
    figure = figures._alphas_figure(rows, "pibconv, normal cell")
    assert_readable(figure)
    (panel,) = figure.axes
    assert panel.get_title() == "node 0 → node 2"
    width, height = panel.get_window_extent().size / figures.DPI
    assert width > 5 and height > 4
    for low, high, ticks in ((*panel.get_xlim(), panel.get_xticks()), (*panel.get_ylim(), panel.get_yticks())):
        assert sum(low <= tick <= high for tick in ticks) >= 5
    for line, operation in zip(panel.lines, operations, strict=True):
        assert points(line) == [(row["epoch"], row["weight"]) for row in rows if row["operation"] == operation]


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
        found = figures.crossings(margin_rows({"0-2": [start, *margins]}))
        assert found == {"0-2": [epoch + 1 for epoch in expected]}


def test_crossings_follow_the_epochs_given_in_any_order_of_rows():
    rows = margin_rows({"1-2": [9, 0.5, -0.5, -0.25], "0-2": [9, 0.25, 0.25, -0.75]}, epochs=[1, 3, 5, 13])
    random.Random(0).shuffle(rows)
    assert figures.crossings(rows) == {"0-2": [7.0], "1-2": [4.0]}


def test_the_favoured_operation_is_the_one_that_leads_at_the_last_epoch():
    weights = {"none": (0.9, 0.9), "skip_connect": (0.5, 0.8), "early": (0.75, 0.25), "late": (0.25, 0.5)}
    rows = [
        {"epoch": epoch, "edge": "0-2", "operation": operation, "weight": weights[operation][epoch]}
        for epoch in (0, 1)
        for operation in weights
    ]
    rows = [row | {"epoch": row["epoch"] + 1} for row in rows] + [row for row in rows if row["epoch"] == 0]
    figure = figures._decision_figure(rows, ["0-2"], "")
    assert legend_labels(figure) == ["$c_{k{-}2}$ → node 0: late"]
    assert figures.crossings(rows) == {"0-2": []}  # early would cross


@pytest.mark.parametrize("draws", [figures.crossings, lambda rows: figures._decision_figure(rows, [], "")])
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
        figures._decision_figure(margin_rows({"0-2": [0.25, 0.5]}), ["0-2", "2-7"], "")


def test_the_decision_shows_margins_crossings_and_kept_edges():
    later = {"0-2": [-0.25, 0.75, 0.5], "1-2": [0.25, 0.5, 0.125], "0-3": [0.5, 0.5, 0.5], "2-3": [0.5, -0.5, 1.5]}
    margins = {edge: [-0.125, *values] for edge, values in later.items()}
    figure = figures._decision_figure(margin_rows(margins), ["1-2", "2-3"], "pibconv")
    assert_readable(figure)
    (axes,) = figure.axes
    lines = {tuple(points(line)): line for line in axes.lines if line.get_linestyle() != "None"}
    assert ((0.0, 0.0), (1.0, 0.0)) in lines  # the boundary, from side to side
    assert "decision\nboundary" in [text.get_text() for text in axes.texts]
    of = {edge: lines[tuple(enumerate(values))] for edge, values in margins.items()}
    assert of["0-2"].get_color() == of["0-3"].get_color() == figures.FAINT
    assert of["0-3"].get_linewidth() < of["1-2"].get_linewidth() == of["2-3"].get_linewidth()
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    marked = {point: line.get_markeredgecolor() for line in marks for point in points(line)}
    kept = of["2-3"].get_color()
    assert marked == {(1.25, 0.0): figures.FAINT, (1.5, 0.0): kept, (2.25, 0.0): kept}
    labels = ["$c_{k{-}1}$ → node 0: conv", "node 0 → node 1: conv", "edges not kept", "crossing"]
    assert legend_labels(figure) == labels
    assert [line.get_color() for line in figure.legends[0].get_lines()[:2]] == [of["1-2"].get_color(), kept]
    assert axes.get_title("left") == "boundary crossed by 2 of 4 edges (1 of 2 kept), last at epoch 2.2"


def test_the_decision_says_that_no_edge_crosses():
    figure = figures._decision_figure(margin_rows({"0-2": [0.25, 0.5], "1-2": [0.5, 0.5]}), ["0-2", "1-2"], "pibconv")
    assert figure.axes[0].get_title("left") == "boundary crossed by none of 2 edges"
    assert figure.axes[0].get_ylim()[0] < 0  # the boundary shows all the same
    assert len(legend_labels(figure)) == 2
    assert [points(line) for line in figure.axes[0].lines if line.get_linestyle() == "None"] in ([[], []], [])


@pytest.mark.parametrize(("nodes", "epochs"), [(4, 116), (1, 1), (8, 3)])
def test_a_decision_is_readable(nodes, epochs):
    rows = alpha_rows(nodes, ["skip_connect", "pseudo_inv_bn_7x7", "dil_conv_5x5", "none"], epochs)
    kept = [f"{source}-{target}" for target in range(2, nodes + 2) for source in (target - 2, target - 1)]
    figure = figures._decision_figure(rows, kept, "pibconv, normal cell")
    assert_readable(figure)
    assert len(legend_labels(figure)) >= len(kept)
    styles = {(handle.get_color(), handle.get_linestyle()) for handle in figure.legends[0].get_lines()[: len(kept)]}
    assert len(styles) == len(kept)
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert all(low < y < high for line in axes.lines for _, y in points(line))


@pytest.mark.parametrize(("searches", "epochs"), [(1, 1), (5, 50), (12, 115)])
def test_the_error_is_what_is_missing_to_100_percent(searches, epochs):
    histories = {f"darts_gelu_{i}": history(epochs, ("train", "valid"), i) for i in range(searches)}
    figure = figures._error_figure(histories)
    assert_readable(figure)
    assert legend_labels(figure) == [*histories, "validation half", "training half"]
    (axes,) = figure.axes
    for half, style in (("train", "--"), ("valid", "-")):
        drawn = [points(line) for line in axes.lines if line.get_linestyle() == style]
        assert drawn == [[(row["epoch"], 100 - row[f"{half}_top1"]) for row in rows] for rows in histories.values()]


@pytest.mark.parametrize(
    ("accuracies", "scale"),
    [((10.0, 69.0), "linear"), ((10.0, 71.0), "log"), ((10.0, 100.0), "log"), ((100.0, 100.0), "linear")],
)
@pytest.mark.filterwarnings("error")
def test_the_error_axis_is_logarithmic_beyond_a_factor_of_three(accuracies, scale):
    rows = [{"epoch": i, "train_top1": a, "valid_top1": 60.0} for i, a in enumerate(accuracies)]
    if accuracies == (100.0, 100.0):
        rows = [row | {"valid_top1": 100.0} for row in rows]
    figure = figures._error_figure({"darts": rows})
    assert_readable(figure)
    (axes,) = figure.axes
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    errors = [100 - row[f"{half}_top1"] for row in rows for half in ("train", "valid")]
    assert all(low < error < high for error in errors if error or scale == "linear")
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2


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
    figure = figures._accuracy_figure(mine, paper, LONG_RECIPE)
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
    layers, params = figures._accuracy_figure(mine, PAPER, RECIPE).axes
    lines = {line.get_label(): points(line) for line in layers.lines if not line.get_label().startswith("_")}
    assert lines["pibconv"] == [(2, 91.0), (3, 93.0), (4, 95.5)]
    assert lines["DARTS_V2 (paper)"] == [(2, 54.52), (4, 93.74), (20, 97.24)]
    lines = {line.get_label(): points(line) for line in params.lines}
    assert lines["DARTS_V2 (paper)"] == [(0.082, 54.52), (0.487, 93.74), (3.30, 97.24)]
    assert params.get_xscale() == "log" and layers.get_xscale() == "linear"


def test_the_paper_is_grey_and_shares_its_marker_with_our_run_of_the_same_genotype():
    figure = figures._accuracy_figure(ours([95.0], genotype="DARTS_V2") + ours([94.0]), PAPER, RECIPE)
    handles = dict(zip(legend_labels(figure), figure.legends[0].get_lines(), strict=True))
    assert list(handles) == ["DARTS_V2", "pibconv", "DARTS_V2 (paper)", "DARTS_PseudoInvBn (paper)"]
    marker = {name: handle.get_marker() for name, handle in handles.items()}
    assert marker["DARTS_V2"] == marker["DARTS_V2 (paper)"]
    assert len(set(marker.values())) == 3
    assert {handles[name].get_color() for name in handles if "paper" in name} == {figures.PAPER}
    assert figures.PAPER not in {handles[name].get_color() for name in handles if "paper" not in name}


def test_error_bars_show_the_deviation_up_to_100_percent():
    assert not figures._accuracy_figure(ours([90.0, 95.0]), PAPER, RECIPE).axes[0].collections
    bars = figures._accuracy_figure(ours([90.0, 99.75], 0.5), PAPER, RECIPE).axes[0].collections
    ends = [bar.get_segments()[0][:, 1].tolist() for bar in bars]
    assert ends == [[89.5, 90.5], [99.25, 100.0]]


def test_the_accuracy_scale_rises_and_can_be_inverted():
    accuracy = np.array([0, 10, 54, 90, 97.24, 97.76, 100])
    height = figures._from_accuracy(accuracy)
    assert (np.diff(height) > 0).all()
    assert figures._to_accuracy(height) == pytest.approx(accuracy)


# The roadmap.

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
    figure = figures._roadmap_figure(roadmap([97.2, 97.5, 97.1, 97.8, 96.0], [0.5, 0.5, 2.0, 0.9, 1.0]), RECIPE)
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
    assert grey == figures.PAPER != blue
    assert [line.get_color() for line in gmac.lines] == [blue, grey]
    assert [to_hex(bar.get_facecolor()) for bar in accuracy.patches] == [blue.lower()] * 5 + [grey.lower()] * 4


def test_the_roadmap_writes_each_number_in_the_row_of_its_bar():
    figure = figures._roadmap_figure(roadmap([97.2, 30.0], [0.000612, 0.5], deviation=0.25), RECIPE)
    accuracies, gmacs = ["97.20 ± 0.25", "97.24", "30.00 ± 0.25", "97.36"], ["0.000612", "0.547", "0.5", "0.547"]
    for axes, expected in zip(figure.axes, (accuracies, gmacs), strict=True):
        numbers = sorted(axes.texts, key=lambda text: text.get_position()[1])
        assert [text.get_text() for text in numbers] == expected
        assert [text.get_position()[1] for text in numbers] == bars(figure.axes[0])[0]


def test_the_roadmap_has_error_bars_up_to_100_percent():
    assert not figures._roadmap_figure(roadmap([90.0, 95.0], [1, 1]), RECIPE).axes[0].collections
    deviations = figures._roadmap_figure(roadmap([90.0, 99.75], [1, 1], deviation=0.5), RECIPE).axes[0].collections
    assert [bar.get_segments()[0][:, 0].tolist() for bar in deviations] == [[89.5, 90.5], [99.25, 100.0]]


@pytest.mark.parametrize(("accuracies", "inches"), [([97.2, 97.7], 0.4), ([30.0, 97.0], 0.1)])
def test_half_a_percent_can_be_seen_in_the_roadmap(accuracies, inches):
    axes = draw(figures._roadmap_figure(roadmap(accuracies, [1, 1]), RECIPE)).axes[0]
    left, right = (axes.transData.transform((accuracy, 0))[0] / figures.DPI for accuracy in (97.2, 97.7))
    assert right - left > inches
    assert all(bar.get_window_extent().width / figures.DPI > 0.15 for bar in axes.patches)


@pytest.mark.parametrize(("smallest", "scale"), [(0.5, "linear"), (0.001, "log")])
def test_the_gmac_axis_is_logarithmic_beyond_a_factor_of_a_hundred(smallest, scale):
    gmac = figures._roadmap_figure(roadmap([95.0, 96.0], [smallest, 2 * smallest]), RECIPE).axes[1]
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
    figure = figures._roadmap_figure(steps, note)
    assert_readable(figure)
    assert_noted(figure, note)
    assert len(figure.texts) == {"": 0, RECIPE: 1, LONG_RECIPE: 2}[note]
    assert legend_labels(figure) == (["ours", "paper"] if paper else ["ours"])
    for axes in figure.axes:
        left, right = axes.get_xlim()
        assert sum(left <= tick <= right for tick in axes.get_xticks()) >= 2


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
    rows = [("input", inputs, None), *((title, maps, captions) for title in titles)]
    figure = figures._gradcam_figure(columns, rows, LONG_RECIPE)
    assert_noted(figure, LONG_RECIPE)
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
    figure = draw(figures._gradcam_figure(["a", "b"], [("net", pictures(2), ["left 1 %", "right 2 %"])], ""))
    places = visible_texts(figure)
    for panel, caption in zip(figure.axes[1:], ("left 1 %", "right 2 %"), strict=True):
        (text,) = [place for key, place in places.items() if key.startswith(caption)]
        picture = panel.get_window_extent()
        assert (text.x0 + text.x1) / 2 == pytest.approx((picture.x0 + picture.x1) / 2, abs=1)
        assert 0 <= picture.y0 - text.y1 < 0.2 * figures.DPI


@pytest.mark.parametrize(("count", "captions"), [(1, None), (3, None), (2, ["one"])])
def test_a_row_that_does_not_fit_the_columns_is_refused(count, captions):
    with pytest.raises(ValueError, match="zip"):
        figures._gradcam_figure(["a", "b"], [("input", pictures(count), captions)], RECIPE)


# Files.

CALLS = {
    "draw_cell": lambda path: figures.draw_cell(*chain(4), path, title="chain"),
    "animate_cell": lambda path: figures.animate_cell(search_rows(2, THREE, 2), path, title="search"),
    "plot_alphas": lambda path: figures.plot_alphas(alpha_rows(2, ["a", "b", "c"], 3), path, title="alphas"),
    "plot_search": lambda path: figures.plot_search({"darts": history(5, ("train", "valid"))}, path),
    "plot_decision": lambda path: figures.plot_decision(margin_rows({"0-2": [-0.5, 0.5]}), ["0-2"], path, title="a"),
    "plot_error": lambda path: figures.plot_error({"darts": history(5, ("train", "valid"))}, path),
    "plot_accuracy": lambda path: figures.plot_accuracy(ours([91.0, 95.0], 0.5), PAPER, path, note=RECIPE),
    "plot_roadmap": lambda path: figures.plot_roadmap(roadmap([91.0, 95.0], [1, 2], 0.5), path, note=RECIPE),
    "plot_training": lambda path: figures.plot_training({"DARTS_V2-10-0": history(5, ("train", "test"))}, path),
    "gradcam_grid": lambda path: figures.gradcam_grid(["a", "b"], [("input", pictures(2), None)], path, note=RECIPE),
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
    first, second = tmp_path / "first.file", tmp_path / "deeper" / "second.file"
    CALLS[name](first)
    # What a caller has set for pictures of its own neither changes these nor is changed by them.
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        CALLS[name](second)
    assert first.read_bytes() == second.read_bytes()
    if name == "animate_cell":
        assert set(gif_blocks(first.read_bytes())) == {CONTROL, "frame"}
    else:
        assert set(png_chunks(first.read_bytes())) <= {"IHDR", "pHYs", "IDAT", "IEND"}
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["first.file", "second.file"]
    assert dict(matplotlib.rcParams) == settings


def test_neither_pyplot_nor_torch_is_imported():
    code = "import sys, nas.report.figures; print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
