"""A supernet's opinion of a genotype against its own modules put together by hand, for every algorithm's supernet."""

from copy import deepcopy
from itertools import product

import pytest
import torch
from test_algorithms import ALL, Doubled, made, recipe, small
from test_search import loaders
from torch import Tensor, nn

from nas.networks.supernet import Supernet
from nas.search.algorithm import Algorithm
from nas.search.loop import AlphaRecipe, search
from nas.search.one_shot import discrete, opinions
from nas.space.genotypes import Genotype, edges, random_genotype
from nas.space.spaces import SearchSpace

pytestmark = pytest.mark.usefixtures("paths")


def searched() -> tuple[Supernet, Algorithm]:
    algorithm = made("darts")
    supernet, batches = small(algorithm), loaders()
    for each in batches:
        each.__class__ = Doubled
    search(supernet, *batches, recipe(1), AlphaRecipe(0.05), algorithm, seed=1)
    return supernet, algorithm


def by_hand(supernet: Supernet, genotype: Genotype, x: Tensor) -> Tensor:
    """The sum of the operations that the genotype names, cell by cell, without a mixture."""
    s0 = s1 = supernet.stem(x)
    for layer, cell in enumerate(supernet.cells):
        states = [cell.preprocess0(s0), cell.preprocess1(s1)]
        picked = genotype.reduce if layer in supernet.reductions else genotype.normal
        for node in range(supernet.nodes):
            total = 0
            for operation, source in picked[2 * node : 2 * node + 2]:
                edge = cell.edges[edges(supernet.nodes).index((source, 2 + node))]
                column = supernet.space.operations.index(operation)
                total = total + through(edge, states[source], column)
            states.append(total)
        s0, s1 = s1, torch.cat(states[2:], dim=1)
    return supernet.classifier(s1.mean(dim=(2, 3)))


def through(edge: nn.Module, x: Tensor, column: int) -> Tensor:
    """One operation of an edge; with partial channels the others pass by, and all are shuffled."""
    operation = edge.operations[edge.columns.index(column)]
    if edge.partial == 1:
        return operation(x)
    both = torch.cat([operation(x[:, : edge.mixed]), edge.passed(x[:, edge.mixed :])], dim=1)
    return both.unflatten(1, (edge.partial, -1)).transpose(1, 2).flatten(1, 2)


@pytest.mark.parametrize("name", ALL)
def test_a_genotype_is_computed_by_its_operations_alone(name: str) -> None:
    algorithm = made(name)
    supernet = small(algorithm)
    algorithm.prepare(supernet)
    algorithm.begin(2, 3)
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        like = algorithm.mixtures(supernet.alphas(), "valid")
        for seed in range(6):
            genotype = random_genotype(supernet.space, 2, f"{name}/{seed}")
            found = deepcopy(supernet).train()(x, discrete(supernet, genotype, like))
            torch.testing.assert_close(found, by_hand(deepcopy(supernet).train(), genotype, x), rtol=1e-9, atol=1e-9)


def test_opinions_are_accuracies_on_the_batches_of_a_validation() -> None:
    supernet, algorithm = searched()
    valid = loaders(20)[2]  # of 8, 8 and 4 images, the last of which are left out
    valid.__class__ = Doubled
    genotypes = {str(seed): random_genotype(supernet.space, 2, str(seed)) for seed in range(8)}
    before = {name: tensor.clone() for name, tensor in supernet.named_parameters()}
    found = list(opinions(supernet, algorithm, genotypes, valid, recipe()))

    def expected(batches: int) -> list[dict]:
        rows = []
        for name, genotype in genotypes.items():
            right = 0
            for images, labels in list(valid.epoch(0))[:batches]:
                right += (by_hand(deepcopy(supernet).train(), genotype, images).argmax(1) == labels).sum().item()
            rows.append({"genotype": name, "top1": 100 * right / (8 * batches)})
        return rows

    assert found == expected(2) and len({row["top1"] for row in found}) > 1
    assert list(opinions(supernet, algorithm, genotypes, valid, recipe(), most=1)) == expected(1) != found
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.named_parameters())


def test_edges_with_operations_of_their_own_and_no_none() -> None:
    torch.manual_seed(0)
    own = tuple([("skip_connect", "max_pool_3x3"), ("avg_pool_3x3", "sep_conv_3x3")])
    names = ("skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3")
    space = SearchSpace("own", names, {"normal": own, "reduce": own[:1] * 2})
    supernet = Supernet(space, channels=4, layers=3, nodes=1, num_classes=3, in_channels=1).double()
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    like, logits = Algorithm().mixtures(supernet.alphas(), "valid"), []
    with torch.no_grad():
        for first, second in product(*own):
            genotype = Genotype(((second, 1), (first, 0)), (2,), (("skip_connect", 0), ("max_pool_3x3", 1)), (2,))
            mixtures = discrete(supernet, genotype, like)
            assert mixtures[0].weights.tolist() == [[float(name == first) for name in own[0]],
                                                    [float(name == second) for name in own[1]]]  # fmt: skip
            logits.append(supernet(x, mixtures))
    assert all(not torch.allclose(a, b) for i, a in enumerate(logits) for b in logits[:i])


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        (
            (("sep_conv_3x3", 0), ("sep_conv_5x5", 1)) * 2,
            "normal node 0: the supernet has no sep_conv_5x5",
        ),
        (
            (("sep_conv_3x3", 0), ("skip_connect", 0)) * 2,
            "node 0: .* no skip_connect from state 0",
        ),
        ((("sep_conv_3x3", 0), ("skip_connect", 1)), "normal cell has not the supernet's 2 nodes"),
    ],
)
def test_what_is_none_of_the_supernets_is_refused(normal, message: str) -> None:
    supernet = small(made("darts"))
    reduce = (("skip_connect", 0), ("skip_connect", 1)) * 2
    concat = tuple(range(2, 2 + len(normal) // 2))
    with pytest.raises(ValueError, match=message):
        discrete(supernet, Genotype(normal, concat, reduce, (2, 3)), Algorithm().mixtures(supernet.alphas(), "valid"))
