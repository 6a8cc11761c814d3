"""Every picture of the pipeline, as PNG files, and GIF where it moves, whose bytes depend on nothing but the arguments.

Each public function builds a figure and saves it; the builders (`_cell_figure`, `_alphas_figure`, …) return
the figure itself. All figures are narrow, so that their text stays legible on a telephone. The PIBConv paper, whose
figures some repeat, is Ahmadian et al., ICASSP 2023.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import cycle, pairwise, product
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps, rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.scale import FuncScale
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

from nas.pipeline.files import whole_file
from nas.space import genotypes

DPI = 150
WIDTH = 6.4  # inches, of every figure whose width is free
# For every kind of sight: Okabe and Ito's, yellow darkened to show on white, with darker ones behind them.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#B3A000"),
    *("#882255", "#332288", "#000000", "#999999", "#6B4C1E"),
)
MARKERS = "osD^vP*Xh<>p"
INK, PAPER, FAINT = "#333333", "#8A8A8A", "#C4C4C4"
MARGIN = 0.2  # inches, at the sides of text and drawings
NOTE_SIZE, NOTE_LINE, NOTE_GAP = 9, 0.17, 0.08  # points; inches

STYLE = {
    # Every setting is given, so that no matplotlibrc of the user's has a say; the backend is none of a picture's.
    **{name: value for name, value in rcParamsDefault.items() if "backend" not in name},
    "font.family": "DejaVu Sans",  # matplotlib carries it, so every machine has it
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "legend.fontsize": 10.5,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#AAAAAA",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "xtick.color": "#AAAAAA",
    "ytick.color": "#AAAAAA",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "figure.titlesize": 13,
}

History = Sequence[Mapping[str, float]]


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
    _save(_cell_figure(edges, concat, title), path)


def animate_cell(rows: Sequence[Mapping[str, object]], path: str | Path, *, title: str) -> None:
    """Animate how a search chooses the operations of one kind of cell: a frame an epoch, played once.

    Every edge of the supernet's cell has a row that names its strongest operation other than none, in the colour that
    `plot_alphas` gives that operation. Its lines widen with the softmax weight of that operation, the bar under its
    name is divided by the weights of all operations, and it is faint at the epochs whose genotype leaves the edge out
    (`nas.space.genotypes.derive` says which).

    Parameters
    ----------
    rows : those of `plot_alphas`, of one kind of cell.
    path : the GIF file to write.
    title : one line above the drawing.

    Raises
    ------
    ValueError
        If an edge lacks the weight of an operation at an epoch.
    """
    _save_gif(_CellAnimation(rows, title).frames(), path)


def plot_alphas(rows: Sequence[Mapping[str, object]], path: str | Path, *, title: str) -> None:
    """Plot how the architecture weights of one kind of cell evolve: a panel an edge, a line an operation.

    `rows` holds {epoch: int, edge: "source-target" by state, operation: str, weight: float}, the weight after the
    softmax. The rows of a single edge fill one large panel, as in Fig. 3 of the PIBConv paper.
    """
    _save(_alphas_figure(rows, title), path)


def crossings(rows: Sequence[Mapping[str, object]]) -> dict[str, list[float]]:
    """Return the epochs at which each edge's favoured operation and skip_connect change places.

    The favoured operation of an edge is the one of the largest weight at the last epoch, none and skip_connect left
    out; its margin is its weight minus that of skip_connect. Where the margin changes sign, the epoch is interpolated
    linearly. `rows` are those of `plot_alphas`, of one kind of cell; what leads at their first epoch, by α's random
    start, does not count.

    Raises ValueError if no row is of skip_connect, or none of another operation than none and skip_connect.
    """
    return {edge: _sign_changes(margin.history[1:]) for edge, margin in _margins(rows).items()}


def plot_decision(rows: Sequence[Mapping[str, object]], kept: Collection[str], path: str | Path, *, title: str) -> None:
    """Plot by how much each edge's favoured operation leads over skip_connect, and where the two change places.

    The line at 0 is the decision boundary of section 3 of the PIBConv paper; `crossings` defines the terms.

    Parameters
    ----------
    rows : those of `plot_alphas`, of one kind of cell.
    kept : the edges ("source-target") that the derived genotype keeps; the others are drawn faintly.
    path : the PNG file to write.
    title : one line above the figure.

    Raises
    ------
    ValueError
        As `crossings`, and if an edge of `kept` is not among the rows.
    """
    _save(_decision_figure(rows, kept, title), path)


def plot_search(histories: Mapping[str, History], path: str | Path) -> None:
    """Plot accuracy and loss of each search on both halves of the training images.

    `histories` maps a search to rows of {epoch, train_top1, valid_top1 (percent), train_loss, valid_loss}.
    """
    _save(_search_figure(histories), path)


def plot_error(histories: Mapping[str, History], path: str | Path) -> None:
    """Plot the error of each search in percent on both halves of the training images: Fig. 7 of the PIBConv paper.

    `histories` are those of `plot_search`. The error axis is logarithmic if the errors span more than a factor of 3;
    an error of 0 then lies below it.
    """
    _save(_error_figure(histories), path)


def plot_accuracy(ours: Sequence[Mapping], paper: Sequence[Mapping], path: str | Path, *, note: str) -> None:
    """Plot accuracy against layers and against parameters, our results in colour and the paper's in grey.

    Both hold {genotype, layers, params (millions), accuracy (percent)}; `ours` also deviation (percent over seeds, 0
    for a single one). Either may be empty, not both. The accuracy axis follows the logarithm of the error: half a
    percent between good networks could not be seen beside a network at 54 % otherwise. `note`, in small print at the
    bottom, says what ours was measured on.
    """
    _save(_accuracy_figure(ours, paper, note), path)


def plot_roadmap(steps: Sequence[Mapping[str, object]], path: str | Path, *, note: str) -> None:
    """Plot accuracy and GMAC of each step from one search space to the next, ours beside the paper's.

    This is Fig. 1 of the PIBConv paper turned on its side, where names and numbers have room. The accuracy axis is
    that of `plot_accuracy`; the GMAC axis is logarithmic if the GMACs span more than a factor of 100.

    Parameters
    ----------
    steps : in order, {name: str, accuracy (percent), deviation (percent over seeds, 0 for a single one), gmac,
        paper_accuracy, paper_gmac (both None where the paper has no such step)}.
    path : the PNG file to write.
    note : what ours was measured on, in small print at the bottom.
    """
    _save(_roadmap_figure(steps, note), path)


def plot_training(histories: Mapping[str, History], path: str | Path) -> None:
    """Plot accuracy and loss of the evaluated networks: a row of panels a genotype, a colour a number of layers.

    `histories` maps GENOTYPE-LAYERS-SEED to rows of {epoch, train_loss, train_top1, test_loss, test_top1 (percent)}.
    Raises ValueError if a name is of another form.
    """
    _save(_training_figure(histories), path)


def gradcam_grid(
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[np.ndarray], Sequence[str] | None]],
    path: str | Path,
    *,
    note: str,
) -> None:
    """Show pictures in a labelled grid: a row for the inputs and for each network, a column for each image.

    `rows` holds (title, H×W×3 uint8 pictures, the text below each or None); `note`, in small print at the bottom, says
    what the networks were trained on. Raises ValueError if a row has not one picture, and one text, for each column.
    """
    _save(_gradcam_figure(columns, rows, note), path)


# What all figures share.


def _new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    if layout:
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: str | Path) -> None:
    with rc_context(STYLE), whole_file(path) as temporary:
        # matplotlib would name its version in the file.
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def _palette() -> Image.Image:
    """The colours of moving pictures, in an image that holds nothing else: each of ours in 16 shades up from white."""
    shades = dict.fromkeys(_tint(colour, i / 16) for colour in (INK, *COLOURS) for i in range(17))
    image = Image.new("P", (1, 1))
    image.putpalette(b"".join(bytes.fromhex(shade[1:]) for shade in shades))
    return image


def _save_gif(frames: Sequence[Image.Image], path: str | Path) -> None:
    """Save frames of one palette, to be played once: in six seconds, but within 100 to 500 ms a frame."""
    palette = frames[0].getpalette()
    # One colour more, the transparent one, stands for all pixels that stay as they are: they compress to little.
    colours = {"palette": bytes([*palette, 255, 0, 255]), "transparency": len(palette) // 3, "optimize": True}
    duration = min(max(6000 // len(frames) // 10 * 10, 100), 500)  # the format counts in hundredths of a second
    several = {"save_all": True, "append_images": frames[1:], "duration": duration, "disposal": 1}
    with whole_file(path) as temporary:
        frames[0].save(temporary, format="GIF", **several, **colours)


@cache
def _text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width of a line of text in inches, `size` being in points."""
    font = FontProperties(family="DejaVu Sans", weight=weight, size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=is_math_text(text))[0] / 72


def _legend_below(figure: Figure, handles: Sequence[Line2D], note: str = "") -> None:
    """Put one legend under all panels, in as many columns as fit, and the note under it."""
    bottom = _note_below(figure, _note_lines(note, figure.get_figwidth()))
    # The layout makes room for a legend at the figure's edge alone: its padding lifts it over the note.
    padding = 0.5 + 72 * bottom / STYLE["legend.fontsize"]
    place = {"loc": "outside lower center", "borderaxespad": padding}
    columns = _legend_columns(figure.get_figwidth(), handles)
    figure.legend(handles=handles, frameon=False, ncols=columns, **place)
    if engine := figure.get_layout_engine():
        engine.set(rect=(0, bottom / figure.get_figheight(), 1, 1 - bottom / figure.get_figheight()))


def _note_lines(note: str, width: float) -> list[str]:
    """Break a note between words into lines that fit a figure `width` inches wide."""
    lines: list[str] = []
    for word in note.split():
        if lines and _text_width(f"{lines[-1]} {word}", NOTE_SIZE) <= width - 2 * MARGIN:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _note_below(figure: Figure, lines: Sequence[str]) -> float:
    """Write a note along the lower side of the figure; return the height that it takes, in inches."""
    width, height = figure.get_size_inches()
    for i, line in enumerate(reversed(lines)):
        place = (MARGIN / width, (NOTE_GAP + i * NOTE_LINE) / height)
        figure.text(*place, line, size=NOTE_SIZE, va="bottom", parse_math=False)
    return NOTE_GAP + len(lines) * NOTE_LINE if lines else 0.0


def _legend_columns(width: float, handles: Sequence[Line2D]) -> int:
    size, symbol_and_gaps = STYLE["legend.fontsize"], 0.75
    column = max(_text_width(str(handle.get_label()), size) for handle in handles) + symbol_and_gaps
    return min(max(1, int(width / column)), len(handles))


def _solid_and_dashed(solid: str, dashed: str, histories: Iterable[History]) -> list[Line2D]:
    marker = {"marker": "o"} if any(len(rows) == 1 for rows in histories) else {}
    return [
        Line2D([], [], color=INK, label=solid, **marker),
        Line2D([], [], color=INK, label=dashed, linestyle="--", linewidth=1.3, markerfacecolor="white", **marker),
    ]


def _plot_history(axes: Axes, rows: History, key: str, **style: object) -> None:
    # A line through a single point cannot be seen: mark it, hollow where the line would be dashed.
    marker = {"marker": "o" if len(rows) == 1 else "", "markersize": 6}
    if style.get("linestyle") == "--":
        marker["markerfacecolor"] = "white"
    axes.plot([row["epoch"] for row in rows], [row[key] for row in rows], **marker, **style)


def _epoch_axis(axes: Axes, epochs: Sequence[float], most_ticks: int = 6) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most_ticks - 1, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    if min(epochs) == max(epochs):
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)


def _log_axis(axis: Axis, values: Sequence[float], margin: float = 1.6) -> None:
    """Make the axis logarithmic; with the default `margin` it holds a tick, however few the values."""
    name = axis.axis_name
    axis.axes.set(**{f"{name}scale": "log", f"{name}lim": (min(values) / margin, max(values) * margin)})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=30))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


# The drawing of a cell. Lengths are in inches; x grows to the right and y downwards.
#
# Each operation has a row of its own, in a column left of the nodes, so labels cannot meet. Each state that is read has
# a vertical track left of the labels, and the rows of the operations that read it branch off there. Tracks of later
# states lie further right: the line that brings a node's output back to its track then crosses no other track.

ROW, GROUP_GAP, TRACK, TURN = 0.36, 0.2, 0.26, 0.11
ARROW = 0.36
INPUT_TOP, INPUT_WIDTH, NODE_WIDTH, BOX_PAD = 0.62, 0.66, 0.46, 0.15
PILL = 0.28
LABEL_SIZE, TITLE_SIZE = 11, 13


class _Places(NamedTuple):
    rows: list[list[float]]  # y of each node's rows
    bottom: float  # y of the lower side of the lowest node
    tracks: dict[int, tuple[float, float]]  # state -> x of its track, and y where it begins
    label_x: float  # left sides, of labels, nodes and the output
    label_width: float
    node_x: float
    output_x: float


def _places(sources: Sequence[Sequence[int]], operations: Iterable[str], pitch: float = ROW) -> _Places:
    """Measure out a cell whose nodes have the `sources`, and whose rows lie `pitch` apart."""
    read = sorted({source for node in sources for source in node if source >= 2})
    rows, y = [], INPUT_TOP + ROW + 0.42
    for state, node in enumerate(sources, start=2):
        rows.append([y + i * pitch for i in range(len(node))])
        # A node that is read has one row more, for its way back to its track.
        y += len(node) * pitch + (ROW if state in read else 0) + GROUP_GAP
    first = MARGIN + INPUT_WIDTH / 2
    second = first + INPUT_WIDTH + 0.1
    tracks = {0: (first, INPUT_TOP + ROW), 1: (second, INPUT_TOP + ROW)}
    tracks |= {state: (second + TRACK * i, rows[state - 2][-1] + pitch + TURN) for i, state in enumerate(read, start=1)}
    label_x = second + TRACK * len(read) + 0.34
    label_width = max(_text_width(operation, LABEL_SIZE) for operation in operations) + 0.24
    node_x = label_x + label_width + ARROW
    bottom = rows[-1][-1] + BOX_PAD + pitch - ROW
    return _Places(rows, bottom, tracks, label_x, label_width, node_x, output_x=node_x + NODE_WIDTH + ARROW)


@rc_context(STYLE)
def _cell_figure(edges: Sequence[tuple[str, int]], concat: Sequence[int], title: str) -> Figure:
    pairs = [edges[i : i + 2] for i in range(0, len(edges), 2)]
    at = _places([[source for _, source in pair] for pair in pairs], [operation for operation, _ in edges])
    joined_inputs = [state for state in sorted(concat) if state < 2]
    bottom = at.bottom + len(joined_inputs) * ROW
    axes = _cell_canvas(at, title, bottom + MARGIN)
    _ends_of_cell(axes, at, bottom, _state_colour)
    for pair, heights in zip(pairs, at.rows, strict=True):
        for (operation, source), y in zip(pair, heights, strict=True):
            colour = _state_colour(source)
            _branch(axes, at.tracks[source], y, at.label_x, colour)
            _label(axes, at.label_x, y, at.label_width, operation, colour)
            _arrow(axes, at.label_x + at.label_width, at.node_x, y, colour)
    for i, state in enumerate(joined_inputs):
        y, colour = at.bottom + (i + 0.6) * ROW, _state_colour(state)
        _branch(axes, at.tracks[state], y, at.node_x, colour)
        _arrow(axes, at.node_x, at.output_x, y, colour)
    for node in range(len(at.rows)):
        _node(axes, node, at, _state_colour(node + 2), in_output=node + 2 in concat)
    return axes.figure


def _cell_width(at: _Places, title: str) -> float:
    return max(at.output_x + NODE_WIDTH, MARGIN + _text_width(title, TITLE_SIZE, "bold")) + MARGIN


def _cell_canvas(at: _Places, title: str, height: float) -> Axes:
    axes = _canvas(_cell_width(at, title), height)
    axes.text(MARGIN, MARGIN, title, size=TITLE_SIZE, weight="bold", va="top", parse_math=False)
    return axes


def _ends_of_cell(axes: Axes, at: _Places, bottom: float, colour: Callable[[int], str]) -> None:
    """Draw the inputs, each in its `colour`, and the output, down to `bottom`."""
    for state in (0, 1):
        left, name = at.tracks[state][0] - INPUT_WIDTH / 2, _state_name(state)
        _box(axes, left, INPUT_TOP, INPUT_WIDTH, ROW, name, colour(state))
    top = at.rows[0][0] - BOX_PAD
    _box(axes, at.output_x, top, NODE_WIDTH, bottom - top, "$c_k$", INK)


def _canvas(width: float, height: float) -> Axes:
    """Axes without a frame that cover a new figure and count in inches, y downwards."""
    axes = _new_figure(width, height, layout=None).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def _state_colour(state: int) -> str:
    return COLOURS[state % len(COLOURS)]


def _node(axes: Axes, node: int, at: _Places, colour: str, *, in_output: bool) -> None:
    state, heights = node + 2, at.rows[node]
    top, middle = heights[0] - BOX_PAD, (heights[0] + heights[-1]) / 2
    pitch = heights[1] - heights[0]
    bottom = heights[-1] + BOX_PAD + pitch - ROW
    _box(axes, at.node_x, top, NODE_WIDTH, bottom - top, str(node), colour)
    if in_output:
        _arrow(axes, at.node_x + NODE_WIDTH, at.output_x, middle, colour)
    if state in at.tracks:
        _way_back(axes, at.node_x + NODE_WIDTH / 2, bottom, heights[-1] + pitch, at.tracks[state], colour)


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    style = {"boxstyle": "round,pad=0,rounding_size=0.07", "fc": _tint(colour, 0.18), "ec": colour, "lw": 1.5}
    axes.add_patch(FancyBboxPatch((x, y), width, height, zorder=4, gid="box", **style))
    axes.text(x + width / 2, y + height / 2, text, size=13, ha="center", va="center", zorder=5)


def _tint(colour: str, share: float) -> str:
    """Mix a share of the colour with white."""
    return to_hex(1 - share * (1 - np.array(to_rgb(colour))))


def _label(axes: Axes, x: float, y: float, width: float, text: str, colour: str) -> tuple[FancyBboxPatch, Text]:
    shape = f"round,pad=0,rounding_size={PILL / 2}"
    corner = (x, y - PILL / 2)
    outline = {"boxstyle": shape, "fc": "white", "ec": colour, "lw": 1.2, "gid": "pill"}
    pill = axes.add_patch(FancyBboxPatch(corner, width, PILL, zorder=4, **outline))
    style = {"size": LABEL_SIZE, "ha": "center", "va": "center_baseline", "parse_math": False, "gid": "label"}
    return pill, axes.text(x + width / 2, y, text, zorder=5, **style)


def _arrow(axes: Axes, start: float, end: float, y: float, colour: str) -> FancyArrowPatch:
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0, "lw": 1.6}
    return axes.add_patch(FancyArrowPatch((start, y), (end, y), color=colour, zorder=3, gid="arrow", **style))


def _line(axes: Axes, points: list[tuple[float, float]], steps: str, colour: str, zorder: float) -> PathPatch:
    """Draw a line through `points`; a step is M to start, L to go straight, CC to round the first of two points."""
    codes = [{"M": Outline.MOVETO, "L": Outline.LINETO, "C": Outline.CURVE3}[step] for step in steps]
    return axes.add_patch(PathPatch(Outline(points, codes), fc="none", ec=colour, lw=1.8, zorder=zorder, gid="line"))


def _branch(axes: Axes, track: tuple[float, float], y: float, end: float, colour: str) -> None:
    """Follow a track down to row `y` and turn right, over the tracks in between."""
    x, start = track
    _line(axes, [(x, start), (x, y - TURN)], "ML", colour, 1)
    _band(axes, x + TURN, end, y, 6)
    _line(axes, [(x, y - TURN), (x, y), (x + TURN, y), (end, y)], "MCCL", colour, 3)


def _band(axes: Axes, start: float, end: float, y: float, width: float) -> None:
    """Interrupt the tracks that a line will cross, `width` points high, in white: nothing joins there."""
    axes.add_patch(PathPatch(Outline([(start, y), (end, y)]), ec="white", lw=width, capstyle="butt", zorder=2))


def _way_back(axes: Axes, x: float, top: float, y: float, track: tuple[float, float], colour: str) -> None:
    """Lead from a node's lower side (`x`, `top`) down to row `y`, left along it, and down into the node's track."""
    to, start = track
    points = [(x, top), (x, y - TURN), (x, y), (x - TURN, y), (to + TURN, y), (to, y), (to, start)]
    _line(axes, points, "MLCCLCC", colour, 1)


# The animation of a cell: the same drawing with a row for every edge of the supernet. States are grey, so that a colour
# means an operation; from frame to frame nothing changes but the rows and the progress.

BAR_PITCH, BAR, BAR_GAP = 0.45, 0.08, 0.03  # rows lie farther apart, for the bars under their pills
HEAD = 0.1  # of the arrow into which a line leads, however thick
THIN, THICK = 1.0, 7.0  # points
NONE_COLOUR = "#DDDDDD"


class _Choice(NamedTuple):
    operation: str  # the strongest but none
    weight: float
    kept: bool  # by the genotype of the epoch


class _Row(NamedTuple):
    line: PathPatch
    arrow: FancyArrowPatch
    pill: FancyBboxPatch
    label: Text
    bar: list[Rectangle]  # a part an operation


class _CellAnimation:
    """The figure of a supernet's cell, which `show` brings to any of its `epochs`."""

    @rc_context(STYLE)
    def __init__(self, rows: Sequence[Mapping], title: str) -> None:
        operations = list(dict.fromkeys(row["operation"] for row in rows))
        nodes = max(_ends(row["edge"])[1] for row in rows) - 1
        self.weights = _weight_tables(rows, operations, nodes)
        self.choices = {epoch: _choices(operations, table) for epoch, table in self.weights.items()}
        self.epochs = list(self.weights)
        self.scale = _width_scale(len(operations), self.choices.values())
        styles = _line_styles(operations)
        self.colours = {name: NONE_COLOUR if name == "none" else styles[name]["color"] for name in operations}
        axes, at = self._draw_cell(nodes, title)
        self.figure = axes.figure
        self.rows = [self._draw_row(axes, at, i, y) for heights in at.rows for i, y in enumerate(heights)]
        self.counter, (self.all_epochs, self.past_epochs) = self._draw_progress(axes, at)

    def _draw_cell(self, nodes: int, title: str) -> tuple[Axes, _Places]:
        """Draw all that stays as it is."""
        at = _places([range(2 + node) for node in range(nodes)], self.colours.keys() - {"none"}, BAR_PITCH)
        handles = [Line2D([], [], color=colour, label=name, linewidth=6) for name, colour in self.colours.items()]
        others = " other than none" if "none" in self.colours else ""
        thin, thick = self.scale
        note = (
            f"Line width: softmax weight of the strongest operation{others}, from {thin:.2f} to {thick:.2f}. "
            "Bar: weights of all operations. Faint: edges that the genotype of the epoch leaves out."
        )
        width = _cell_width(at, title)
        legend = 0.3 + 0.23 * -(-len(handles) // _legend_columns(width, handles))
        axes = _cell_canvas(at, title, at.bottom + legend + NOTE_GAP + NOTE_LINE * len(_note_lines(note, width)))
        _legend_below(axes.figure, handles, note)
        _ends_of_cell(axes, at, at.bottom, lambda state: PAPER)
        for node in range(nodes):
            _node(axes, node, at, PAPER, in_output=True)
        return axes, at

    def _draw_row(self, axes: Axes, at: _Places, source: int, y: float) -> _Row:
        start, x, width = at.tracks[source][0] + TURN, at.label_x, at.label_width
        _branch(axes, at.tracks[source], y, start, PAPER)
        _band(axes, start, x, y, THICK + 4)
        line = _line(axes, [(start, y), (at.node_x - HEAD, y)], "ML", PAPER, 3)
        corner = (x, y + PILL / 2 + BAR_GAP)
        bar = [axes.add_patch(Rectangle(corner, 0, BAR, lw=0, zorder=4, gid="bar")) for _ in self.colours]
        return _Row(line, _arrow(axes, x + width, at.node_x, y, PAPER), *_label(axes, x, y, width, "", PAPER), bar)

    def _draw_progress(self, axes: Axes, at: _Places) -> tuple[Text, list[Rectangle]]:
        x, y = max(at.label_x, at.tracks[1][0] + INPUT_WIDTH / 2 + 0.2), INPUT_TOP + ROW - 0.06
        width = (at.output_x + NODE_WIDTH - x) * (len(self.epochs) > 1)
        bar = [axes.add_patch(Rectangle((x, y), width, 0.05, fc=colour, lw=0)) for colour in (FAINT, INK)]
        return axes.text(x, y - 0.08, "", size=TITLE_SIZE, va="bottom"), bar

    def show(self, epoch: int) -> None:
        for row, weights, choice in zip(self.rows, self.weights[epoch], self.choices[epoch], strict=True):
            self._show_choice(row, choice)
            self._show_weights(row, weights, choice.kept)
        first, last = self.epochs[0], self.epochs[-1]
        self.counter.set_text(f"epoch {epoch}" + f" of {last}" * (last > first))
        self.past_epochs.set_width(self.all_epochs.get_width() * (epoch - first) / max(last - first, 1))

    def _show_choice(self, row: _Row, choice: _Choice) -> None:
        colour = self.colours[choice.operation]
        shown = colour if choice.kept else _tint(colour, 5 / 16)
        width = float(np.interp(choice.weight, self.scale, (THIN, THICK)))
        row.line.set(edgecolor=shown, linewidth=width)
        row.arrow.set(color=shown, linewidth=min(width, 1.6), mutation_scale=11 + 1.6 * width)
        row.pill.set(edgecolor=shown, facecolor=_tint(colour, 3 / 16) if choice.kept else "white")
        row.label.set(text=choice.operation, color=INK if choice.kept else PAPER)

    def _show_weights(self, row: _Row, weights: Sequence[float], kept: bool) -> None:
        left, whole = row.pill.get_x(), row.pill.get_width()
        for part, weight, colour in zip(row.bar, weights, self.colours.values(), strict=True):
            part.set(x=left, width=weight * whole, facecolor=colour if kept else _tint(colour, 0.5))
            left += weight * whole

    @rc_context(STYLE)
    def frames(self) -> list[Image.Image]:
        palette, canvas = _palette(), self.figure.canvas
        frames = []
        for epoch in self.epochs:
            self.show(epoch)
            canvas.draw()
            frame = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
            frames.append(frame.quantize(palette=palette, dither=Image.Dither.NONE))
        return frames


def _weight_tables(rows: Sequence[Mapping], operations: Sequence[str], nodes: int) -> dict[int, list[list[float]]]:
    """The weights of each epoch, edges × operations, in node order."""
    weights = {(row["epoch"], row["edge"], row["operation"]): row["weight"] for row in rows}
    edges = [f"{source}-{target}" for source, target in genotypes.edges(nodes)]
    epochs = sorted({row["epoch"] for row in rows})
    for epoch, edge, operation in product(epochs, edges, operations):
        if (epoch, edge, operation) not in weights:
            raise ValueError(f"edge {edge} has no weight of {operation} at epoch {epoch}")
    return {epoch: [[weights[epoch, edge, name] for name in operations] for edge in edges] for epoch in epochs}


def _choices(operations: Sequence[str], weights: Sequence[Sequence[float]]) -> list[_Choice]:
    """What each edge, in node order, would be in a genotype."""
    kept = {(i // 2, source) for i, (_, source) in enumerate(genotypes.strongest(operations, weights))}
    choices = []
    for (source, target), row in zip(genotypes.edges(len(kept) // 2), weights, strict=True):
        eligible = {name: weight for name, weight in zip(operations, row, strict=True) if name != "none"}
        best = max(eligible, key=eligible.get)
        choices.append(_Choice(best, eligible[best], (target - 2, source) in kept))
    return choices


def _width_scale(operations: int, choices: Iterable[Sequence[_Choice]]) -> tuple[float, float]:
    """The weights of the thinnest and the thickest line, over all epochs.

    They reach from the weight where nothing is chosen, or less where none takes most of it, to the largest; but at
    least to twice the former, so that the small leads of a short search do not look like decisions.
    """
    weights = [choice.weight for table in choices for choice in table]
    return min(1 / operations, *weights), max(min(2 / operations, 1), *weights)


# Curves.


@rc_context(STYLE)
def _alphas_figure(rows: Sequence[Mapping], title: str) -> Figure:
    curves = _curves(rows)
    styles = _line_styles(row["operation"] for row in rows)
    handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
    figure, panels = _small_multiples(len(curves), handles, title)
    figure.supylabel("softmax weight", size=11, x=0.1 / WIDTH, ha="left")
    for axes, (edge, operations) in zip(panels, curves.items(), strict=True):
        axes.set_title(_edge_name(edge), pad=4)
        for name, series in operations.items():
            _plot_history(axes, series, "weight", **styles[name])
    large = len(panels) == 1
    _weight_axis(panels[0], [row["weight"] for row in rows], most_ticks=7 if large else 5)
    _epoch_axis(panels[0], [row["epoch"] for row in rows], most_ticks=9 if large else 4)
    return figure


def _curves(rows: Sequence[Mapping]) -> dict[str, dict[str, list[Mapping]]]:
    """Group the rows by edge, in node order, and operation, and sort them by epoch."""
    curves: dict[str, dict[str, list[Mapping]]] = {}
    for row in sorted(rows, key=lambda row: (*reversed(_ends(row["edge"])), row["epoch"])):
        curves.setdefault(row["edge"], {}).setdefault(row["operation"], []).append(row)
    return curves


def _ends(edge: str) -> tuple[int, int]:
    """The source and the target of an edge."""
    source, target = map(int, edge.split("-"))
    return source, target


def _edge_name(edge: str) -> str:
    return " → ".join(map(_state_name, _ends(edge)))


def _line_styles(names: Iterable[str]) -> dict[str, dict[str, object]]:
    # Beyond six, hues come near each other: the dashes keep them apart.
    dashes = (0, (3, 1.2))
    return {
        name: {"color": COLOURS[i % len(COLOURS)], "linestyle": "-" if i < 6 else dashes}
        for i, name in enumerate(dict.fromkeys(names))
    }


def _small_multiples(count: int, handles: Sequence[Line2D], title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels over epochs with common scales, and a legend under them.

    The grid is measured out here: an automatic layout would tear a gap across it for the epochs under a panel that has
    no panel below.
    """
    columns = min(3 if count <= 15 else 4, count)
    lines = -(-count // columns)
    panel, gap, above = 1.1 if count > 1 else 4.2, 0.38, 0.75  # inches
    figure = _new_figure(WIDTH, 1, layout=None)
    legend = 0.3 + 0.23 * -(-len(handles) // _legend_columns(WIDTH, handles))
    below = legend + 0.5
    height = above + lines * panel + (lines - 1) * gap + below
    figure.set_figheight(height)
    figure.suptitle(title, weight="bold", y=1 - 0.12 / height, va="top", parse_math=False)
    sides = {"left": 0.9 / WIDTH, "right": 1 - 0.2 / WIDTH, "bottom": below / height, "top": 1 - above / height}
    grid = figure.add_gridspec(lines, columns, hspace=gap / panel, wspace=0.12, **sides)
    panels: list[Axes] = []
    for i in range(count):
        first = panels[0] if panels else None
        axes = figure.add_subplot(grid[i // columns, i % columns], sharex=first, sharey=first)
        lowest = i + columns >= count
        axes.set_xlabel("epoch" if lowest else "")
        axes.tick_params(labelbottom=lowest, labelleft=i % columns == 0)
        panels.append(axes)
    _legend_below(figure, handles)
    return figure, panels


def _weight_axis(axes: Axes, weights: Sequence[float], most_ticks: int) -> None:
    """Fit the axis to the weights, but leave differences below a thousandth, as after one epoch, looking small."""
    middle, reach = (max(weights) + min(weights)) / 2, (max(weights) - min(weights)) / 2
    reach = 1.06 * max(reach, 0.005)
    axes.set_ylim(middle - reach, middle + reach)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=most_ticks - 1, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")


def _state_name(state: int) -> str:
    return ("$c_{k{-}2}$", "$c_{k{-}1}$")[state] if state < 2 else f"node {state - 2}"


NO_FAVOURITES = {"none", "skip_connect"}
CROSSING = {"marker": "o", "markersize": 6, "markerfacecolor": "white", "linestyle": "none", "zorder": 4}


class _Margin(NamedTuple):
    favoured: str  # operation
    history: list[dict[str, float]]  # {epoch, margin}


def _margins(rows: Sequence[Mapping]) -> dict[str, _Margin]:
    operations = {row["operation"] for row in rows}
    if "skip_connect" not in operations:
        raise ValueError("no row is of skip_connect")
    if operations <= NO_FAVOURITES:
        raise ValueError("no row is of an operation other than none and skip_connect")
    margins = {}
    for edge, curves in _curves(rows).items():
        last = {name: series[-1]["weight"] for name, series in curves.items() if name not in NO_FAVOURITES}
        favoured = max(last, key=last.get)
        both = zip(curves[favoured], curves["skip_connect"], strict=True)
        history = [{"epoch": one["epoch"], "margin": one["weight"] - skip["weight"]} for one, skip in both]
        margins[edge] = _Margin(favoured, history)
    return margins


def _sign_changes(history: History) -> list[float]:
    epochs, margins = ([row[key] for row in history] for key in ("epoch", "margin"))
    signed = [i for i, margin in enumerate(margins) if margin]
    # A margin that stays at 0 before it changes sign crosses as it reaches 0: at i + 1, not on the way to j.
    return [
        epochs[i] + (epochs[i + 1] - epochs[i]) * margins[i] / (margins[i] - margins[i + 1])
        for i, j in pairwise(signed)
        if (margins[i] > 0) != (margins[j] > 0)
    ]


@rc_context(STYLE)
def _decision_figure(rows: Sequence[Mapping], kept: Collection[str], title: str) -> Figure:
    margins, crossed = _margins(rows), crossings(rows)
    if unknown := set(kept) - margins.keys():
        raise ValueError(f"no row is of edge {', '.join(sorted(unknown))}")
    labels = {edge: f"{_edge_name(edge)}: {margins[edge].favoured}" for edge in margins if edge in kept}
    styles, faint = _line_styles(labels), {"color": FAINT, "linewidth": 0.9, "zorder": 1.8}
    figure = _new_figure(WIDTH, 5.2 + 0.23 * len(labels))
    figure.suptitle(title, weight="bold", parse_math=False)
    axes = figure.subplots()
    axes.axhline(0, color=INK, linewidth=1.2, zorder=2.2)
    axes.text(1.015, 0, "decision\nboundary", transform=axes.get_yaxis_transform(), size=10, va="center")
    for edge, margin in margins.items():
        style = styles.get(edge, faint)
        _plot_history(axes, margin.history, "margin", **style)
        axes.plot(crossed[edge], [0] * len(crossed[edge]), **CROSSING | {"markeredgecolor": style["color"]})
    axes.set_title(_crossed_by(crossed, kept), loc="left", size=10)
    axes.set(xlabel="epoch", ylabel="softmax weight of the favoured operation\nminus that of skip_connect")
    _weight_axis(axes, [0, *(row["margin"] for margin in margins.values() for row in margin.history)], most_ticks=7)
    _epoch_axis(axes, [row["epoch"] for row in rows], most_ticks=9)
    handles = [Line2D([], [], label=label, **styles[edge]) for edge, label in labels.items()]
    if len(labels) < len(margins):
        handles.append(Line2D([], [], label="edges not kept", **faint))
    if any(crossed.values()):
        handles.append(Line2D([], [], label="crossing", markeredgecolor=INK, **CROSSING))
    _legend_below(figure, handles)
    return figure


def _crossed_by(crossed: Mapping[str, list[float]], kept: Collection[str]) -> str:
    edges = [edge for edge, epochs in crossed.items() if epochs]
    if not edges:
        return f"boundary crossed by none of {len(crossed)} edges"
    among_kept = f"{sum(edge in kept for edge in edges)} of {len(set(kept))} kept"
    last = max(epoch for epochs in crossed.values() for epoch in epochs)
    return f"boundary crossed by {len(edges)} of {len(crossed)} edges ({among_kept}), last at epoch {last:.1f}"


@rc_context(STYLE)
def _search_figure(histories: Mapping[str, History]) -> Figure:
    figure = _new_figure(WIDTH, 7.2)
    accuracy, loss = figure.subplots(2, 1, sharex=True)
    _plot_halves(accuracy, histories, "top1")
    _plot_halves(loss, histories, "loss")
    accuracy.set_ylabel("top-1 accuracy (%)")
    loss.set(xlabel="epoch", ylabel="cross-entropy loss")
    _halves_legend(figure, histories)
    return figure


@rc_context(STYLE)
def _error_figure(histories: Mapping[str, History]) -> Figure:
    errors = {
        name: [
            {"epoch": row["epoch"]} | {f"{half}_error": 100 - row[f"{half}_top1"] for half in HALVES} for row in rows
        ]
        for name, rows in histories.items()
    }
    figure = _new_figure(WIDTH, 5)
    axes = figure.subplots()
    _plot_halves(axes, errors, "error")
    axes.set(xlabel="epoch", ylabel="top-1 error (%)")
    shown = [row[f"{half}_error"] for rows in errors.values() for row in rows for half in HALVES]
    if 0 < max(shown) > 3 * min(shown):
        _log_axis(axes.yaxis, [error for error in shown if error > 0], margin=1.15)
    _halves_legend(figure, histories)
    return figure


HALVES = {"train": {"linestyle": "--", "linewidth": 1.3}, "valid": {}}


def _plot_halves(axes: Axes, histories: Mapping[str, History], measure: str) -> None:
    for rows, colour in zip(histories.values(), cycle(COLOURS), strict=False):
        for half, style in HALVES.items():
            _plot_history(axes, rows, f"{half}_{measure}", color=colour, **style)
    _epoch_axis(axes, [row["epoch"] for rows in histories.values() for row in rows])


def _halves_legend(figure: Figure, histories: Mapping[str, History]) -> None:
    colours = zip(histories, cycle(COLOURS), strict=False)
    handles = [Line2D([], [], color=colour, label=name, linewidth=3) for name, colour in colours]
    _legend_below(figure, handles + _solid_and_dashed("validation half", "training half", histories.values()))


@rc_context(STYLE)
def _training_figure(histories: Mapping[str, History]) -> Figure:
    runs: dict[str, list[tuple[int, History]]] = {}
    for name, rows in histories.items():
        genotype, layers = _genotype_and_layers(name)
        runs.setdefault(genotype, []).append((layers, rows))
    depths = sorted({layers for group in runs.values() for layers, _ in group})
    # Dark to light from deep to shallow, without the pale end of the scale, which would be lost on white.
    colours = dict(zip(reversed(depths), colormaps["plasma"](np.linspace(0.02, 0.88, len(depths))), strict=True))
    figure = _new_figure(WIDTH, 2.5 * len(runs) + 1.2)
    panels = figure.subplots(len(runs), 2, sharex=True, sharey="col", squeeze=False)
    for (accuracy, loss), (genotype, group) in zip(panels, runs.items(), strict=True):
        for layers, rows in sorted(group, key=itemgetter(0)):
            for axes, measure in ((accuracy, "top1"), (loss, "loss")):
                faint = {"linestyle": "--", "linewidth": 0.8, "alpha": 0.7}
                _plot_history(axes, rows, f"train_{measure}", color=colours[layers], **faint)
                _plot_history(axes, rows, f"test_{measure}", color=colours[layers], linewidth=1.2)
        accuracy.set_title(genotype, loc="left", weight="bold", parse_math=False)
        accuracy.set_ylabel("top-1 accuracy (%)")
        loss.set_ylabel("cross-entropy loss")
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    _epoch_axis(panels[0, 0], [row["epoch"] for rows in histories.values() for row in rows])
    handles = [Line2D([], [], color=colours[n], label=f"{n} layer{'s' * (n > 1)}", linewidth=3) for n in depths]
    _legend_below(figure, handles + _solid_and_dashed("test", "training", histories.values()))
    return figure


def _genotype_and_layers(run: str) -> tuple[str, int]:
    genotype, *numbers = run.rsplit("-", 2)  # a genotype may contain hyphens
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"a run must be named GENOTYPE-LAYERS-SEED, not {run!r}")
    return genotype, int(numbers[0])


# Accuracy against size.

SATURATION = 0.5  # percent, added to the error so that an accuracy of 100 % has a place
ACCURACY_TICKS = (10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99, 99.5, 100)


def _from_accuracy(accuracy: np.ndarray) -> np.ndarray:
    return -np.log10(np.maximum(100 + SATURATION - np.asarray(accuracy, float), 1e-3))


def _to_accuracy(height: np.ndarray) -> np.ndarray:
    return 100 + SATURATION - 10.0 ** -np.asarray(height, float)


@rc_context(STYLE)
def _accuracy_figure(ours: Sequence[Mapping], paper: Sequence[Mapping], note: str) -> Figure:
    figure = _new_figure(WIDTH, 8.2)
    panels = figure.subplots(2, 1, sharey=True)
    handles = []
    # A genotype has the same marker in both.
    markers = dict(zip(_by_genotype([*paper, *ours]), cycle(MARKERS), strict=False))
    for (genotype, points), colour in zip(_by_genotype(ours).items(), cycle(COLOURS), strict=False):
        style = {"color": colour, "marker": markers[genotype], "markersize": 6, "zorder": 3}
        handles.append(_plot_points(panels, points, genotype, **style))
    for genotype, points in _by_genotype(paper).items():
        style = {"color": PAPER, "marker": markers[genotype], "markersize": 7, "markerfacecolor": "white"}
        handles.append(_plot_points(panels, points, f"{genotype} (paper)", linestyle=":", linewidth=1.1, **style))
    for axes, label in zip(panels, ("layers", "parameters (millions)"), strict=True):
        axes.set(xlabel=label, ylabel="test accuracy (%)")
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _log_axis(panels[1].xaxis, [point["params"] for point in (*ours, *paper)])
    spans = [(point["accuracy"], point.get("deviation", 0.0)) for point in (*ours, *paper)]
    _accuracy_axis(panels[0].yaxis, min(a - d for a, d in spans), max(a + d for a, d in spans))
    _legend_below(figure, handles, note)
    return figure


def _by_genotype(points: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    groups: dict[str, list[Mapping]] = {}
    for point in points:
        groups.setdefault(point["genotype"], []).append(point)
    return groups


def _plot_points(panels: Sequence[Axes], points: list[Mapping], label: str, **style: object) -> Line2D:
    """Plot one genotype's accuracies in both panels; return a legend entry for them."""
    for axes, key in zip(panels, ("layers", "params"), strict=True):
        ordered = sorted(points, key=lambda point: point[key])
        x, y = [point[key] for point in ordered], [point["accuracy"] for point in ordered]
        axes.plot(x, y, label=label, **style)
        spread = [(p[key], p["accuracy"], p["deviation"]) for p in ordered if p.get("deviation", 0.0) > 0]
        for at, mean, deviation in spread:
            above = min(deviation, 100 - mean)  # no accuracy lies above 100 %
            bars = {"ecolor": style["color"], "capsize": 3, "elinewidth": 1.2}
            axes.errorbar(at, mean, [[deviation], [above]], fmt="none", **bars)
    return Line2D([], [], label=label, **style)


def _accuracy_axis(axis: Axis, lowest: float, highest: float, clear: float = 0.045) -> None:
    """Scale the axis by the logarithm of the error, from the `lowest` to the `highest` accuracy in percent.

    Ticks lie apart by at least the share `clear` of its length.
    """
    bottom, top = _from_accuracy(np.array([max(lowest, 0), min(highest, 100)]))
    margin = max(0.06 * (top - bottom), 0.02)
    bottom, top = bottom - margin, min(top + margin, -np.log10(0.6 * SATURATION))
    scale, limits = FuncScale(axis, (_from_accuracy, _to_accuracy)), _to_accuracy(np.array([bottom, top]))
    axis.axes.set(**{f"{axis.axis_name}scale": scale, f"{axis.axis_name}lim": limits})
    axis.set_major_locator(FixedLocator(_accuracy_ticks(bottom, top, clear)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _accuracy_ticks(bottom: float, top: float, clear: float) -> list[float]:
    ticks: list[float] = []
    for tick in sorted(ACCURACY_TICKS, reverse=True):
        height = _from_accuracy(tick)
        free = not ticks or _from_accuracy(ticks[-1]) - height > clear * (top - bottom)
        if bottom <= height <= top and free:
            ticks.append(tick)
    if len(ticks) >= 3:
        return ticks
    low, high = _to_accuracy(np.array([bottom, top]))
    evenly = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [tick for tick in evenly if low <= tick <= min(high, 100)]


# The roadmap.


@rc_context(STYLE)
def _roadmap_figure(steps: Sequence[Mapping], note: str) -> Figure:
    figure = _new_figure(WIDTH, 0.5 * len(steps) + 1.6)
    accuracy, gmac = panels = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _roadmap_axes(accuracy, gmac, steps)
    paired = [step["paper_accuracy"] is not None or step["paper_gmac"] is not None for step in steps]
    ours, paper = {"color": COLOURS[0], "label": "ours"}, {"color": PAPER, "label": "paper"}
    _plot_steps(panels, steps, "", [i - 0.2 * pair for i, pair in enumerate(paired)], **ours)
    _plot_steps(panels, steps, "paper_", [i + 0.2 for i in range(len(steps))], **paper)
    shown = (ours, paper) if any(paired) else (ours,)
    _legend_below(figure, [Line2D([], [], linewidth=5, **style) for style in shown], note)
    return figure


def _roadmap_axes(accuracy: Axes, gmac: Axes, steps: Sequence[Mapping]) -> None:
    spans = [(step["accuracy"], step["deviation"]) for step in steps]
    spans += [(step["paper_accuracy"], 0.0) for step in steps if step["paper_accuracy"] is not None]
    # A bar has a length only if the axis begins well below its end: at one and a half times the greatest error.
    lowest = 100 - 1.5 * (100 - min(a - d for a, d in spans))
    _accuracy_axis(accuracy.xaxis, lowest, max(a + d for a, d in spans), clear=0.13)
    accuracy.set(xlabel="test accuracy (%)", ylim=(len(steps) - 0.5, -0.5))
    accuracy.set_yticks(range(len(steps)), [step["name"] for step in steps], parse_math=False)
    gmacs = [step[key] for step in steps for key in ("gmac", "paper_gmac") if step[key] is not None]
    if max(gmacs) > 100 * min(gmacs):
        _log_axis(gmac.xaxis, gmacs)
        gmac.xaxis.set_major_locator(LogLocator(numticks=3))
    else:
        gmac.set_xlim(0, 1.1 * max(gmacs))
        gmac.xaxis.set_major_locator(MaxNLocator(nbins=2, steps=[1, 2, 5, 10]))
        gmac.xaxis.set_major_formatter("{x:g}")
    gmac.set_xlabel("GMAC")
    for axes in (accuracy, gmac):
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)


def _plot_steps(
    panels: Sequence[Axes], steps: Sequence[Mapping], prefix: str, heights: Sequence[float], **style: str
) -> None:
    """Plot ours (no prefix) or the paper's ("paper_"), the numbers in a column beside each panel."""
    accuracy, gmac = panels
    base = accuracy.get_xlim()[0]
    points = []
    for step, y in zip(steps, heights, strict=True):
        reached, deviation, macs = step[f"{prefix}accuracy"], step.get(f"{prefix}deviation", 0.0), step[f"{prefix}gmac"]
        if reached is not None:
            accuracy.barh(y, reached - base, left=base, height=0.36, **style)
            _number(accuracy, y, f"{reached:.2f}" + (f" ± {deviation:.2f}" if deviation else ""))
        if deviation:
            above = min(deviation, 100 - reached)  # no accuracy lies above 100 %
            bars = {"ecolor": INK, "capsize": 3, "elinewidth": 1.2}
            accuracy.errorbar(reached, y, xerr=[[deviation], [above]], fmt="none", **bars)
        if macs is not None:
            points.append((macs, y))
            _number(gmac, y, f"{macs:.3g}")
    gmac.plot([macs for macs, _ in points], [y for _, y in points], marker="o", markersize=5, **style)


def _number(axes: Axes, y: float, text: str) -> None:
    axes.text(1.04, y, text, transform=axes.get_yaxis_transform(), size=9, va="center_baseline")


# Pictures. Lengths are in inches, as in the drawing of a cell.

PICTURE, PICTURE_GAP, HEADING, CAPTION, ROW_GAP = 1.4, 0.12, 0.32, 0.26, 0.08
CAPTION_SIZE = 10.5


@rc_context(STYLE)
def _gradcam_figure(
    columns: Sequence[str], rows: Sequence[tuple[str, Sequence[np.ndarray], Sequence[str] | None]], note: str
) -> Figure:
    under = [caption for _, _, captions in rows for caption in captions or ()]
    step = max(PICTURE, *(_text_width(text, CAPTION_SIZE) for text in (*columns, *under))) + PICTURE_GAP
    longest_title = max(_text_width(title, 11, "bold") for title, _, _ in rows)
    width = max(len(columns) * step - PICTURE_GAP, longest_title) + 2 * MARGIN
    tall = [max(len(picture) / len(picture[0]) for picture in pictures) * PICTURE for _, pictures, _ in rows]
    texts = [HEADING + (CAPTION if captions else 0) + ROW_GAP for _, _, captions in rows]
    small_print = _note_lines(note, width)
    below = MARGIN + NOTE_LINE * len(small_print)
    canvas = _canvas(width, MARGIN + CAPTION + sum(tall) + sum(texts) - ROW_GAP + below)
    _note_below(canvas.figure, small_print)
    centres = [MARGIN + i * step + (step - PICTURE_GAP) / 2 for i in range(len(columns))]
    y = MARGIN
    for i, (title, pictures, captions) in enumerate(rows):
        canvas.text(MARGIN, y + HEADING / 2, title, size=11, weight="bold", va="center", parse_math=False)
        y += HEADING
        if i == 0:
            y = _captions(canvas, centres, columns, y)
        for x, picture in zip(centres, pictures, strict=True):
            _picture(canvas, x - PICTURE / 2, y, tall[i], picture)
        y += tall[i]
        if captions:
            y = _captions(canvas, centres, captions, y)
        y += ROW_GAP
    return canvas.figure


def _captions(canvas: Axes, centres: Sequence[float], texts: Sequence[str], y: float) -> float:
    """Write a line of texts under `y`; return the y below it."""
    for x, text in zip(centres, texts, strict=True):
        canvas.text(x, y + CAPTION / 2, text, size=CAPTION_SIZE, ha="center", va="center", parse_math=False)
    return y + CAPTION


def _picture(canvas: Axes, x: float, y: float, height: float, picture: np.ndarray) -> None:
    total_width, total_height = canvas.figure.get_size_inches()
    place = (x / total_width, 1 - (y + height) / total_height, PICTURE / total_width, height / total_height)
    axes = canvas.figure.add_axes(place)
    axes.imshow(picture, interpolation="nearest")
    axes.axis("off")
