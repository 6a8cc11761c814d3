"""The animation of a search: the drawing of a cell, with a row for every edge of the supernet.

States are grey, so that a colour means an operation; from frame to frame nothing changes but the rows and the progress.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.text import Text
from PIL import Image

from nas.pipeline.files import whole_file
from nas.report.figures import cells
from nas.report.figures.style import (
    COLOURS,
    FAINT,
    INK,
    NOTE_GAP,
    NOTE_LINE,
    PAPER,
    STYLE,
    legend_below,
    legend_columns,
    line_styles,
    note_lines,
    tint,
)
from nas.space import bench201, genotypes
from nas.space.bench201 import Bench201Genotype

BAR_PITCH, BAR, BAR_GAP = 0.45, 0.08, 0.03  # rows lie farther apart, for the bars under their pills
HEAD = 0.1  # of the arrow into which a line leads, however thick
THIN, THICK = 1.0, 7.0  # points
NONE_COLOUR = "#DDDDDD"


def animate_cell(rows: Sequence[Mapping[str, object]], path: str | Path, *, title: str) -> None:
    """Animate how a search chooses the operations of one kind of cell: a frame an epoch, played once.

    Every edge of the supernet's cell has a row that names its strongest operation other than none, in the colour that
    `nas.report.figures.alphas.plot_alphas` gives that operation. Its lines widen with the softmax weight of that
    operation, the bar under its name is divided by the weights of all operations, and it is faint at the epochs whose
    genotype leaves the edge out (`nas.space.genotypes.derive` says which).

    Parameters
    ----------
    rows : those of `nas.report.figures.alphas.plot_alphas`, of one kind of cell.
    path : the GIF file to write.
    title : one line above the drawing.

    Raises
    ------
    ValueError
        If an edge lacks the weight of an operation at an epoch.
    """
    save_gif(CellAnimation(rows, title).frames(), path)


def gif_palette() -> Image.Image:
    """The colours of moving pictures, in an image that holds nothing else: each of ours in 16 shades up from white."""
    shades = dict.fromkeys(tint(colour, i / 16) for colour in (INK, *COLOURS) for i in range(17))
    image = Image.new("P", (1, 1))
    image.putpalette(b"".join(bytes.fromhex(shade[1:]) for shade in shades))
    return image


def save_gif(frames: Sequence[Image.Image], path: str | Path) -> None:
    """Save frames of one palette, to be played once: in six seconds, but within 100 to 500 ms a frame."""
    palette = frames[0].getpalette()
    # One colour more, the transparent one, stands for all pixels that stay as they are: they compress to little.
    colours = {"palette": bytes([*palette, 255, 0, 255]), "transparency": len(palette) // 3, "optimize": True}
    duration = min(max(6000 // len(frames) // 10 * 10, 100), 500)  # the format counts in hundredths of a second
    several = {"save_all": True, "append_images": frames[1:], "duration": duration, "disposal": 1}
    with whole_file(path) as temporary:
        frames[0].save(temporary, format="GIF", **several, **colours)


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


class CellAnimation:
    """The figure of a supernet's cell, which `show` brings to any of its `epochs`."""

    @rc_context(STYLE)
    def __init__(self, rows: Sequence[Mapping], title: str) -> None:
        operations = list(dict.fromkeys(row["operation"] for row in rows))
        edges = [cells.ends(edge) for edge in dict.fromkeys(row["edge"] for row in rows)]
        self.inputs = cells.inputs_of(row["edge"] for row in rows)
        nodes = max(target for _, target in edges) - self.inputs + 1
        places = bench201.EDGES if self.inputs == 1 else genotypes.edges(nodes)
        self.weights = _weight_tables(rows, operations, places)
        choose = _all_choices if self.inputs == 1 else _choices
        self.choices = {epoch: choose(operations, table) for epoch, table in self.weights.items()}
        self.epochs = list(self.weights)
        self.scale = _width_scale(len(operations), self.choices.values())
        styles = line_styles(operations)
        self.colours = {name: NONE_COLOUR if name == "none" else styles[name]["color"] for name in operations}
        axes, at = self._draw_cell(nodes, title)
        self.figure = axes.figure
        self.rows = [self._draw_row(axes, at, i, y) for heights in at.rows for i, y in enumerate(heights)]
        self.counter, (self.all_epochs, self.past_epochs) = self._draw_progress(axes, at)

    def _draw_cell(self, nodes: int, title: str) -> tuple[Axes, cells.Places]:
        """Draw all that stays as it is."""
        sources = [range(self.inputs + node) for node in range(nodes)]
        at = cells.places(sources, self.colours.keys() - {"none"}, BAR_PITCH, self.inputs)
        handles = [Line2D([], [], color=colour, label=name, linewidth=6) for name, colour in self.colours.items()]
        chosen = self.inputs > 1  # two edges a node, and never none
        others = " other than none" if "none" in self.colours and chosen else ""
        thin, thick = self.scale
        note = (
            f"Line width: softmax weight of the strongest operation{others}, from {thin:.2f} to {thick:.2f}. "
            "Bar: weights of all operations." + " Faint: edges that the genotype of the epoch leaves out." * chosen
        )
        width = cells.cell_width(at, title)
        legend = 0.3 + 0.23 * -(-len(handles) // legend_columns(width, handles))
        axes = cells.cell_canvas(at, title, at.bottom + legend + NOTE_GAP + NOTE_LINE * len(note_lines(note, width)))
        legend_below(axes.figure, handles, note)
        cells.draw_ends(axes, at, at.bottom, lambda state: PAPER)
        for node in range(nodes):
            cells.draw_node(axes, node, at, PAPER, in_output=chosen or node == nodes - 1)
        return axes, at

    def _draw_row(self, axes: Axes, at: cells.Places, source: int, y: float) -> _Row:
        start, x, width = at.tracks[source][0] + cells.TURN, at.label_x, at.label_width
        cells.draw_branch(axes, at.tracks[source], y, start, PAPER)
        cells.draw_band(axes, start, x, y, THICK + 4)
        line = cells.draw_line(axes, [(start, y), (at.node_x - HEAD, y)], "ML", PAPER, 3)
        corner = (x, y + cells.PILL / 2 + BAR_GAP)
        bar = [axes.add_patch(Rectangle(corner, 0, BAR, lw=0, zorder=4, gid="bar")) for _ in self.colours]
        arrow = cells.draw_arrow(axes, x + width, at.node_x, y, PAPER)
        return _Row(line, arrow, *cells.draw_label(axes, x, y, width, "", PAPER), bar)

    def _draw_progress(self, axes: Axes, at: cells.Places) -> tuple[Text, list[Rectangle]]:
        last_input = at.tracks[at.inputs - 1][0]
        x, y = max(at.label_x, last_input + cells.INPUT_WIDTH / 2 + 0.2), cells.INPUT_TOP + cells.ROW - 0.06
        width = (at.output_x + cells.NODE_WIDTH - x) * (len(self.epochs) > 1)
        bar = [axes.add_patch(Rectangle((x, y), width, 0.05, fc=colour, lw=0)) for colour in (FAINT, INK)]
        return axes.text(x, y - 0.08, "", size=cells.TITLE_SIZE, va="bottom"), bar

    def show(self, epoch: int) -> None:
        """Bring the figure to an epoch."""
        for row, weights, choice in zip(self.rows, self.weights[epoch], self.choices[epoch], strict=True):
            self._show_choice(row, choice)
            self._show_weights(row, weights, choice.kept)
        first, last = self.epochs[0], self.epochs[-1]
        self.counter.set_text(f"epoch {epoch}" + f" of {last}" * (last > first))
        self.past_epochs.set_width(self.all_epochs.get_width() * (epoch - first) / max(last - first, 1))

    def _show_choice(self, row: _Row, choice: _Choice) -> None:
        colour = self.colours[choice.operation]
        shown = colour if choice.kept else tint(colour, 5 / 16)
        width = float(np.interp(choice.weight, self.scale, (THIN, THICK)))
        row.line.set(edgecolor=shown, linewidth=width)
        row.arrow.set(color=shown, linewidth=min(width, 1.6), mutation_scale=11 + 1.6 * width)
        row.pill.set(edgecolor=shown, facecolor=tint(colour, 3 / 16) if choice.kept else "white")
        row.label.set(text=choice.operation, color=INK if choice.kept else PAPER)

    def _show_weights(self, row: _Row, weights: Sequence[float], kept: bool) -> None:
        left, whole = row.pill.get_x(), row.pill.get_width()
        for part, weight, colour in zip(row.bar, weights, self.colours.values(), strict=True):
            part.set(x=left, width=weight * whole, facecolor=colour if kept else tint(colour, 0.5))
            left += weight * whole

    @rc_context(STYLE)
    def frames(self) -> list[Image.Image]:
        """The picture of each epoch, all in the colours of `gif_palette`."""
        palette, canvas = gif_palette(), self.figure.canvas
        frames = []
        for epoch in self.epochs:
            self.show(epoch)
            canvas.draw()
            frame = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
            frames.append(frame.quantize(palette=palette, dither=Image.Dither.NONE))
        return frames


def _weight_tables(
    rows: Sequence[Mapping], operations: Sequence[str], places: Sequence[tuple[int, int]]
) -> dict[int, list[list[float]]]:
    """The weights of each epoch, edges × operations, in node order."""
    weights = {(row["epoch"], row["edge"], row["operation"]): row["weight"] for row in rows}
    edges = [f"{source}-{target}" for source, target in places]
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


def _all_choices(operations: Sequence[str], weights: Sequence[Sequence[float]]) -> list[_Choice]:
    """The same in NAS-Bench-201's cell, where every edge stays and may be none."""
    names = Bench201Genotype.derive(operations, weights).names()
    return [_Choice(name, max(row), True) for name, row in zip(names, weights, strict=True)]


def _width_scale(operations: int, choices: Iterable[Sequence[_Choice]]) -> tuple[float, float]:
    """The weights of the thinnest and the thickest line, over all epochs.

    They reach from the weight where nothing is chosen, or less where none takes most of it, to the largest; but at
    least to twice the former, so that the small leads of a short search do not look like decisions.
    """
    weights = [choice.weight for table in choices for choice in table]
    return min(1 / operations, *weights), max(min(2 / operations, 1), *weights)
