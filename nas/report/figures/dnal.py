"""The pictures of DNAL: what it trades accuracy for, the widths that it keeps, and how its gates decide."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.scale import FuncScale
from matplotlib.ticker import FixedLocator, MaxNLocator

from nas.report.figures.scales import accuracy_axis, log_axis
from nas.report.figures.style import COLOURS, INK, PAPER, STYLE, WIDTH, legend_below, new_figure, save, text_width, tint

THRESHOLD = 0.9  # that of nas.dnal.gates, whose import would take torch's


def plot_pareto(
    ours: Sequence[Mapping],
    paper: Sequence[Mapping],
    path: str | Path,
    *,
    title: str,
    note: str,
    others: Sequence[Mapping] = (),
) -> None:
    """Plot accuracy against multiply–adds and against parameters, each point labelled with its penalty.

    Points are joined from the smallest penalty to the largest, ours in colour and the paper's in grey; the dense
    network stands beside them, marked with a diamond. The accuracy axis is
    `nas.report.figures.scales.accuracy_axis`.

    Parameters
    ----------
    ours, paper : {penalty: λ_a or 0 for the dense network, top1 (percent), macs, params (millions)}. Either may be
        empty, not both. A row whose macs is None is left out of that panel, and so is a panel without a row.
    path : the PNG file to write.
    title : one line above the figure.
    note : what ours was measured on, in small print at the bottom.
    others : {method, top1, macs, params}, either of the last two may be None: other methods' networks, small crosses
        with their names where there is room.
    """
    save(pareto_figure(ours, paper, title, note, others), path)


def plot_widths(tables: Mapping[float, Sequence[Mapping]], path: str | Path, *, title: str) -> None:
    """Plot how many channels each gate keeps: a panel a penalty, a bar a gate over a pale one of the original width.

    The axis of the channels follows their square root if the widest gate has more than 8 times as many as the
    narrowest.

    Parameters
    ----------
    tables : maps λ_a to rows {layer: str, channels: int, kept: int} in the order of the network, as
        `nas.dnal.slim.channel_table` gives them. Up to 16 layers are named, more are numbered from 1.
    path : the PNG file to write.
    title : one line above the figure.

    Raises
    ------
    ValueError
        If the layers of two penalties differ.
    """
    save(widths_figure(tables, title), path)


def plot_gates(rows: Sequence[Mapping], path: str | Path, *, title: str) -> None:
    """Plot a histogram of the gates' values σ(δ·s) for each epoch of the second phase, one under the other.

    The heights follow the square root of the share of channels, so that the few that are still undecided show.

    Parameters
    ----------
    rows : {epoch: int, scale: δ, counts: how many values lie in each of equal parts of [0, 1]}. Of more than 12, 12 are
        shown, evenly chosen, the first and the last among them.
    path : the PNG file to write.
    title : one line above the figure.
    """
    save(gates_figure(rows, title), path)


def _lambda(penalty: float) -> str:
    """λ as the paper writes it, 1e-5, or 0.02; to three digits."""
    if penalty >= 0.01:
        return f"{penalty:.3g}"
    mantissa, exponent = f"{penalty:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _square_root(axes: Axes) -> None:
    axes.set_yscale(FuncScale(axes.yaxis, (lambda y: np.sqrt(np.maximum(y, 0)), np.square)))


# Accuracy against size.

SIZES = {"macs": "multiply–adds (millions)", "params": "parameters (millions)"}
LABEL_SIZE = 9.5  # points
# Of a point, the better for a label the earlier: most curves rise to the right.
SIDES = np.array(
    [(-1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (1, 0), (1, 1), (-1, -1)]
    + [(-1, 0.5), (1, -0.5), (-0.5, 1), (0.5, -1), (1, 0.5), (-1, -0.5), (0.5, 1), (-0.5, -1)]
)
SMALL_LABEL = 7.5  # points, of other methods' names
OTHERS_STYLE = {"color": "#999999", "marker": "x", "markersize": 4, "linestyle": "none", "zorder": 1.9}
PAPER_INK = "#666666"  # the grey of the paper's lines would be faint for small text


@rc_context(STYLE)
def pareto_figure(
    ours: Sequence[Mapping], paper: Sequence[Mapping], title: str, note: str, others: Sequence[Mapping] = ()
) -> Figure:
    """The figure that `plot_pareto` saves."""
    rows = [*ours, *paper, *others]
    sizes = [size for size in SIZES if any(row[size] is not None for row in rows)]
    figure = new_figure(WIDTH, 1.4 + (4.4 if others else 3.4) * len(sizes))
    figure.suptitle(title, weight="bold", parse_math=False)
    panels = figure.subplots(len(sizes), 1, sharey=True, squeeze=False)[:, 0]
    styles = {
        "paper": {"color": PAPER, "marker": "o", "markersize": 6, "markerfacecolor": "white", "linewidth": 1.2},
        "ours": {"color": COLOURS[0], "marker": "o", "markersize": 6},
    }
    styles = {name: style for (name, style), of in zip(styles.items(), (paper, ours), strict=True) if of}
    for axes, size in zip(panels, sizes, strict=True):
        axes.set(xlabel=SIZES[size], ylabel="test accuracy (%)")
        log_axis(axes.xaxis, [row[size] for row in rows if row[size] is not None])
        for name, style in styles.items():
            _plot_penalties(axes, ours if name == "ours" else paper, size, style)
        if there := [(row[size], row["top1"]) for row in others if row[size] is not None]:
            axes.plot(*zip(*there, strict=True), **OTHERS_STYLE)
    accuracy_axis(panels[0].yaxis, min(row["top1"] for row in rows), max(row["top1"] for row in rows))
    handles = [Line2D([], [], label=f"{name}, labelled with λ", **style) for name, style in reversed(styles.items())]
    if others:
        handles.append(Line2D([], [], label="other methods, as the paper quotes them", **OTHERS_STYLE))
    legend_below(figure, handles, note)
    figure.draw_without_rendering()  # which finds the panels' places
    for axes, size in zip(panels, sizes, strict=True):
        _label_points(axes, ours, paper, others, size)
    return figure


def _plot_penalties(axes: Axes, rows: Sequence[Mapping], size: str, style: Mapping[str, object]) -> None:
    ordered = sorted((row for row in rows if row[size] is not None), key=lambda row: row["penalty"])
    slim = [(row[size], row["top1"]) for row in ordered if row["penalty"]]
    dense = [(row[size], row["top1"]) for row in ordered if not row["penalty"]]
    for points, own in ((slim, {}), (dense, {"marker": "D", "linestyle": "none"})):
        if points:
            axes.plot(*zip(*points, strict=True), **style | own)


class _Place(NamedTuple):
    """Where a label may stand: its middle, half its width and height, and the way to its point, all in points."""

    x: float
    y: float
    half_width: float
    half_height: float
    leader: np.ndarray

    def gaps(self, points: np.ndarray) -> np.ndarray:
        """How far each of the points (N × 2) lies from the label; 0 inside."""
        if not len(points):
            return np.empty(0)
        beyond = np.abs(points - (self.x, self.y)) - (self.half_width, self.half_height)
        return np.hypot(*np.maximum(beyond, 0).T)

    def conflict(self, other: "_Place") -> int:
        """0 beside the other label, 1 if the way of either meets the other or its way, 3 if the labels meet."""
        apart = np.abs((self.x - other.x, self.y - other.y))
        if (apart < (self.half_width + other.half_width + 2, self.half_height + other.half_height + 1)).all():
            return 3
        if (self.gaps(other.leader) < 1).any() or (other.gaps(self.leader) < 1).any():
            return 1
        return int(_near(self.leader, other.leader, 2).any())


def _label_points(
    axes: Axes, ours: Sequence[Mapping], paper: Sequence[Mapping], others: Sequence[Mapping], size: str
) -> None:
    """Write λ beside each point, where it hides nothing and is nearer to no other point, if there is room.

    Beside those of `others` their method's name, or nothing where it would hide something.
    """
    to_points = 72 / axes.figure.dpi
    low, high = axes.get_window_extent().get_points() * to_points
    paths = [axes.transData.transform(line.get_xydata()) * to_points for line in axes.lines]
    joined = [path for path, line in zip(paths, axes.lines, strict=True) if line.get_linestyle() != "None"]
    dots, lines = np.concatenate(paths), np.concatenate([np.empty((0, 2)), *map(_along, joined)])
    placed: list[_Place] = []

    def cost(place: _Place) -> float:
        corner, gaps = (place.half_width, place.half_height), place.gaps(dots)
        outside = (np.subtract(place[:2], corner) < low).any() or (np.add(place[:2], corner) > high).any()
        conflicts = 3 * outside + sum(place.conflict(other) for other in placed)
        # A label without a line to its point must be nearest to it.
        strangers = 0 if len(place.leader) else (gaps < place.gaps(at[None]) + 2).sum() - 1
        hidden = 3 * (place.gaps(lines) < 1).sum() + 5 * _near(place.leader, lines, 1.5).sum()
        hit = (gaps < 4).sum() + _near(dots, place.leader, 3.5).sum()
        return 2000 * conflicts + 200 * hit + 20 * strangers + hidden + 0.3 * len(place.leader)

    for rows, colour, label_size in (
        (ours, COLOURS[0], LABEL_SIZE),
        (paper, PAPER_INK, LABEL_SIZE),
        (others, PAPER_INK, SMALL_LABEL),
    ):
        for row in sorted((row for row in rows if row[size] is not None), key=lambda row: row["penalty"] or 0):
            text = row["method"] if rows is others else _lambda(row["penalty"]) if row["penalty"] else "dense"
            at = axes.transData.transform((row[size], row["top1"])) * to_points
            place = min(_places_around(at, text, label_size), key=cost)
            if rows is not others or cost(place) < 200:
                placed.append(place)
                _annotate(axes, (row[size], row["top1"]), text, place, at, colour, label_size)


def _near(points: np.ndarray, others: np.ndarray, reach: float) -> np.ndarray:
    """Of each of `points` (N × 2), whether one of `others` (M × 2) lies within `reach` of it."""
    if not len(points) or not len(others):
        return np.zeros(len(points), bool)
    return np.abs(np.subtract.outer(points @ (1, 1j), others @ (1, 1j))).min(axis=1) < reach


def _annotate(
    axes: Axes, point: tuple[float, float], text: str, place: _Place, at: np.ndarray, colour: str, label_size: float
) -> None:
    line = {"arrowstyle": "-", "color": colour, "linewidth": 0.07 * label_size, "shrinkA": 0, "shrinkB": 3}
    style = {"size": label_size, "color": colour, "ha": "center", "va": "center", "in_layout": False}
    offset = (place.x - at[0], place.y - at[1])
    arrow = line if len(place.leader) else None
    axes.annotate(text, point, offset, textcoords="offset points", arrowprops=arrow, **style)


def _along(path: np.ndarray) -> np.ndarray:
    """Points on a path of straight lines, about one every two units."""
    pieces = [path[:1]]
    for start, end in zip(path, path[1:], strict=False):
        pieces.append(np.linspace(start, end, 2 + int(np.hypot(*(end - start)) / 2)))
    return np.concatenate(pieces)


def _places_around(at: np.ndarray, text: str, label_size: float) -> Iterator[_Place]:
    half = np.array([36 * text_width(text, label_size), 0.6 * label_size])
    for reach in (6, 10, 16, 24, 34, 46, 60, 76):
        for side in SIDES:
            middle = at + side * (half + reach)
            leader = _along(np.array([at + 4 * side, middle - half * side])) if reach > 10 else np.empty((0, 2))
            yield _Place(*middle, *half, leader)


# Widths.

MOST_NAMES = 16


@rc_context(STYLE)
def widths_figure(tables: Mapping[float, Sequence[Mapping]], title: str) -> Figure:
    """The figure that `plot_widths` saves."""
    layers = {tuple(row["layer"] for row in rows) for rows in tables.values()}
    if len(layers) != 1:
        raise ValueError("every penalty must have the same layers, in the same order")
    figure = new_figure(WIDTH, 1.9 + 1.3 * len(tables))
    figure.suptitle(title, weight="bold", parse_math=False)
    panels = figure.subplots(len(tables), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    colours = {"original": tint(COLOURS[0], 0.25), "kept": COLOURS[0]}
    for axes, (penalty, rows) in zip(panels, sorted(tables.items()), strict=True):
        original, kept = [row["channels"] for row in rows], [row["kept"] for row in rows]
        for name, channels in (("original", original), ("kept", kept)):
            axes.bar(range(1, len(rows) + 1), channels, 0.8 if len(rows) <= 64 else 1.0, color=colours[name])
        share = f"{100 * sum(kept) / sum(original):.3g} %"
        axes.set_title(f"λ = {_lambda(penalty)}: {sum(kept):,} of {sum(original):,} channels ({share})", loc="left")
        axes.grid(visible=False, axis="x")
    _channel_axis(panels[0], original)
    _gate_axis(panels[-1], *layers)
    root = panels[0].get_yscale() == "function"
    figure.supylabel("channels, square-root scale" if root else "channels", size=11)
    legend_below(figure, [Line2D([], [], linewidth=6, color=colour, label=name) for name, colour in colours.items()])
    return figure


def _channel_axis(axes: Axes, channels: Sequence[int]) -> None:
    most = max(channels)
    ticks = MaxNLocator(3, integer=True, steps=[1, 2, 5, 10])
    if most > 8 * min(channels):
        _square_root(axes)
        ticks = FixedLocator([0, *(round(most / part) for part in (16, 4, 1))])
    axes.set_ylim(0, 1.03 * most)
    axes.yaxis.set_major_locator(ticks)


def _gate_axis(axes: Axes, layers: Sequence[str]) -> None:
    axes.set(xlabel="gate", xlim=(0.3, len(layers) + 0.7))
    if len(layers) > MOST_NAMES:
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
        return
    fits = max(text_width(name, 10) for name in layers) < 0.85 * 5.3 / len(layers)
    axes.set_xticks(range(1, len(layers) + 1), layers, rotation=0 if fits else 90, parse_math=False)


# Gate values.

MOST_EPOCHS, STRIP, STRIP_GAP = 12, 0.46, 0.1  # inches


@rc_context(STYLE)
def gates_figure(rows: Sequence[Mapping], title: str) -> Figure:
    """The figure that `plot_gates` saves."""
    rows = sorted(rows, key=lambda row: row["epoch"])
    rows = [rows[round(i)] for i in np.linspace(0, len(rows) - 1, min(len(rows), MOST_EPOCHS))]
    above, below = 0.85, 0.6
    height = above + len(rows) * (STRIP + STRIP_GAP) + below
    figure = new_figure(WIDTH, height, layout=None)
    figure.suptitle(title, weight="bold", y=1 - 0.12 / height, va="top", parse_math=False)
    sides = {"left": 1.45 / WIDTH, "right": 1 - 0.75 / WIDTH, "bottom": below / height, "top": 1 - above / height}
    panels = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    figure.subplots_adjust(hspace=STRIP_GAP / STRIP, **sides)
    for axes, row in zip(panels, rows, strict=True):
        _strip(axes, row)
    _square_root(panels[0])
    panels[0].set(xlim=(0, 1), ylim=(0, 1))
    panels[0].set_yticks([0.1, 0.5], ["10 %", "50 %"])
    _strip_headings(panels[0])
    panels[-1].set_xlabel(f"σ(δ·s) of {sum(rows[0]['counts']):,} channels")
    return figure


def _strip(axes: Axes, row: Mapping) -> None:
    """Draw one epoch's histogram, its epoch and δ to the left of it."""
    counts = np.asarray(row["counts"])
    edges = np.linspace(0, 1, len(counts) + 1)
    axes.bar(edges[:-1], counts / counts.sum(), 1 / len(counts), align="edge", color=COLOURS[0])
    axes.axvline(THRESHOLD, color=COLOURS[1], linewidth=1.2, linestyle=(0, (3, 2)))
    axes.grid(visible=False, axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=8.5, labelleft=False, labelright=True)
    scale = f"{row['scale']:,.0f}" if row["scale"] >= 100 else f"{row['scale']:.3g}"
    _left_of(axes, 0.3, str(row["epoch"]), scale)


def _strip_headings(axes: Axes) -> None:
    _left_of(axes, 1.3, "epoch", "δ")
    for x, text in ((THRESHOLD / 2, "removed"), ((1 + THRESHOLD) / 2, "kept")):
        axes.text(x, 1.3, text, transform=axes.transAxes, ha="center", color=INK)
    axes.text(1.02, 1.3, "share", transform=axes.transAxes, color=INK)


def _left_of(axes: Axes, y: float, epoch: str, scale: str) -> None:
    for x, text in ((-0.2, epoch), (-0.03, scale)):
        axes.text(x, y, text, transform=axes.transAxes, ha="right", color=INK)
