"""Accuracy and cost from one search space to the next."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from nas.report.figures.scales import accuracy_axis, log_axis
from nas.report.figures.style import COLOURS, INK, PAPER, STYLE, WIDTH, legend_below, new_figure, save


def plot_roadmap(steps: Sequence[Mapping[str, object]], path: str | Path, *, note: str) -> None:
    """Plot accuracy and GMAC of each step from one search space to the next, ours beside the paper's.

    This is Fig. 1 of the PIBConv paper turned on its side, where names and numbers have room. The accuracy axis is
    `nas.report.figures.scales.accuracy_axis`; the GMAC axis is logarithmic if the GMACs span more than a factor of 100.

    Parameters
    ----------
    steps : in order, {name: str, accuracy (percent), deviation (percent over seeds, 0 for a single one), gmac,
        paper_accuracy, paper_gmac (both None where the paper has no such step)}.
    path : the PNG file to write.
    note : what ours was measured on, in small print at the bottom.
    """
    save(roadmap_figure(steps, note), path)


@rc_context(STYLE)
def roadmap_figure(steps: Sequence[Mapping], note: str) -> Figure:
    """The figure that `plot_roadmap` saves."""
    figure = new_figure(WIDTH, 0.5 * len(steps) + 1.6)
    accuracy, gmac = panels = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _roadmap_axes(accuracy, gmac, steps)
    paired = [step["paper_accuracy"] is not None or step["paper_gmac"] is not None for step in steps]
    ours, paper = {"color": COLOURS[0], "label": "ours"}, {"color": PAPER, "label": "paper"}
    _plot_steps(panels, steps, "", [i - 0.2 * pair for i, pair in enumerate(paired)], **ours)
    _plot_steps(panels, steps, "paper_", [i + 0.2 for i in range(len(steps))], **paper)
    shown = (ours, paper) if any(paired) else (ours,)
    legend_below(figure, [Line2D([], [], linewidth=5, **style) for style in shown], note)
    return figure


def _roadmap_axes(accuracy: Axes, gmac: Axes, steps: Sequence[Mapping]) -> None:
    spans = [(step["accuracy"], step["deviation"]) for step in steps]
    spans += [(step["paper_accuracy"], 0.0) for step in steps if step["paper_accuracy"] is not None]
    # A bar has a length only if the axis begins well below its end: at one and a half times the greatest error.
    lowest = 100 - 1.5 * (100 - min(a - d for a, d in spans))
    accuracy_axis(accuracy.xaxis, lowest, max(a + d for a, d in spans), clear=0.13)
    accuracy.set(xlabel="test accuracy (%)", ylim=(len(steps) - 0.5, -0.5))
    accuracy.set_yticks(range(len(steps)), [step["name"] for step in steps], parse_math=False)
    gmacs = [step[key] for step in steps for key in ("gmac", "paper_gmac") if step[key] is not None]
    if max(gmacs) > 100 * min(gmacs):
        log_axis(gmac.xaxis, gmacs)
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
