"""The supernet of each space: DARTS's, or NAS-Bench-201's, which stands here (Dong & Yang, ICLR 2020)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from nas.networks.bench201 import Residual, head_of, stem_of
from nas.networks.supernet import MixedOperation, Mixture, Supernet
from nas.space.bench201 import CELL, EDGES, NODES, cells_of
from nas.space.spaces import SearchSpace


def build_supernet(space: SearchSpace, **options: Any) -> Supernet:
    """The supernet of `space`; `options` are those of `Supernet`."""
    return (Bench201Supernet if space.is_bench201 else Supernet)(space, **options)


class MixedBench201Cell(nn.Module):
    """Each node sums the mixtures of all earlier states; the last one is the output."""

    def __init__(self, names: Sequence[tuple[str, ...]], channels: int, partial: int, beside: Sequence[str]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(MixedOperation(own, channels, 1, partial, beside, normed=False) for own in names)

    def forward(self, x: Tensor, weights: Tensor, chosen: Sequence[int | None] | None = None) -> Tensor:
        """`weights`: edges × operations; `chosen`: for each edge, the column of the only operation to compute."""
        states, rows = [x], weights.unbind()
        chosen = chosen or [None] * len(self.edges)
        for node in range(1, NODES + 1):
            incoming = [e for e, (_, target) in enumerate(EDGES) if target == node]
            states.append(sum(self.edges[e](states[EDGES[e][0]], rows[e], chosen[e]) for e in incoming))
        return states[-1]


class Bench201Supernet(Supernet):
    """All networks of NAS-Bench-201's space in one, with its stem, residual blocks and head (its section 2.1).

    What an edge mixes are the network's own operations but for the scale of batch norm: pooling is bare, as there.

    Parameters
    ----------
    space : str or SearchSpace
        One whose cell is NAS-Bench-201's.
    layers : int
        3·N + 2, for three stacks of N cells with a residual block between.
    nodes : int
        3.
    stem : str
        "cifar", which stands for the benchmark's own.

    Attributes
    ----------
    alphas_normal : Parameter, 6 × operations
        α, shared by all cells: rows are the edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3.

    Notes
    -----
    Other parameters are `Supernet`'s, and so is ``forward(x, mixtures)``; there is one mixture.
    """

    def build(
        self,
        names: Mapping[str, Sequence[tuple[str, ...]]],
        channels: int,
        layers: int,
        num_classes: int,
        in_channels: int,
        stem: str,
        partial: int,
        beside: Sequence[str],
    ) -> None:
        cells = cells_of(layers, stem)
        self.stem = nn.Sequential(*stem_of(in_channels, channels))
        self.body = nn.ModuleList()
        for stack in range(3):
            width = channels * 2**stack
            self.body.extend([Residual(width // 2)] if stack else [])
            self.body.extend(MixedBench201Cell(names[CELL], width, partial, beside) for _ in range(cells))
        self.head = nn.Sequential(*head_of(width, num_classes))

    def mix(self, x: Tensor, mixtures: Sequence[Mixture]) -> Tensor:
        (mixture,) = mixtures
        x = self.stem(x)
        for module in self.body:
            x = self.computed(module)(x, *mixture) if isinstance(module, MixedBench201Cell) else module(x)
        return self.head(x)
