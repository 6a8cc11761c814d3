"""nas.space.genotypes: deriving against a slow reference, the published cells, JSON and what it says of bad values."""

import csv
import json
import math
import random

import pytest
import torch

from nas.pipeline.errors import UserError
from nas.space import genotypes
from nas.space.genotypes import (
    Genotype,
    derive,
    derive_from_weights,
    edges,
    random_genotype,
    random_weights,
    weight_rows,
    weights_at,
)
from nas.space.operations import names
from nas.space.published import PUBLISHED
from nas.space.spaces import SearchSpace

SHORT = {
    "sep3": "sep_conv_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
    "pib3": "pib_conv_3x3",
    "pib5": "pib_conv_5x5",
    "skip": "skip_connect",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
}
PAPERS = {  # as the papers' figures have them
    "DARTS_V2": (
        "sep3 0, sep3 1 | sep3 0, sep3 1 | sep3 1, skip 0 | skip 0, dil3 2",
        "max 0, max 1 | skip 2, max 1 | max 0, skip 2 | skip 2, max 1",
    ),
    "DARTS_V1": (
        "sep3 1, sep3 0 | skip 0, sep3 1 | skip 0, sep3 1 | sep3 0, skip 2",
        "max 0, max 1 | skip 2, max 0 | max 0, skip 2 | skip 2, avg 0",
    ),
    "DARTS_PseudoInvBn": (
        "pib3 0, pib5 1 | pib3 0, pib3 2 | pib3 2, pib3 1 | pib3 1, pib3 3",
        "avg 0, pib5 1 | avg 0, dil5 2 | avg 0, skip 2 | pib3 3, pib3 0",
    ),
}


def spell(cell: str) -> list[list]:
    pairs = [pair.split() for pair in cell.replace("|", ",").split(",")]
    return [[SHORT[operation], int(state)] for operation, state in pairs]


def test_published_genotypes_are_those_of_the_papers():
    assert set(PUBLISHED) == set(PAPERS)
    for name, (normal, reduce) in PAPERS.items():
        assert PUBLISHED[name].to_dict() == {
            "normal": spell(normal),
            "normal_concat": [2, 3, 4, 5],
            "reduce": spell(reduce),
            "reduce_concat": [2, 3, 4, 5],
        }
        assert PUBLISHED[name].operations() <= set(names())
    assert PUBLISHED["DARTS_V2"].operations() == {SHORT[name] for name in ("sep3", "skip", "dil3", "max")}


def slow_cell(operations: list[str], alphas: torch.Tensor) -> list[tuple[str, int]]:
    """Every choice an edge offers, best first; the first two from different states; node by node."""
    rows, cell = alphas.tolist(), []
    for states in range(2, 2 + len(rows)):
        if not rows:
            return cell
        offers = []
        for state in range(states):
            row = rows.pop(0)
            total = math.fsum(math.exp(value) for value in row)
            for k, value in enumerate(row):
                if operations[k] != "none":
                    offers.append((-math.exp(value) / total, state, k))
        offers.sort()
        (_, first, k) = offers[0]
        (_, second, m) = next(offer for offer in offers if offer[1] != first)
        cell += [(operations[k], first), (operations[m], second)]
    return cell


def draw(nodes: int, operations: list[str], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (sum(range(2, nodes + 2)), len(operations))
    return [3 * torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(2)]


def some_operations(seed: int, none: bool) -> list[str]:
    """Between one and all of the operations in any order, with or without none."""
    source = random.Random(seed)
    others = [name for name in names() if name != "none"]
    chosen = source.sample(others, source.randint(1, len(others))) + ["none"] * none
    return source.sample(chosen, len(chosen))


@pytest.mark.parametrize("none", [True, False], ids=["none", "no-none"])
@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5])
def test_derive_equals_the_slow_reading(nodes, none):
    for seed in range(40):
        operations = some_operations(seed, none)
        alphas = draw(nodes, operations, seed)
        found = derive(operations, *(a.requires_grad_() for a in alphas))
        assert found.normal == tuple(slow_cell(operations, alphas[0].detach()))
        assert found.reduce == tuple(slow_cell(operations, alphas[1].detach()))
        assert found.normal_concat == found.reduce_concat == tuple(range(2, 2 + nodes))
        for cell in (found.normal, found.reduce):
            assert len(cell) == 2 * nodes
            assert all(one[1] != other[1] for one, other in zip(cell[::2], cell[1::2], strict=True))


def test_none_is_never_chosen_however_strong():
    operations = ["skip_connect", "none", "sep_conv_3x3"]
    for seed in range(20):
        alphas = draw(4, operations, seed)
        for table in alphas:
            table[:, 1] = 20
        found = derive(operations, *alphas)
        assert "none" not in found.operations()
        assert found.normal == tuple(slow_cell(operations, alphas[0]))


def test_weight_that_none_takes_counts_against_an_edge():
    """State 2 has the largest α but loses: the softmax weight decides, and none has most of it there."""
    table = torch.tensor([[0.0, 1.0], [0.0, 1.1], [0.0, 1.0], [0.0, 0.9], [5.0, 2.0]])
    found = derive(["none", "skip_connect"], table, table)
    assert [state for _, state in found.normal] == [1, 0, 0, 1]


def test_of_equal_weights_the_earlier_edge_and_operation_win():
    operations = ["none", "sep_conv_3x3", "skip_connect", "dil_conv_3x3"]
    equal = torch.zeros(9, 4)
    assert derive(operations, equal, equal).normal == (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)) * 3
    for seed in range(20):  # few different rows, each with two equal columns
        pool = draw(1, operations, seed)[0]
        pool[:, 3] = pool[:, 1]
        table = pool[torch.randint(2, (14,), generator=torch.Generator().manual_seed(seed))]
        assert derive(operations, table, table).normal == tuple(slow_cell(operations, table))


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5])
def test_edges_are_the_rows_of_alpha(nodes):
    expected = []
    for node in range(nodes):
        for source in range(node + 2):
            expected.append((source, node + 2))
    assert edges(nodes) == expected


def table_of(operations: list[str], alphas: list[torch.Tensor], nodes: int, epoch: int) -> list[dict[str, str]]:
    return [
        {"epoch": str(epoch), "cell": cell, "edge": edge, "operation": operation, "weight": repr(weight)}
        for cell, table in zip(("normal", "reduce"), alphas, strict=True)
        for edge, row in zip((f"{a}-{b}" for a, b in edges(nodes)), table.softmax(-1).tolist(), strict=True)
        for operation, weight in zip(operations, row, strict=True)
    ]


@pytest.mark.parametrize("nodes", [1, 2, 4, 5])
def test_a_table_derives_by_its_last_epoch(nodes, tmp_path):
    for seed in range(5):
        operations = some_operations(seed, none=True)
        alphas = draw(nodes, operations, seed)
        earlier = [table_of(operations, draw(nodes, operations, 99 + epoch), nodes, epoch) for epoch in (9, 0, 8)]
        rows = sum(earlier, []) + table_of(operations, alphas, nodes, 10)
        with open(tmp_path / "alphas.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        with open(tmp_path / "alphas.csv", newline="") as file:
            assert derive_from_weights(*weights_at(list(csv.DictReader(file)))) == derive(operations, *alphas)


def without(rows: list[dict], *places: int) -> list[dict]:
    return [row for i, row in enumerate(rows) if i not in places]


def changed(rows: list[dict], **values: str) -> list[dict]:
    return [*rows[:5], rows[5] | values, *rows[6:]]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda rows: [], "columns epoch, cell, edge, operation, weight"),
        (lambda rows: [{k: v for k, v in row.items() if k != "weight"} for row in rows], "columns"),
        (lambda rows: changed(rows, weight=""), "columns"),
        (lambda rows: changed(rows, weight="nan"), "finite"),
        (lambda rows: changed(rows, weight="much"), "much"),
        (lambda rows: changed(rows, epoch="x"), "x"),
        (lambda rows: rows[:-1], "each operation on each edge"),
        (lambda rows: without(rows, 5), "each operation on each edge"),
        (lambda rows: [*rows, rows[-1]], "each operation on each edge"),
        (lambda rows: rows[::-1], "each operation on each edge"),
        (lambda rows: changed(rows, cell="other"), "each operation on each edge"),
    ],
)
def test_a_damaged_table_is_refused(damage, message):
    operations = ["none", "skip_connect", "sep_conv_3x3"]
    rows = table_of(operations, draw(2, operations, 0), 2, 3)
    weights_at(rows)
    with pytest.raises(ValueError, match=message):
        weights_at(damage(rows))


@pytest.mark.parametrize("nodes", [1, 3, 4])
def test_dictionary_and_json_round_trip(nodes, tmp_path):
    for seed in range(5):
        operations = some_operations(seed, none=False)
        genotype = derive(operations, *draw(nodes, operations, seed))
        value = genotype.to_dict()
        assert all(isinstance(value[key], list) for key in value)
        assert all(isinstance(edge, list) for edge in value["normal"] + value["reduce"])
        text = json.dumps(value)
        assert json.loads(text) == value
        (tmp_path / "genotype.json").write_text(text)
        loaded = genotypes.load(tmp_path / "genotype.json")
        assert loaded == Genotype.from_dict(value) == genotype
        assert hash(loaded) == hash(genotype)
        assert loaded.to_dict() == value


NODE = [["skip_connect", 0], ["skip_connect", 1]]
GOOD = {"normal": NODE, "normal_concat": [2], "reduce": NODE, "reduce_concat": [2]}


@pytest.mark.parametrize("cell", ["normal", "reduce"])
@pytest.mark.parametrize(
    "edges_, concat, message",
    [
        ([], [2], "needs two edges a node, not 0"),
        (NODE[:1], [2], "needs two edges a node, not 1"),
        ([*NODE, ["skip_connect", 0]], [2], "needs two edges a node, not 3"),
        ([["skip_connect", 0], ["max", 2]], [2], r"edge 1 of the \w+ cell \(max\) comes from state 2"),
        ([["skip_connect", -1], ["skip_connect", 1]], [2], "edge 0 .* state -1"),
        ([*NODE, ["skip_connect", 0], ["max", 3]], [2], "edge 3 .* state 3"),
        ([["skip_connect", "0"], ["max", 1]], [2], "a state is an integer, not '0'"),
        ([["skip_connect", 0.0], ["max", 1]], [2], "a state is an integer, not 0.0"),
        ([["skip_connect", False], ["max", 1]], [2], "a state is an integer, not False"),
        ([["skip_connect"], ["max", 1]], [2], "unpack"),
        (5, [2], "a cell is a list of"),
        ([5, 6], [2], "a cell is a list of"),
        (NODE, [], r"_concat must name distinct states from 0 to 2, not \[\]"),
        (NODE, [3], r"_concat must name distinct states from 0 to 2, not \[3\]"),
        (NODE, [-1], "_concat must name distinct states"),
        (NODE, [2, 2], "_concat must name distinct states"),
        (NODE, [None], "a state is an integer, not None"),
        (NODE, 2, "a cell is a list of"),
    ],
)
def test_cells_that_make_no_sense_are_refused(cell, edges_, concat, message, tmp_path):
    value = GOOD | {cell: edges_, f"{cell}_concat": concat}
    with pytest.raises(ValueError, match=message) as caught:
        Genotype.from_dict(value)
    (tmp_path / "mine.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match="mine.json: is no genotype: ") as told:
        genotypes.load(tmp_path / "mine.json")
    assert str(caught.value) in str(told.value)
    assert "\n" not in str(told.value)


def test_concat_may_name_inputs_and_leave_nodes_out():
    assert Genotype.from_dict(GOOD | {"normal_concat": [0, 2]}).normal_concat == (0, 2)


@pytest.mark.parametrize(
    "value, found",
    [
        ({k: v for k, v in GOOD.items() if k != "reduce"}, "normal, normal_concat, reduce_concat"),
        (GOOD | {"name": "mine"}, "name"),
        ([GOOD], "list"),
        (None, "NoneType"),
    ],
)
def test_the_keys_of_a_genotype(value, found):
    with pytest.raises(ValueError, match=f"keys normal, normal_concat, reduce, reduce_concat, not .*{found}"):
        Genotype.from_dict(value)


@pytest.mark.parametrize("content", [b"", b"{", b'{"normal": ', b"\xff\xfe", b"[]", b"null", b"NaN", b"{}"])
def test_a_file_that_holds_no_genotype(content, tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.json: is no genotype: .") as caught:
        genotypes.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        genotypes.load(tmp_path)
    (tmp_path / "pibconv.json").write_text(json.dumps(GOOD))
    with pytest.raises(UserError, match=r"pibcnov\.json: unknown genotype 'pibcnov'; did you mean pibconv\?") as caught:
        genotypes.load(tmp_path / "pibcnov.json")
    assert "\n" not in str(caught.value)


# Drawn at random


SPACE = SearchSpace("mine", ("none", "skip_connect", "a", "b"))


def test_random_genotypes_are_uniform_over_edges_and_operations():
    """Of node i's (i + 2 choose 2) pairs of states and, on each edge, the three operations, none is favoured."""
    draws = [random_genotype(SPACE, 3, f"seed {i}") for i in range(1500)]
    operations = [operation for g in draws for operation, _ in g.normal + g.reduce]
    assert set(operations) == {"skip_connect", "a", "b"}
    n = len(operations)
    for operation in ("skip_connect", "a", "b"):
        assert abs(operations.count(operation) - n / 3) < 4 * (n * 2 / 9) ** 0.5
    for node, pairs in ((0, 1), (1, 3), (2, 6)):
        found = [frozenset(s for _, s in cell[2 * node : 2 * node + 2]) for g in draws for cell in (g.normal, g.reduce)]
        assert len(set(found)) == pairs
        for pair in set(found):
            share = 1 / pairs
            assert abs(found.count(pair) - len(found) * share) <= 4 * (len(found) * share * (1 - share)) ** 0.5


def test_a_random_genotype_follows_from_its_seed_alone():
    assert random_genotype(SPACE, 4, "0/x") == random_genotype(SPACE, 4, "0/x")
    assert len({json.dumps(random_genotype(SPACE, 4, str(i)).to_dict()) for i in range(20)}) == 20


def test_random_weights_as_a_table_give_the_same_genotype(tmp_path):
    cells = random_weights(SPACE, 3, "seed")
    assert all(math.fsum(row) == pytest.approx(1) for table in cells.values() for row in table)
    rows = weight_rows(SPACE.operations, cells, epoch=7)
    assert {row["epoch"] for row in rows} == {7}
    assert [row["edge"] for row in rows[:: len(SPACE.operations)]] == 2 * [f"{s}-{t}" for s, t in edges(3)]
    table = [{key: str(value) for key, value in row.items()} for row in rows]
    assert derive_from_weights(*weights_at(table)) == random_genotype(SPACE, 3, "seed")


def test_one_operation_on_every_edge_leaves_the_wiring():
    found = PUBLISHED["DARTS_V2"].with_all("mb_conv")
    assert found.operations() == {"mb_conv"}
    assert [state for _, state in found.normal] == [0, 1, 0, 1, 1, 0, 0, 2]
    assert [state for _, state in found.reduce] == [0, 1, 2, 1, 0, 2, 2, 1]
    assert (found.normal_concat, found.reduce_concat) == ((2, 3, 4, 5), (2, 3, 4, 5))


def test_skips_are_counted_in_each_cell():
    assert PUBLISHED["DARTS_V2"].skips() == {"skips_normal": 2, "skips_reduce": 3}
    assert PUBLISHED["DARTS_PseudoInvBn"].skips() == {"skips_normal": 0, "skips_reduce": 1}
