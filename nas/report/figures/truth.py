"""A space whose every genotype was trained: what there was to find, what was found, and what could have told."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nas.report.figures.scales import epoch_axis
from nas.report.figures.style import COLOURS, FAINT, INK, PAPER, STYLE, WIDTH, legend_below, new_figure, save

MARKERS = "os^Dv*XP"  # with colours that come again, a line is told by its marks
BINS = 30
ROW = 0.27  # inches, of a row of marks


def plot_distribution(
    accuracies: Sequence[float],
    sizes: Sequence[int],
    ends: Mapping[str, Sequence[float]],
    path: str | Path,
    *,
    random: float,
) -> None:
    """Plot the accuracies of a space, and below them where each search ended.

    Parameters
    ----------
    accuracies, sizes : sequence
        Of the trained genotypes, in percent, and how many genotypes of the space each stands for.
    ends : mapping of str to sequence of float
        An algorithm, and the accuracies of what its searches found; a row of marks each.
    path : str or Path
    random : float
        The accuracy to expect of a random draw.
    """
    save(distribution_figure(accuracies, sizes, ends, random), path)


@rc_context(STYLE)
def distribution_figure(
    accuracies: Sequence[float], sizes: Sequence[int], ends: Mapping[str, Sequence[float]], random: float
) -> Figure:
    """The figure that `plot_distribution` saves."""
    rows = ROW * len(ends) + 0.15 if ends else 0.0
    figure = new_figure(WIDTH, 3.4 + rows)
    heights = [2.4, rows] if ends else [1]
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    share = 100 / sum(sizes)
    panels[0].hist(accuracies, BINS, weights=[share * size for size in sizes], color=FAINT, edgecolor="white")
    panels[0].set_ylabel("share of the space (%)")
    for axes in panels:
        axes.axvline(random, color=INK, linestyle="--", linewidth=1.1, zorder=1)
        axes.axvline(max(accuracies), color=INK, linestyle=":", linewidth=1.1, zorder=1)
    if ends:
        for row, (found, colour) in enumerate(zip(ends.values(), cycle(COLOURS), strict=False)):
            panels[1].plot(found, [row] * len(found), "o", color=colour, markersize=6, alpha=0.8, markeredgewidth=0)
        panels[1].set(yticks=range(len(ends)), yticklabels=list(ends), ylim=(len(ends) - 0.4, -0.6))
        panels[1].grid(axis="y", visible=False)
    panels[-1].set_xlabel("accuracy (%)")
    handles = [
        Line2D([], [], label="a random draw, on average", color=INK, linestyle="--", linewidth=1.1),
        Line2D([], [], label="the best", color=INK, linestyle=":", linewidth=1.1),
    ]
    if ends:
        handles.append(Line2D([], [], label="what a search found", color=PAPER, marker="o", linestyle="none"))
    legend_below(figure, handles)
    return figure


def plot_regret(paths: Mapping[str, Sequence[Mapping]], path: str | Path, *, random: float) -> None:
    """Plot regret against epochs: of each algorithm the mean over its seeds, and their range as a band.

    `paths` maps an algorithm to rows of {epoch, mean, low, high}, in points; `random` is the regret to expect of a
    random draw.
    """
    save(regret_figure(paths, random), path)


@rc_context(STYLE)
def regret_figure(paths: Mapping[str, Sequence[Mapping]], random: float) -> Figure:
    """The figure that `plot_regret` saves."""
    figure = new_figure(WIDTH, 4.4)
    axes = figure.subplots()
    axes.axhline(random, color=INK, linestyle="--", linewidth=1.1, zorder=1)
    handles = [Line2D([], [], label="a random draw, on average", color=INK, linestyle="--", linewidth=1.1)]
    for i, ((name, rows), colour) in enumerate(zip(paths.items(), cycle(COLOURS), strict=False)):
        epochs, means = [row["epoch"] for row in rows], [row["mean"] for row in rows]
        look = {"color": colour, "marker": MARKERS[i // len(COLOURS)], "markersize": 4}
        axes.plot(epochs, means, markevery=max(1, len(rows) // 6), **look)
        if len(rows) > 1:
            low, high = ([row[end] for row in rows] for end in ("low", "high"))
            axes.fill_between(epochs, low, high, color=colour, alpha=0.12, linewidth=0)
        handles.append(Line2D([], [], label=name, linewidth=3, **look))
    axes.set(xlabel="epoch", ylabel="regret (points of accuracy)")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    epoch_axis(axes, [row["epoch"] for rows in paths.values() for row in rows])
    legend_below(figure, handles)
    return figure


def plot_taus(
    proxies: Mapping[str, Sequence[Sequence[float]]],
    supernets: Mapping[str, Sequence[Sequence[float]]],
    path: str | Path,
    *,
    seeds: float | None = None,
) -> None:
    """Plot Kendall's τ of scores with the truth, a row each.

    Parameters
    ----------
    proxies, supernets : mapping of str to sequence
        A score's name, or the algorithm whose supernets gave an opinion, and for each a τ with the ends of its 95 %
        interval, several where there were several seeds.
    path : str or Path
    seeds : float, optional
        τ between the accuracies of two seeds, drawn as a line.
    """
    save(taus_figure(proxies, supernets, seeds), path)


@rc_context(STYLE)
def taus_figure(proxies: Mapping[str, Sequence], supernets: Mapping[str, Sequence], seeds: float | None) -> Figure:
    """The figure that `plot_taus` saves."""
    groups = [
        (name, each, colour, mark)
        for of_kind, colour, mark in ((proxies, COLOURS[0], "o"), (supernets, COLOURS[1], "s"))
        for name, each in of_kind.items()
    ]
    figure = new_figure(WIDTH, 1.5 + 0.32 * len(groups))
    axes = figure.subplots()
    axes.axvline(0, color=PAPER, linewidth=1, zorder=1)
    for row, (_, found, colour, mark) in enumerate(groups):
        for i, (value, low, high) in enumerate(found):
            place = row + 0.16 * (i - (len(found) - 1) / 2)
            axes.plot([low, high], [place, place], color=colour, linewidth=1.3)
            axes.plot([value], [place], mark, color=colour, markersize=6)
    axes.set(yticks=range(len(groups)), yticklabels=[name for name, *_ in groups], ylim=(len(groups) - 0.4, -0.6))
    axes.set(xlabel="Kendall's τ with the truth", xlim=(min(-0.1, axes.get_xlim()[0]), 1.0))
    axes.grid(axis="y", visible=False)
    handles = [Line2D([], [], label="proxy, untrained", color=COLOURS[0], marker="o")] if proxies else []
    handles += [Line2D([], [], label="supernet", color=COLOURS[1], marker="s")] if supernets else []
    if seeds is not None:
        axes.axvline(seeds, color=INK, linestyle="--", linewidth=1.1, zorder=1)
        handles.append(Line2D([], [], label="one seed with another", color=INK, linestyle="--", linewidth=1.1))
    legend_below(figure, handles)
    return figure
