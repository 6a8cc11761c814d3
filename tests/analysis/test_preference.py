"""Preferences: margins, entropies and verdicts by hand, agreement against the probability that a draw has it."""

import math
import random
from itertools import combinations, pairwise

import pytest

from nas.analysis import preference
from nas.analysis.preference import Preference, agreement, repeatability
from nas.space.genotypes import Genotype, random_genotype, strongest
from nas.space.spaces import SearchSpace, find

THREE = ("ds_conv", "mb_conv", "fused_mb_conv")


def space(*operations: str) -> SearchSpace:
    return SearchSpace("mine", operations)


def test_margin_and_entropy_by_hand():
    told = Preference(THREE, [[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]])
    assert told.margin == pytest.approx((0.2 + 0.25) / 2)
    one = -(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2)) / math.log(3)
    assert told.entropy == pytest.approx((one + 1.5 * math.log(2) / math.log(3)) / 2)
    assert told.leads == {"ds_conv": 1, "mb_conv": 0, "fused_mb_conv": 1}
    assert told.weights_mean == pytest.approx({"ds_conv": 0.375, "mb_conv": 0.275, "fused_mb_conv": 0.35})
    assert told.weights_max == {"ds_conv": 0.5, "mb_conv": 0.3, "fused_mb_conv": 0.5}


def test_none_is_left_out_and_the_rest_scaled():
    told = Preference(("none", "a", "b"), [[0.9, 0.08, 0.02], [0.2, 0.4, 0.4]])
    assert told.margin == pytest.approx((0.8 - 0.2 + 0) / 2)
    assert told.entropy == pytest.approx((-(0.8 * math.log2(0.8) + 0.2 * math.log2(0.2)) + 1) / 2)
    assert told.leads == {"a": 2, "b": 0}


def test_equal_decided_and_lone_operations_are_the_limits():
    equal, decided = Preference(THREE, [[1 / 3] * 3] * 2), Preference(THREE, [[0.0, 1.0, 0.0]] * 2)
    assert (equal.margin, equal.entropy) == pytest.approx((0, 1))
    assert (decided.margin, decided.entropy) == pytest.approx((1, 0))
    assert (equal.verdict, decided.verdict) == ("no preference", "prefers mb_conv")
    none = Preference(("none", "a", "b"), [[1.0, 0.0, 0.0]])
    assert (none.margin, none.entropy) == (0, 1)
    lone = Preference(("none", "a"), [[0.5, 0.5]] * 2)
    assert (lone.margin, lone.entropy, lone.verdict) == (1, 0, "prefers a")


STRONG = {name: [0.2 + 0.4 * (name == other) for other in THREE] for name in THREE}


@pytest.mark.parametrize(
    "weights, verdict",
    [
        ([STRONG["mb_conv"]] * 6 + [STRONG["ds_conv"]] * 3, "prefers mb_conv"),  # exactly two thirds
        ([STRONG["mb_conv"]] * 5 + [STRONG["ds_conv"]] * 4, "a mix"),
        ([[0.345, 0.3275, 0.3275]] * 9, "no preference"),  # always the same one, by a margin of 0.0175 < 0.0333
        ([[0.38, 0.31, 0.31]] * 9, "no preference"),  # margin 0.07, but an entropy of 0.996
        ([[0.49, 0.48, 0.03]] * 9, "no preference"),  # entropy 0.73, but a near tie
        ([[0.42, 0.29, 0.29]] * 9, "prefers ds_conv"),  # 0.13 and 0.985
        # ds_conv leads on most edges by nothing, and has not the largest mean weight
        ([[0.334, 0.333, 0.333]] * 10 + [[0.0, 1.0, 0.0]] * 4, "a mix"),
    ],
)
def test_the_verdict_follows_its_rule(weights, verdict):
    assert Preference(THREE, weights).verdict == verdict


def test_what_is_chosen_is_what_the_genotype_holds():
    # node 0: both edges; node 1: of three edges the two strongest, the first and the last
    weights = [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.35, 0.35, 0.3], [0.2, 0.2, 0.6]]
    assert strongest(THREE, weights) == (("ds_conv", 0), ("mb_conv", 1), ("mb_conv", 0), ("fused_mb_conv", 2))
    assert Preference(THREE, weights).chosen == {"ds_conv": 1, "mb_conv": 2, "fused_mb_conv": 1}


def test_what_is_told_of_a_cell_and_of_each_operation():
    told = Preference(("none", "a", "b"), [[0.9, 0.08, 0.02], [0.5, 0.2, 0.3]])
    assert told.summary() == {"margin": pytest.approx(0.4), "entropy": told.entropy, "verdict": "a mix"}
    a, b = told.by_operation()
    means, most = {"a": 0.6, "b": 0.4}, {"a": 0.8, "b": 0.6}
    for name, row in (("a", a), ("b", b)):
        weights = {"weight_mean": pytest.approx(means[name]), "weight_max": pytest.approx(most[name])}
        assert row == {"operation": name, "leads": 1, "chosen": 1} | weights


def test_agreement_counts_edges_with_node_state_and_operation():
    one = (("a", 0), ("b", 1), ("a", 0), ("a", 1))
    other = (("b", 1), ("a", 0), ("a", 0), ("b", 1))  # the first node's in another order; of the second, one edge
    third = (("b", 0), ("a", 1), ("c", 0), ("c", 2))
    assert agreement([one, other]) == pytest.approx(3 / 4)
    assert agreement([one, other, third]) == pytest.approx(3 / 4 / 3)


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_chance_is_what_random_genotypes_reach(nodes):
    cells = [random_genotype(space("none", *THREE), nodes, str(i)) for i in range(2000)]
    reached = [agreement([one.normal, other.normal]) for one, other in pairwise(cells)]
    for told in repeatability(("none", *THREE), cells[:2]).values():
        assert told["chance"] == pytest.approx(sum(reached) / len(reached), abs=0.03)
        above = sum(value >= told["agreement"] for value in reached) / len(reached)
        assert told["p_value"] == pytest.approx(above, abs=0.05)


def test_genotypes_that_agree_repeat_and_random_ones_do_not(monkeypatch):
    monkeypatch.setattr(preference, "DRAWS", 500)
    blocks = find("efficientnetv2")
    same = [random_genotype(blocks, 4, "one")] * 3
    for told in repeatability(blocks.operations, same).values():
        assert told["agreement"] == 1
        assert told["p_value"] < 0.01
        assert told["verdict"] == "repeats"
    verdicts = [
        told["verdict"]
        for i in range(15)
        for told in repeatability(THREE, [random_genotype(blocks, 4, f"{i} {j}") for j in range(2)]).values()
    ]
    assert verdicts.count("not told from chance") >= 26  # of 30, where one or two are expected to seem alike


def test_probability_is_that_of_two_nodes_edges():
    """Node 0 always has both states: k of 2 operations agree with probability binomial(2, 1/3)."""
    pair = [Genotype((("ds_conv", 0), (other, 1)), (2,), (("ds_conv", 0), (other, 1)), (2,)) for other in THREE[:2]]
    for told in repeatability(THREE, pair).values():
        assert told["agreement"] == 0.5
        assert told["p_value"] == pytest.approx(1 - (2 / 3) ** 2, abs=0.02)


def test_pairs_of_many_seeds_all_count():
    cells = [random_genotype(space(*THREE), 4, str(i)).normal for i in range(4)]
    pairs = [agreement(pair) for pair in combinations(cells, 2)]
    assert agreement(cells) == pytest.approx(sum(pairs) / 6)


def test_the_p_value_counts_ties_whatever_pairs_share_them():
    """Of 5 nodes' 10 edges a pair, 10 common edges of three pairs may be 10 + 0 + 0 or 4 + 3 + 3: equally many."""
    cells = [[("a", 0), ("a", 1)] * 5, [("a", 0), ("a", 1)] * 5, [("b", 0), ("b", 1)] * 5]
    genotypes = [Genotype(cell, (2,), cell, (2,)) for cell in cells]
    source, counts = random.Random(5), []
    for _ in range(20000):
        drawn = [
            [{(state, source.choice("abc")) for state in source.sample(range(2 + i), 2)} for i in range(5)]
            for _ in range(3)
        ]
        counts.append(sum(len(a & b) for one, other in combinations(drawn, 2) for a, b in zip(one, other, strict=True)))
    expected = sum(count >= 10 for count in counts) / len(counts)
    for told in repeatability(("a", "b", "c"), genotypes).values():
        assert told["agreement"] == 10 / 30
        assert told["p_value"] == pytest.approx(expected, abs=0.006)  # that of more than 10 is 0.02 less


@pytest.mark.parametrize(
    "nodes, seeds, verdict", [(1, 2, "too few seeds to tell"), (4, 2, "repeats"), (1, 3, "repeats")]
)
def test_where_no_agreement_could_tell(nodes, seeds, verdict):
    same = [random_genotype(space(*THREE), nodes, "one")] * seeds
    assert {told["verdict"] for told in repeatability(THREE, same).values()} == {verdict}


def test_one_operation_is_no_choice():
    same = [random_genotype(space("none", "a"), 4, "one")] * 3
    assert {told["verdict"] for told in repeatability(("none", "a"), same).values()} == {"no choice"}


def test_what_an_edge_lacks_does_not_count_there():
    edges = (("ds_conv", "mb_conv"), ("mb_conv", "fused_mb_conv"))
    told = Preference((*THREE, "sep_conv_3x3"), [[0.8, 0.2, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0]], edges)
    assert told.margin == pytest.approx((0.6 + 0) / 2)
    of_first = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2)) / math.log(2)
    assert told.entropy == pytest.approx((of_first + 1) / 2)
    means = {"ds_conv": 0.8, "mb_conv": 0.35, "fused_mb_conv": 0.5, "sep_conv_3x3": 0.0}
    assert told.weights_mean == pytest.approx(means)
    assert told.leads == {"ds_conv": 1, "mb_conv": 1, "fused_mb_conv": 0, "sep_conv_3x3": 0}
    assert [row["operation"] for row in told.by_operation()] == [*means]


def test_chance_where_edges_have_operations_of_their_own():
    blocks = find("s1")
    cells = [random_genotype(blocks, 4, str(i)) for i in range(2000)]
    for cell, told in repeatability(blocks.columns, cells[:2]).items():
        reached = [agreement([getattr(one, cell), getattr(other, cell)]) for one, other in pairwise(cells)]
        assert told["chance"] == pytest.approx(sum(reached) / len(reached), abs=0.03)
        above = sum(value >= told["agreement"] for value in reached) / len(reached)
        assert told["p_value"] == pytest.approx(above, abs=0.05)
