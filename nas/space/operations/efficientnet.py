"""The blocks of EfficientNetV2 (Tan & Le, 2021), with MobileNet's separable convolution."""

from torch import Tensor, nn

from nas.pipeline.errors import UserError
from nas.space.operations.basic import depthwise, pointwise, widened


class DSConv(nn.Sequential):
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
        self.branch = nn.Sequential(*widen, *squeeze, *project)
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


OPERATIONS = {
    "ds_conv": DSConv,
    "mb_conv": MBConv,
    "fused_mb_conv": FusedMBConv,
}
