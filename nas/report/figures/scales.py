"""Axes that several families of pictures share: epochs, a logarithm, and accuracy by the logarithm of the error."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.scale import FuncScale
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator


def epoch_axis(axes: Axes, epochs: Sequence[float], most_ticks: int = 6) -> None:
    """Give the axis whole epochs as ticks, and a single epoch some width."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most_ticks - 1, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    if min(epochs) == max(epochs):
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)


def log_axis(axis: Axis, values: Sequence[float], margin: float = 1.6) -> None:
    """Make the axis logarithmic; with the default `margin` it holds a tick, however few the values."""
    name = axis.axis_name
    axis.axes.set(**{f"{name}scale": "log", f"{name}lim": (min(values) / margin, max(values) * margin)})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=30))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


SATURATION = 0.5  # percent, added to the error so that an accuracy of 100 % has a place
ACCURACY_TICKS = (10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99, 99.5, 100)


def accuracy_axis(axis: Axis, lowest: float, highest: float, clear: float = 0.045) -> None:
    """Scale the axis by the logarithm of the error, from the `lowest` to the `highest` accuracy in percent.

    Ticks lie apart by at least the share `clear` of its length.
    """
    bottom, top = from_accuracy(np.array([max(lowest, 0), min(highest, 100)]))
    margin = max(0.06 * (top - bottom), 0.02)
    bottom, top = bottom - margin, min(top + margin, -np.log10(0.6 * SATURATION))
    scale, limits = FuncScale(axis, (from_accuracy, to_accuracy)), to_accuracy(np.array([bottom, top]))
    axis.axes.set(**{f"{axis.axis_name}scale": scale, f"{axis.axis_name}lim": limits})
    axis.set_major_locator(FixedLocator(_accuracy_ticks(bottom, top, clear)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _accuracy_ticks(bottom: float, top: float, clear: float) -> list[float]:
    ticks: list[float] = []
    for tick in sorted(ACCURACY_TICKS, reverse=True):
        height = from_accuracy(tick)
        free = not ticks or from_accuracy(ticks[-1]) - height > clear * (top - bottom)
        if bottom <= height <= top and free:
            ticks.append(tick)
    if len(ticks) >= 3:
        return ticks
    low, high = to_accuracy(np.array([bottom, top]))
    evenly = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [tick for tick in evenly if low <= tick <= min(high, 100)]


def from_accuracy(accuracy: np.ndarray) -> np.ndarray:
    """The height of an accuracy (percent) on the axis, up to a factor and an offset."""
    return -np.log10(np.maximum(100 + SATURATION - np.asarray(accuracy, float), 1e-3))


def to_accuracy(height: np.ndarray) -> np.ndarray:
    """The inverse of `from_accuracy`."""
    return 100 + SATURATION - 10.0 ** -np.asarray(height, float)
