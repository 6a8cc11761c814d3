"""The operations that an edge can hold, by name.

Each maps C channels to C channels at stride 1 or 2. Shapes are N × C × H × W. To add one, write a module and name it
in ``OPERATIONS``; to search among it, list that name in a space (nas/spaces.py).
"""

from collections.abc import Callable
from functools import partial
from math import gcd

import torch
from torch import Tensor, nn

from nas import fast
from nas.pipeline.errors import UserError


class Identity(nn.Identity):
    """skip_connect at stride 1. A class of its own, because drop path spares it."""


class Zero(nn.Module):
    """none: zeros of the output's shape, so that no information flows."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class FactorizedReduce(nn.Module):
    """Halve the map without a window: two 1×1 convolutions of stride 2, the second shifted by one pixel (DARTS).

    On maps of odd size the shifted input is padded with zeros, so that both halves have the same size.
    """

    def __init__(self, channels_in: int, channels_out: int, affine: bool = True) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = pointwise(channels_in, channels_out // 2)
        self.odd = pointwise(channels_in, channels_out - channels_out // 2)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.split(self.relu(x)))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels of even rows and columns, and those of odd ones."""
        even, odd = fast.every_other(x) if self.training and fast.applies(x) else (x[:, :, i::2, i::2] for i in (0, 1))
        height, width = x.shape[-2:]
        return even, nn.functional.pad(odd, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else odd

    def join(self, halves: tuple[Tensor, Tensor]) -> Tensor:
        even, odd = halves
        return self.norm(torch.cat([self.even(even), self.odd(odd)], dim=1))


class Layers(nn.Sequential):
    """Layers one after the other, computed as ``nas.fast`` does where that pays."""

    def forward(self, x: Tensor) -> Tensor:
        return fast.run(self, x) if self.training and fast.applies(x) else super().forward(x)


def relu_conv_norm(channels_in: int, channels_out: int, affine: bool = True) -> Layers:
    """Bring a cell's input to the cell's width: ReLU, 1×1 convolution, BN."""
    return Layers(
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out, affine=affine),
    )


def depthwise(channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A k×k convolution of each channel with itself; the map keeps its size at stride 1."""
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)


def pointwise(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 1, bias=False)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel (ConvNeXt, section 2.6): the same in training and evaluation."""

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6, elementwise_affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SepConv(Layers):
    """Depthwise-separable convolution, stacked twice (DARTS; Xception). Only the first carries the stride.

    `activation` is ReLU in DARTS and GELU in the PIBConv paper's first step, `norm` BatchNorm and, in its second,
    LayerNorm (Ahmadian et al., 2023, section 2).
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        affine: bool = True,
        *,
        kernel: int,
        activation: type[nn.Module] = nn.ReLU,
        norm: type[nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__(
            *(
                layer
                for step in (stride, 1)
                for layer in (
                    activation(),
                    depthwise(channels, kernel, step),
                    pointwise(channels, channels),
                    norm(channels, affine=affine),
                )
            )
        )


class DilConv(Layers):
    """Depthwise-separable convolution with dilation 2 (DARTS)."""

    def __init__(self, channels: int, stride: int, affine: bool = True, *, kernel: int) -> None:
        super().__init__(
            nn.ReLU(),
            depthwise(channels, kernel, stride, dilation=2),
            pointwise(channels, channels),
            nn.BatchNorm2d(channels, affine=affine),
        )


class Conv7x1(nn.Sequential):
    """A 7×7 convolution factorized into 1×7 and 7×1 (DARTS; NASNet)."""

    def __init__(self, channels: int, stride: int, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
            nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )


def widened(channels: int, expansion: float, operation: str) -> int:
    """``expansion · channels``; raises UserError if that is no whole number, or `expansion` below 1 or not finite."""
    if not 1 <= expansion < float("inf"):
        raise UserError(f"expansion: {expansion} is not allowed: must be at least 1, and finite")
    wide = round(channels * expansion)
    if abs(wide - channels * expansion) > 1e-6:
        raise UserError(
            f"channels: {channels} is not allowed: {operation} widens it {expansion:g} times, which must give a whole "
            "number of channels"
        )
    return wide


class PIBConv(Layers):
    """Pseudo-inverted bottleneck (Ahmadian et al., 2023, Fig. 2c).

    Widens C to F·C channels by a 1×1 convolution and comes back to C by a grouped k×k one: two depthwise steps, and
    (F + 1)·C² weights in 1×1 convolutions where a ConvNeXt block of the same F has 2F·C².

    Parameters
    ----------
    expansion : float, default 2
        F, at least 1. The grouped convolution has gcd(C, F·C) groups: C of them where F is whole; 1.5 makes it C/2
        groups of 3 channels to 2.

    Raises
    ------
    UserError
        If F is below 1, or F·C no whole number.
    """

    def __init__(self, channels: int, stride: int, affine: bool = True, *, kernel: int, expansion: float = 2) -> None:
        wide = widened(channels, expansion, "pib_conv")
        super().__init__(
            depthwise(channels, kernel, stride),
            nn.BatchNorm2d(channels, affine=affine),
            pointwise(channels, wide),
            nn.Conv2d(wide, channels, kernel, padding=kernel // 2, groups=gcd(channels, wide), bias=False),
            nn.GELU(),
            pointwise(channels, channels),
        )


class ConvNeXt(Layers):
    """Inverted bottleneck with the depthwise convolution first (Liu et al., 2022; Ahmadian et al., 2023, Fig. 2b).

    Without ConvNeXt's residual: in a cell, skip_connect is an operation of its own. `expansion` is C_inv / C.
    """

    def __init__(self, channels: int, stride: int, affine: bool = True, *, kernel: int, expansion: int = 4) -> None:
        super().__init__(
            depthwise(channels, kernel, stride),
            ChannelNorm(channels, affine),
            pointwise(channels, expansion * channels),
            nn.GELU(),
            pointwise(expansion * channels, channels),
        )


class DSConv(Layers):
    """Depthwise-separable convolution (MobileNet: Howard et al., 2017, Fig. 3)."""

    def __init__(self, channels: int, stride: int, affine: bool = True, *, kernel: int = 3) -> None:
        super().__init__(
            depthwise(channels, kernel, stride),
            nn.BatchNorm2d(channels, affine=affine),
            nn.ReLU(),
            pointwise(channels, channels),
            nn.BatchNorm2d(channels, affine=affine),
            nn.ReLU(),
        )


class SqueezeExcitation(nn.Module):
    """Scale each channel by a factor in (0, 1) that follows from the means of all (Hu et al., 2018, section 3).

    With EfficientNet's SiLU (Tan & Le, 2019) in the place of ReLU between the two 1×1 convolutions. `squeezed` is the
    number of channels between them.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)


class InvertedBottleneck(nn.Module):
    """What MBConv and FusedMBConv share: widen C to E·C channels, come back to C, and add the input at stride 1.

    Parameters
    ----------
    widen : list of Module
        C → E·C, of the block's stride.
    se_ratio : float
        The squeeze-and-excitation's inner channels, as a share of the block's input (C, not E·C); 0: none.
    """

    def __init__(
        self, widen: list[nn.Module], channels: int, wide: int, stride: int, affine: bool, se_ratio: float
    ) -> None:
        super().__init__()
        if not 0 <= se_ratio <= 1:
            raise UserError(f"se_ratio: {se_ratio} is not allowed: must be from 0 to 1")
        squeeze = [SqueezeExcitation(wide, max(1, int(channels * se_ratio + 1e-6)))] if se_ratio else []
        project = [pointwise(wide, channels), nn.BatchNorm2d(channels, affine=affine)]
        self.branch = Layers(*widen, *squeeze, *project)
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x) if self.residual else self.branch(x)


class MBConv(InvertedBottleneck):
    """Mobile inverted bottleneck: widen by 1×1, depthwise k×k, project (Sandler et al., 2018; Tan & Le, 2019).

    With `expansion` 1 nothing is widened, as in EfficientNet's first stage. `se_ratio`: see `InvertedBottleneck`.

    Raises
    ------
    UserError
        If `expansion` is below 1 or does not give whole channels, or `se_ratio` is not from 0 to 1.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        affine: bool = True,
        *,
        kernel: int = 3,
        expansion: float = 4,
        se_ratio: float = 0.25,
    ) -> None:
        wide = widened(channels, expansion, "mb_conv")

        def step(convolution: nn.Conv2d) -> list[nn.Module]:
            return [convolution, nn.BatchNorm2d(wide, affine=affine), nn.SiLU()]

        expand = step(pointwise(channels, wide)) if expansion != 1 else []
        widen = expand + step(depthwise(wide, kernel, stride))
        super().__init__(widen, channels, wide, stride, affine, se_ratio)


class FusedMBConv(InvertedBottleneck):
    """MBConv with its first two convolutions fused into one full k×k (EfficientNetV2: Tan & Le, 2021, Fig. 2).

    `se_ratio` is 0, as EfficientNetV2 has it in its fused stages (Table 4). It projects at `expansion` 1 too, unlike
    EfficientNetV2's first stage. Raises as `MBConv`.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        affine: bool = True,
        *,
        kernel: int = 3,
        expansion: float = 4,
        se_ratio: float = 0.0,
    ) -> None:
        wide = widened(channels, expansion, "fused_mb_conv")
        widen = [
            nn.Conv2d(channels, wide, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(wide, affine=affine),
            nn.SiLU(),
        ]
        super().__init__(widen, channels, wide, stride, affine, se_ratio)


def _skip(channels: int, stride: int, affine: bool = True) -> nn.Module:
    return Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


def _zero(channels: int, stride: int, affine: bool = True) -> nn.Module:
    return Zero(stride)


def _max_pool(channels: int, stride: int, affine: bool = True) -> nn.Module:
    return nn.MaxPool2d(3, stride, padding=1)


def _avg_pool(channels: int, stride: int, affine: bool = True) -> nn.Module:
    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)


# (channels, stride, affine) → module; affine tells whether normalization learns a scale and a shift
OPERATIONS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "none": _zero,
    "skip_connect": _skip,
    "max_pool_3x3": _max_pool,
    "avg_pool_3x3": _avg_pool,
    "sep_conv_3x3": partial(SepConv, kernel=3),
    "sep_conv_5x5": partial(SepConv, kernel=5),
    "sep_conv_7x7": partial(SepConv, kernel=7),
    "sep_conv_gelu_3x3": partial(SepConv, kernel=3, activation=nn.GELU),
    "sep_conv_gelu_5x5": partial(SepConv, kernel=5, activation=nn.GELU),
    "sep_conv_gelu_ln_3x3": partial(SepConv, kernel=3, activation=nn.GELU, norm=ChannelNorm),
    "sep_conv_gelu_ln_5x5": partial(SepConv, kernel=5, activation=nn.GELU, norm=ChannelNorm),
    "dil_conv_3x3": partial(DilConv, kernel=3),
    "dil_conv_5x5": partial(DilConv, kernel=5),
    "conv_7x1_1x7": Conv7x1,
    "pib_conv_3x3": partial(PIBConv, kernel=3),
    "pib_conv_5x5": partial(PIBConv, kernel=5),
    "pib_conv_7x7": partial(PIBConv, kernel=7),
    **{f"pib_conv_f{f:g}_{k}x{k}": partial(PIBConv, kernel=k, expansion=f) for f in (1.5, 3, 4.5) for k in (3, 5, 7)},
    "convnext_3x3": partial(ConvNeXt, kernel=3),
    "convnext_5x5": partial(ConvNeXt, kernel=5),
    "ds_conv": DSConv,
    "mb_conv": MBConv,
    "fused_mb_conv": FusedMBConv,
}
