"""nas.fast against the plain definitions: PyTorch's convolutions, norms and sums, in float64, with their gradients."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.fast import conditions, kernels, layers


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


@pytest.mark.parametrize("allowed", [True, False])
def test_it_applies_to_large_maps_where_a_gradient_is_wanted_in_whole_floats(allowed):
    x = torch.zeros(1, 32, 32, 32)
    assert not conditions.applies(x[:, :, ::2, ::2])
    with torch.set_grad_enabled(allowed):
        assert conditions.applies(x) == allowed
        with torch.autocast("cpu", torch.bfloat16):
            assert not conditions.applies(x)
