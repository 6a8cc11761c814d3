"""Accuracy and loss against epochs, of searches and of trainings."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from operator import itemgetter
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nas.report.figures.scales import epoch_axis
from nas.report.figures.style import COLOURS, INK, STYLE, WIDTH, legend_below, new_figure, save

HALVES = {"train": {"linestyle": "--", "linewidth": 1.3}, "valid": {}}
History = Sequence[Mapping[str, float]]


def plot_search(histories: Mapping[str, History], path: str | Path) -> None:
    """Plot accuracy and loss of each search on both halves of the training images.

    `histories` maps a search to rows of {epoch, train_top1, valid_top1 (percent), train_loss, valid_loss}.
    """
    save(search_figure(histories), path)


def plot_training(histories: Mapping[str, History], path: str | Path) -> None:
    """Plot accuracy and loss of the evaluated networks: a row of panels a genotype, a colour a number of layers.

    `histories` maps GENOTYPE-LAYERS-SEED to rows of {epoch, train_loss, train_top1, test_loss, test_top1 (percent)}.
    Raises ValueError if a name is of another form.
    """
    save(training_figure(histories), path)


@rc_context(STYLE)
def search_figure(histories: Mapping[str, History]) -> Figure:
    """The figure that `plot_search` saves."""
    figure = new_figure(WIDTH, 7.2)
    accuracy, loss = figure.subplots(2, 1, sharex=True)
    _plot_halves(accuracy, histories, "top1")
    _plot_halves(loss, histories, "loss")
    accuracy.set_ylabel("top-1 accuracy (%)")
    loss.set(xlabel="epoch", ylabel="cross-entropy loss")
    _halves_legend(figure, histories)
    return figure


def _plot_halves(axes: Axes, histories: Mapping[str, History], measure: str) -> None:
    for rows, colour in zip(histories.values(), cycle(COLOURS), strict=False):
        for half, style in HALVES.items():
            plot_history(axes, rows, f"{half}_{measure}", color=colour, **style)
    epoch_axis(axes, [row["epoch"] for rows in histories.values() for row in rows])


def _halves_legend(figure: Figure, histories: Mapping[str, History]) -> None:
    colours = zip(histories, cycle(COLOURS), strict=False)
    handles = [Line2D([], [], color=colour, label=name, linewidth=3) for name, colour in colours]
    legend_below(figure, handles + _solid_and_dashed("validation half", "training half", histories.values()))


@rc_context(STYLE)
def training_figure(histories: Mapping[str, History]) -> Figure:
    """The figure that `plot_training` saves."""
    runs: dict[str, list[tuple[int, History]]] = {}
    for name, rows in histories.items():
        genotype, layers = _genotype_and_layers(name)
        runs.setdefault(genotype, []).append((layers, rows))
    depths = sorted({layers for group in runs.values() for layers, _ in group})
    # Dark to light from deep to shallow, without the pale end of the scale, which would be lost on white.
    colours = dict(zip(reversed(depths), colormaps["plasma"](np.linspace(0.02, 0.88, len(depths))), strict=True))
    figure = new_figure(WIDTH, 2.5 * len(runs) + 1.2)
    panels = figure.subplots(len(runs), 2, sharex=True, sharey="col", squeeze=False)
    for (accuracy, loss), (genotype, group) in zip(panels, runs.items(), strict=True):
        for layers, rows in sorted(group, key=itemgetter(0)):
            for axes, measure in ((accuracy, "top1"), (loss, "loss")):
                faint = {"linestyle": "--", "linewidth": 0.8, "alpha": 0.7}
                plot_history(axes, rows, f"train_{measure}", color=colours[layers], **faint)
                plot_history(axes, rows, f"test_{measure}", color=colours[layers], linewidth=1.2)
        accuracy.set_title(genotype, loc="left", weight="bold", parse_math=False)
        accuracy.set_ylabel("top-1 accuracy (%)")
        loss.set_ylabel("cross-entropy loss")
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    epoch_axis(panels[0, 0], [row["epoch"] for rows in histories.values() for row in rows])
    handles = [Line2D([], [], color=colours[n], label=f"{n} layer{'s' * (n > 1)}", linewidth=3) for n in depths]
    legend_below(figure, handles + _solid_and_dashed("test", "training", histories.values()))
    return figure


def _genotype_and_layers(run: str) -> tuple[str, int]:
    genotype, *numbers = run.rsplit("-", 2)  # a genotype may contain hyphens
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"a run must be named GENOTYPE-LAYERS-SEED, not {run!r}")
    return genotype, int(numbers[0])


def plot_history(axes: Axes, rows: History, key: str, **style: object) -> None:
    """Draw a column of a history against its epochs."""
    # A line through a single point cannot be seen: mark it, hollow where the line would be dashed.
    marker = {"marker": "o" if len(rows) == 1 else "", "markersize": 6}
    if style.get("linestyle") == "--":
        marker["markerfacecolor"] = "white"
    axes.plot([row["epoch"] for row in rows], [row[key] for row in rows], **marker, **style)


def _solid_and_dashed(solid: str, dashed: str, histories: Iterable[History]) -> list[Line2D]:
    marker = {"marker": "o"} if any(len(rows) == 1 for rows in histories) else {}
    return [
        Line2D([], [], color=INK, label=solid, **marker),
        Line2D([], [], color=INK, label=dashed, linestyle="--", linewidth=1.3, markerfacecolor="white", **marker),
    ]
