"""The gate that DNAL sets behind a convolution's batch norm, and what is done to all gates of a network."""

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn

State = Literal["open", "learning", "closed"]

FINAL_SCALE = 1e4
THRESHOLD = 0.9


class Gate(nn.Module):
    """y = x · σ(δ·s), a factor for each channel (Guo et al., 2022, "scaled sigmoid").

    Parameters
    ----------
    channels : int

    Attributes
    ----------
    s : Parameter, channels
        The architecture's parameters, 0 at the start.
    scale : float, default 1.0
        δ. As it grows, σ(δ·s) becomes the step function of s.
    mask : bool Tensor, channels
        Which channels remain: what a closed gate multiplies by. A buffer; all, at the start.
    state : "open", "learning" or "closed", default "open"
        Open passes x on, learning multiplies by σ(δ·s), closed by the mask.

    Notes
    -----
    ``forward(x)``: N × channels or N × channels × H × W, and gives the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mask", torch.ones(channels, dtype=torch.bool))
        self.scale = 1.0
        self.state: State = "open"

    def forward(self, x: Tensor) -> Tensor:
        if self.state == "open":
            return x
        factor = self.values() if self.state == "learning" else self.mask.to(x.dtype)
        return x * factor.view(-1, *[1] * (x.dim() - 2))

    def values(self) -> Tensor:
        """σ(δ·s)."""
        return torch.sigmoid(self.scale * self.s)

    @torch.no_grad()
    def close(self) -> None:
        """Keep the channels whose σ(δ·s) exceeds `THRESHOLD`, and multiply by 0 or 1 from now on."""
        self.mask.copy_(self.values() > THRESHOLD)
        self.state = "closed"


def gates(network: nn.Module) -> dict[str, Gate]:
    """Every gate of a network by its name, in the order of its modules."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Gate)}


def scale_at(epoch: int, epochs: int) -> float:
    """δ of `epoch` (from 0): multiplied before each so that it is `FINAL_SCALE` in the last of `epochs`."""
    return FINAL_SCALE ** ((epoch + 1) / epochs)


def learn(network: nn.Module, scale: float) -> None:
    """Set every gate to learning with this δ."""
    for gate in gates(network).values():
        gate.state, gate.scale = "learning", scale


def penalty(network: nn.Module) -> Tensor:
    """Σ σ(s) over all channels of all gates, which λ_a multiplies in the loss: a scalar."""
    return torch.stack([gate.s.sigmoid().sum() for gate in gates(network).values()]).sum()


def plain(network: nn.Module) -> nn.Module:
    """A copy without gates: what the network costs before any channel is chosen."""
    network = deepcopy(network)
    for name in gates(network):
        network.set_submodule(name, nn.Identity())
    return network
