"""Spaces whose edges have operations of their own: R-DARTS's S1 as published, and what is refused."""

from collections import Counter

import pytest

from nas.pipeline.errors import UserError
from nas.space.genotypes import CELLS, Genotype, derive_from_weights, edges, random_genotype, with_fewer_skips
from nas.space.notation import parse
from nas.space.spaces import SPACES, SearchSpace

# github.com/automl/RobustDARTS, src/spaces.py: an edge for each pair of words, in its order
SHORT = {
    "skip": "skip_connect",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "sep3": "sep_conv_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}
S1 = {
    "normal": "skip dil3, skip dil5, skip dil5, skip sep3, skip dil3, max skip, skip sep3, skip sep3, skip dil3, "
    "skip sep3, max skip, skip dil3, dil3 dil5, dil3 dil5",
    "reduce": "max avg, max dil3, max avg, max avg, skip dil5, max avg, max sep3, skip dil3, skip dil5, "
    "max avg, max avg, skip dil5, skip dil5, skip dil5",
}
# What its searches in S1 found: experiments/search_logs/results_arch.yaml, s1_cifar10
FOUND = {
    "0.0_0.0003, 1": "Genotype(normal=[('skip_connect', 1), ('dil_conv_3x3', 0), ('skip_connect', 2), "
    "('skip_connect', 0), ('skip_connect', 0), ('skip_connect', 2), ('skip_connect', 2), ('skip_connect', 1)], "
    "normal_concat=range(2, 6), reduce=[('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), ('max_pool_3x3', 1)], "
    "reduce_concat=range(2, 6))",
    "0.0_0.0243, 3": "Genotype(normal=[('dil_conv_3x3', 0), ('dil_conv_5x5', 1), ('sep_conv_3x3', 1), "
    "('dil_conv_3x3', 2), ('max_pool_3x3', 0), ('sep_conv_3x3', 2), ('max_pool_3x3', 1), ('dil_conv_3x3', 2)], "
    "normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('dil_conv_3x3', 1), ('max_pool_3x3', 1), "
    "('max_pool_3x3', 0), ('dil_conv_5x5', 3), ('dil_conv_3x3', 2), ('dil_conv_5x5', 4), ('dil_conv_5x5', 3)], "
    "reduce_concat=range(2, 6))",
}
TWO = {cell: (("a", "b"), ("b", "c")) for cell in CELLS}


def outside(genotype: Genotype, space: SearchSpace) -> list[tuple]:
    """The edges of `genotype` that have what they cannot have in `space`."""
    wrong = []
    for cell in CELLS:
        own = dict(zip(edges(4), space.edges[cell], strict=True))
        for i, (operation, state) in enumerate(getattr(genotype, cell)):
            if operation not in own[state, 2 + i // 2]:
                wrong.append((cell, i, operation, state))
    return wrong


def test_s1_has_the_published_operations_on_each_edge() -> None:
    published = {cell: tuple(tuple(SHORT[w] for w in e.split()) for e in text.split(", ")) for cell, text in S1.items()}
    assert SPACES["s1"].edges == published
    assert set(SPACES["s1"].operations) == set(SHORT.values())
    assert SPACES["s1"].nodes == 4


@pytest.mark.parametrize("which", FOUND)
def test_what_was_found_in_s1_lies_in_it(which: str) -> None:
    assert outside(parse(FOUND[which]), SPACES["s1"]) == []


def test_what_is_drawn_from_s1_lies_in_it_and_reaches_all_of_it() -> None:
    drawn = [random_genotype(SPACES["s1"], 4, str(i)) for i in range(600)]
    assert [outside(genotype, SPACES["s1"]) for genotype in drawn] == [[]] * 600
    for cell in CELLS:
        found = Counter((i // 2, edge) for genotype in drawn for i, edge in enumerate(getattr(genotype, cell)))
        assert len(found) == 14 * 2


def test_fewer_skips_leave_what_the_edges_have() -> None:
    tables = {cell: [[0.8 if n == "skip_connect" else 0.2 for n in names] for names in rows] for cell, rows in
              SPACES["s1"].edges.items()}  # fmt: skip
    weights = SPACES["s1"].of_all(tables)
    assert derive_from_weights(SPACES["s1"].operations, weights).skips()["skips_normal"] == 8
    for most in range(8):
        genotype = with_fewer_skips(SPACES["s1"].operations, weights, most)
        assert genotype.skips()["skips_normal"] == most
        assert outside(genotype, SPACES["s1"]) == []


def test_tables_of_all_operations() -> None:
    space = SearchSpace("mine", ("a", "b", "c"), TWO)
    assert space.of_all({"normal": [[0.1, 0.9], [0.3, 0.7]]}) == {"normal": [[0.1, 0.9, 0.0], [0.0, 0.3, 0.7]]}
    plain = {"normal": [[0.1, 0.2, 0.7]], "reduce": [[0.2, 0.2, 0.6]]}
    assert SearchSpace("mine", ("a", "b", "c")).of_all(plain) == plain


def test_another_number_of_nodes() -> None:
    for nodes in (1, 3, 5):
        message = f"nodes: {nodes} is not allowed: must be 4 for the space s1, whose edges have operations of their own"
        with pytest.raises(UserError, match=f"^{message}$"):
            random_genotype(SPACES["s1"], nodes, "0")


@pytest.mark.parametrize(
    ("of_cells", "message"),
    [
        ({"normal": TWO["normal"]}, "every edge of a normal and a reduce cell"),
        (TWO | {"reduce": (("a", "b"),) * 5}, "every edge of a normal and a reduce cell"),
        ({cell: (("a", "b"),) * 3 for cell in CELLS}, "every edge of a normal and a reduce cell"),
        (TWO | {"reduce": (("a", "b"), ("b", "x"))}, "other names, or in another order"),
        (TWO | {"reduce": (("a", "b"), ("c", "b"))}, "other names, or in another order"),
        (TWO | {"reduce": (("a", "b"), ("a", "b", "c"))}, "as many operations on each edge"),
        (TWO | {"reduce": (("a", "b"), ("none", "a"))}, "as many operations on each edge, and none in the same column"),
        ({cell: (("none", "a"), ("none", "b")) for cell in CELLS}, "two operations other than none on each edge"),
    ],
)
def test_edges_that_are_refused(of_cells: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^space mine .*{message}"):
        SearchSpace("mine", ("none", "a", "b", "c"), of_cells)
