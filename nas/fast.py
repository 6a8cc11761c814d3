"""Training steps on the CPU: the same convolutions, norms and sums, by identities whose kernels are faster.

Each function is defined by its first line, in plain terms, and tested against that. Slow in the plain form, with
channels innermost in memory, are

- the gradients of depthwise convolutions, other than 3×3 ones without dilation: see `depthwise_conv`;
- grouped convolutions with a few channels a group: see `widened_depthwise`;
- 1×1 convolution, batch norm, weight and sum, each a pass over a map larger than the caches: see
  `weighted_pointwise_norms`, `weighted_sum` and `pool_and_norm`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

SMALLEST = 2**14  # elements of a map; below, calls cost more than what they compute


def applies(x: Tensor) -> bool:
    """Whether they pay for the map `x`: a large one on the CPU, not in bfloat16's autocast, that wants a gradient."""
    large_on_cpu = x.device.type == "cpu" and x.numel() > SMALLEST
    return large_on_cpu and not torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()


def run(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """``nn.Sequential(*layers)(x)``."""
    layers, fresh = list(layers), False
    while layers:
        layer = layers.pop(0)
        if _is_depthwise(layer):
            x = depthwise_conv(x, layer.weight, layer.stride[0], layer.dilation[0])
        elif layers and is_pointwise(layer) and _narrows(layers[0]):
            x = widened_depthwise(x, layer.weight, layers.pop(0).weight)
        elif fresh and isinstance(layer, nn.ReLU):  # nothing needs its input to compute a gradient
            x = functional.relu_(x)
        else:
            x = layer(x)
        fresh = True
    return x


def is_pointwise(layer: nn.Module) -> bool:
    """Whether `layer` is a 1×1 convolution without stride, groups or bias."""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == layer.stride == (1, 1)
        and layer.groups == 1
        and layer.bias is None
    )


def _is_square(layer: nn.Module) -> bool:
    """Whether `layer` is a k×k convolution, k odd and above 1, that keeps the map's size but for a stride of 2."""
    if not isinstance(layer, nn.Conv2d) or layer.bias is not None or layer.padding_mode != "zeros":
        return False
    (kernel, other), stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    return (
        kernel == other > 1
        and kernel % 2 == 1
        and stride in ((1, 1), (2, 2))
        and dilation in ((1, 1), (2, 2))
        and layer.padding == (dilation[0] * (kernel - 1) // 2,) * 2
    )


def _is_depthwise(layer: nn.Module) -> bool:
    return _is_square(layer) and layer.groups == layer.in_channels == layer.out_channels > 1


def _narrows(layer: nn.Module) -> bool:
    """Whether `layer` is a k×k convolution of C groups from F·C channels to C."""
    return (
        _is_square(layer)
        and layer.stride == layer.dilation == (1, 1)
        and layer.in_channels > layer.groups == layer.out_channels > 1
    )


# Convolutions


def depthwise_conv(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """A k×k convolution of each channel with itself, k odd, with padding dilation·(k − 1)/2.

    Parameters
    ----------
    x : Tensor, N × C × H × W
    weight : Tensor, C × 1 × k × k
    stride, dilation : 1 or 2

    Notes
    -----
    Its gradients: see `_input_gradient` and `_weight_gradient`. With stride 2 and dilation 2 the output reads pixels of
    even rows and columns alone: it is the ordinary convolution of those.
    """
    if stride == dilation == 2:
        return _Depthwise.apply(_Even.apply(x), weight, 1, 1)
    return _Depthwise.apply(x, weight, stride, dilation)


def widened_depthwise(x: Tensor, wide: Tensor, weight: Tensor) -> Tensor:
    """A 1×1 convolution C → F·C, then a k×k one of C groups back to C: the sum of F pairs of 1×1 and depthwise.

    Parameters
    ----------
    x : Tensor, N × C × H × W
    wide : Tensor, F·C × C × 1 × 1
    weight : Tensor, C × F × k × k
    """
    parts = weight.shape[1]
    return sum(depthwise_conv(functional.conv2d(x, wide[f::parts]), weight[:, f : f + 1], 1, 1) for f in range(parts))


class _Even(torch.autograd.Function):
    """Pixels of even rows and columns. PyTorch's own gradient of such a slice comes with channels outermost."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return channels_last(x[:, :, ::2, ::2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        of_x = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=torch.channels_last).zero_()
        of_x[:, :, ::2, ::2] = gradient
        return of_x


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.dilation = stride, dilation
        return _convolve(x, weight, stride, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = channels_last(gradient)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _input_gradient(gradient, x, weight, ctx.stride, ctx.dilation)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(gradient, x, weight.shape[-1], ctx.stride, ctx.dilation)
        return of_x, of_weight, None, None


def _convolve(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] - 1) // 2
    return functional.conv2d(x, weight, None, stride, padding, dilation, groups=len(weight))


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """Without stride: the output's gradient, convolved with the kernel turned by 180 degrees."""
    if stride == 1:
        return _convolve(gradient, weight.flip(2, 3), 1, dilation)
    half = (weight.shape[-1] - 1) // 2
    return _backward(gradient, x, weight, stride=stride, padding=(half, half), groups=len(weight), which=0)


def _weight_gradient(gradient: Tensor, x: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """The gradient of a k×k depthwise kernel, at most three of its columns at a time, for which the kernels are fast.

    Columns j, j + 1, … of the kernel are a narrower kernel on an image that is shifted by j pixels. A dilated
    convolution without stride never mixes pixels of different parity: it is the ordinary one of the four `_phases`.
    """
    if dilation == 2:
        return _weight_gradient(_phases(gradient), _phases(x), kernel, 1, 1).unflatten(0, (2, -1)).sum(0)
    half = (kernel - 1) // 2

    def of_columns(columns: int, x: Tensor, padding: int) -> Tensor:
        part = x.new_empty(x.shape[1], 1, kernel, columns)
        return _backward(gradient, x, part, stride=stride, padding=(padding, padding), groups=x.shape[1], which=1)

    if kernel <= 3 or x.shape[3] < half:
        return of_columns(kernel, x, half)
    found = []
    for start in range(0, kernel, 3):
        columns = min(3, kernel - start)
        left = half - start
        right = (gradient.shape[3] - 1) * stride + columns - left - x.shape[3]
        found.append(of_columns(columns, functional.pad(x, (left, right, half, half)), 0))
    return torch.cat(found, dim=3)


def _phases(x: Tensor) -> Tensor:
    """N × C × H × W → 2·N × 2·C × ⌈H/2⌉ × ⌈W/2⌉: the rows of a parity as images, its columns as channels.

    With channels innermost in memory, the columns are a view. Odd sizes are padded with zeros.
    """
    height, width = x.shape[2:]
    x = functional.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x
    rows = x.permute(0, 2, 3, 1).flatten(2).unflatten(1, (-1, 2)).transpose(1, 2).flatten(0, 1)
    return rows.unflatten(2, (-1, 2 * x.shape[1])).permute(0, 3, 1, 2)


def _backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    *,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    which: int,
) -> Tensor:
    """PyTorch's own gradient of a convolution: that of its input (`which` 0) or of its weight (1)."""
    wanted = [which == 0, which == 1, False]
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0], groups, wanted
    )[which]


# Sums, norms, concatenation


def concat(maps: Sequence[Tensor]) -> Tensor:
    """``torch.cat(maps, dim=1)``. Gradients of the maps come with channels innermost, not as slices of channels."""
    return _Concat.apply(*maps)


class _Concat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *maps: Tensor) -> Tensor:
        ctx.widths = [x.shape[1] for x in maps]
        return torch.cat(maps, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(channels_last(part) for part in gradient.split(ctx.widths, dim=1))


def weighted_sum(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Σ_b w_b · x_b of maps of one shape, in one pass over each; `weights`: one for each map."""
    return _WeightedSum.apply(weights, *maps)


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *maps)
        result = maps[0] * weights[0]
        for x, weight in zip(maps[1:], weights[1:], strict=True):
            result.addcmul_(x, weight)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *maps = ctx.saved_tensors
        gradient = channels_last(gradient)
        of_weights = None
        if ctx.needs_input_grad[0]:
            flat = _pixels(gradient).flatten()
            of_weights = torch.stack([flat @ _pixels(x).flatten() for x in maps])
        return of_weights, *(gradient * weight for weight in weights)


def pool_and_norm(x: Tensor, pool: nn.Module, norms: Sequence[nn.BatchNorm2d]) -> Tensor:
    """BN(pool(x)), without scale and shift, in training mode. Every one of `norms` takes note of the statistics."""
    pooled = pool(x)
    result, mean, inverse = torch.native_batch_norm(pooled, None, None, None, None, True, 0.0, norms[0].eps)
    _track(norms, [mean] * len(norms), [inverse**-2 - norms[0].eps] * len(norms), pooled[:, 0].numel())
    return result


def weighted_pointwise_norms(
    maps: Sequence[Tensor], layers: Sequence[tuple[nn.Conv2d, nn.BatchNorm2d]], weights: Tensor
) -> Tensor:
    """Σ_b w_b · BN_b(W_b · x_b): 1×1 convolutions, batch norms without scale in training mode, their weighted sum.

    Parameters
    ----------
    maps : sequence of Tensor, N × C_in × H × W
    layers : sequence of (Conv2d, BatchNorm2d)
        From C_in to C channels. The norms' running statistics are updated.
    weights : Tensor
        One for each map.

    Returns
    -------
    Tensor, N × C × H × W

    Notes
    -----
    W·x has the mean W·μ and the variances diag(W Σ Wᵀ), where μ and Σ are the mean and the covariance of x over the
    pixels of the batch. So W·x is never needed without its norm: the norm's scale and the weight go into W, and the
    sum is one accumulating matrix product. Of each branch, backward needs x alone.
    """
    matrices = torch.stack([convolution.weight.flatten(1) for convolution, _ in layers])
    norms = [norm for _, norm in layers]
    result, means, variances = _PointwiseNorms.apply(norms[0].eps, matrices, weights, *maps)
    _track(norms, means, variances, result[:, 0].numel())
    return result


class _PointwiseNorms(torch.autograd.Function):
    """b counts branches, o output and i input channels: `matrices` are b × o × i, `means` b × i, and so on."""

    @staticmethod
    def forward(ctx: Any, eps: float, matrices: Tensor, weights: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        count = maps[0][:, 0].numel()
        means, squares = (
            torch.stack(sums) / count for sums in zip(*((_pixels(x).sum(0), _product(x, x)) for x in maps), strict=True)
        )
        spread = matrices @ (squares - means[:, :, None] * means[:, None, :])
        variances = (spread * matrices).sum(-1).clamp_(min=0)
        inverse = (variances + eps).rsqrt()
        folded = (weights[:, None] * inverse)[:, :, None] * matrices
        result = torch.addmm(-torch.einsum("boi,bi->o", folded, means), _pixels(maps[0]), folded[0].T)
        for x, matrix in zip(maps[1:], folded[1:], strict=True):
            result.addmm_(_pixels(x), matrix.T)
        ctx.save_for_backward(matrices, weights, means, spread, inverse, folded, *maps)
        centres = torch.einsum("boi,bi->bo", matrices, means)
        ctx.mark_non_differentiable(centres, variances)
        return _as_map(result, maps[0]), centres, variances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        matrices, weights, means, spread, inverse, folded, *maps = ctx.saved_tensors
        gradient = channels_last(gradient)
        pixels = _pixels(gradient)
        total, count = pixels.sum(0), len(pixels)
        # Σ g·(x − μ), and from it Σ g·x̂, where x̂ is the norm's result: batch norm's gradient is made of both.
        centred = torch.stack([_product(gradient, x) for x in maps]) - total[:, None] * means[:, None, :]
        aligned = inverse * (centred * matrices).sum(-1)
        factors = weights[:, None] * inverse
        of_matrices = factors[:, :, None] * (centred - (inverse * aligned)[:, :, None] * spread)
        bent = matrices.mT @ ((factors * inverse * aligned / count)[:, :, None] * matrices)
        constants = torch.einsum("bi,bij->bj", means, bent) - torch.einsum("o,boi->bi", total / count, folded)
        of_maps = [
            _as_map(torch.addmm(constant, pixels, matrix).addmm_(_pixels(x), bend, alpha=-1), x)
            for x, matrix, bend, constant in zip(maps, folded, bent, constants, strict=True)
        ]
        return None, of_matrices, aligned.sum(-1), *of_maps


def _product(y: Tensor, x: Tensor) -> Tensor:
    """Σ over all pixels of y·xᵀ: the gradient of a 1×1 convolution's weight, which is fast for few channels."""
    if x.shape[1] > 16:
        return _pixels(y).T @ _pixels(x)
    return _backward(y, x, x.new_empty(y.shape[1], x.shape[1], 1, 1), which=1).flatten(1)


def channels_last(x: Tensor) -> Tensor:
    """The same N × C × H × W values, C innermost in memory: convolutions of few channels run faster, and pass it on."""
    return x.contiguous(memory_format=torch.channels_last)


def _pixels(x: Tensor) -> Tensor:
    """N × C × H × W → N·H·W × C: a view, where channels are innermost in memory."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _as_map(pixels: Tensor, like: Tensor) -> Tensor:
    count, _, height, width = like.shape
    return pixels.view(count, height, width, -1).permute(0, 3, 1, 2)


@torch.no_grad()
def _track(norms: Sequence[nn.BatchNorm2d], means: Sequence[Tensor], variances: Sequence[Tensor], count: int) -> None:
    """Update running statistics as batch norm does: with the variance over count − 1."""
    for norm, mean, variance in zip(norms, means, variances, strict=True):
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
