"""nas.supernet against explicit sums, and against the discrete network that a decided α stands for."""

import random

import pytest
import reference
import torch
from torch import nn

from nas import operations
from nas.errors import UserError
from nas.genotypes import Genotype, edges
from nas.network import Network
from nas.operations import OPERATIONS
from nas.spaces import SPACES, SearchSpace
from nas.supernet import MixedOperation, Supernet

# The papers' spaces: DARTS, section 3.1; PIBConv, section 3
SEP, DIL = ("sep_conv_3x3", "sep_conv_5x5"), ("dil_conv_3x3", "dil_conv_5x5")
PAPERS = {
    "darts": {"none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", *SEP, *DIL},
    "pibconv": {"none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", *DIL, "conv_7x1_1x7"}
    | {f"pib_conv_{k}x{k}" for k in (3, 5, 7)},
}
POOLS = ("max_pool_3x3", "avg_pool_3x3")


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(space, layers: int = 3, nodes: int = 2, channels: int = 2) -> Supernet:
    return reference.randomize(
        Supernet(space, channels=channels, layers=layers, nodes=nodes, num_classes=3, in_channels=1)
    )


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_spaces(name):
    assert set(SPACES[name].operations) == PAPERS[name]
    assert len(SPACES[name].operations) == {"darts": 8, "pibconv": 10}[name]
    assert SPACES[name].name == name


@pytest.mark.parametrize("name", SPACES)
def test_every_space_names_known_operations(name):
    assert set(SPACES[name].operations) <= set(OPERATIONS)


@pytest.mark.parametrize("names, message", [((), "other than none"), (("none",), "other"), (("a", "b", "a"), "twice")])
def test_spaces_that_offer_no_choice_are_refused(names, message):
    with pytest.raises(ValueError, match=f"mine .*{message}"):
        SearchSpace("mine", names)


@pytest.mark.parametrize("space", PAPERS)
@pytest.mark.parametrize("nodes, rows", [(1, 2), (2, 5), (3, 9), (4, 14), (5, 20)])
def test_alpha_has_a_row_for_each_edge_and_starts_near_zero(space, nodes, rows):
    torch.manual_seed(nodes)
    supernet = Supernet(space, channels=1, layers=3, nodes=nodes, num_classes=3)
    columns = len(PAPERS[space])
    assert [a.shape for a in supernet.alphas()] == [(rows, columns), (rows, columns)]
    assert supernet.alphas()[0] is supernet.alphas_normal and supernet.alphas()[1] is supernet.alphas_reduce
    values = torch.cat([a.detach().flatten() for a in supernet.alphas()])
    n = len(values)
    assert abs(values.std() - 1e-3) < 4e-3 / (2 * n) ** 0.5
    assert abs(values.mean()) < 4e-3 / n**0.5
    assert not torch.equal(*supernet.alphas())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "space", [*PAPERS, ("skip_connect",), ("sep_conv_3x3", "none"), ("avg_pool_3x3", "max_pool_3x3")]
)
def test_mixed_operation_is_the_weighted_sum(space, stride):
    names = space if isinstance(space, tuple) else SPACES[space].operations
    mixed = reference.randomize(MixedOperation(names, 4, stride))
    x, weights = images(3, 4, 7, 6), images(len(names)).softmax(0)
    assert [names[k] for k in mixed.columns] == [name for name in names if name != "none"]
    expected = torch.zeros(3, 4, *(-(-n // stride) for n in (7, 6)), dtype=torch.float64)
    candidates = iter(mixed.operations)
    for name, weight in zip(names, weights, strict=True):
        if name != "none":
            take, rest = reference.take_from(candidate := next(candidates))
            result = reference.operation(name, x.numpy(), stride, take, training=True, affine=False)
            if name in POOLS:
                result = reference.norm(result, take, training=True, affine=False)
            assert next(rest, None) is None
            torch.testing.assert_close(candidate(x), torch.from_numpy(result), rtol=1e-9, atol=1e-9)
            expected = expected + weight * candidate(x)
    torch.testing.assert_close(mixed(x, weights), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("space", PAPERS)
def test_batch_norms_in_cells_learn_nothing_and_follow_each_pooling(space):
    supernet = Supernet(space, channels=2, layers=4, nodes=2, num_classes=3)
    assert not any(m.affine for m in supernet.cells.modules() if is_norm(m))
    assert all(m.affine for m in supernet.stem if is_norm(m))
    names = [name for name in SPACES[space].operations if name != "none"]
    for cell in supernet.cells:
        for edge in cell.edges:
            for name, candidate in zip(names, edge.operations, strict=True):
                if name in POOLS:
                    assert [type(m) for m in candidate][1:] == [nn.BatchNorm2d]


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("space, layers, nodes", [("darts", 3, 4), ("darts", 8, 1), ("pibconv", 4, 3)])
def test_supernet_mixes_every_edge_of_every_cell(space, layers, nodes, training):
    supernet = make(space, layers, nodes).train(training)
    x = images(4, 1, 8, 8)
    history = 2 * [supernet.stem(x)]
    for layer, cell in enumerate(supernet.cells):
        kind = supernet.alphas_reduce if layer in (layers // 3, 2 * layers // 3) else supernet.alphas_normal
        states = [cell.adapt_before_last(history[-2]), cell.adapt_last(history[-1])]
        row = 0
        for node in range(nodes):
            total = 0
            for source in range(node + 2):
                exponentials = kind[row].exp()
                names = supernet.space.operations
                modules = iter(cell.edges[row].operations)
                for k, name in enumerate(names):
                    if name != "none":
                        total = total + exponentials[k] / exponentials.sum() * next(modules)(states[source])
                row += 1
            states.append(total)
        history.append(torch.cat(states[2:], dim=1))
    expected = supernet.classifier(history[-1].mean((2, 3)))
    assert expected.shape == (4, 3)
    torch.testing.assert_close(supernet(x), expected, rtol=1e-10, atol=1e-10)


def random_cell(names: list[str], nodes: int, source: random.Random) -> tuple[tuple[str, int], ...]:
    return tuple((source.choice(names), s) for node in range(nodes) for s in source.sample(range(node + 2), 2))


def decide(supernet: Supernet, genotype: Genotype) -> None:
    """Put all weight of an edge on the genotype's operation, and of an edge that the genotype lacks on none."""
    names = supernet.space.operations
    for alphas, cell in ((supernet.alphas_normal, genotype.normal), (supernet.alphas_reduce, genotype.reduce)):
        chosen = {(state, 2 + i // 2): name for i, (name, state) in enumerate(cell)}
        with torch.no_grad():
            alphas.zero_()
            for row, edge in enumerate(edges(supernet.nodes)):
                alphas[row, names.index(chosen.get(edge, "none"))] = 1e4


def copy_weights(supernet: Supernet, network: Network, genotype: Genotype) -> None:
    network.stem.load_state_dict(supernet.stem.state_dict())
    network.classifier.load_state_dict(supernet.classifier.state_dict())
    names = [name for name in supernet.space.operations if name != "none"]
    rows = edges(supernet.nodes)
    for layer, (mixed, cell) in enumerate(zip(supernet.cells, network.cells, strict=True)):
        pairs = [(mixed.adapt_before_last, cell.adapt_before_last), (mixed.adapt_last, cell.adapt_last)]
        chosen = genotype.reduce if layer in supernet.reductions else genotype.normal
        for i, (name, state) in enumerate(chosen):
            edge = mixed.edges[rows.index((state, 2 + i // 2))]
            pairs.append((edge.operations[names.index(name)], cell.operations[i]))
        for source, target in pairs:
            missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
            norms = {f"{prefix}.".lstrip(".") for prefix, m in target.named_modules() if is_norm(m)}
            assert set(missing) == {prefix + p for prefix in norms for p in ("weight", "bias")}
            assert not unexpected


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize(
    "space, layers, nodes", [("darts", 4, 4), ("darts", 3, 1), ("pibconv", 5, 3), ("pibconv", 3, 4)]
)
def test_a_decided_supernet_is_the_discrete_network(space, layers, nodes, training):
    """Without pooling, which a batch norm follows only here."""
    names = [name for name in SPACES[space].operations if name not in ("none", *POOLS)]
    for seed in range(3):
        source, concat = random.Random(seed), tuple(range(2, 2 + nodes))
        genotype = Genotype(random_cell(names, nodes, source), concat, random_cell(names, nodes, source), concat)
        supernet = make(space, layers, nodes)
        decide(supernet, genotype)
        network = Network(genotype, channels=2, layers=layers, num_classes=3, in_channels=1).double()
        copy_weights(supernet, network, genotype)
        x = images(4, 1, 8, 8, seed=seed)
        supernet.train(training)
        network.train(training)
        torch.testing.assert_close(supernet(x), network(x), rtol=1e-10, atol=1e-10)
        for found, wanted in (
            (supernet.genotype().normal, genotype.normal),
            (supernet.genotype().reduce, genotype.reduce),
        ):
            for node in range(nodes):
                assert set(found[2 * node : 2 * node + 2]) == set(wanted[2 * node : 2 * node + 2])


class Scale(nn.Conv2d):
    """An operation that a researcher adds: a number for each channel."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__(channels, channels, 1, stride, groups=channels, bias=False)


def test_a_space_and_an_operation_of_ones_own(monkeypatch):
    with pytest.raises(UserError, match="space mine names scale, which is no operation"):
        make(SearchSpace("mine", ("scale", "none")))
    monkeypatch.setitem(operations.OPERATIONS, "scale", Scale)
    supernet = make(SearchSpace("mine", ("skip_connect", "scale", "none")))
    assert sum(isinstance(m, Scale) for m in supernet.modules()) == 3 * 5
    with torch.no_grad():
        for alphas in supernet.alphas():
            alphas.zero_()
            alphas[:, 1] = 1
    genotype = supernet.genotype()
    assert genotype.operations() == {"scale"}
    network = Network(genotype, channels=2, layers=3, num_classes=3, in_channels=1).double()
    x = images(4, 1, 8, 8)
    assert supernet(x).shape == network(x).shape == (4, 3)
    monkeypatch.setitem(SPACES, "named", supernet.space)
    assert make("named").space is supernet.space


def test_weights_are_everything_but_alpha():
    supernet = make("darts")
    weights = supernet.weights()
    alphas = {id(a) for a in supernet.alphas()}
    assert {id(p) for p in weights.values()} == {id(p) for p in supernet.parameters()} - alphas
    assert all(supernet.get_parameter(name) is p for name, p in weights.items())
    assert len(alphas) == 2 and alphas <= {id(p) for p in supernet.parameters()}


@pytest.mark.parametrize("space, layers, nodes", [("darts", 3, 2), ("pibconv", 4, 2)])
def test_gradient_reaches_every_alpha_and_every_weight(space, layers, nodes):
    torch.manual_seed(0)
    supernet = Supernet(space, channels=4, layers=layers, nodes=nodes, num_classes=3, in_channels=1).double()
    nn.functional.cross_entropy(supernet(images(6, 1, 12, 12)), torch.arange(6) % 3).backward()
    for alphas in supernet.alphas():
        assert alphas.grad.ne(0).all()
    assert [name for name, p in supernet.weights().items() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    "space, message",
    [
        ("dart", r"dart is no search space: did you mean darts\?"),
        ("PIBCONV", r"PIBCONV is no search space: did you mean pibconv\?"),
        ("", "is no search space: known are darts, pibconv"),
        (SearchSpace("mine", ("none", "sep_conv_3")), r"space mine names sep_conv_3, .* did you mean sep_conv_3x3\?"),
    ],
)
def test_unknown_names(space, message):
    with pytest.raises(UserError, match=message) as caught:
        make(space)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_a_supernet_without_a_normal_cell_is_refused(layers):
    with pytest.raises(UserError, match=f"layers: {layers} is not allowed: must be at least 3"):
        make("darts", layers)
