"""What happens in searches by several algorithms: skip connections, and the curvature of the loss around α."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from statistics import mean

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nas.report.figures.scales import epoch_axis
from nas.report.figures.style import COLOURS, STYLE, WIDTH, legend_below, new_figure, save

History = Sequence[Mapping[str, float]]
MARKERS = "os^Dv*XP"  # with colours that come again, a line is told by its marks


def plot_algorithms(histories: Mapping[str, Sequence[History]], path: str | Path) -> None:
    """Plot skip connections in the normal cell against epochs, and below, where measured, the dominant eigenvalue.

    `histories` maps an algorithm to its searches, a seed each: rows of {epoch, skips_normal and perhaps eigenvalue}. A
    line is the mean over the seeds that have come so far.
    """
    save(algorithms_figure(histories), path)


@rc_context(STYLE)
def algorithms_figure(histories: Mapping[str, Sequence[History]]) -> Figure:
    """The figure that `plot_algorithms` saves."""
    measured = any("eigenvalue" in rows[0] for searches in histories.values() for rows in searches)
    shown = ["skips_normal", "eigenvalue"] if measured else ["skips_normal"]
    figure = new_figure(WIDTH, 3.6 * len(shown) + 0.8)
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    looks = {
        name: {"color": colour, "marker": MARKERS[i // len(COLOURS)], "markevery": 0.2, "markersize": 4}
        for i, (name, colour) in enumerate(zip(histories, cycle(COLOURS), strict=False))
    }
    for axes, key in zip(panels, shown, strict=True):
        for name, searches in histories.items():
            points = _means(searches, key)
            if points:
                axes.plot(*zip(*points, strict=True), **looks[name])
    panels[0].set_ylabel("skip connections, normal cell")
    if measured:
        panels[1].set_ylabel("dominant eigenvalue of ∇²α L_val")
    panels[-1].set_xlabel("epoch")
    epoch_axis(panels[0], [row["epoch"] for searches in histories.values() for rows in searches for row in rows])
    legend_below(figure, [Line2D([], [], label=name, linewidth=3, **look) for name, look in looks.items()])
    return figure


def _means(searches: Sequence[History], key: str) -> list[tuple[float, float]]:
    values: dict[float, list[float]] = {}
    for rows in searches:
        for row in rows:
            if key in row:
                values.setdefault(row["epoch"], []).append(row[key])
    return [(epoch, mean(found)) for epoch, found in sorted(values.items())]
