"""The architecture weights of a search: their curves, and by how much each edge's choice leads over skip_connect."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nas.report.figures.cells import ends, inputs_of, state_name
from nas.report.figures.curves import History, plot_history
from nas.report.figures.scales import epoch_axis
from nas.report.figures.style import (
    FAINT,
    INK,
    STYLE,
    WIDTH,
    legend_below,
    legend_columns,
    line_styles,
    new_figure,
    save,
)

NO_FAVOURITES = {"none", "skip_connect"}
CROSSING = {"marker": "o", "markersize": 6, "markerfacecolor": "white", "linestyle": "none", "zorder": 4}


def plot_alphas(rows: Sequence[Mapping[str, object]], path: str | Path, *, title: str) -> None:
    """Plot how the architecture weights of one kind of cell evolve: a panel an edge, a line an operation.

    `rows` holds {epoch: int, edge: "source-target" by state, operation: str, weight: float}, the weight after the
    softmax. The rows of a single edge fill one large panel, as in Fig. 3 of the PIBConv paper.
    """
    save(alphas_figure(rows, title), path)


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
    kept : the edges ("source-target") that the derived genotype keeps; the others are drawn faintly, and of any that
        has no skip_connect, or nothing else, there is nothing to draw.
    path : the PNG file to write.
    title : one line above the figure.

    Raises
    ------
    ValueError
        As `crossings`, and if an edge of `kept` is not among the rows.
    """
    save(decision_figure(rows, kept, title), path)


@rc_context(STYLE)
def alphas_figure(rows: Sequence[Mapping], title: str) -> Figure:
    """The figure that `plot_alphas` saves."""
    curves = _curves(rows)
    styles = line_styles(row["operation"] for row in rows)
    handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
    figure, panels = _small_multiples(len(curves), handles, title)
    figure.supylabel("softmax weight", size=11, x=0.1 / WIDTH, ha="left")
    inputs = inputs_of(curves)
    for axes, (edge, operations) in zip(panels, curves.items(), strict=True):
        axes.set_title(_edge_name(edge, inputs), pad=4)
        for name, series in operations.items():
            plot_history(axes, series, "weight", **styles[name])
    large = len(panels) == 1
    _weight_axis(panels[0], [row["weight"] for row in rows], most_ticks=7 if large else 5)
    epoch_axis(panels[0], [row["epoch"] for row in rows], most_ticks=9 if large else 4)
    return figure


def _curves(rows: Sequence[Mapping]) -> dict[str, dict[str, list[Mapping]]]:
    """Group the rows by edge, in node order, and operation, without those that the edge lacks; sort them by epoch."""
    curves: dict[str, dict[str, list[Mapping]]] = {}
    there = on_edges(rows)
    for row in sorted(rows, key=lambda row: (*reversed(ends(row["edge"])), row["epoch"])):
        if row["operation"] in there[row["edge"]]:
            curves.setdefault(row["edge"], {}).setdefault(row["operation"], []).append(row)
    return curves


def on_edges(rows: Sequence[Mapping]) -> dict[str, set[str]]:
    """Of each edge its operations: those of a weight at any epoch. Where edges have their own, the others have none."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["edge"], set()).update([row["operation"]] if row["weight"] else [])
    return found


def comparable(rows: Sequence[Mapping]) -> set[str]:
    """The edges of which `plot_decision` tells: those with skip_connect and another operation than that and none."""
    return {edge for edge, names in on_edges(rows).items() if "skip_connect" in names and names - NO_FAVOURITES}


def _edge_name(edge: str, inputs: int) -> str:
    return " → ".join(state_name(state, inputs) for state in ends(edge))


def _small_multiples(count: int, handles: Sequence[Line2D], title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels over epochs with common scales, and a legend under them.

    The grid is measured out here: an automatic layout would tear a gap across it for the epochs under a panel that has
    no panel below.
    """
    columns = min(3 if count <= 15 else 4, count)
    lines = -(-count // columns)
    panel, gap, above = 1.1 if count > 1 else 4.2, 0.38, 0.75  # inches
    figure = new_figure(WIDTH, 1, layout=None)
    legend = 0.3 + 0.23 * -(-len(handles) // legend_columns(WIDTH, handles))
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
    legend_below(figure, handles)
    return figure, panels


def _weight_axis(axes: Axes, weights: Sequence[float], most_ticks: int) -> None:
    """Fit the axis to the weights, but leave differences below a thousandth, as after one epoch, looking small."""
    middle, reach = (max(weights) + min(weights)) / 2, (max(weights) - min(weights)) / 2
    reach = 1.06 * max(reach, 0.005)
    axes.set_ylim(middle - reach, middle + reach)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=most_ticks - 1, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")


class _Margin(NamedTuple):
    favoured: str  # operation
    history: list[dict[str, float]]  # {epoch, margin}


def _margins(rows: Sequence[Mapping]) -> dict[str, _Margin]:
    operations = {row["operation"] for row in rows}
    if "skip_connect" not in operations:
        raise ValueError("no row is of skip_connect")
    if operations <= NO_FAVOURITES:
        raise ValueError("no row is of an operation other than none and skip_connect")
    margins, edges = {}, comparable(rows)
    for edge, curves in _curves(rows).items():
        if edge not in edges:
            continue
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
def decision_figure(rows: Sequence[Mapping], kept: Collection[str], title: str) -> Figure:
    """The figure that `plot_decision` saves."""
    margins, crossed = _margins(rows), crossings(rows)
    if unknown := set(kept) - {row["edge"] for row in rows}:
        raise ValueError(f"no row is of edge {', '.join(sorted(unknown))}")
    kept = [edge for edge in kept if edge in margins]
    inputs = inputs_of(row["edge"] for row in rows)
    labels = {edge: f"{_edge_name(edge, inputs)}: {margins[edge].favoured}" for edge in margins if edge in kept}
    styles, faint = line_styles(labels), {"color": FAINT, "linewidth": 0.9, "zorder": 1.8}
    figure = new_figure(WIDTH, 5.2 + 0.23 * len(labels))
    figure.suptitle(title, weight="bold", parse_math=False)
    axes = figure.subplots()
    axes.axhline(0, color=INK, linewidth=1.2, zorder=2.2)
    axes.text(1.015, 0, "decision\nboundary", transform=axes.get_yaxis_transform(), size=10, va="center")
    for edge, margin in margins.items():
        style = styles.get(edge, faint)
        plot_history(axes, margin.history, "margin", **style)
        axes.plot(crossed[edge], [0] * len(crossed[edge]), **CROSSING | {"markeredgecolor": style["color"]})
    axes.set_title(_crossed_by(crossed, kept), loc="left", size=10)
    axes.set(xlabel="epoch", ylabel="softmax weight of the favoured operation\nminus that of skip_connect")
    _weight_axis(axes, [0, *(row["margin"] for margin in margins.values() for row in margin.history)], most_ticks=7)
    epoch_axis(axes, [row["epoch"] for row in rows], most_ticks=9)
    handles = [Line2D([], [], label=label, **styles[edge]) for edge, label in labels.items()]
    if len(labels) < len(margins):
        handles.append(Line2D([], [], label="edges not kept", **faint))
    if any(crossed.values()):
        handles.append(Line2D([], [], label="crossing", markeredgecolor=INK, **CROSSING))
    legend_below(figure, handles)
    return figure


def _crossed_by(crossed: Mapping[str, list[float]], kept: Collection[str]) -> str:
    edges = [edge for edge, epochs in crossed.items() if epochs]
    if not edges:
        return f"boundary crossed by none of {len(crossed)} edges"
    among_kept = f"{sum(edge in kept for edge in edges)} of {len(set(kept))} kept"
    last = max(epoch for epochs in crossed.values() for epoch in epochs)
    return f"boundary crossed by {len(edges)} of {len(crossed)} edges ({among_kept}), last at epoch {last:.1f}"
