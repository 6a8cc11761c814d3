"""Ranks, regret, chance and Kendall's τ against counting by hand, and a search's path through a known space."""

import math
from itertools import combinations, product
from random import Random

import numpy as np
import pytest

from nas.analysis import truth as module
from nas.analysis.truth import (
    Truth,
    agreement,
    anytime,
    best,
    between_seeds,
    by_genotype,
    canonical,
    favourite,
    recipes,
    resampled,
    tau,
    tau_interval,
    trajectory,
)
from nas.space.genotypes import Genotype, weight_rows


def one_node(*normal: tuple[str, int]) -> Genotype:
    return Genotype(normal, (2,), (("skip_connect", 0), ("skip_connect", 1)), (2,))


def text(genotype: Genotype) -> str:
    return str(genotype)


A, B, C, D = (text(one_node((op, 0), ("skip_connect", 1))) for op in ("max_pool_3x3", "sep_conv_3x3", "x", "y"))


def rows(recipe: str = "short", **top1: tuple[float, ...]) -> list[dict]:
    names = {"A": A, "B": B, "C": C, "D": D}
    return [
        {"genotype": names[name], "recipe": recipe, "seed": seed, "top1": value, "params": 1, "macs": 1}
        for name, each in top1.items()
        for seed, value in enumerate(each)
    ]


TABLE = rows(A=(50.0, 60.0), B=(90.0, 90.0), C=(70.0, 80.0), D=(90.0, 90.0))
# C stands for three of the space's seven genotypes, A for two.
ALIASES = [
    {"genotype": text(one_node((op, 0), ("none", 1))), "trained_as": trained}
    for op, trained in (("a", C), ("b", C), ("c", A))
]


# The table


def test_worth_counts_what_is_better_and_what_is_worse() -> None:
    truth = Truth.of(TABLE, ALIASES)
    assert truth.accuracies == {A: 55.0, B: 90.0, C: 75.0, D: 90.0}
    assert truth.sizes == {A: 2, B: 1, C: 3, D: 1}
    assert truth.best == 90.0
    assert truth.random == pytest.approx((2 * 55 + 90 + 3 * 75 + 90) / 7)
    assert truth.worth(A) == (55.0, 4, 35.0, 0.0)
    assert truth.worth(C) == (75.0, 3, 15.0, 2 / 7)
    assert truth.worth(ALIASES[0]["genotype"]) == truth.worth(C)  # trained as it
    assert truth.worth(B) == truth.worth(D) == (90.0, 1, 0.0, 5 / 7)  # equal ones share a rank
    assert truth.worth(one_node(("unknown", 0), ("skip_connect", 1))) is None
    assert [truth.worse(x) for x in (0, 55, 56, 80, 95)] == [0, 0, 2 / 7, 5 / 7, 1]


def test_a_genotype_is_known_whatever_the_order_of_a_nodes_edges() -> None:
    truth = Truth.of(TABLE)
    swapped = one_node(("skip_connect", 1), ("sep_conv_3x3", 0))
    assert text(swapped) != B and truth.worth(swapped) == truth.worth(B)
    assert canonical(one_node(("skip_connect", 0), ("sep_conv_3x3", 1))) != canonical(swapped)
    two = Genotype((("a", 0), ("b", 1), ("c", 2), ("d", 0)), (2, 3), (("a", 0), ("b", 1), ("c", 2), ("d", 0)), (2, 3))
    other = Genotype((("c", 0), ("b", 1), ("a", 2), ("d", 0)), (2, 3), (("a", 0), ("b", 1), ("c", 2), ("d", 0)), (2, 3))
    assert canonical(two) != canonical(other)  # edges of different nodes are not exchanged


def test_recipes_are_kept_apart() -> None:
    table = TABLE + rows("long", A=(95.0,), B=(91.0,))
    assert recipes(table) == ["short", "long"]
    assert Truth.of(table).accuracies[A] == 55.0
    long = Truth.of(table, recipe="long")
    assert long.accuracies == {A: 95.0, B: 91.0} and long.worth(C) is None
    long = Truth.of(table, ALIASES, "long")
    assert long.sizes == {A: 2, B: 1} and long.worth(ALIASES[0]["genotype"]) is None


@pytest.mark.parametrize(
    ("table", "aliases", "message"),
    [
        ([], [], "it has no rows"),
        ([TABLE[0], TABLE[0]], [], "seed 0 of .* is there twice"),
        (rows(A=(101.0,)), [], "top1 of .* is 101.0, which is no percentage"),
        (rows(A=(math.nan,)), [], "top1 of .* is nan, which is no percentage"),
        (rows(A=(1.0,)), ALIASES[:1], "is trained as .*, which the table does not have"),
    ],
)
def test_a_table_that_cannot_be_true_is_refused(table, aliases, message) -> None:
    with pytest.raises(ValueError, match=message):
        Truth.of(table, aliases)


def test_a_recipe_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no row of the recipe long"):
        Truth.of(TABLE, recipe="long")


# Chance


def test_the_chance_of_a_search_is_counted_over_all_draws() -> None:
    """Of seven genotypes two have 55 %, three 75 % and two 90 %."""
    truth = Truth.of(TABLE, ALIASES)
    space = 2 * [55.0] + 3 * [75.0] + 2 * [90.0]
    for found in ([90.0], [75.0], [55.0], [90.0, 75.0], [90.0, 90.0, 75.0]):
        sums = [sum(drawn) >= sum(found) for drawn in product(space, repeat=len(found))]
        assert truth.chance(found) == pytest.approx(sum(sums) / len(sums), abs=0.015)
    assert truth.chance([55.0]) == 1.0


# Rankings


def tau_b(one, other) -> float:
    """Kendall (1945), by going through all pairs."""
    concordant, tied_one, tied_other, pairs = 0, 0, 0, 0
    for (a, b), (c, d) in combinations(zip(one, other, strict=True), 2):
        pairs += 1
        tied_one += a == c
        tied_other += b == d
        if a != c and b != d:
            concordant += 1 if (a < c) == (b < d) else -1
    return concordant / math.sqrt((pairs - tied_one) * (pairs - tied_other))


def two_rankings(n: int, noise: float, seed: int = 0, digits: int = 1) -> tuple[list[float], list[float]]:
    source = Random(seed)
    one = [round(source.gauss(0, 1), digits) for _ in range(n)]
    return one, [round(x + source.gauss(0, noise), digits) for x in one]


def test_tau_is_kendalls_b_with_ties_and_infinities() -> None:
    for seed in range(5):
        one, other = two_rankings(40, 0.7, seed)
        assert len(set(one)) < 40 and tau(one, other) == pytest.approx(tau_b(one, other), abs=1e-12)
    one, other = [-math.inf, -math.inf, 0.0, 2.0], [1.0, 2.0, 4.0, 3.0]
    assert tau(one, other) == pytest.approx(tau_b(one, other), abs=1e-12)
    assert math.isnan(tau([1, 1, 1], [1, 2, 3]))


def test_every_bootstrap_sample_has_its_own_tau(monkeypatch) -> None:
    """Of pairs that are drawn several times too."""
    monkeypatch.setattr(module, "RESAMPLES", 20)
    one, other = two_rankings(12, 1.0)
    source = np.random.default_rng(0)
    source.choice(12, 12, replace=False)
    samples = [source.integers(12, size=12) for _ in range(20)]
    expected = [tau_b([one[i] for i in sample], [other[i] for i in sample]) for sample in samples]
    np.testing.assert_allclose(resampled(one, other), expected, atol=1e-12)


def test_the_interval_holds_the_true_tau_nearly_as_often_as_it_says(monkeypatch) -> None:
    """Of two normal variables of correlation r, τ is 2/π·arcsin(r) (Kendall)."""
    monkeypatch.setattr(module, "RESAMPLES", 200)
    noise, held = 1.0, 0
    true = 2 / math.pi * math.asin(1 / math.hypot(1, noise))
    for seed in range(100):
        found = tau_interval(*two_rankings(60, noise, seed, digits=9))
        assert found.low <= found.value <= found.high
        held += found.low <= true <= found.high
    assert 85 <= held <= 100


def test_of_many_genotypes_a_sample_makes_the_interval(monkeypatch) -> None:
    monkeypatch.setattr(module, "SAMPLED", 50)
    one, other = two_rankings(400, 1.0, digits=9)
    found = tau_interval(one, other)
    assert found.value == pytest.approx(tau_b(one, other), abs=1e-12)
    assert found.low < found.value < found.high and found.high - found.low > 0.1
    monkeypatch.setattr(module, "SAMPLED", 400)
    narrower = tau_interval(one, other)
    assert narrower.high - narrower.low < 0.6 * (found.high - found.low)


def test_what_is_all_ties_has_no_tau() -> None:
    found = tau_interval([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert all(math.isnan(value) for value in found)


def test_scores_meet_the_truth_of_what_was_trained() -> None:
    truth = Truth.of(TABLE, ALIASES)
    scores = {ALIASES[0]["genotype"]: 1.0, ALIASES[1]["genotype"]: 4.0, C: 4.0, B: 2.0}
    scores[text(one_node(("unknown", 0), ("skip_connect", 1)))] = 9.0
    assert by_genotype(scores, truth) == ([2.0, 3.0], [90.0, 75.0])
    assert favourite([2.0, 3.0], [90.0, 75.0]) == 75.0
    assert favourite([3.0, 1.0, 3.0], [90.0, 75.0, 80.0]) == 85.0


def test_recipes_agree_as_their_rankings_do() -> None:
    short = rows(A=(1.0,), B=(2.0,), C=(3.0,), D=(4.0,))
    long = rows("long", D=(80.0,), A=(60.0,), B=(50.0,))
    (found,) = agreement(short + long, share=0.5)
    assert (found["one"], found["other"], found["genotypes"]) == ("short", "long", 3)
    assert found["tau"].value == pytest.approx(tau_b([1, 2, 4], [60, 50, 80]))
    assert (found["count"], found["common"], found["expected"]) == (2, 1, pytest.approx(4 / 3))
    assert found["p_value"] == 1.0  # of three two each: one is always common
    same = [row | {"recipe": "long"} for row in short]
    (found,) = agreement(short + same, share=0.5)
    # Two of four, the same two of the six pairs that there are
    assert (found["tau"].value, found["common"], found["p_value"]) == (1.0, 2, pytest.approx(1 / 6))
    assert agreement(short) == [] and best({"a": 1.0, "b": 3.0, "c": 3.0}, 1) == {"b"}


def test_seeds_agree_as_their_rankings_do() -> None:
    table = rows(A=(1.0, 1.0, 3.0), B=(2.0, 3.0, 2.0), C=(3.0, 2.0, 1.0), D=(4.0, 4.0))
    columns = [[1, 2, 3, 4], [1, 3, 2, 4]]
    assert between_seeds(table) == pytest.approx(tau_b(*columns))  # D has no third seed
    assert between_seeds(rows(A=(1.0,), B=(2.0,))) is None


# Searches


def searched(*weights: float, space=("none", "max_pool_3x3", "sep_conv_3x3", "skip_connect")) -> list[dict]:
    """alphas.csv of a search of one node, whose first edge weighs max_pool against sep_conv as given at each epoch."""
    fixed = [0.0, 0.0, 0.0, 1.0]
    return [
        row
        for epoch, weight in enumerate(weights)
        for row in weight_rows(
            space, {"normal": [[0.9, 1 - weight, weight, 0.0], fixed], "reduce": [fixed, fixed]}, epoch
        )
    ]


def test_a_search_is_judged_at_each_epoch_by_what_alpha_stands_for() -> None:
    truth = Truth.of(TABLE, ALIASES)
    found = trajectory(searched(0.4, 0.6, 0.3), truth)
    assert [row["epoch"] for row in found] == [0, 1, 2]
    assert [row["top1"] for row in found] == [55.0, 90.0, 55.0]
    assert [(row["rank"], row["regret"]) for row in found] == [(4, 35.0), (1, 0.0), (4, 35.0)]
    assert canonical(found[1]["genotype"]) == canonical(B)
    assert [row["epoch"] for row in trajectory(searched(0.4, 0.6, 0.3), truth, last=1)] == [0, 1]


def test_what_the_truth_does_not_have_is_not_judged() -> None:
    (row,) = trajectory(searched(0.4), Truth.of(rows(B=(90.0,))))
    assert [row[name] for name in ("top1", "rank", "regret", "worse")] == [None] * 4
    assert anytime([[row]]) == []


def test_regret_at_any_time_is_that_of_the_result_once_a_search_has_ended() -> None:
    truth = Truth.of(TABLE)
    paths = [trajectory(searched(*weights), truth) for weights in ((0.4, 0.4, 0.6), (0.6, 0.4))]
    assert anytime(paths) == [
        {"epoch": 0, "mean": 17.5, "low": 0.0, "high": 35.0},
        {"epoch": 1, "mean": 35.0, "low": 35.0, "high": 35.0},
        {"epoch": 2, "mean": 17.5, "low": 0.0, "high": 35.0},
    ]
