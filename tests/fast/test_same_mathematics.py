"""The library against the plain implementation of benchmarks/plain.py: the same logits, gradients and statistics.

In float64 all agree to rounding. In float32 a value may land on the other side of ReLU's kink, or of max pooling's,
which changes a gradient by far more than rounding; so there a tensor must agree on most of several batches.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import plain
from benchmarks.workloads import ALPHAS, Repeated, recipe
from nas.networks.network import Network
from nas.networks.supernet import Supernet
from nas.search import loop as search
from nas.search.algorithm import make
from nas.search.darts_second import second_order
from nas.space.published import PUBLISHED
from nas.space.spaces import SPACES
from nas.training.loop import train

pytestmark = [pytest.mark.usefixtures("paths"), pytest.mark.parametrize("paths", ["fast", "plain"], indirect=True)]

Pair = tuple[nn.Module, nn.Module]
Batch = tuple[Tensor, Tensor]


def same_weights(ours: nn.Module, other: nn.Module, dtype: torch.dtype) -> Pair:
    """Both with the weights of `ours`, its affine parameters drawn anew: BN starts with scales of 1 and shifts of 0."""
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    other.load_state_dict(ours.state_dict())
    return ours.to(dtype), other.to(dtype)


def supernets(
    space: str, dtype: torch.dtype, *, channels: int, layers: int, nodes: int, alpha_scale: float = 1.0
) -> Pair:
    shape = {"channels": channels, "layers": layers, "nodes": nodes, "num_classes": 10}
    ours, other = Supernet(space, **shape), plain.PlainSupernet(SPACES[space].operations, **shape)
    with torch.no_grad():
        for alpha in ours.alphas():  # far from where a search starts, so that each operation has a weight of its own
            alpha.normal_(0, alpha_scale)
    return same_weights(ours, other, dtype)


def networks(genotype: str, dtype: torch.dtype, *, channels: int, layers: int) -> Pair:
    shape = {"channels": channels, "layers": layers, "num_classes": 10, "auxiliary": True}
    return same_weights(Network(PUBLISHED[genotype], **shape), plain.PlainNetwork(PUBLISHED[genotype], **shape), dtype)


def batch_of(count: int, height: int, width: int, dtype: torch.dtype) -> Batch:
    return torch.randn(count, 3, height, width, dtype=dtype), torch.randint(10, (count,))


def outcome(model: nn.Module, batch: Batch, seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """Logits of a training pass, gradients, the statistics it leaves, and logits in eval mode."""
    images, labels = batch
    torch.manual_seed(seed)  # of drop path
    results = model.train()(images)
    logits = results if isinstance(results, tuple) else (results,)
    names, parameters = zip(*model.named_parameters(), strict=True)
    loss = sum(weight * cross_entropy(each, labels) for weight, each in zip((1, 0.4), logits, strict=False))
    gradients = torch.autograd.grad(loss, parameters)
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        evaluated = model.eval()(images)
    return {
        "logits": {"training": torch.stack(logits).detach(), "eval": evaluated},
        "gradients": dict(zip(names, gradients, strict=True)),
        "statistics": statistics,
    }


def differences(ours: dict, other: dict) -> dict[str, float]:
    """Norm of the difference over norm, of every tensor.

    The norm is taken to be at least 0.01 of the largest of its kind: some tensors are zero but for rounding, as the
    running mean behind a pooling of normalized maps.
    """
    found = {}
    for kind, tensors in other.items():
        assert list(ours[kind]) == list(tensors)
        norms = {name: tensor.double().norm().item() for name, tensor in tensors.items()}
        floor = max(norm for name, norm in norms.items() if not name.endswith("num_batches_tracked")) / 100
        for name, tensor in tensors.items():
            difference = (ours[kind][name].double() - tensor.double()).norm().item()
            found[f"{kind}: {name}"] = difference / max(norms[name], floor)
    return found


def assert_same(ours: dict, other: dict, tolerance: float = 1e-9) -> None:
    wrong = {name: value for name, value in differences(ours, other).items() if not value <= tolerance}
    assert not wrong


def assert_same_on_most(pairs: Callable[[], Pair], batch: Callable[[], Batch], tolerance: float = 1e-4) -> None:
    """The median over five drawn models and batches is within `tolerance`, for every tensor."""
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        (ours, other), drawn = pairs(), batch()
        found.append(differences(outcome(ours, drawn), outcome(other, drawn)))
    medians = {name: sorted(each[name] for each in found)[2] for name in found[0]}
    wrong = {name: value for name, value in medians.items() if not value <= tolerance}
    assert not wrong


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7)])
@pytest.mark.parametrize("space", ["darts", "pibconv"])
def test_supernet_in_float64(space: str, height: int, width: int) -> None:
    torch.manual_seed(0)
    ours, other = supernets(space, torch.float64, channels=4, layers=4, nodes=3)
    batch = batch_of(4, height, width, torch.float64)
    assert_same(outcome(ours, batch), outcome(other, batch))


@pytest.mark.parametrize("space", ["darts", "pibconv"])
def test_supernet_in_float32(space: str) -> None:
    assert_same_on_most(
        lambda: supernets(space, torch.float32, channels=16, layers=3, nodes=2),
        lambda: batch_of(4, 10, 10, torch.float32),
    )


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7), (32, 32)])
@pytest.mark.parametrize("layers", [2, 3, 5])
@pytest.mark.parametrize("genotype", ["DARTS_V2", "DARTS_PseudoInvBn"])
def test_network_in_float64(genotype: str, layers: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    ours, other = networks(genotype, torch.float64, channels=4, layers=layers)
    batch = batch_of(4, height, width, torch.float64)
    assert_same(outcome(ours, batch), outcome(other, batch))


@pytest.mark.parametrize("genotype", ["DARTS_V2", "DARTS_PseudoInvBn"])
def test_network_in_float32(genotype: str) -> None:
    assert_same_on_most(
        lambda: networks(genotype, torch.float32, channels=16, layers=3), lambda: batch_of(4, 16, 16, torch.float32)
    )


@pytest.mark.parametrize("genotype", ["DARTS_V2", "DARTS_PseudoInvBn"])
def test_network_with_drop_path(genotype: str) -> None:
    """One draw for each image on each edge that is no identity, in the genotype's order."""
    torch.manual_seed(0)
    ours, other = networks(genotype, torch.float64, channels=4, layers=3)
    ours.drop_path = other.drop_path = 0.3
    batch = batch_of(8, 8, 8, torch.float64)
    assert_same(outcome(ours, batch, seed=5), outcome(other, batch, seed=5))


@pytest.mark.parametrize("space", ["darts", "pibconv"])
def test_gradient_of_second_order(space: str) -> None:
    torch.manual_seed(0)
    ours, other = supernets(space, torch.float64, channels=4, layers=4, nodes=2)
    batches = [batch_of(4, 8, 8, torch.float64) for _ in range(2)]
    optimizer = torch.optim.SGD(other.weights(), lr=0.1, momentum=0.9, weight_decay=3e-4)
    velocity = {name: 0.1 * torch.randn_like(weight) for name, weight in ours.weights().items()}
    for weight, buffer in zip(other.weights(), velocity.values(), strict=True):
        optimizer.state[weight]["momentum_buffer"] = buffer.clone()
    options = {"xi": 0.1, "momentum": 0.9, "weight_decay": 3e-4, "velocity": velocity}
    loss, weights, alphas = search.functional_loss(ours), ours.weights(), ours.alphas()
    found = second_order(loss, weights, alphas, *batches, **options)
    expected = plain.second_order_gradient(other, optimizer, *batches)
    direct = plain.first_order_gradient(other, batches[1])
    for f, e, d in zip(found, expected, direct, strict=True):
        assert (f - e).norm() <= 1e-9 * min(e.norm(), (e - d).norm())


@pytest.mark.parametrize("name", ["darts", "darts_second"])
def test_steps_of_a_search(name: str) -> None:
    """The training loops that the benchmarks time do the same: after three steps w and α agree."""
    torch.manual_seed(0)
    ours, other = supernets("darts", torch.float64, channels=4, layers=3, nodes=2)
    batches = [batch_of(4, 8, 8, torch.float64) for _ in range(2)]
    weights_batches, alpha_batches, valid_batches = (Repeated(batches[i], 3) for i in (0, 1, 1))
    recipes = recipe(), search.AlphaRecipe(**ALPHAS)
    search.search(ours, weights_batches, alpha_batches, valid_batches, *recipes, make(name), seed=0)
    optimizer, alpha_optimizer = recipes[0].optimizer(other.weights()), recipes[1].optimizer(other.alphas())
    step = plain.first_order_step if name == "darts" else plain.second_order_step
    for _ in range(3):
        step(other, optimizer, alpha_optimizer, *batches)
    assert_same({"weights": dict(ours.named_parameters())}, {"weights": dict(other.named_parameters())}, 1e-8)


def test_steps_of_an_evaluation() -> None:
    torch.manual_seed(0)
    ours, other = networks("DARTS_PseudoInvBn", torch.float64, channels=4, layers=3)
    batch = batch_of(4, 8, 8, torch.float64)
    train(ours, Repeated(batch, 3), Repeated(batch, 1), recipe(), auxiliary_weight=0.4, seed=0)
    optimizer = recipe().optimizer(other.parameters())
    for _ in range(3):
        plain.evaluation_step(other, optimizer, batch)
    assert_same({"weights": ours.state_dict()}, {"weights": other.state_dict()}, 1e-8)
