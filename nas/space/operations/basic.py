"""none, skip_connect and pooling, and the layers of which cells and the other families are built."""

import torch
from torch import Tensor, nn

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
        x = self.relu(x)
        height, width = x.shape[-2:]
        shifted = nn.functional.pad(x[:, :, 1::2, 1::2], (0, width % 2, 0, height % 2))
        return self.norm(torch.cat([self.even(x[:, :, ::2, ::2]), self.odd(shifted)], dim=1))


def relu_conv_norm(channels_in: int, channels_out: int, affine: bool = True) -> nn.Sequential:
    """Bring a cell's input to the cell's width: ReLU, 1×1 convolution, BN."""
    return nn.Sequential(
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


def _skip(channels: int, stride: int, affine: bool = True) -> nn.Module:
    return Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


def _zero(channels: int, stride: int, affine: bool = True) -> nn.Module:
    return Zero(stride)


def _max_pool(channels: int, stride: int, affine: bool = True) -> nn.Module:
    return nn.MaxPool2d(3, stride, padding=1)


def _avg_pool(channels: int, stride: int, affine: bool = True) -> nn.Module:
    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)


OPERATIONS = {
    "none": _zero,
    "skip_connect": _skip,
    "max_pool_3x3": _max_pool,
    "avg_pool_3x3": _avg_pool,
}
