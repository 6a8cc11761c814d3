"""Genotypes as the field writes them: what is printed, and what may stand around it."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from benchmarks.plain import PlainNetwork
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.space.genotypes import Genotype
from nas.space.notation import own, parse, read
from nas.space.published import PUBLISHED

# As the program of DARTS (Liu et al., 2019) writes and prints them.
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat={concat}, "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat={concat})"
)
PRINTED = DARTS_V2.format(concat="range(2, 6)")
# NASNet-A (Zoph et al., 2018, Fig. 4), as the program of DARTS has it: both edges of a node may come from one state.
NASNET = """
NASNet = Genotype(
  normal = [
    ('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), ('sep_conv_3x3', 0), ('avg_pool_3x3', 1),
    ('skip_connect', 0), ('avg_pool_3x3', 0), ('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 1),
  ],
  normal_concat = [2, 3, 4, 5, 6],
  reduce = [
    ('sep_conv_5x5', 1), ('sep_conv_7x7', 0), ('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1),
    ('sep_conv_5x5', 0), ('skip_connect', 3), ('avg_pool_3x3', 2), ('sep_conv_3x3', 2), ('max_pool_3x3', 1),
  ],
  reduce_concat = [4, 5, 6],
)
"""
# pt.darts groups the edges by node.
PT_DARTS = (
    "Genotype(normal=[[('sep_conv_3x3', 0), ('dil_conv_5x5', 1)], [('skip_connect', 0), ('dil_conv_3x3', 2)]], "
    "normal_concat=range(2, 4), reduce=[[('max_pool_3x3', 0), ('max_pool_3x3', 1)], [('max_pool_3x3', 0), "
    "('skip_connect', 2)]], reduce_concat=range(2, 4))"
)


@pytest.mark.parametrize(
    "text",
    [
        PRINTED,
        DARTS_V2.format(concat="[2, 3, 4, 5]"),
        DARTS_V2.format(concat="list(range(2, 6))"),
        f"2019-03-05 10:11:12,345 genotype = {PRINTED}\nvalid_acc 97.0 (of 100)\n",
        f"epoch 1 {PT_DARTS}\nepoch 2 {PRINTED}",
        f"# mine\nPC_DARTS_cifar = {PRINTED}  # the best",
        json.dumps(PUBLISHED["DARTS_V2"].to_dict()),
        str(PUBLISHED["DARTS_V2"]),
        PRINTED.replace("normal=", "", 1)
        .replace("normal_concat=", "")
        .replace("reduce=", "")
        .replace("reduce_concat=", ""),
    ],
    ids=["printed", "lists", "a list of a range", "a log", "the last counts", "a name", "JSON", "ours", "positions"],
)
def test_darts_v2_in_every_notation(text):
    assert parse(text) == PUBLISHED["DARTS_V2"]


def test_pt_darts_groups_edges_by_node():
    genotype = parse(PT_DARTS)
    assert genotype.normal == (("sep_conv_3x3", 0), ("dil_conv_5x5", 1), ("skip_connect", 0), ("dil_conv_3x3", 2))
    assert genotype.reduce == (("max_pool_3x3", 0), ("max_pool_3x3", 1), ("max_pool_3x3", 0), ("skip_connect", 2))
    assert genotype.normal_concat == genotype.reduce_concat == (2, 3)


def test_both_edges_of_a_node_may_come_from_one_state():
    genotype = parse(NASNET.replace("7x7", "5x5"))  # the plain implementation has no 7×7
    assert genotype.normal[6:8] == (("avg_pool_3x3", 0), ("avg_pool_3x3", 0))
    how = {"channels": 4, "layers": 3, "num_classes": 5}
    ours, plain = Network(genotype, **how).double(), PlainNetwork(genotype, **how).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("Genotype(", "its brackets do not close"),
        ("Genotype()", "a genotype has normal, normal_concat, reduce, reduce_concat, not nothing"),
        (PRINTED.replace("reduce_concat", "output"), "not normal, normal_concat, reduce, output"),
        (PRINTED.replace("range(2, 6)", "range(2, 10**9)"), "malformed"),
        (PRINTED.replace("range(2, 6)", "range(2, 100000)"), "malformed"),
        (PRINTED.replace("range(2, 6)", "open('stolen', 'w')"), "malformed"),
        (PRINTED.replace("('sep_conv_3x3', 0)", "__import__('os').mkdir('stolen')", 1), "malformed"),
        (PRINTED.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 7)"), "comes from state 7"),
        (PRINTED.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3',)"), "not enough values to unpack"),
        ("[" * 10_000, ""),
        ("Genotype(" + "(" * 10_000 + ")" * 10_000, ""),
    ],
)
def test_what_is_no_genotype_is_told_in_one_line_and_nothing_of_it_runs(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(UserError) as told:
        read(tmp_path / "mine.txt")
    assert str(told.value).startswith(f"{tmp_path / 'mine.txt'}: is no genotype: ") and message in str(told.value)
    assert "\n" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


edges = some.lists(some.tuples(some.sampled_from(["none", "max_pool_3x3", "sep conv ()'"]), some.just(0)), min_size=1)


@given(edges.map(lambda half: half + half), edges.map(lambda half: half + half))
def test_what_python_prints_is_read_back(normal, reduce):
    genotype = Genotype(tuple(normal), (2,), tuple(reduce), (0, 1))
    assert parse(repr(genotype)) == genotype


def test_names_are_those_of_the_files(tmp_path):
    assert own(tmp_path / "nowhere") == {}
    for name in ("b.json", "a.txt", "README.md", ".c.json"):
        (tmp_path / name).touch()
    assert own(tmp_path) == {"a": tmp_path / "a.txt", "b": tmp_path / "b.json"}
    (tmp_path / "a.json").touch()
    with pytest.raises(UserError, match="has that name too"):
        own(tmp_path)
