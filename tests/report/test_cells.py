"""The drawing of a cell: that it shows the genotype given, and that its text and lines stand free."""

import random
from itertools import combinations

import pytest
from figure_checks import assert_nothing_but_a_picture, draw, holds, meet, repeated_bytes
from matplotlib.colors import to_hex
from matplotlib.transforms import Bbox

from nas.report.figures import style
from nas.report.figures.cells import cell_figure, draw_cell

NAMES = ["none", "skip_connect", "sep_conv_3x3", "conv_7x1_1x7", "pseudo_inv_bn_7x7", "dil_conv_5x5_with_a_long_name"]


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
        self.figure = draw(cell_figure(edges, concat, title))
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
            assert tracks[branch[0][0]] == style.COLOURS[source].lower()
    into_output = [a for a in drawing.arrows if a[2] == pytest.approx(drawing.box_named("$c_k$").x0, abs=0.02)]
    assert sorted(a[4] for a in into_output) == sorted(style.COLOURS[state].lower() for state in drawing.concat)


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


def test_a_file_repeats_to_the_byte_and_names_no_version(tmp_path):
    content = repeated_bytes(lambda path: draw_cell(*chain(4), path, title="chain"), tmp_path)
    assert_nothing_but_a_picture(content)
