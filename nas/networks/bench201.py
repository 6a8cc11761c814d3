"""NAS-Bench-201's cell and network: Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural
Architecture Search", ICLR 2020.

Its cell is not DARTS's: one input, three nodes, and an operation from every earlier state to each node, whose sums are
neither chosen among nor concatenated. So it has a network of its own, and an architecture is the benchmark's text:
``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|`` names, for each node, the operation
from state 0 (the input), 1 and 2.
"""

from collections.abc import Iterator
from functools import reduce
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn

from nas.pipeline.errors import UserError, unknown
from nas.space import operations
from nas.space.spaces import SPACES

OPERATIONS = SPACES["nas_bench_201"].operations
NODES = 3
SIZE = len(OPERATIONS) ** 6  # architectures

Architecture = tuple[tuple[str, ...], ...]  # of each node, the operation from every earlier state


def parse(text: str) -> Architecture:
    """Read an architecture; raises UserError if `text` says none."""
    nodes = [[edge.partition("~")[0] for edge in node.strip("|").split("|")] for node in text.split("+")]
    for name in (name for node in nodes for name in node):
        if name not in OPERATIONS:
            raise UserError(f"architecture: {text!r}: {unknown('operation', name, OPERATIONS)}")
    architecture = tuple(map(tuple, nodes))
    if len(nodes) != NODES or written(architecture) != text:
        raise UserError(f"architecture: {text!r} is not allowed: must be like |OP~0|+|OP~0|OP~1|+|OP~0|OP~1|OP~2|")
    return architecture


def written(architecture: Architecture) -> str:
    """The text that `parse` reads; a node has as many operations as there are states before it."""
    return "+".join("".join(f"|{name}~{i}" for i, name in enumerate(node)) + "|" for node in architecture)


def architectures() -> Iterator[Architecture]:
    """All `SIZE` of the space."""
    for names in product(OPERATIONS, repeat=NODES * (NODES + 1) // 2):
        yield names[:1], names[1:3], names[3:]


def expression(architecture: Architecture) -> str:
    """What the cell computes, in the benchmark's notation: architectures of one expression count once, 6,466 in all.

    0 is the input, # what is zero, ``(x)@conv`` a convolution of x. The terms of a sum are sorted as texts, and zeros
    stay in it, so that a few which compute the same are still told apart, as the benchmark does.
    """
    states = ["0"]
    for node in architecture:
        terms = []
        for name, x in zip(node, states, strict=True):
            zero = name == "none" or x == "#"
            terms.append("#" if zero else x if name == "skip_connect" else f"({x})@{name}")
        states.append("+".join(sorted(terms)))
    return states[-1]


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
        layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
        for stack in range(3):
            width = channels * 2**stack
            layers += [Residual(width // 2)] if stack else []
            layers += [Bench201Cell(found, width) for _ in range(cells)]
        head = [nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)]
        super().__init__(*layers, *head)
