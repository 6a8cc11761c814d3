"""What all pictures share: sizes, colours, fonts, the legend and the note under the panels, and how a file is saved."""

import logging
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from nas.pipeline.files import whole_file

log = logging.getLogger("nas")

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
# matplotlib carries the first, so every machine has it; the others, where there are such, have what it lacks.
CJK = (
    *(
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "Noto Sans SC",
        "Noto Sans JP",
        "WenQuanYi Micro Hei",
        "WenQuanYi Zen Hei",
    ),
    *("Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
)
FONTS = ["DejaVu Sans", *(name for name in CJK if name in {font.name for font in fontManager.ttflist})]
STYLE = {
    # Every setting is given, so that no matplotlibrc of the user's has a say; the backend is none of a picture's.
    **{name: value for name, value in rcParamsDefault.items() if "backend" not in name},
    "font.family": FONTS,
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


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """A figure of that size in inches, with or without an automatic layout, that draws without a screen."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    if layout:
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    FigureCanvasAgg(figure)
    return figure


def new_canvas(width: float, height: float) -> Axes:
    """Axes without a frame that cover a new figure and count in inches, y downwards."""
    axes = new_figure(width, height, layout=None).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def save(figure: Figure, path: str | Path) -> None:
    """Save as a PNG file of the same bytes on every run, whatever the user's settings."""
    with rc_context(STYLE), whole_file(path) as temporary, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        # matplotlib would name its version in the file.
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
    without_a_glyph = [warning for warning in told if "missing from" in str(warning.message)]
    if without_a_glyph:
        _tell_of_fonts()
    for warning in told:
        if warning not in without_a_glyph:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@cache
def _tell_of_fonts() -> None:
    log.warning("figures: no font here has some of the characters in names; Noto Sans CJK has those of East Asia")


@cache
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width of a line of text in inches, `size` being in points."""
    font = FontProperties(family=FONTS, weight=weight, size=size)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # `save` tells
        return text_to_path.get_text_width_height_descent(text, font, ismath=is_math_text(text))[0] / 72


def tint(colour: str, share: float) -> str:
    """Mix a share of the colour with white."""
    return to_hex(1 - share * (1 - np.array(to_rgb(colour))))


def line_styles(names: Iterable[str]) -> dict[str, dict[str, object]]:
    """A colour and a dash for each of the names, repeated ones aside."""
    # Beyond six, hues come near each other: the dashes keep them apart.
    dashes = (0, (3, 1.2))
    return {
        name: {"color": COLOURS[i % len(COLOURS)], "linestyle": "-" if i < 6 else dashes}
        for i, name in enumerate(dict.fromkeys(names))
    }


def legend_below(figure: Figure, handles: Sequence[Line2D], note: str = "") -> None:
    """Put one legend under all panels, in as many columns as fit, and the note under it."""
    bottom = note_below(figure, note_lines(note, figure.get_figwidth()))
    # The layout makes room for a legend at the figure's edge alone: its padding lifts it over the note.
    padding = 0.5 + 72 * bottom / STYLE["legend.fontsize"]
    place = {"loc": "outside lower center", "borderaxespad": padding}
    columns = legend_columns(figure.get_figwidth(), handles)
    figure.legend(handles=handles, frameon=False, ncols=columns, **place)
    if engine := figure.get_layout_engine():
        engine.set(rect=(0, bottom / figure.get_figheight(), 1, 1 - bottom / figure.get_figheight()))


def legend_columns(width: float, handles: Sequence[Line2D]) -> int:
    """How many columns of a legend fit a figure `width` inches wide."""
    size, symbol_and_gaps = STYLE["legend.fontsize"], 0.75
    column = max(text_width(str(handle.get_label()), size) for handle in handles) + symbol_and_gaps
    return min(max(1, int(width / column)), len(handles))


def note_lines(note: str, width: float) -> list[str]:
    """Break a note between words into lines that fit a figure `width` inches wide."""
    lines: list[str] = []
    for word in note.split():
        if lines and text_width(f"{lines[-1]} {word}", NOTE_SIZE) <= width - 2 * MARGIN:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def note_below(figure: Figure, lines: Sequence[str]) -> float:
    """Write a note along the lower side of the figure; return the height that it takes, in inches."""
    width, height = figure.get_size_inches()
    for i, line in enumerate(reversed(lines)):
        place = (MARGIN / width, (NOTE_GAP + i * NOTE_LINE) / height)
        figure.text(*place, line, size=NOTE_SIZE, va="bottom", parse_math=False)
    return NOTE_GAP + len(lines) * NOTE_LINE if lines else 0.0
