"""The drawing of a cell.

Lengths are in inches; x grows to the right and y downwards. Each operation has a row of its own, in a column left of
the nodes, so labels cannot meet. Each state that is read has a vertical track left of the labels, and the rows of the
operations that read it branch off there. Tracks of later states lie further right: the line that brings a node's
output back to its track then crosses no other track.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.text import Text

from nas.report.figures.style import COLOURS, INK, MARGIN, STYLE, new_canvas, save, text_width, tint
from nas.space.genotypes import CELLS, AnyGenotype

ROW, GROUP_GAP, TRACK, TURN = 0.36, 0.2, 0.26, 0.11
ARROW = 0.36
INPUT_TOP, INPUT_WIDTH, NODE_WIDTH, BOX_PAD = 0.62, 0.66, 0.46, 0.15
PILL = 0.28
LABEL_SIZE, TITLE_SIZE = 11, 13


def draw_cell(edges: Sequence[tuple[str, int]], concat: Sequence[int], path: str | Path, *, title: str) -> None:
    """Draw a cell: its two inputs, its nodes with the operations that feed them, and its output.

    Parameters
    ----------
    edges : (operation, source state) pairs in node order, two per node; states 0 and 1 are the inputs c_{k-2} and
        c_{k-1}, state 2+i is node i.
    concat : the states whose concatenation is the output c_k.
    path : the PNG file to write.
    title : one line above the drawing.
    """
    save(cell_figure(edges, concat, title), path)


def draw_genotype(genotype: AnyGenotype, name: str, folder: Path) -> list[Path]:
    """Draw each of its kinds of cells to NAME-CELL.png in `folder`; return where they lie."""
    paths = []
    for cell, placed in genotype.placed().items():
        paths.append(folder / f"{name}-{cell}.png")
        edges, title = [(operation, source) for (source, _), operation in placed], f"{name}: {CELLS[cell]}"
        sizes = [*Counter(target for (_, target), _ in placed).values()]
        save(cell_figure(edges, genotype.output(cell), title, sizes, genotype.inputs), paths[-1])
    return paths


@rc_context(STYLE)
def cell_figure(
    edges: Sequence[tuple[str, int]],
    concat: Sequence[int],
    title: str,
    sizes: Sequence[int] | None = None,
    inputs: int = 2,
) -> Figure:
    """The figure that `draw_cell` saves; `sizes`: how many edges each node has, by default two."""
    edges = list(edges)
    starts = list(accumulate(sizes or [2] * (len(edges) // 2), initial=0))
    pairs = [edges[start:end] for start, end in pairwise(starts)]
    at = places([[s for _, s in pair] for pair in pairs], [operation for operation, _ in edges], inputs=inputs)
    joined_inputs = [state for state in sorted(concat) if state < inputs]
    bottom = at.bottom + len(joined_inputs) * ROW
    axes = cell_canvas(at, title, bottom + MARGIN)
    draw_ends(axes, at, bottom, _state_colour)
    for pair, heights in zip(pairs, at.rows, strict=True):
        for (operation, source), y in zip(pair, heights, strict=True):
            colour = _state_colour(source)
            draw_branch(axes, at.tracks[source], y, at.label_x, colour)
            draw_label(axes, at.label_x, y, at.label_width, operation, colour)
            draw_arrow(axes, at.label_x + at.label_width, at.node_x, y, colour)
    for i, state in enumerate(joined_inputs):
        y, colour = at.bottom + (i + 0.6) * ROW, _state_colour(state)
        draw_branch(axes, at.tracks[state], y, at.node_x, colour)
        draw_arrow(axes, at.node_x, at.output_x, y, colour)
    for node in range(len(at.rows)):
        state = node + inputs
        draw_node(axes, node, at, _state_colour(state), in_output=state in concat)
    return axes.figure


def state_name(state: int, inputs: int = 2) -> str:
    """What a state is called: of the inputs the paper's symbols, then ``node 0``, ``node 1``, …"""
    return ("$c_{k{-}2}$", "$c_{k{-}1}$")[state - inputs] if state < inputs else f"node {state - inputs}"


def inputs_of(edges: Iterable[str]) -> int:
    """How many inputs the cell has to which edges ``source-target`` belong: state 1 is one, if none leads to it."""
    return 1 if any(target == 1 for _, target in map(ends, edges)) else 2


def ends(edge: str) -> tuple[int, int]:
    """The source and the target, as states, of an edge ``source-target``."""
    source, target = map(int, edge.split("-"))
    return source, target


class Places(NamedTuple):
    """Where the parts of a cell lie."""

    rows: list[list[float]]  # y of each node's rows
    bottom: float  # y of the lower side of the lowest node
    tracks: dict[int, tuple[float, float]]  # state -> x of its track, and y where it begins
    label_x: float  # left sides, of labels, nodes and the output
    label_width: float
    node_x: float
    output_x: float
    pitch: float  # from row to row
    inputs: int


def places(sources: Sequence[Sequence[int]], operations: Iterable[str], pitch: float = ROW, inputs: int = 2) -> Places:
    """Measure out a cell whose nodes have the `sources`, and whose rows lie `pitch` apart."""
    read = sorted({source for node in sources for source in node if source >= inputs})
    rows, y = [], INPUT_TOP + ROW + 0.42
    for state, node in enumerate(sources, start=inputs):
        rows.append([y + i * pitch for i in range(len(node))])
        # A node that is read has one row more, for its way back to its track.
        y += len(node) * pitch + (ROW if state in read else 0) + GROUP_GAP
    first = MARGIN + INPUT_WIDTH / 2
    inputs_x = (first, first + INPUT_WIDTH + 0.1)[:inputs]
    tracks, last = {state: (x, INPUT_TOP + ROW) for state, x in enumerate(inputs_x)}, inputs_x[-1]
    tracks |= {s: (last + TRACK * i, rows[s - inputs][-1] + pitch + TURN) for i, s in enumerate(read, start=1)}
    label_x = last + TRACK * len(read) + 0.34
    label_width = max(text_width(operation, LABEL_SIZE) for operation in operations) + 0.24
    node_x = label_x + label_width + ARROW
    bottom = rows[-1][-1] + BOX_PAD + pitch - ROW
    output_x = node_x + NODE_WIDTH + ARROW
    return Places(rows, bottom, tracks, label_x, label_width, node_x, output_x, pitch, inputs)


def cell_width(at: Places, title: str) -> float:
    """The width of the drawing, which holds its title too."""
    return max(at.output_x + NODE_WIDTH, MARGIN + text_width(title, TITLE_SIZE, "bold")) + MARGIN


def cell_canvas(at: Places, title: str, height: float) -> Axes:
    """A canvas with the title."""
    axes = new_canvas(cell_width(at, title), height)
    axes.text(MARGIN, MARGIN, title, size=TITLE_SIZE, weight="bold", va="top", parse_math=False)
    return axes


def draw_ends(axes: Axes, at: Places, bottom: float, colour: Callable[[int], str]) -> None:
    """Draw the inputs, each in its `colour`, and the output, down to `bottom`."""
    for state in range(at.inputs):
        left, name = at.tracks[state][0] - INPUT_WIDTH / 2, state_name(state, at.inputs)
        _draw_box(axes, left, INPUT_TOP, INPUT_WIDTH, ROW, name, colour(state))
    top = at.rows[0][0] - BOX_PAD
    _draw_box(axes, at.output_x, top, NODE_WIDTH, bottom - top, "$c_k$", INK)


def _state_colour(state: int) -> str:
    return COLOURS[state % len(COLOURS)]


def draw_node(axes: Axes, node: int, at: Places, colour: str, *, in_output: bool) -> None:
    """Draw a node, with what leads from it to the output and back to its track."""
    state, heights = node + at.inputs, at.rows[node]
    top, middle = heights[0] - BOX_PAD, (heights[0] + heights[-1]) / 2
    bottom = heights[-1] + BOX_PAD + at.pitch - ROW
    _draw_box(axes, at.node_x, top, NODE_WIDTH, bottom - top, str(node), colour)
    if in_output:
        draw_arrow(axes, at.node_x + NODE_WIDTH, at.output_x, middle, colour)
    if state in at.tracks:
        _draw_way_back(axes, at.node_x + NODE_WIDTH / 2, bottom, heights[-1] + at.pitch, at.tracks[state], colour)


def draw_label(axes: Axes, x: float, y: float, width: float, text: str, colour: str) -> tuple[FancyBboxPatch, Text]:
    """Write an operation's name in a pill whose left end is at `x`, `y`."""
    shape = f"round,pad=0,rounding_size={PILL / 2}"
    corner = (x, y - PILL / 2)
    outline = {"boxstyle": shape, "fc": "white", "ec": colour, "lw": 1.2, "gid": "pill"}
    pill = axes.add_patch(FancyBboxPatch(corner, width, PILL, zorder=4, **outline))
    style = {"size": LABEL_SIZE, "ha": "center", "va": "center_baseline", "parse_math": False, "gid": "label"}
    return pill, axes.text(x + width / 2, y, text, zorder=5, **style)


def draw_arrow(axes: Axes, start: float, end: float, y: float, colour: str) -> FancyArrowPatch:
    """Draw an arrow to the right."""
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0, "lw": 1.6}
    return axes.add_patch(FancyArrowPatch((start, y), (end, y), color=colour, zorder=3, gid="arrow", **style))


def draw_line(axes: Axes, points: list[tuple[float, float]], steps: str, colour: str, zorder: float) -> PathPatch:
    """Draw a line through `points`; a step is M to start, L to go straight, CC to round the first of two points."""
    codes = [{"M": Outline.MOVETO, "L": Outline.LINETO, "C": Outline.CURVE3}[step] for step in steps]
    return axes.add_patch(PathPatch(Outline(points, codes), fc="none", ec=colour, lw=1.8, zorder=zorder, gid="line"))


def draw_branch(axes: Axes, track: tuple[float, float], y: float, end: float, colour: str) -> None:
    """Follow a track down to row `y` and turn right, over the tracks in between."""
    x, start = track
    draw_line(axes, [(x, start), (x, y - TURN)], "ML", colour, 1)
    draw_band(axes, x + TURN, end, y, 6)
    draw_line(axes, [(x, y - TURN), (x, y), (x + TURN, y), (end, y)], "MCCL", colour, 3)


def draw_band(axes: Axes, start: float, end: float, y: float, width: float) -> None:
    """Interrupt the tracks that a line will cross, `width` points high, in white: nothing joins there."""
    axes.add_patch(PathPatch(Outline([(start, y), (end, y)]), ec="white", lw=width, capstyle="butt", zorder=2))


def _draw_box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    style = {"boxstyle": "round,pad=0,rounding_size=0.07", "fc": tint(colour, 0.18), "ec": colour, "lw": 1.5}
    axes.add_patch(FancyBboxPatch((x, y), width, height, zorder=4, gid="box", **style))
    axes.text(x + width / 2, y + height / 2, text, size=13, ha="center", va="center", zorder=5)


def _draw_way_back(axes: Axes, x: float, top: float, y: float, track: tuple[float, float], colour: str) -> None:
    """Lead from a node's lower side (`x`, `top`) down to row `y`, left along it, and down into the node's track."""
    to, start = track
    points = [(x, top), (x, y - TURN), (x, y), (x - TURN, y), (to + TURN, y), (to, y), (to, start)]
    draw_line(axes, points, "MLCCLCC", colour, 1)
