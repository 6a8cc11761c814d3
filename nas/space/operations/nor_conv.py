"""NAS-Bench-201's convolutions (Dong & Yang, 2020, section 2.1): ReLU, convolution, batch norm."""

from functools import partial

from torch import nn


class NorConv(nn.Sequential):
    def __init__(self, channels: int, stride: int, affine: bool = True, *, kernel: int) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )


OPERATIONS = {
    "nor_conv_1x1": partial(NorConv, kernel=1),
    "nor_conv_3x3": partial(NorConv, kernel=3),
}
