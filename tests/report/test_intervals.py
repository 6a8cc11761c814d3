"""95 % intervals of accuracies: what the literature and SciPy give, how often they hold the truth, and ties."""

import numpy as np
import pytest
from scipy import stats

from nas.report.intervals import Interval, least_lead, seeds_half_width, ties, told_apart, widened, wilson


@pytest.mark.parametrize("right, images", [(351, 360), (0, 10), (10, 10), (1, 3), (6962, 10000)])
def test_wilson_is_scipys(right: int, images: int) -> None:
    theirs = stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
    assert wilson(100 * right / images, images) == pytest.approx((100 * theirs.low, 100 * theirs.high), abs=1e-6)


def test_the_deviation_of_seeds_is_pooled_and_a_network_trained_once_adds_nothing() -> None:
    assert seeds_half_width([(1, 0.0), (1, 0.0)]) == 0
    assert seeds_half_width([(3, 2.0)]) == pytest.approx(stats.t.ppf(0.975, 2) * 2.0)
    pooled = np.sqrt((2 * 1.0**2 + 1 * 3.0**2) / 3)
    assert seeds_half_width([(3, 1.0), (2, 3.0), (1, 0.0)]) == pytest.approx(stats.t.ppf(0.975, 3) * pooled)


def test_errors_of_two_sources_add_as_squares_within_0_and_100_percent() -> None:
    assert widened(90.0, Interval(87.0, 93.0), 4.0) == pytest.approx((85.0, 95.0))
    assert widened(90.0, Interval(87.0, 93.0), 0.0) == pytest.approx((87.0, 93.0))
    assert widened(99.0, Interval(98.0, 99.5), 40.0)[1] == 100 and widened(1.0, Interval(0.5, 2.0), 40.0)[0] == 0


def row(right: int, images: int) -> dict:
    accuracy = 100 * right / images
    return {"accuracy": accuracy, "interval": wilson(accuracy, images)}


@pytest.mark.parametrize(
    ("better", "worse", "least"),
    [((56, 70), (48, 80), 5.24), ((9, 10), (3, 10), 17.05), ((5, 56), (0, 29), -3.81)],
)
def test_the_interval_of_a_difference_is_newcombes(better, worse, least) -> None:
    """Table II of his paper, method 10."""
    better, worse = row(*better), row(*worse)
    assert least_lead(better, worse) == pytest.approx(least, abs=0.005)
    assert told_apart(better, worse) is told_apart(worse, better) is (least > 0)


def test_equal_networks_are_told_apart_about_one_time_in_twenty() -> None:
    drawn = np.random.default_rng(0).binomial(360, 0.95, size=(2000, 2))
    apart = np.mean([told_apart(row(int(a), 360), row(int(b), 360)) for a, b in drawn])
    assert 0.02 < apart < 0.06


def test_ties_begin_with_the_best_and_leave_out_what_is_apart() -> None:
    rows = [row(right, 360) for right in (293, 348, 351, 339)]
    assert [round(one["accuracy"], 2) for one in ties(rows)] == [97.5, 96.67]
    assert ties([]) == []
    unknown = [{"accuracy": accuracy, "interval": None} for accuracy in (90.0, 91.0, 91.0)]
    assert ties(unknown) == unknown[1:]
