"""Sequences of layers, and the halving of a map, as `kernels` computes them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.data import sharing
from nas.fast.conditions import applies, ordinary
from nas.fast.kernels import batch_norm, channels_last, depthwise_conv, every_other, for_each, widened_depthwise
from nas.space.operations.basic import FactorizedReduce, Identity

VECTOR = 16  # floats that a processor computes at once


def sequence(self: nn.Sequential, x: Tensor) -> Tensor:
    x = channels_last(x) if x.dim() == 4 else x
    return run(self, x) if self.training and applies(x) else nn.Sequential.forward(self, x)


def run(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """``nn.Sequential(*layers)(x)``; where images lie side by side in `x`, all layers must be such as `folds` knows."""
    layers, own = list(layers), False
    while layers:
        layer = layers.pop(0)
        if not ordinary(layer):
            x, own = layer(x), False  # whoever looks on may keep the result
            continue
        if is_depthwise(layer):
            pointwise = layers.pop(0).weight if layers and is_pointwise(layers[0]) and ordinary(layers[0]) else None
            x = depthwise_conv(x, layer.weight, layer.stride[0], layer.dilation[0], pointwise)
        elif isinstance(layer, nn.BatchNorm2d) and layer.num_features % VECTOR and sharing.world() == 1:
            x = batch_norm(x, layer)
        elif layers and is_pointwise(layer) and narrows(layers[0]) and ordinary(layers[0]):
            x = widened_depthwise(x, layer.weight, layers.pop(0).weight)
        elif is_pointwise(layer) and (beside := x.shape[1] // layer.in_channels) > 1:
            x = functional.conv2d(x, for_each(layer.weight, beside))
        elif own and type(layer) is nn.ReLU:
            x = functional.relu_(x)
        else:
            x = layer(x)
        # A result of these is a map that nobody else has, and that nothing needs to compute a gradient.
        own = type(layer) in (nn.Conv2d, nn.BatchNorm2d)
    return x


FOLDED = (nn.ReLU, nn.GELU, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d, nn.Identity, Identity, FactorizedReduce)


def folds(layer: nn.Module) -> bool:
    """Whether what is here computes `layer` on images side by side as channels: `kernels.fold`."""
    if isinstance(layer, nn.Conv2d):
        return is_pointwise(layer) or is_depthwise(layer)
    return type(layer) in FOLDED or type(layer).forward is nn.Sequential.forward


def is_pointwise(layer: nn.Module) -> bool:
    """Whether `layer` is a 1×1 convolution without stride, groups or bias."""
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == layer.stride == (1, 1)
        and layer.groups == 1
        and layer.bias is None
    )


def is_square(layer: nn.Module) -> bool:
    """Whether `layer` is a k×k convolution, k odd and above 1, that keeps the map's size but for a stride of 2."""
    if type(layer) is not nn.Conv2d or layer.bias is not None or layer.padding_mode != "zeros":
        return False
    (kernel, other), stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    return (
        kernel == other > 1
        and kernel % 2 == 1
        and stride in ((1, 1), (2, 2))
        and dilation in ((1, 1), (2, 2))
        and layer.padding == (dilation[0] * (kernel - 1) // 2,) * 2
    )


def is_depthwise(layer: nn.Module) -> bool:
    return is_square(layer) and layer.groups == layer.in_channels == layer.out_channels > 1


def narrows(layer: nn.Module) -> bool:
    """Whether `layer` is a k×k convolution of C groups from F·C channels to C."""
    return (
        is_square(layer)
        and layer.stride == layer.dilation == (1, 1)
        and layer.in_channels > layer.groups == layer.out_channels > 1
    )


def factorized_reduce(self: FactorizedReduce, x: Tensor) -> Tensor:
    if self.training and applies(x):
        return join(self, split(self.relu(x)))
    return FactorizedReduce.forward(self, x)


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """The two maps that a FactorizedReduce convolves: pixels of even rows and columns, and of odd ones."""
    even, odd = every_other(x)
    height, width = x.shape[-2:]
    return even, functional.pad(odd, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else odd


def join(reduce: FactorizedReduce, halves: tuple[Tensor, Tensor]) -> Tensor:
    beside = halves[0].shape[1] // reduce.even.in_channels
    if beside == 1:
        return reduce.norm(torch.cat([reduce.even(halves[0]), reduce.odd(halves[1])], dim=1))
    even, odd = (run([conv], half) for conv, half in zip((reduce.even, reduce.odd), halves, strict=True))
    both = torch.cat([even.unflatten(1, (beside, -1)), odd.unflatten(1, (beside, -1))], dim=2).flatten(1, 2)
    return run([reduce.norm], channels_last(both))


FORWARDS = {nn.Sequential.forward: sequence, FactorizedReduce.forward: factorized_reduce}
