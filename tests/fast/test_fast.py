"""nas.fast against the plain definitions: PyTorch's convolutions, norms and sums, in float64, with their gradients.

In bfloat16's autocast it may be as far from float64 as the plain definitions are under the same autocast.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from statistics import median

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.fast import accelerate, conditions, kernels, layers
from nas.networks.network import Network
from nas.networks.supernets import build_supernet
from nas.space.published import PUBLISHED
from nas.space.spaces import SPACES


def draw(*shape: int, channels_last: bool = True) -> Tensor:
    x = torch.randn(shape, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last and x.dim() == 4 else x
    return x.requires_grad_()


def assert_same(ours: Tensor, plain: Tensor, inputs: list[Tensor], plain_inputs: list[Tensor] | None = None) -> None:
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)
    back = torch.randn_like(plain)
    of_plain = torch.autograd.grad(plain, plain_inputs or inputs, back)
    for found, expected in zip(torch.autograd.grad(ours, inputs, back), of_plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("height, width", [(8, 8), (9, 7), (5, 12), (2, 3), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_convolution(kernel, dilation, stride, height, width):
    torch.manual_seed(0)
    x, weight = draw(3, 4, height, width), draw(4, 1, kernel, kernel)
    plain = functional.conv2d(x, weight, None, stride, dilation * (kernel - 1) // 2, dilation, groups=4)
    assert_same(kernels.depthwise_conv(x, weight, stride, dilation), plain, [x, weight])


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("parts", [2, 3])
def test_widened_depthwise(parts, kernel):
    torch.manual_seed(1)
    x, wide, weight = draw(2, 4, 6, 5), draw(4 * parts, 4, 1, 1), draw(4, parts, kernel, kernel)
    plain = functional.conv2d(functional.conv2d(x, wide), weight, padding=kernel // 2, groups=4)
    assert_same(kernels.widened_depthwise(x, wide, weight), plain, [x, wide, weight])


def test_only_the_gradients_that_are_wanted_are_computed():
    x, weight = torch.randn(2, 3, 4, 4), nn.Parameter(torch.randn(3, 1, 5, 5))
    kernels.depthwise_conv(x, weight, 1, 1).sum().backward()
    assert x.grad is None and weight.grad is not None


@pytest.mark.parametrize("height, width", [(6, 4), (5, 7)])
def test_every_other_pixel(height, width):
    torch.manual_seed(7)
    x = draw(2, 3, height, width)
    plain = [x[:, :, start::2, start::2] for start in (0, 1)]
    for ours, expected in zip(kernels.every_other(x), plain, strict=True):
        assert_same(ours, expected, [x])
    together, expected = (torch.cat([each.flatten() for each in maps]) for maps in (kernels.every_other(x), plain))
    assert_same(together, expected, [x])


def test_weighted_sum():
    torch.manual_seed(2)
    maps, weights = [draw(2, 3, 4, 5) for _ in range(3)], draw(3)
    plain = sum(weight * x for weight, x in zip(weights, maps, strict=True))
    assert_same(kernels.weighted_sum(maps, weights), plain, [*maps, weights])


def norms_and_copies(count: int, channels: int) -> tuple[list[nn.BatchNorm2d], list[nn.BatchNorm2d]]:
    norms = [nn.BatchNorm2d(channels, affine=False, momentum=0.1 * (i + 1)).double() for i in range(count)]
    for norm in norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(1, 2)
    return norms, deepcopy(norms)


def assert_same_statistics(ours: list[nn.BatchNorm2d], plain: list[nn.BatchNorm2d]) -> None:
    for found, expected in zip(ours, plain, strict=True):
        for (name, buffer), other in zip(found.named_buffers(), expected.buffers(), strict=True):
            torch.testing.assert_close(buffer, other, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("height, width", [(4, 4), (5, 3)])
def test_weighted_norms(height, width):
    torch.manual_seed(3)
    maps, weights = [draw(5, 6, height, width) for _ in range(3)], draw(3)
    with torch.no_grad():
        maps[0] += 2  # a mean that is not small against the variance
    norms, plain_norms = norms_and_copies(3, 6)
    plain = sum(w * n(x) for w, n, x in zip(weights, plain_norms, maps, strict=True))
    assert_same(kernels.weighted_norms(maps, norms, weights), plain, [*maps, weights])
    assert_same_statistics(norms, plain_norms)


@pytest.mark.parametrize("height, width", [(4, 4), (5, 3)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(affine, height, width):
    torch.manual_seed(6)
    x = draw(5, 6, height, width)
    with torch.no_grad():
        x += 2
    norm = nn.BatchNorm2d(6, affine=affine).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    other = deepcopy(norm)
    assert_same(kernels.batch_norm(x, norm), other(x), [x, *norm.parameters()], [x, *other.parameters()])
    assert_same_statistics([norm], [other])


AVERAGES = [nn.AvgPool2d(3, stride, 1, count_include_pad=False) for stride in (1, 2)]


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), *AVERAGES])
def test_pool_and_norm(pool):
    torch.manual_seed(4)
    x = draw(3, 4, 6, 5)
    norms, plain_norms = norms_and_copies(2, 4)
    plain = [norm(pool(x)) for norm in plain_norms]
    assert_same(kernels.pool_and_norm(x, pool, norms), plain[0], [x])
    assert_same_statistics(norms, plain_norms)


LAYERS = {
    "relu first and later": [nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), nn.ReLU()],
    "widened": [nn.Conv2d(4, 8, 1, bias=False), nn.Conv2d(8, 4, 3, padding=1, groups=4, bias=False), nn.GELU()],
    "with biases": [nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU()],
    "grouped otherwise": [nn.Conv2d(4, 8, 1, bias=False), nn.Conv2d(8, 4, 3, groups=2, bias=False)],
    "strided": [nn.Conv2d(4, 4, 5, 2, padding=2, groups=4, bias=False), nn.BatchNorm2d(4), nn.ReLU()],
    "even": [nn.Conv2d(4, 4, 4, padding=1, groups=4, bias=False)],
    "reflected": [nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False, padding_mode="reflect")],
    "strided one way": [nn.Conv2d(4, 4, 3, (1, 2), padding=1, groups=4, bias=False)],
    "unpadded": [nn.Conv2d(4, 4, 3, groups=4, bias=False)],
}


@pytest.mark.parametrize("name", LAYERS)
def test_run_is_the_sequence_of_layers(name):
    torch.manual_seed(5)
    sequence = nn.Sequential(*LAYERS[name]).double()
    other = deepcopy(sequence)
    x = draw(3, 4, 7, 6)
    before = x.detach().clone()
    assert_same(layers.run(sequence, x), other(x), [x, *sequence.parameters()], [x, *other.parameters()])
    torch.testing.assert_close(x.detach(), before, rtol=0, atol=0)


@pytest.mark.parametrize("instructions", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_it_applies_to_large_maps_where_a_gradient_is_wanted_in_a_fast_precision(allowed, instructions, monkeypatch):
    monkeypatch.setattr("nas.fast.conditions.has_bfloat16", lambda: instructions)
    x = torch.zeros(1, 32, 32, 32)
    assert not conditions.applies(x[:, :, ::2, ::2])
    with torch.set_grad_enabled(allowed):
        assert conditions.applies(x) == allowed
        with torch.autocast("cpu", torch.bfloat16):
            assert conditions.applies(x) == (allowed and instructions)
        with torch.autocast("cpu", torch.float16):
            assert not conditions.applies(x)


# In bfloat16


def plain_depthwise(stride: int, dilation: int) -> Callable[..., Tensor]:
    def convolve(x: Tensor, weight: Tensor) -> Tensor:
        padding = dilation * (weight.shape[-1] - 1) // 2
        return functional.conv2d(x, weight, None, stride, padding, dilation, groups=len(weight))

    return convolve


def plain_widened(x: Tensor, wide: Tensor, weight: Tensor) -> Tensor:
    return functional.conv2d(functional.conv2d(x, wide), weight, padding=1, groups=len(weight))


def free_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False)


def affine_norm(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    norm = nn.BatchNorm2d(x.shape[1])
    del norm.weight, norm.bias
    norm.weight, norm.bias = scale, bias
    return kernels.batch_norm(x, norm)


def plain_affine_norm(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return functional.batch_norm(x, None, None, scale, bias, training=True)


def plain_norms(weights: Tensor, *maps: Tensor) -> Tensor:
    return sum(w * functional.batch_norm(x, None, None, training=True) for w, x in zip(weights, maps, strict=True))


def pooled(pool: nn.Module) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    return (
        lambda x: kernels.pool_and_norm(x, pool, [free_norm(x.shape[1])]),
        lambda x: functional.batch_norm(pool(x), None, None, training=True),
    )


MAP = (8, 12, 10, 8)
# What is ours, what is plain, the shapes of what both take.
IN_BFLOAT16 = {
    **{
        f"depthwise {kernel}, stride {stride}, dilation {dilation}": (
            lambda x, w, s=stride, d=dilation: kernels.depthwise_conv(x, w, s, d),
            plain_depthwise(stride, dilation),
            [MAP, (12, 1, kernel, kernel)],
        )
        for kernel, stride, dilation in [(3, 1, 1), (5, 1, 1), (5, 2, 1), (7, 1, 1), (3, 2, 1), (5, 1, 2), (5, 2, 2)]
    },
    "widened": (kernels.widened_depthwise, plain_widened, [MAP, (24, 12, 1, 1), (12, 2, 3, 3)]),
    "sum": (
        lambda w, *maps: kernels.weighted_sum(maps, w),
        lambda w, *maps: sum(each * x for each, x in zip(w, maps, strict=True)),
        [(3,), MAP, MAP, MAP],
    ),
    "norms": (
        lambda w, *maps: kernels.weighted_norms(maps, [free_norm(12) for _ in maps], w),
        plain_norms,
        [(3,), MAP, MAP, MAP],
    ),
    "norm": (affine_norm, plain_affine_norm, [MAP, (12,), (12,)]),
    "max": (*pooled(nn.MaxPool2d(3, 1, 1)), [MAP]),
    "average": (*pooled(AVERAGES[0]), [MAP]),
    "average, stride": (*pooled(AVERAGES[1]), [MAP]),
}


def all_of(function: Callable[..., Tensor], given: list[Tensor], autocast: bool) -> list[Tensor]:
    """The result, its gradients, and the gradients of a function of those."""
    given = [each.detach().requires_grad_() for each in given]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        result = function(*given)
    back = torch.linspace(-1, 2, result.numel()).bfloat16().view_as(result).to(result.dtype)
    first = torch.autograd.grad(result, given, back, retain_graph=True)
    again = torch.autograd.grad(result, given, back, create_graph=True)
    squares = sum(gradient.double().square().sum() for gradient in again)
    second = torch.autograd.grad(squares, given, allow_unused=True, materialize_grads=True)
    return [result.detach(), *first, *(each.detach() for each in again), *second]


def errors(found: Iterable[Tensor], exact: Iterable[Tensor]) -> list[float]:
    """Norm of the difference over norm."""
    pairs = zip(found, exact, strict=True)
    return [((f.double() - e.double()).norm() / e.double().norm().clamp_min(1e-12)).item() for f, e in pairs]


def not_much_further(ours: Sequence[float], plain: Sequence[float]) -> None:
    # One rounding to bfloat16 is an error of 0.0016; what the plain form rounds once may be rounded twice.
    assert all(o <= max(1.5 * p, 0.004) for o, p in zip(ours, plain, strict=True)), (ours, plain)


@pytest.mark.parametrize("name", IN_BFLOAT16)
def test_kernels_in_bfloat16_are_as_exact_as_the_plain_ones(name):
    torch.manual_seed(8)
    ours, plain, shapes = IN_BFLOAT16[name]
    given = [torch.randn(shape) for shape in shapes]
    # A mean that is not small against the variance
    given = [kernels.channels_last((x + 1).bfloat16()) if x.shape == MAP else x for x in given]
    exact = all_of(plain, [x.double() for x in given], autocast=False)
    found = all_of(ours, given, autocast=True)
    assert [each.dtype for each in found] == [torch.bfloat16, *[x.dtype for x in given] * 3]
    not_much_further(errors(found, exact), errors(all_of(plain, given, autocast=True), exact))


def test_statistics_of_bfloat16_are_float32():
    torch.manual_seed(9)
    x = (5 + torch.randn(8, 12, 10, 8)).bfloat16().requires_grad_()
    norm = nn.BatchNorm2d(12, momentum=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        kernels.batch_norm(kernels.channels_last(x), norm)
    variances, means = torch.var_mean(x.detach().double(), (0, 2, 3))
    torch.testing.assert_close(norm.running_mean.double(), means, rtol=1e-5, atol=0)
    torch.testing.assert_close(norm.running_var.double(), variances, rtol=1e-5, atol=0)


MODELS = {
    **{
        name: lambda s=space: build_supernet(
            s, channels=6, layers=5 if s.is_bench201 else 3, nodes=s.nodes or 2, num_classes=3
        )
        for name, space in SPACES.items()
        if name
        in ("darts", "darts_ln", "convnext", "pibconv", "pibconv_f3", "efficientnetv2", "s3", "s4", "nas_bench_201")
    },
    **{
        genotype: lambda g=genotype: Network(PUBLISHED[g], channels=6, layers=3, num_classes=3)
        for genotype in ("DARTS_V2", "DARTS_PseudoInvBn")
    },
}


def step(model: nn.Module, seed: int, autocast: bool) -> tuple[Tensor, ...]:
    """Logits, and the gradients of α and of the weights, each as one vector."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.randn(16, 3, 12, 12, generator=draws).to(next(model.parameters()).dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = model.train()(images)
        loss = functional.cross_entropy(logits, torch.arange(16) % 3)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    assert all(gradient.dtype == parameters[0].dtype for gradient in gradients)
    named = list(zip(names, gradients, strict=True))
    alphas, weights = ([g.flatten() for n, g in named if n.startswith("alphas_") is of_alphas] for of_alphas in (1, 0))
    return logits, *(torch.cat(each) for each in (alphas, weights) if each)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_in_bfloat16_are_as_exact_as_the_plain_ones(name, monkeypatch):
    monkeypatch.setattr("nas.fast.conditions.SMALLEST", 0)
    monkeypatch.setattr("nas.fast.conditions.has_bfloat16", lambda: True)
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        model = MODELS[name]()
        exact = step(deepcopy(model).double(), seed, autocast=False)
        plain = errors(step(deepcopy(model), seed, autocast=True), exact)
        found.append((errors(step(accelerate(model), seed, autocast=True), exact), plain))
    # Where rounding crosses one of ReLU's kinks, a batch is far off.
    ours, plain = ([median(each) for each in zip(*side, strict=True)] for side in zip(*found, strict=True))
    assert all(o <= 1.5 * p for o, p in zip(ours, plain, strict=True)), (ours, plain)


@pytest.mark.skipif(not conditions.has_bfloat16(), reason="the processor has no instructions for bfloat16")
@pytest.mark.parametrize("name", ["darts", "DARTS_PseudoInvBn"])
def test_the_fast_path_is_taken_in_bfloat16(name, monkeypatch):
    monkeypatch.setattr("nas.fast.conditions.SMALLEST", 0)
    with torch.autocast("cpu", torch.bfloat16):
        logits = accelerate(MODELS[name]()).train()(torch.randn(4, 3, 8, 8))
    seen, waiting = set(), [logits.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(parent for parent, _ in node.next_functions)
    assert {"_DepthwiseBackward", "_NormsBackward"} <= {node.name() for node in seen}
