"""DARTS's convolutions: separable (also with the PIBConv paper's GELU and LayerNorm), dilated and factorized."""

from functools import partial

from torch import nn

from nas.space.operations.basic import ChannelNorm, depthwise, pointwise


class SepConv(nn.Sequential):
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


class DilConv(nn.Sequential):
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


OPERATIONS = {
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
}
