"""Noise in place of the input (R-DARTS: Zela et al., 2020, section 3): what no search should choose."""

import torch
from torch import Tensor, nn

from nas.data import sharing


class Noise(nn.Module):
    """Draws of N(0, 1) of the output's shape, in training and evaluation alike."""

    def __init__(self, channels: int, stride: int, affine: bool = True) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        each = x[:, :, :: self.stride, :: self.stride]
        return sharing.draw(
            len(x), lambda count: torch.randn(count, *each.shape[1:], dtype=each.dtype, device=each.device)
        )


OPERATIONS = {"noise": Noise}
