"""Convolutions, norms and sums of training on the CPU, by identities whose kernels are faster, forward and backward.

Each function is defined by its first line, in plain terms, and tested against that. Slow in the plain form, with
channels innermost in memory, are

- the gradients of depthwise convolutions, other than 3×3 ones without dilation: see `depthwise_conv`;
- grouped convolutions with a few channels a group: see `widened_depthwise`;
- batch norm, weight and sum, each a pass over a map larger than the caches: see `weighted_norms`, `weighted_sum` and
  `pool_and_norm`;
- batch norms of channels that are no multiple of a processor's vectors: see `batch_norm`.

Where a map has fewer channels than a processor's vectors have numbers, several images lie side by side as channels: see
`fold`. The functions here take such maps too; what they are given for each channel is for each of an image.

In bfloat16's autocast maps and the weights of convolutions are bfloat16; statistics, scales and the gradients of scales
are float32.

A gradient that is to be differentiated again (``create_graph=True``) is that of the plain form, but for convolutions by
fixed weights: theirs are differentiated as they are.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def _again(plain: Callable[..., Tensor], tensors: Sequence[Tensor | None], gradient: Tensor) -> list[Tensor | None]:
    """The gradients of ``plain(*tensors)``, for each of `tensors` that wants one, as what can be differentiated."""
    # Views, since one of the tensors may follow from another, whose gradient here is that of the direct way alone.
    tensors = [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]
    wanted = [tensor for tensor in tensors if tensor is not None and tensor.requires_grad]
    found = iter(torch.autograd.grad(plain(*tensors), wanted, gradient, create_graph=True))
    return [next(found) if tensor is not None and tensor.requires_grad else None for tensor in tensors]


def in_autocast(x: Tensor) -> Tensor:
    """`x` in the type of autocast, where that is on; as with PyTorch, float64 stays."""
    cast = torch.is_autocast_enabled("cpu") and x.dtype is torch.float32
    return x.to(torch.get_autocast_dtype("cpu")) if cast else x


# Images side by side


def fold(x: Tensor, beside: int) -> Tensor:
    """N × C × H × W → N/k × k·C × H × W: k = `beside` images side by side as channels."""
    return x if beside == 1 else outer(inner(x).unflatten(0, (-1, beside)).permute(0, 2, 3, 1, 4).flatten(3))


def unfold(x: Tensor, beside: int) -> Tensor:
    """N/k × k·C × H × W → N × C × H × W."""
    return x if beside == 1 else outer(inner(x).unflatten(3, (beside, -1)).permute(0, 3, 1, 2, 4).flatten(0, 1))


def inner(x: Tensor) -> Tensor:
    """N × C × H × W → N × H × W × C."""
    return x.permute(0, 2, 3, 1)


def outer(x: Tensor) -> Tensor:
    """N × H × W × C → N × C × H × W."""
    return x.permute(0, 3, 1, 2)


def for_each(weight: Tensor, beside: int) -> Tensor:
    """A 1×1 convolution's weight, O × C × 1 × 1, for images side by side: k·O × k·C × 1 × 1."""
    return weight if beside == 1 else torch.block_diag(*[weight[:, :, 0, 0]] * beside)[:, :, None, None]


# Convolutions


def depthwise_conv(x: Tensor, weight: Tensor, stride: int, dilation: int, pointwise: Tensor | None = None) -> Tensor:
    """A k×k convolution of each channel with itself, k odd, with padding dilation·(k − 1)/2; then a 1×1 one, if given.

    Parameters
    ----------
    x : Tensor, N × C × H × W
    weight : Tensor, C × 1 × k × k
    stride, dilation : 1 or 2
    pointwise : Tensor, O × C × 1 × 1, optional

    Notes
    -----
    Its gradients: see `_input_gradient` and `_weight_gradient`. Where weights want none (α's pass), no map is kept for
    them. With stride 2 and dilation 2 the output reads pixels of even rows and columns alone: it is the ordinary
    convolution of those.
    """
    x, weight = in_autocast(x), in_autocast(weight)
    beside = x.shape[1] // len(weight)
    if beside > 1:
        weight = weight.repeat(beside, 1, 1, 1)
    if pointwise is not None:
        pointwise = for_each(in_autocast(pointwise), beside)
    if stride == dilation == 2:
        return _Depthwise.apply(*_EveryOther.apply(x, 0), weight, pointwise, 1, 1)
    return _Depthwise.apply(x, weight, pointwise, stride, dilation)


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


def every_other(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]``. PyTorch's own gradient of each is a whole map, channels outermost."""
    return _EveryOther.apply(x, 0, 1)


class _EveryOther(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *starts: int) -> tuple[Tensor, ...]:
        ctx.shape, ctx.starts = x.shape, starts
        return tuple(channels_last(x[:, :, start::2, start::2]) for start in starts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            x = gradients[0].new_zeros(ctx.shape).requires_grad_()
            every = [
                _again(lambda x, s=s: x[:, :, s::2, s::2], [x], g) for s, g in zip(ctx.starts, gradients, strict=True)
            ]
            return sum(of_x for (of_x,) in every), *[None] * len(gradients)
        of_x = torch.empty(ctx.shape, dtype=gradients[0].dtype, memory_format=torch.channels_last).zero_()
        for start, gradient in zip(ctx.starts, gradients, strict=True):
            of_x[:, :, start::2, start::2] = gradient
        return of_x, *[None] * len(gradients)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pointwise: Tensor | None, stride: int, dilation: int) -> Tensor:
        y = _convolve(x, weight, stride, dilation)
        ctx.shapes, ctx.how = (x.shape, y.shape), (stride, dilation)
        # Only the weights' gradients read the maps that they were applied to.
        trains = any(ctx.needs_input_grad[1:3])
        kept = (x, y if pointwise is not None else None) if trains else (None, None)
        ctx.save_for_backward(*kept, weight, pointwise)
        return y if pointwise is None else functional.conv2d(y, pointwise)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, pointwise = ctx.saved_tensors
        if torch.is_grad_enabled() and x is not None:
            return *_again(partial(_separable, *ctx.how), [x, weight, pointwise], gradient), None, None
        gradient = channels_last(gradient)
        of_x = of_weight = of_pointwise = None
        if pointwise is not None:
            y = _unread(gradient, ctx.shapes[1]) if y is None else y
            gradient, of_pointwise = _gradients(gradient, y, pointwise, wanted=(True, ctx.needs_input_grad[2]))
        if ctx.needs_input_grad[0]:
            of_x = _input_gradient(gradient, ctx.shapes[0], weight, *ctx.how)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(gradient, x, weight.shape[-1], *ctx.how)
        return of_x, of_weight, of_pointwise, None, None


def _separable(stride: int, dilation: int, x: Tensor, weight: Tensor, pointwise: Tensor | None) -> Tensor:
    """What `_Depthwise` computes."""
    y = _convolve(x, weight, stride, dilation)
    return y if pointwise is None else functional.conv2d(y, pointwise)


def _unread(like: Tensor, shape: torch.Size) -> Tensor:
    """A map of which a kernel wants to know the shape alone."""
    if torch.is_grad_enabled():
        return like.new_zeros(()).expand(shape)  # it will be kept
    return torch.empty(shape, dtype=like.dtype, memory_format=torch.channels_last)


def _convolve(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] - 1) // 2
    return functional.conv2d(x, weight, None, stride, padding, dilation, groups=len(weight))


def _input_gradient(gradient: Tensor, shape: torch.Size, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """Without stride: the output's gradient, convolved with the kernel turned by 180 degrees.

    With stride in float32 at least: in bfloat16 PyTorch's takes 30 times as long.
    """
    if stride == 1:
        return _convolve(gradient, weight.flip(2, 3), 1, dilation)
    half = (weight.shape[-1] - 1) // 2
    wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    options = {"stride": stride, "padding": (half, half), "groups": len(weight)}
    of_x, _ = _gradients(wide, _unread(wide, shape), weight.to(wide.dtype), **options, wanted=(True, False))
    return of_x.to(gradient.dtype)


def _weight_gradient(gradient: Tensor, x: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """The gradient of a k×k depthwise kernel, at most three of its columns at a time, for which the kernels are fast.

    Columns j, j + 1, … of the kernel are a narrower kernel on an image that is shifted by j pixels. Columns 0, 2 and 4
    of 5 are a kernel of three on the map of `_pairs`. A dilated convolution without stride never mixes pixels of
    different parity: it is the ordinary one of the four `_phases`.
    """
    if dilation == 2:
        return _weight_gradient(_phases(gradient), _phases(x), kernel, 1, 1).unflatten(0, (2, -1)).sum(0)
    half = (kernel - 1) // 2

    def of_columns(columns: int, gradient: Tensor, x: Tensor, padding: int, padding_across: int) -> Tensor:
        part = x.new_empty(x.shape[1], 1, kernel, columns)
        options = {"stride": stride, "padding": (padding, padding_across), "groups": x.shape[1]}
        return _gradients(gradient, x, part, **options, wanted=(False, True))[1]

    width = x.shape[3]
    if kernel <= 3 or width < half:
        return of_columns(kernel, gradient, x, half, half)
    if kernel == 5 and stride == 1 and width % 2 == 0 and width >= 8:
        inner = of_columns(3, gradient, x, half, 1)
        outer = of_columns(3, _pairs(gradient), _pairs(x), half, 1).unflatten(0, (2, -1)).sum(0)
        return torch.cat([outer[..., :1], inner, outer[..., 2:]], dim=3)
    found = []
    for start in range(0, kernel, 3):
        columns = min(3, kernel - start)
        left = half - start
        right = (gradient.shape[3] - 1) * stride + columns - left - width
        found.append(of_columns(columns, gradient, functional.pad(x, (left, right, half, half)), 0, 0))
    return torch.cat(found, dim=3)


def _pairs(x: Tensor) -> Tensor:
    """N × C × H × W → N × 2·C × H × W/2: columns of a parity as channels. A view, where channels are innermost."""
    return x.permute(0, 2, 3, 1).flatten(2).unflatten(2, (-1, 2 * x.shape[1])).permute(0, 3, 1, 2)


def _phases(x: Tensor) -> Tensor:
    """N × C × H × W → 2·N × 2·C × ⌈H/2⌉ × ⌈W/2⌉: the rows of a parity as images, its columns as channels.

    Odd sizes are padded with zeros.
    """
    height, width = x.shape[2:]
    x = functional.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x
    rows = x.permute(0, 2, 3, 1).unflatten(1, (-1, 2)).transpose(1, 2).flatten(0, 1)
    return _pairs(rows.permute(0, 3, 1, 2))


def _gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    *,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    wanted: tuple[bool, bool],
) -> Sequence[Tensor]:
    """PyTorch's own gradients of a convolution: of its input and of its weight, if `wanted`."""
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0], groups, [*wanted, False]
    )[:2]


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
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(channels_last(part) for part in gradient.split(ctx.widths, dim=1))


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """``torch.nn.functional.channel_shuffle(x, groups)``."""
    return _Ordered.apply(x, torch.arange(x.shape[1]).view(groups, -1).t().flatten())


class _Ordered(torch.autograd.Function):
    """Channels in another order; the gradient's are brought back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.order = order
        x = channels_last(x)
        return _pixels(x).index_select(1, order).view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Ordered.apply(gradient, ctx.order.argsort()), None


def weighted_sum(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Σ_b w_b · x_b of maps of one shape, in one pass over each; `weights`: one for each map."""
    return _WeightedSum.apply(weights, *map(in_autocast, maps))


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *maps)
        result = maps[0] * weights[0]
        for x, weight in zip(maps[1:], weights[1:], strict=True):
            result.addcmul_(x, weight)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *maps = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain = lambda weights, *maps: sum(w * x for w, x in zip(weights, maps, strict=True))  # noqa: E731
            return tuple(_again(plain, [weights, *maps], gradient))
        gradient = channels_last(gradient)
        of_weights = None
        if ctx.needs_input_grad[0]:
            uncentred = weights.new_zeros(len(maps), gradient.shape[1])
            of_weights = _alignment(gradient, maps, uncentred, uncentred + 1)[0].sum(1)
        wanted = ctx.needs_input_grad[1:]
        return of_weights, *(gradient * weight if want else None for weight, want in zip(weights, wanted, strict=True))


def weighted_norms(maps: Sequence[Tensor], norms: Sequence[nn.BatchNorm2d], weights: Tensor) -> Tensor:
    """Σ_b w_b · BN_b(x_b): the weighted sum of batch norms without scale, in training mode.

    Parameters
    ----------
    maps : sequence of Tensor, N × C × H × W
    norms : sequence of BatchNorm2d
        Their running statistics are updated.
    weights : Tensor
        One for each map.

    Notes
    -----
    Of each map, a pass for its statistics and one that adds it to the sum; no norm's result is ever in memory.
    """
    scales = weights[:, None].expand(-1, norms[0].num_features)
    result, means, variances = _Norms.apply(norms[0].eps, scales, None, *map(in_autocast, maps))
    _track(norms, means, variances, _count(result, scales))
    return result


def pool_and_norm(x: Tensor, pool: nn.Module, norms: Sequence[nn.BatchNorm2d]) -> Tensor:
    """BN(pool(x)), without scale and shift, in training mode. Every one of `norms` takes note of the statistics."""
    pooled = _average(x, pool) if _is_centred(pool) else pool(x)
    scales = torch.ones_like(norms[0].running_mean)[None]
    result, means, variances = _Norms.apply(norms[0].eps, scales, None, pooled)
    _track(norms, means, variances, _count(result, scales))
    return result


def _is_centred(pool: nn.Module) -> bool:
    """Whether `pool` averages over windows of odd size around a pixel, padding left out."""
    if type(pool) is not nn.AvgPool2d or not isinstance(pool.kernel_size, int):
        return False
    kernel, odd = pool.kernel_size, pool.kernel_size % 2 == 1
    plain = not (pool.count_include_pad or pool.ceil_mode or pool.divisor_override)
    return odd and plain and pool.padding == (kernel - 1) // 2 and pool.stride in (1, 2)


def _average(x: Tensor, pool: nn.AvgPool2d) -> Tensor:
    """``pool(x)`` of windows of odd size, padding left out: a depthwise convolution with ones."""
    kernel, stride = pool.kernel_size, pool.stride
    counts = _convolve(x.new_ones(1, 1, *x.shape[2:]), x.new_ones(1, 1, kernel, kernel), stride, 1)
    return depthwise_conv(x, x.new_ones(x.shape[1], 1, kernel, kernel), stride, 1) / counts


def batch_norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """``norm(x)`` in training mode."""
    scales = (torch.ones_like(norm.running_mean) if norm.weight is None else norm.weight)[None]
    result, means, variances = _Norms.apply(norm.eps, scales, norm.bias, x)
    _track([norm], means, variances, _count(result, scales))
    return result


def _count(x: Tensor, channels: Tensor) -> int:
    """How many numbers of a map each channel has; `channels`: … × C."""
    return x.numel() // channels.shape[-1]


class _Norms(torch.autograd.Function):
    """bias + Σ_b scales_b · x̂_b, where x̂ = (x − mean) · inverse; all but `bias` and the maps are maps × channels."""

    @staticmethod
    def forward(ctx: Any, eps: float, scales: Tensor, bias: Tensor | None, *maps: Tensor) -> tuple[Tensor, ...]:
        means, variances = _statistics(maps, scales.shape[1])
        inverse = (variances + eps).rsqrt()
        factors = (scales * inverse).to(maps[0].dtype)  # before the shift follows from them: rounding moves no mean
        shift = -(factors * means).sum(0)
        shift = shift if bias is None else shift + bias
        result = _affine(_for_rows(maps[0], shift), maps, _for_rows(maps[0], factors).unbind())
        ctx.eps = eps
        ctx.save_for_backward(means, inverse, factors, scales, bias, *maps)
        ctx.mark_non_differentiable(means, variances)
        return result, means, variances

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of a map x is factor · (g − Σ g/n − x̂ · Σ g·x̂/n)."""
        means, inverse, factors, scales, bias, *maps = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_again(lambda *given: _plain_norms(ctx.eps, *given), [scales, bias, *maps], gradient)
        gradient = channels_last(gradient)
        aligned, total = _alignment(gradient, maps, means, inverse)
        count = _count(gradient, scales)
        slopes = (factors * inverse * aligned / count).to(factors.dtype)
        constants = means * slopes - factors * total / count
        coefficients = (_for_rows(gradient, each).unbind() for each in (constants, -slopes, factors))
        of_maps = [
            _affine(constant, [x, gradient], [slope, factor]) if wanted else None
            for wanted, x, constant, slope, factor in zip(ctx.needs_input_grad[3:], maps, *coefficients, strict=True)
        ]
        return None, aligned, total if ctx.needs_input_grad[2] else None, *of_maps


def _plain_norms(eps: float, scales: Tensor, bias: Tensor | None, *maps: Tensor) -> Tensor:
    """What `_Norms` computes, operation by operation."""
    result = 0 if bias is None else _over_map(bias)
    for x, scale in zip(maps, scales, strict=True):
        x = x.to(scale.dtype).unflatten(1, (-1, len(scale)))  # images side by side apart
        variance, mean = torch.var_mean(x, (0, 1, 3, 4), correction=0, keepdim=True)
        result = result + _over_map(scale) * (x - mean) * (variance + eps).rsqrt()
    return result.flatten(1, 2).to(maps[0].dtype)


def _statistics(maps: Sequence[Tensor], channels: int) -> tuple[Tensor, Tensor]:
    """Mean and variance (over n) of each channel, maps × channels."""
    wide = [_side_by_side(x) for x in maps]
    # Running statistics of a wider type, unchanged by a momentum of 0, make those found of that type too.
    running = torch.zeros(wide[0].shape[1], dtype=torch.promote_types(maps[0].dtype, torch.float32))
    found = [torch.batch_norm_update_stats(x, running, running, 0.0) for x in wide]
    # maps × pixels side by side × channels
    means, variances = (torch.stack(each).unflatten(1, (-1, channels)) for each in zip(*found, strict=True))
    mean = means.mean(1)
    return mean, (variances + (means - mean[:, None]).square()).mean(1)


def _alignment(gradient: Tensor, maps: Sequence[Tensor], means: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Σ g·x̂, maps × channels, and Σ g over the pixels."""
    of_wide = _side_by_side(gradient)
    beside = of_wide.shape[1] // means.shape[1]
    sums = [
        torch.ops.aten.native_batch_norm_backward(
            of_wide, _side_by_side(x), None, None, None, *centre, True, 0.0, [False, True, True]
        )[1:]
        for x, *centre in zip(maps, _times(means, beside).unbind(), _times(inverse, beside).unbind(), strict=True)
    ]
    aligned = torch.stack([each for each, _ in sums]).unflatten(1, (beside, -1)).sum(1)
    return aligned, sums[0][1].unflatten(0, (beside, -1)).sum(0)


def _affine(shift: Tensor, maps: Sequence[Tensor], factors: Sequence[Tensor]) -> Tensor:
    """shift + Σ_b factors_b · x_b, where shift and each of the factors are of `_for_rows`."""
    first, *others = map(_rows, maps)
    result = torch.empty_like(maps[0], memory_format=torch.channels_last)
    rows = torch.addcmul(shift, first, factors[0], out=_rows(result))
    for x, factor in zip(others, factors[1:], strict=True):
        rows.addcmul_(x, factor)
    return result


def _for_rows(x: Tensor, channels: Tensor) -> Tensor:
    """… × C → … × k·C: what `channels` has for each channel, for each column of ``_rows(x)``."""
    return _times(channels.to(x.dtype), _beside(x) * x.shape[1] // channels.shape[-1])


def _times(channels: Tensor, count: int) -> Tensor:
    """… × C → … × count·C. As ``repeat``, which calls a dozen operations."""
    return torch.cat([channels] * count, dim=-1) if count > 1 else channels


def _over_map(channels: Tensor) -> Tensor:
    return channels[:, None, None]


def _side_by_side(x: Tensor) -> Tensor:
    """N × C × H × W → 1 × k·C × N·H·W/k × 1, a view: `_rows` as an image, for which sums are faster."""
    x, width = channels_last(x), _beside(x) * x.shape[1]
    return x.as_strided((1, width, x.numel() // width, 1), (x.numel(), 1, width, width))


def _rows(x: Tensor) -> Tensor:
    """N × C × H × W → N·H·W/k × k·C: k pixels in each row, which then are long enough for a processor's vectors."""
    x, width = channels_last(x), _beside(x) * x.shape[1]
    return x.as_strided((x.numel() // width, width), (width, 1))


def _beside(x: Tensor) -> int:
    return gcd(8, x.numel() // x.shape[1])


def channels_last(x: Tensor) -> Tensor:
    """The same N × C × H × W values, C innermost in memory: convolutions of few channels run faster, and pass it on."""
    return x.contiguous(memory_format=torch.channels_last)


def _pixels(x: Tensor) -> Tensor:
    """N × C × H × W → N·H·W × C: a view, where channels are innermost in memory."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


@torch.no_grad()
def _track(norms: Sequence[nn.BatchNorm2d], means: Tensor, variances: Tensor, count: int) -> None:
    """Update running statistics as batch norm does: with the variance over count − 1; 1 × C are for all `norms`."""
    for name, seen in (("running_mean", means), ("running_var", variances * (count / (count - 1)))):
        each = seen.to(getattr(norms[0], name).dtype).expand(len(norms), -1).unbind()
        for momentum in {norm.momentum for norm in norms}:
            pairs = [(getattr(n, name), x) for n, x in zip(norms, each, strict=True) if n.momentum == momentum]
            torch._foreach_lerp_(*map(list, zip(*pairs, strict=True)), momentum)
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)
