"""ConvNeXt's block (Liu et al., 2022)."""

from functools import partial

from torch import nn

from nas.space.operations.basic import ChannelNorm, depthwise, pointwise


class ConvNeXt(nn.Sequential):
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


OPERATIONS = {
    "convnext_3x3": partial(ConvNeXt, kernel=3),
    "convnext_5x5": partial(ConvNeXt, kernel=5),
}
