"""Enumeration by combinatorics; equal networks by what networks of shared weights compute in float64."""

import hashlib
from dataclasses import replace
from itertools import combinations
from math import comb

import pytest
import torch
from torch import nn

from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.space.enumerate import MOST, Enumeration, canonical, distinct, read, spell
from nas.space.genotypes import Genotype
from nas.space.published import PUBLISHED
from nas.space.spaces import SPACES, SearchSpace

MINE = SearchSpace("mine", ("none", "skip_connect", "nor_conv_3x3", "avg_pool_3x3"))


@pytest.mark.parametrize("nodes", [1, 2])
def test_all_are_there_once(nodes):
    space = Enumeration(MINE, nodes)
    cell = 1
    for i in range(nodes):
        cell *= comb(i + 2, 2) * 3**2
    assert space.count == cell**2
    found = set(space)
    assert len(found) == space.count
    assert all("none" not in genotype.operations() for genotype in found)


@pytest.mark.parametrize("name", ["mine", "s1"])
def test_it_knows_its_own(name: str):
    space = Enumeration(MINE, 2) if name == "mine" else Enumeration(SPACES["s1"], 4)
    sample = space.chosen(20, "seed")
    assert all(genotype in space for genotype in sample)
    last = len(sample[0].normal) - 1
    for genotype in sample:
        assert replace(genotype, normal=(*genotype.normal[:last], ("sep_conv_5x5", 0))) not in space
        assert replace(genotype, reduce=genotype.reduce[:-2], reduce_concat=(2,)) not in space
        assert replace(genotype, normal_concat=(2,)) not in space
    assert "mine" not in space and PUBLISHED["DARTS_V2"] not in space


def test_edges_with_operations_of_their_own():
    """S1's first node has two pairs of operations; each further node the pairs of its edges, two operations each."""
    assert Enumeration(SPACES["s1"], 4).count == pytest.approx(
        # the normal cell's second node has an edge of two and others of two: 4 for each pair; the last ones have three
        _count_s1("normal") * _count_s1("reduce")
    )


def _count_s1(cell: str) -> int:
    rows, start, count = [len(names) for names in SPACES["s1"].edges[cell]], 0, 1
    for inputs in (2, 3, 4, 5):
        own = rows[start : start + inputs]
        count *= sum(a * b for a, b in combinations(own, 2))
        start += inputs
    return count


def test_a_sample_repeats_and_holds_none_twice():
    space = Enumeration(SPACES["pibconv"], 4)
    assert space.count == (9**2) ** 8 * (1 * 3 * 6 * 10) ** 2  # more than 2⁶³
    sample = space.chosen(50, "a")
    assert len(set(sample)) == 50 and sample == space.chosen(50, "a") != space.chosen(50, "b")
    small = Enumeration(MINE, 1)
    assert small.chosen(1000, "a") == small.chosen(None, "b") == list(small)


def test_too_many_are_refused():
    with pytest.raises(UserError, match=f"has {7**16 * 180**2} genotypes of 4 nodes, and no more than {MOST} "):
        Enumeration(SPACES["darts"], 4).chosen(None, "a")


def test_a_spelling_is_read_again():
    for genotype in [*Enumeration(MINE, 2).chosen(30, "a"), *PUBLISHED.values()]:
        text = spell(genotype)
        assert "," not in text and "\n" not in text
        again = read(text)
        assert spell(again) == text
        for cell in ("normal", "reduce"):
            ours, theirs = getattr(again, cell), getattr(genotype, cell)
            assert [set(ours[i : i + 2]) for i in range(0, len(ours), 2)] == [
                set(theirs[i : i + 2]) for i in range(0, len(theirs), 2)
            ]
            assert getattr(again, f"{cell}_concat") == getattr(genotype, f"{cell}_concat")
    for text in (
        "",
        "normal: a(0) + b(1)",
        "normal: a(0) + b; reduce: a(0) + b(1)",
        "normal: a(0) + b(5); reduce: a(0) + b(1)",
    ):
        with pytest.raises(ValueError):
            read(text)


def outputs(genotype: Genotype, layers: int, stem: str) -> torch.Tensor:
    """Logits where modules of one kind and shape have the same weights in a cell, and a cell's nodes weigh the same.

    So two networks that differ by the naming of their weights alone give the same.
    """
    network = Network(genotype, channels=2, layers=layers, num_classes=3, in_channels=1, stem=stem).double().eval()
    nodes = len(genotype.normal_concat)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer = name.split(".")[1] if name.startswith("cells") else name
            kind = type(module).__name__ + ("odd" if name.endswith("odd") else "")
            digest = hashlib.sha256(f"{layer} {kind} {list(module.weight.shape)}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:6]))
            with torch.no_grad():
                weight = torch.randn(module.weight.shape, generator=generator, dtype=torch.float64)
                reads_a_cell = "preprocess" in name or name == "classifier"
                if reads_a_cell and isinstance(module, nn.Conv2d | nn.Linear) and weight.shape[1] % nodes == 0:
                    width = weight.shape[1] // nodes
                    weight = torch.cat([weight[:, :width]] * nodes, dim=1)
                module.weight.copy_(weight)
                if module.bias is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=generator, dtype=torch.float64))
    size = 12 if stem == "cifar" else 40
    images = torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return network(images)


@pytest.mark.parametrize(
    "layers, stem, count", [(1, "cifar", 6), (2, "cifar", 9), (3, "cifar", 6 * 9), (3, "imagenet", 81)]
)
def test_equal_genotypes_are_equal_networks_and_others_are_not(layers, stem, count):
    """Of 3⁴ genotypes: the first cell does not tell its inputs apart, and cells that no layer has do not matter."""
    genotypes = list(Enumeration(MINE, 1))
    same = distinct(genotypes, layers, stem)
    assert len(set(same.values())) == count and list(same) == genotypes
    found = {genotype: outputs(genotype, layers, stem) for genotype in genotypes}
    for genotype in genotypes:
        torch.testing.assert_close(found[genotype], found[same[genotype]], rtol=1e-9, atol=1e-9)
    for one, other in combinations(set(same.values()), 2):
        assert not torch.allclose(found[one], found[other], rtol=1e-6, atol=1e-6), (spell(one), spell(other))


def test_dead_edges_and_orders_make_no_difference():
    def cells(*normal):
        reduce = (("nor_conv_3x3", 0), ("skip_connect", 1)) * 2
        return Genotype(normal, (2, 3), reduce, (2, 3))

    conv, skip, none, pool = "nor_conv_3x3", "skip_connect", "none", "avg_pool_3x3"
    equal = [
        (cells((conv, 0), (skip, 1), (pool, 2), (none, 0)), cells((skip, 1), (conv, 0), (none, 1), (pool, 2))),
        (cells((none, 0), (none, 1), (skip, 2), (conv, 0)), cells((none, 0), (none, 0), (conv, 0), (none, 1))),
        (cells((conv, 0), (skip, 1), (none, 0), (none, 1)), cells((conv, 0), (skip, 1), (none, 2), (skip, 2))),
    ]
    for one, other in equal[:2]:
        assert canonical(one, 3) == canonical(other, 3)
        torch.testing.assert_close(outputs(one, 3, "cifar"), outputs(other, 3, "cifar"), rtol=1e-9, atol=1e-9)
    one, other = equal[2]  # node 3 gives zeros, or what node 2 gives
    assert canonical(one, 3) != canonical(other, 3)
    assert not torch.allclose(outputs(one, 3, "cifar"), outputs(other, 3, "cifar"))


def test_of_two_nodes_what_is_called_equal_is_equal():
    space = SearchSpace("mine", ("skip_connect", "nor_conv_3x3"))
    genotypes = Enumeration(space, 2).chosen(400, "a")
    same = distinct(genotypes, 3)
    merged = [genotype for genotype in genotypes if same[genotype] != genotype]
    assert len(merged) > 20
    for genotype in merged[:40]:
        torch.testing.assert_close(
            outputs(genotype, 3, "cifar"), outputs(same[genotype], 3, "cifar"), rtol=1e-9, atol=1e-9
        )


def test_what_is_shared_is_not_what_is_alike():
    """Both nodes' sums look alike, but node 4 reads one of them twice, or each of them once."""
    conv, reduce = "nor_conv_3x3", (("nor_conv_3x3", 0), ("nor_conv_3x3", 1)) * 3
    alike = [(conv, 0), (conv, 1), (conv, 0), (conv, 1)]
    twice = Genotype((*alike, ("skip_connect", 2), ("skip_connect", 2)), (4,), reduce, (4,))
    each = Genotype((*alike, ("skip_connect", 2), ("skip_connect", 3)), (4,), reduce, (4,))
    assert canonical(twice, 3) != canonical(each, 3)
