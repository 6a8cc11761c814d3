"""Images side by side as channels, and channels that pass edges by: against the plain mathematics, in float64."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from reference import randomize
from test_fast import assert_same, assert_same_statistics, draw, norms_and_copies
from torch import Tensor, nn
from torch.nn import functional

from nas.fast import accelerate, conditions, kernels, layers, supernet
from nas.networks.network import CellSpec
from nas.networks.supernet import MixedCell
from nas.networks.supernets import MixedBench201Cell
from nas.space.operations import build, names
from nas.space.operations.basic import FactorizedReduce
from nas.space.spaces import SPACES

K, C = 3, 4  # images side by side, and channels of each


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No map is too small; how many images lay side by side in each cell that was computed fast."""
    seen, own = [], supernet.images_beside
    monkeypatch.setattr(conditions, "SMALLEST", 0)
    monkeypatch.setattr(supernet, "LARGE", 0)
    monkeypatch.setattr(supernet, "images_beside", lambda *given: seen.append(own(*given)) or seen[-1])
    return seen


def folded(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: kernels.unfold(function(kernels.fold(x, K)), K)


def test_images_lie_side_by_side_as_channels() -> None:
    x = torch.randn(2 * K, C, 5, 3)
    beside = kernels.fold(x, K)
    assert beside.shape == (2, K * C, 5, 3)
    for i, image in enumerate(x):
        assert torch.equal(beside[i // K, i % K * C : (i % K + 1) * C], image)
    assert torch.equal(kernels.unfold(beside, K), x)


def test_channels_are_shuffled() -> None:
    x = draw(3, 12, 5, 2)
    assert_same(kernels.channel_shuffle(x, 4), functional.channel_shuffle(x, 4), [x])
    assert torch.autograd.gradcheck(lambda x: kernels.channel_shuffle(x, 4), draw(1, 8, 2, 1))
    assert torch.autograd.gradgradcheck(lambda x: kernels.channel_shuffle(x, 4) ** 2, draw(1, 8, 2, 1))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 7), (2, 2), (1, 1)])
@pytest.mark.parametrize(
    ("name", "stride"),
    [(name, s) for name in names() for s in (1, 2) if all(map(layers.folds, build(name, C, s, False).modules()))],
)
def test_an_operation_that_folds_computes_each_image_alone(name: str, stride: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    operation = build(name, C, stride, False)
    ours = randomize(nn.Sequential(operation)).train()
    plain, x = deepcopy(ours), draw(2 * K, C, height, width)
    one_by_one = operation if isinstance(operation, FactorizedReduce) else None
    run = (lambda x: layers.join(one_by_one, layers.split(functional.relu(x)))) if one_by_one else None
    found = folded(run or (lambda x: layers.run(ours[0] if isinstance(ours[0], nn.Sequential) else ours, x)))(x)
    assert_same(found, plain(x), [x, *ours.parameters()], [x, *plain.parameters()])
    pairs = [[m for m in each.modules() if isinstance(m, nn.BatchNorm2d)] for each in (ours, plain)]
    assert_same_statistics(*pairs)


def test_statistics_are_of_all_images() -> None:
    torch.manual_seed(1)
    maps, weights = [draw(2 * K, C, 4, 5) for _ in range(3)], draw(3)
    norms, plain_norms = norms_and_copies(3, C)
    plain = sum(w * n(x) for w, n, x in zip(weights, plain_norms, maps, strict=True))
    beside = kernels.weighted_norms([kernels.fold(x, K) for x in maps], norms, weights)
    assert_same(kernels.unfold(beside, K), plain, [*maps, weights])
    assert_same_statistics(norms, plain_norms)
    pool, (norm, *_), (plain_norm, *_) = nn.AvgPool2d(3, 1, 1, count_include_pad=False), norms, plain_norms
    assert_same(folded(lambda x: kernels.pool_and_norm(x, pool, [norm]))(maps[0]), plain_norm(pool(maps[0])), maps[:1])
    assert_same_statistics([norm], [plain_norm])


def cell_of(space: str, reduction: bool, partial: int, channels: int) -> MixedCell | MixedBench201Cell:
    torch.manual_seed(0)
    found = SPACES[space]
    nodes, kind = found.nodes or 2, "reduce" if reduction else "normal"
    if found.is_bench201:
        return randomize(MixedBench201Cell(found.of_edges("normal", nodes), channels, partial, ())).train()
    spec = CellSpec(5, 6, channels, reduction, False)
    return randomize(MixedCell(found.of_edges(kind, nodes), nodes, spec, partial)).train()


def outcome(cell: nn.Module, given: list[Tensor]) -> list[Tensor]:
    y = cell(*given)
    back = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    gradients = torch.autograd.grad(y, [*given, *cell.parameters()], back)
    return [y.detach(), *gradients, *(buffer.double() for buffer in cell.buffers())]


QUIET = [name for name, space in SPACES.items() if "noise" not in space.operations]


@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("partial", [1, 2, 4])
@pytest.mark.parametrize("space", QUIET)
def test_a_cell_of_each_space(space: str, partial: int, reduction: bool, counts: list[int]) -> None:
    channels = 4 * partial
    plain = cell_of(space, reduction, partial, channels)
    ours, places = accelerate(deepcopy(plain)), SPACES[space].places(plain.nodes if isinstance(plain, MixedCell) else 3)
    inputs = [draw(8, c, 8, 6) for c in ((5, 6) if isinstance(plain, MixedCell) else (channels,))]
    weights = torch.rand(len(places), len(SPACES[space].columns), dtype=torch.float64).requires_grad_()
    for found, expected in zip(outcome(ours, [*inputs, weights]), outcome(plain, [*inputs, weights]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("space", "partial", "channels", "batch", "beside"),
    [
        ("darts", 1, 4, 8, 4),
        ("darts", 4, 16, 8, 4),
        ("darts", 4, 32, 8, 2),
        ("darts", 1, 4, 6, 2),  # of a last, smaller batch as many as divide it
        ("darts", 1, 4, 5, 1),
        ("darts", 1, 16, 8, 1),  # a processor's vectors are full
        ("nas_bench_201", 1, 4, 8, 1),  # a 3×3 convolution of all channels would mix images
        ("s4", 1, 4, 8, 1),  # noise would be drawn in another order
    ],
)
def test_how_many_lie_side_by_side(
    space: str, partial: int, channels: int, batch: int, beside: int, counts: list[int]
) -> None:
    cell = accelerate(cell_of(space, False, partial, channels))
    inputs = [draw(batch, c, 8, 8) for c in ((5, 6) if isinstance(cell, MixedCell) else (channels,))]
    nodes = cell.nodes if isinstance(cell, MixedCell) else 3
    cell(*inputs, torch.rand(len(SPACES[space].places(nodes)), len(SPACES[space].columns), dtype=torch.float64))
    assert counts == [beside]


def test_small_maps_gain_nothing(counts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernet, "LARGE", 8 * 4 * 8 * 8)
    cell, weights = accelerate(cell_of("darts", False, 4, 16)), torch.rand(5, 8, dtype=torch.float64)
    for size in (7, 8):
        cell(draw(8, 5, size, size), draw(8, 6, size, size), weights)
    assert counts == [1, 4]


def test_a_gradient_is_differentiated_again() -> None:
    plain = cell_of("s3", False, 2, 8)
    inputs = [draw(4, c, 3, 3) for c in (5, 6)]
    weights = torch.rand(len(SPACES["s3"].places(2)), 3, dtype=torch.float64).requires_grad_()

    def product(cell: nn.Module) -> list[Tensor]:
        wanted = [weights, *cell.parameters()]
        slopes = torch.autograd.grad(cell(*inputs, weights).square().sum(), wanted, create_graph=True)
        return torch.autograd.grad(sum(slope.square().sum() for slope in slopes), wanted)

    for found, expected in zip(product(accelerate(deepcopy(plain))), product(plain), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
