"""How sure a test accuracy is: its 95 % interval, and whether two accuracies can be told apart."""

from collections.abc import Iterable, Mapping, Sequence
from math import hypot, sqrt
from statistics import mean, variance
from typing import NamedTuple

from scipy.special import stdtr, stdtrit

Z = 1.959964  # of the normal distribution, for 95 %
LEVEL = 0.05  # at which a difference counts as more than chance


class Interval(NamedTuple):
    """In percent."""

    low: float
    high: float


def wilson(accuracy: float, images: int) -> Interval:
    """The score interval of a share of `images` (Wilson, JASA 22, 1927): 95 %, for an `accuracy` in percent."""
    p, z2 = accuracy / 100, Z**2 / images
    centre = (p + z2 / 2) / (1 + z2)
    half = Z / (1 + z2) * sqrt(p * (1 - p) / images + z2 / (4 * images))
    return Interval(100 * max(0.0, centre - half), 100 * min(1.0, centre + half))


def seeds_half_width(deviations: Iterable[tuple[int, float]]) -> float:
    """Half of the 95 % t interval of a single training, in points; 0 where no network was trained more than once.

    `deviations` has a (number of seeds, standard deviation) for each network. All share one deviation, pooled: two or
    three seeds of a network by itself would say next to nothing of it.
    """
    repeated = [(seeds - 1, deviation) for seeds, deviation in deviations if seeds > 1]
    freedom = sum(weight for weight, _ in repeated)
    if not freedom:
        return 0.0
    return float(stdtrit(freedom, 0.975)) * sqrt(sum(weight * d**2 for weight, d in repeated) / freedom)


def widened(accuracy: float, interval: Interval, half: float) -> Interval:
    """The interval with an error of another source added, whose 95 % half-width is `half`: squares add up."""
    low, high = (hypot(accuracy - end, half) for end in interval)
    return Interval(max(0.0, accuracy - low), min(100.0, accuracy + high))


def least_lead(better: Mapping, worse: Mapping) -> float:
    """The lower end of the 95 % interval of the difference of two rows of {accuracy, interval}, in points.

    It is Newcombe's (Statistics in Medicine 17, 1998, method 10), made from the rows' own intervals, and takes the rows
    as measured on different images; of the same images it is on the careful side. Without intervals (None) it is the
    difference itself.
    """
    lead = better["accuracy"] - worse["accuracy"]
    if better["interval"] is None or worse["interval"] is None:
        return lead
    return lead - hypot(better["accuracy"] - better["interval"].low, worse["interval"].high - worse["accuracy"])


def told_apart(one: Mapping, other: Mapping) -> bool:
    """Whether two rows differ by more than chance would have it: 0 lies outside the interval of their difference."""
    worse, better = sorted((one, other), key=lambda row: row["accuracy"])
    return least_lead(better, worse) > 0


def ties(rows: Sequence[Mapping]) -> list[Mapping]:
    """The most accurate of the rows, and after it those that are not told apart from it; [] of none."""
    ranked = sorted(rows, key=lambda row: -row["accuracy"])
    return [row for row in ranked if not told_apart(ranked[0], row)]


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """The two-sided p-value of Welch's t-test (Biometrika 34, 1947) that two samples, of two or more, have one mean.

    Samples without any spread have one mean, or surely not.
    """
    errors = [variance(each) / len(each) for each in (one, other)]
    if not sum(errors):
        return float(mean(one) == mean(other))
    t = abs(mean(one) - mean(other)) / sqrt(sum(errors))
    freedom = sum(errors) ** 2 / sum(e**2 / (len(x) - 1) for e, x in zip(errors, (one, other), strict=True))
    return float(2 * stdtr(freedom, -t))


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """p-values of several tests, adjusted so that one of them by chance is as rare as told (Holm, 1979)."""
    adjusted, least = {}, 0.0
    for rank, (name, chance) in enumerate(sorted(chances.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, (len(chances) - rank) * chance))
        adjusted[name] = least
    return adjusted
