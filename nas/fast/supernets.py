"""NAS-Bench-201's mixed cells, as `supernet` computes those of DARTS."""

from collections.abc import Sequence

from torch import Tensor

from nas.fast.conditions import applies
from nas.fast.kernels import channels_last
from nas.fast.supernet import comes_apart, mix_all, of_all
from nas.networks.supernets import MixedBench201Cell
from nas.space.bench201 import EDGES


def mixed_bench201_cell(
    self: MixedBench201Cell, x: Tensor, weights: Tensor, chosen: Sequence[int | None] | None = None
) -> Tensor:
    if of_all(self, chosen) and applies(x) and comes_apart(self):
        return mix_all(self, EDGES, [channels_last(x)], weights)[-1]
    return MixedBench201Cell.forward(self, x, weights, chosen)


FORWARDS = {MixedBench201Cell.forward: mixed_bench201_cell}
