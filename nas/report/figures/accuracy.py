"""Accuracy against size: our networks beside the paper's."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nas.report.figures.scales import accuracy_axis, log_axis
from nas.report.figures.style import COLOURS, MARKERS, PAPER, STYLE, WIDTH, legend_below, new_figure, save


def plot_accuracy(ours: Sequence[Mapping], paper: Sequence[Mapping], path: str | Path, *, note: str) -> None:
    """Plot accuracy against layers and against parameters, our results in colour and the paper's in grey.

    Both hold {genotype, layers, params (millions), accuracy (percent)}; `ours` also deviation (percent over seeds, 0
    for a single one) and interval, its two ends or None: bars show that, or the deviation where there is none. Either
    may be empty, not both. The accuracy axis follows the logarithm of the error: half a percent between good networks
    could not be seen beside a network at 54 % otherwise. `note`, in small print at the bottom, says what ours was
    measured on.
    """
    save(accuracy_figure(ours, paper, note), path)


@rc_context(STYLE)
def accuracy_figure(ours: Sequence[Mapping], paper: Sequence[Mapping], note: str) -> Figure:
    """The figure that `plot_accuracy` saves."""
    figure = new_figure(WIDTH, 8.2)
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
    log_axis(panels[1].xaxis, [point["params"] for point in (*ours, *paper)])
    ends = [_ends(point) for point in (*ours, *paper)]
    accuracy_axis(panels[0].yaxis, min(low for low, _ in ends), max(high for _, high in ends))
    legend_below(figure, handles, note)
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
        for point, accuracy in zip(ordered, y, strict=True):
            low, high = _ends(point)
            if low < high:
                bars = {"ecolor": style["color"], "capsize": 3, "elinewidth": 1.2}
                axes.errorbar(point[key], accuracy, [[accuracy - low], [high - accuracy]], fmt="none", **bars)
    return Line2D([], [], label=label, **style)


def _ends(point: Mapping) -> tuple[float, float]:
    """Of a point's bar; both are the accuracy where there is none."""
    deviation = point.get("deviation", 0.0)
    spread = (point["accuracy"] - deviation, min(point["accuracy"] + deviation, 100.0))  # none lies above 100 %
    return point.get("interval") or spread
