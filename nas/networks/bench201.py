"""NAS-Bench-201's network: Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural
Architecture Search", ICLR 2020. Its cell and how an architecture is written: `nas.space.bench201`.
"""

from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from nas.data.inputs import Inputs
from nas.space import operations
from nas.space.bench201 import Architecture, parse


class Bench201Cell(nn.Module):
    """Each node sums an operation of every earlier state; the last one is the output."""

    def __init__(self, architecture: Architecture, channels: int) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(
            nn.ModuleList(operations.build(name, channels, 1, True) for name in node) for node in architecture
        )

    def forward(self, x: Tensor) -> Tensor:
        states = [x]
        for node in self.nodes:
            incoming = zip(cast("nn.ModuleList", node), states, strict=True)
            states.append(reduce(torch.add, [operation(state) for operation, state in incoming]))
        return states[-1]


class Residual(nn.Module):
    """The block between two stacks: a basic residual block of stride 2 that doubles the channels (its section 2.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, stride in ((channels, 2), (2 * channels, 1)):
            convolution = nn.Conv2d(before, 2 * channels, 3, stride, 1, bias=False)
            layers += [nn.ReLU(), convolution, nn.BatchNorm2d(2 * channels)]
        self.branch = nn.Sequential(*layers)
        # Maps of odd size are rounded up, as by the convolutions.
        pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        self.shortcut = nn.Sequential(pool, nn.Conv2d(channels, 2 * channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.branch(x)


def stem_of(in_channels: int, channels: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]


def head_of(width: int, num_classes: int) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(width), nn.ReLU()]
    return [*norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)]


class Bench201Network(nn.Sequential):
    """Stem, three stacks of cells with a residual block between, BN and ReLU, global average pooling, linear.

    ``forward(x)``: N × in_channels × H × W → N × num_classes logits.

    Parameters
    ----------
    architecture : str
        As `parse` reads it.
    channels : int, default 16
        C of the first stack; each further one has twice as many.
    cells : int, default 5
        N, of each stack.
    num_classes : int, default 10
    in_channels : int, default 3

    Raises
    ------
    UserError
        If the architecture is none of the space's.
    """

    def __init__(
        self, architecture: str, *, channels: int = 16, cells: int = 5, num_classes: int = 10, in_channels: int = 3
    ) -> None:
        found = parse(architecture)
        layers = stem_of(in_channels, channels)
        for stack in range(3):
            width = channels * 2**stack
            layers += [Residual(width // 2)] if stack else []
            layers += [Bench201Cell(found, width) for _ in range(cells)]
        super().__init__(*layers, *head_of(width, num_classes))
        self.inputs: Inputs | None = None
        self.built_from = {
            "genotype": {"architecture": architecture},
            "channels": channels,
            "layers": 3 * cells + 2,
            "num_classes": num_classes,
            "in_channels": in_channels,
            "stem": "cifar",
        }

    @property
    def cells(self) -> list[nn.Module]:
        """Its cells, from the first."""
        return [module for module in self if isinstance(module, Bench201Cell)]
