"""nas.networks.supernet against explicit sums, and against the discrete network that a decided α stands for."""

import random
import sys
from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace

import pytest
import reference
import torch
from torch import nn

from nas.fast.supernet import SharedState, mix
from nas.networks.network import Network
from nas.networks.supernet import MixedOperation, Mixture, Supernet
from nas.pipeline.errors import UserError
from nas.search import algorithm as algorithms
from nas.search.gdas import one_hot_sample
from nas.space import operations
from nas.space.genotypes import CELLS, Genotype, edges, random_genotype
from nas.space.spaces import SPACES, SearchSpace

pytestmark = pytest.mark.usefixtures("paths")

# The papers' spaces: DARTS, section 3.1; PIBConv, section 3; EfficientNetV2's blocks, without none, skip and pooling
POOLS = ("max_pool_3x3", "avg_pool_3x3")
SHARED = {"none", "skip_connect", *POOLS, "dil_conv_3x3", "dil_conv_5x5"}
PAPERS = {
    "darts": SHARED | {"sep_conv_3x3", "sep_conv_5x5"},
    "darts_gelu": SHARED | {"sep_conv_gelu_3x3", "sep_conv_gelu_5x5"},
    "darts_ln": SHARED | {"sep_conv_gelu_ln_3x3", "sep_conv_gelu_ln_5x5"},
    "convnext": SHARED | {"convnext_3x3", "convnext_5x5"},
    "pibconv": SHARED | {"conv_7x1_1x7"} | {f"pib_conv_{k}x{k}" for k in (3, 5, 7)},
    **{
        f"pibconv_f{f}": SHARED | {"conv_7x1_1x7"} | {f"pib_conv_f{f}_{k}x{k}" for k in (3, 5, 7)}
        for f in ("1.5", "3", "4.5")
    },
    "efficientnetv2": {"ds_conv", "mb_conv", "fused_mb_conv"},
    "s2": {"skip_connect", "sep_conv_3x3"},
    "s3": {"none", "skip_connect", "sep_conv_3x3"},
    "s4": {"noise", "sep_conv_3x3"},
    "nas_bench_201": {"none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"},
}
QUIET = [name for name in PAPERS if name != "s4"]  # which draws noise anew in each pass
DARTS_CELLS = [name for name in PAPERS if name != "nas_bench_201"]


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(space, layers: int = 3, nodes: int = 2, channels: int = 2) -> Supernet:
    return reference.randomize(
        Supernet(space, channels=channels, layers=layers, nodes=nodes, num_classes=3, in_channels=1)
    )


@pytest.fixture
def add_operation(monkeypatch) -> Callable[[str, Callable[..., nn.Module]], None]:
    """Add an operation for one test, as the file of a new family would."""

    def add(name: str, factory: Callable[..., nn.Module]) -> None:
        family = SimpleNamespace(OPERATIONS={name: factory})
        monkeypatch.setitem(sys.modules, f"nas.space.operations.{name}", family)
        monkeypatch.setitem(operations.FAMILIES, name, (name,))

    return add


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d | nn.LayerNorm)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_spaces(name):
    assert sorted(SPACES[name].operations) == sorted(PAPERS[name])
    sizes = {"efficientnetv2": 3, "s2": 2, "s3": 3, "s4": 2, "nas_bench_201": 5}
    assert len(PAPERS[name]) == sizes.get(name, 10 if "pibconv" in name else 8)
    assert SPACES[name].name == name


@pytest.mark.parametrize("name", SPACES)
def test_every_space_names_known_operations(name):
    assert set(SPACES[name].operations) <= set(operations.names())


@pytest.mark.parametrize("names, message", [((), "other than none"), (("none",), "other"), (("a", "b", "a"), "twice")])
def test_spaces_that_offer_no_choice_are_refused(names, message):
    with pytest.raises(ValueError, match=f"mine .*{message}"):
        SearchSpace("mine", names)


@pytest.mark.parametrize("space", ["darts", "pibconv", "efficientnetv2"])
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
    "space", [*QUIET, ("skip_connect",), ("sep_conv_3x3", "none"), ("avg_pool_3x3", "max_pool_3x3")]
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


@pytest.mark.parametrize("space", DARTS_CELLS)
def test_batch_norms_in_cells_learn_nothing_and_follow_each_pooling(space):
    supernet = Supernet(space, channels=2, layers=4, nodes=2, num_classes=3)
    assert all(m.weight is None for m in supernet.cells.modules() if is_norm(m))
    assert all(m.affine for m in supernet.stem if is_norm(m))
    names = [name for name in SPACES[space].operations if name != "none"]
    for cell in supernet.cells:
        for edge in cell.edges:
            for name, candidate in zip(names, edge.operations, strict=True):
                if name in POOLS:
                    assert [type(m) for m in candidate][1:] == [nn.BatchNorm2d]


@pytest.mark.parametrize("layers", [["norm"], ["conv", "norm"], ["relu", "conv", "norm"], ["relu"]])
def test_operations_of_few_layers_are_mixed_as_any(layers, add_operation):
    kinds = {
        "relu": lambda c: nn.ReLU(),
        "conv": lambda c: nn.Conv2d(c, c, 1, bias=False),
        "norm": lambda c: nn.BatchNorm2d(c, affine=False),
    }
    add_operation("few", lambda c, stride, affine: nn.Sequential(*(kinds[k](c) for k in layers)))
    edges = [reference.randomize(MixedOperation(("few", "skip_connect"), 4, 1)) for _ in range(2)]
    maps, weights = [images(3, 4, 7, 6) for _ in edges], images(2, 2).softmax(1)
    states = [SharedState(x, [edge]) for x, edge in zip(maps, edges, strict=True)]
    plain = sum(edge(x, row) for edge, x, row in zip(edges, maps, weights, strict=True))
    torch.testing.assert_close(mix(edges, states, weights), plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("space, layers, nodes", [("darts", 3, 4), ("darts", 8, 1), ("pibconv", 4, 3)])
def test_supernet_mixes_every_edge_of_every_cell(space, layers, nodes, training):
    supernet = make(space, layers, nodes).train(training)
    x = images(4, 1, 8, 8)
    history = 2 * [supernet.stem(x)]
    for layer, cell in enumerate(supernet.cells):
        kind = supernet.alphas_reduce if layer in (layers // 3, 2 * layers // 3) else supernet.alphas_normal
        states = [cell.preprocess0(history[-2]), cell.preprocess1(history[-1])]
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
    """Put all weight of an edge on the genotype's operation, and of an edge that the genotype lacks on none.

    A space without none can only stand for genotypes of one node, which have every edge.
    """
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
        pairs = [(mixed.preprocess0, cell.preprocess0), (mixed.preprocess1, cell.preprocess1)]
        chosen = genotype.reduce if layer in supernet.reductions else genotype.normal
        for i, (name, state) in enumerate(chosen):
            edge = mixed.edges[rows.index((state, 2 + i // 2))]
            candidate = edge.operations[names.index(name)]
            if name in POOLS:  # which a batch norm follows here alone
                cell.operations[i] = deepcopy(candidate)
            else:
                pairs.append((candidate, cell.operations[i]))
        for source, target in pairs:
            missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
            norms = {f"{prefix}.".lstrip(".") for prefix, m in target.named_modules() if is_norm(m)}
            assert set(missing) == {prefix + p for prefix in norms for p in ("weight", "bias")}
            assert not unexpected


@pytest.mark.parametrize("layers, nodes, stem, size", [(5, 3, "cifar", 8), (3, 4, "imagenet", 64)])
@pytest.mark.parametrize(
    "space",
    [
        *(SPACES[name] for name in QUIET if name in DARTS_CELLS),
        SearchSpace("efficientnetv2_none", ("ds_conv", "mb_conv", "fused_mb_conv", "none")),
    ],
    ids=lambda space: space.name,
)
def test_a_decided_supernet_is_the_discrete_network(space, layers, nodes, stem, size):
    names = [name for name in space.operations if name != "none"]
    nodes = nodes if "none" in space.operations else 1
    how = {"channels": 2, "layers": layers, "num_classes": 3, "in_channels": 1, "stem": stem}
    for seed in range(2):
        source, concat = random.Random(seed), tuple(range(2, 2 + nodes))
        genotype = Genotype(random_cell(names, nodes, source), concat, random_cell(names, nodes, source), concat)
        supernet = reference.randomize(Supernet(space, nodes=nodes, **how))
        decide(supernet, genotype)
        network = Network(genotype, **how).double()
        copy_weights(supernet, network, genotype)
        x = images(4, 1, size, size, seed=seed)
        for training in (False, True, False):
            supernet.train(training)
            network.train(training)
            torch.testing.assert_close(supernet(x), network(x), rtol=1e-10, atol=1e-10)
        for found, wanted in (
            (supernet.genotype().normal, genotype.normal),
            (supernet.genotype().reduce, genotype.reduce),
        ):
            for node in range(nodes):
                assert set(found[2 * node : 2 * node + 2]) == set(wanted[2 * node : 2 * node + 2])


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_a_decided_supernet_of_s1_is_the_discrete_network(training):
    """No edge has none there, so weights of 0 stand for the edges that the genotype lacks."""
    space, how = SPACES["s1"], {"channels": 2, "layers": 4, "num_classes": 3, "in_channels": 1}
    supernet = reference.randomize(Supernet(space, nodes=4, **how)).train(training)
    genotype = random_genotype(space, 4, "0")
    network = Network(genotype, **how).double().train(training)
    network.stem.load_state_dict(supernet.stem.state_dict())
    network.classifier.load_state_dict(supernet.classifier.state_dict())
    rows, mixtures = edges(4), {}
    for kind in CELLS:
        mixtures[kind] = torch.zeros(14, 2, dtype=torch.float64)
        for i, (name, state) in enumerate(getattr(genotype, kind)):
            row = rows.index((state, 2 + i // 2))
            column = space.edges[kind][row].index(name)
            mixtures[kind][row, column] = 1
            for layer, (mixed, cell) in enumerate(zip(supernet.cells, network.cells, strict=True)):
                if (layer in supernet.reductions) == (kind == "reduce"):
                    candidate = mixed.edges[row].operations[column]
                    if name in POOLS:
                        cell.operations[i] = deepcopy(candidate)
                    else:
                        cell.operations[i].load_state_dict(candidate.state_dict(), strict=False)
    for mixed, cell in zip(supernet.cells, network.cells, strict=True):
        cell.preprocess0.load_state_dict(mixed.preprocess0.state_dict(), strict=False)
        cell.preprocess1.load_state_dict(mixed.preprocess1.state_dict(), strict=False)
    x = images(4, 1, 12, 12)
    found = supernet(x, [Mixture(weights) for weights in mixtures.values()])
    torch.testing.assert_close(found, network(x), rtol=1e-10, atol=1e-10)


def test_s1_is_for_four_nodes():
    message = "nodes: 3 is not allowed: must be 4 for the space s1, whose edges have operations of their own"
    with pytest.raises(UserError, match=f"^{message}$"):
        Supernet("s1", channels=2, layers=3, nodes=3, num_classes=3)


# GDAS


def drawing(supernet: Supernet, tau: float = 5.0) -> algorithms.Algorithm:
    algorithm = algorithms.make("gdas", {"tau": tau})
    algorithm.prepare(supernet)
    return algorithm


def test_draws_follow_softmax_and_are_one_hot():
    """The Gumbel-max trick: whatever τ, operation k is drawn with probability softmax(α)_k."""
    torch.manual_seed(0)
    alphas = torch.tensor([[0.0, 1.0, -1.0], [2.0, 2.0, 0.0]], dtype=torch.float64)
    for temperature in (10.0, 1.0):
        draws = torch.stack([one_hot_sample(alphas, temperature) for _ in range(4000)])
        torch.testing.assert_close(draws, draws.round(), rtol=0, atol=1e-12)
        assert draws.sum(-1).round().eq(1).all()
        share, expected = draws.mean(0), alphas.softmax(-1)
        assert ((share - expected).abs() < 4 * (expected * (1 - expected) / 4000).sqrt()).all()


def test_the_gradient_of_a_draw_is_that_of_the_relaxation():
    """Straight through: d/dα of softmax((α + g)/τ), by finite differences with the same noise g."""
    alphas = torch.tensor([[0.3, -0.2, 0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    direction, temperature = torch.tensor([[0.7, -1.1, 0.4, 2.0]], dtype=torch.float64), 3.0

    def relaxation(a: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        noise = -torch.empty_like(a).exponential_().log()
        return (direction * ((a + noise) / temperature).softmax(-1)).sum()

    torch.manual_seed(5)
    (direction * one_hot_sample(alphas, temperature)).sum().backward()
    for k in range(4):
        step = torch.zeros_like(alphas)
        step[0, k] = 1e-6
        with torch.no_grad():
            slope = (relaxation(alphas + step) - relaxation(alphas - step)) / 2e-6
        assert alphas.grad[0, k].item() == pytest.approx(slope.item(), abs=1e-8)


@pytest.mark.parametrize("space", ["pibconv", "efficientnetv2"])
def test_gdas_computes_the_drawn_operation_alone(space):
    """A forward pass equals that of the supernet with a decided α for the same draw, and no other operation runs."""
    supernet = make(space, layers=3, nodes=2).eval()
    without_none, algorithm = [name for name in SPACES[space].operations if name != "none"], drawing(supernet)
    ran = set()
    for name, module in supernet.named_modules():
        if ".operations." in name and name.rsplit(".", 2)[1] == "operations":
            module.register_forward_hook(lambda *_, name=name: ran.add(name))
    x = images(4, 1, 8, 8)
    for seed in range(4):
        ran.clear()
        torch.manual_seed(seed)
        logits = supernet(x, algorithm.mixtures(supernet.alphas(), "weights"))
        torch.manual_seed(seed)
        draws = [one_hot_sample(alphas, 5.0).argmax(-1) for alphas in supernet.alphas()]
        decided = deepcopy(supernet)
        with torch.no_grad():
            for alphas, draw in zip(decided.alphas(), draws, strict=True):
                alphas.copy_(1e4 * nn.functional.one_hot(draw, alphas.shape[1]))
        computed = set(ran)
        torch.testing.assert_close(logits, decided(x), rtol=1e-9, atol=1e-9)
        expected = {
            f"cells.{c}.edges.{e}.operations.{without_none.index(name)}"
            for c in range(3)
            for e, k in enumerate(draws[c in supernet.reductions].tolist())
            if (name := SPACES[space].operations[k]) != "none"
        }
        assert computed == expected


@pytest.mark.parametrize("space", ["darts", "efficientnetv2"])
def test_gdas_gives_every_alpha_a_gradient_and_only_drawn_weights(space):
    supernet = make(space, layers=3, nodes=2)
    algorithm = drawing(supernet, 10.0)
    torch.manual_seed(1)
    logits = supernet(images(6, 1, 8, 8), algorithm.mixtures(supernet.alphas(), "alpha"))
    nn.functional.cross_entropy(logits, torch.arange(6) % 3).backward()
    for alphas in supernet.alphas():
        assert alphas.grad.ne(0).any(dim=0).all()
    without = [name for name, p in supernet.weights().items() if p.grad is None]
    assert without
    if "none" not in SPACES[space].operations:  # or no path may lead through a cell's input
        assert all(".operations." in name for name in without)


@pytest.mark.parametrize("space, strongest", [("darts", "sep_conv_5x5"), ("efficientnetv2", "ds_conv")])
def test_gdas_evaluates_the_strongest_operations_other_than_none(space, strongest):
    supernet = make(space, layers=3, nodes=1).eval()
    algorithm, names = drawing(supernet), SPACES[space].operations
    with torch.no_grad():
        for alphas in supernet.alphas():
            alphas.zero_()
            alphas[:, names.index(strongest)] = 1
            if "none" in names:
                alphas[:, names.index("none")] = 2
    decided = deepcopy(supernet)
    with torch.no_grad():
        for alphas in decided.alphas():
            alphas[:, names.index(strongest)] = 1e4
    x = images(4, 1, 8, 8)
    found, again = (supernet(x, algorithm.mixtures(supernet.alphas(), "valid")) for _ in range(2))
    torch.testing.assert_close(found, decided(x), rtol=1e-9, atol=1e-9)
    assert torch.equal(found, again)


class Scale(nn.Conv2d):
    """An operation that a researcher adds: a number for each channel."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__(channels, channels, 1, stride, groups=channels, bias=False)


def test_a_space_and_an_operation_of_ones_own(add_operation, monkeypatch):
    with pytest.raises(UserError, match="unknown operation 'scale'"):
        make(SearchSpace("mine", ("scale", "none")))
    add_operation("scale", Scale)
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


@pytest.mark.parametrize("space, layers, nodes", [("darts", 3, 2), ("pibconv", 4, 2), ("efficientnetv2", 3, 2)])
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
        ("dart", r"unknown search space 'dart'; did you mean darts\?"),
        ("PIBCONV", r"unknown search space 'PIBCONV'; did you mean pibconv\?"),
        ("", r"unknown search space '' \(known: darts, darts_gelu, "),
        (SearchSpace("mine", ("none", "sep_conv_3")), r"unknown operation 'sep_conv_3'; did you mean sep_conv_3x3\?"),
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


@pytest.mark.parametrize("name", ["darts", "gdas"])
@pytest.mark.parametrize("space", ["darts", "pibconv", "s4"])
def test_recomputing_cells_changes_no_bit_and_keeps_less(space, name):
    results, kept = [], []
    for recompute in (False, True):
        torch.manual_seed(7)
        supernet = Supernet(space, channels=4, layers=4, nodes=2, num_classes=3, recompute=recompute)
        algorithm = algorithms.make(name)
        algorithm.prepare(supernet)
        mixtures = algorithm.mixtures(supernet.alphas(), "weights")
        x, labels = torch.randn(4, 3, 8, 8), torch.randint(3, (4,))
        sizes = []

        def keep(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = nn.functional.cross_entropy(supernet(x, mixtures), labels)
        kept.append(sum(sizes))
        gradients = torch.autograd.grad(loss, list(supernet.parameters()), materialize_grads=True)
        results.append([loss.detach(), *gradients, *supernet.buffers()])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    assert kept[1] < kept[0] / 3


def test_recomputing_takes_the_weights_of_the_call():
    torch.manual_seed(8)
    supernet = Supernet("darts", channels=2, layers=3, nodes=2, num_classes=3).double()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    others = {name: torch.randn_like(w).requires_grad_() for name, w in supernet.weights().items()}
    found = []
    for recompute in (False, True):
        supernet.recompute = recompute
        loss = torch.func.functional_call(supernet, others, (x,)).square().sum()
        found.append(torch.autograd.grad(loss, [*others.values(), *supernet.alphas()]))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
