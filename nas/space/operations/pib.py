"""The pseudo-inverted bottleneck (Ahmadian et al., 2023)."""

from functools import partial
from math import gcd

from torch import nn

from nas.space.operations.basic import depthwise, pointwise, widened


class PIBConv(nn.Sequential):
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


OPERATIONS = {
    "pib_conv_3x3": partial(PIBConv, kernel=3),
    "pib_conv_5x5": partial(PIBConv, kernel=5),
    "pib_conv_7x7": partial(PIBConv, kernel=7),
    "pib_conv_f1.5_3x3": partial(PIBConv, kernel=3, expansion=1.5),
    "pib_conv_f1.5_5x5": partial(PIBConv, kernel=5, expansion=1.5),
    "pib_conv_f1.5_7x7": partial(PIBConv, kernel=7, expansion=1.5),
    "pib_conv_f3_3x3": partial(PIBConv, kernel=3, expansion=3),
    "pib_conv_f3_5x5": partial(PIBConv, kernel=5, expansion=3),
    "pib_conv_f3_7x7": partial(PIBConv, kernel=7, expansion=3),
    "pib_conv_f4.5_3x3": partial(PIBConv, kernel=3, expansion=4.5),
    "pib_conv_f4.5_5x5": partial(PIBConv, kernel=5, expansion=4.5),
    "pib_conv_f4.5_7x7": partial(PIBConv, kernel=7, expansion=4.5),
}
