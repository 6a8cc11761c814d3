"""Accuracy against latency."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nas.report.figures.scales import accuracy_axis, log_axis
from nas.report.figures.style import COLOURS, MARKERS, STYLE, WIDTH, legend_below, new_figure, save


class Point(Protocol):
    """Milliseconds and percent."""

    @property
    def latency(self) -> float: ...

    @property
    def accuracy(self) -> float: ...


Groups = Mapping[tuple[int, int], Mapping[str, Sequence[Point]]]


def plot_latency(groups: Groups, names: Mapping[str, str], path: str | Path, *, note: str) -> None:
    """Plot accuracy against latency, a panel for each setting, with the Pareto front of each form as a line.

    Parameters
    ----------
    groups : by (batch, threads) and form, the points of networks; none is empty.
    names : what each form is called.
    path : the PNG file to write.
    note : what it was measured on, in small print at the bottom.
    """
    save(latency_figure(groups, names, note), path)


@rc_context(STYLE)
def latency_figure(groups: Groups, names: Mapping[str, str], note: str) -> Figure:
    """The figure that `plot_latency` saves."""
    figure = new_figure(WIDTH, 1.2 + 3.1 * len(groups))
    panels = figure.subplots(len(groups), 1, sharey=True, squeeze=False)[:, 0]
    styles = {
        form: {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 6, "label": name}
        for i, (form, name) in enumerate(names.items())
        if any(form in forms for forms in groups.values())
    }
    for axes, ((batch, threads), forms) in zip(panels, groups.items(), strict=True):
        for form, points in forms.items():
            _plot_form(axes, points, styles[form])
        images, on = f"{batch} image{'s' * (batch > 1)}", f"{threads} thread{'s' * (threads > 1)}"
        axes.set(xlabel=f"milliseconds for {images} on {on}", ylabel="test accuracy (%)")
        log_axis(axes.xaxis, [point.latency for points in forms.values() for point in points])
    every = [point.accuracy for forms in groups.values() for points in forms.values() for point in points]
    accuracy_axis(panels[0].yaxis, min(every), max(every))
    legend_below(figure, [Line2D([], [], **style) for style in styles.values()], note)
    return figure


def _plot_form(axes: Axes, points: Sequence[Point], style: Mapping[str, object]) -> None:
    """The points, and a stair along those that no other is faster than without being less accurate."""
    ordered = sorted(points, key=lambda point: (point.latency, -point.accuracy))
    x, y = [point.latency for point in ordered], [point.accuracy for point in ordered]
    axes.plot(x, y, linestyle="", zorder=3, **style)
    best = [max(y[: i + 1]) for i in range(len(y))]
    axes.plot(x, best, color=style["color"], linewidth=1.2, drawstyle="steps-post", alpha=0.6)
