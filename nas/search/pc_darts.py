"""PC-DARTS: Xu, Xie, Zhang, Chen, Qi, Tian & Xiong, "PC-DARTS: Partial Channel Connections for Memory-Efficient
Architecture Search", ICLR 2020.

Every edge mixes its operations over 1/K of the channels, the others pass by: less memory, and less that
operations without weights win by. Since what an edge's α stands for then changes with the channels that are seen, edges
have weights of their own, the softmax of β over those into a node.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nas.networks.supernet import Mixture, Supernet
from nas.search.algorithm import Algorithm, Phase


class PcDarts(Algorithm):
    """PC-DARTS; it can be added to others.

    Parameters
    ----------
    partial : int, default 4
        K, of which the supernet's channels must be a multiple.
    warm_up : int, default 15
        Epochs at the beginning in which the weights train alone.
    """

    added = 3
    repeats = True

    partial: int = 4
    warm_up: int = 15

    def supernet(self) -> dict[str, Any]:
        return super().supernet() | {"partial": self.partial}

    def prepare(self, supernet: Supernet) -> None:
        super().prepare(supernet)
        edges = supernet.alphas_normal.detach()[:, 0]
        self.betas = nn.ParameterDict({cell: nn.Parameter(1e-3 * torch.randn_like(edges)) for cell in self.kinds})
        targets = [target for _, target in supernet.space.places(supernet.nodes)]
        self.incoming = [targets.count(target) for target in dict.fromkeys(targets)]

    def begin(self, epoch: int, epochs: int) -> None:
        super().begin(epoch, epochs)
        self.rests = self.rests or epoch < self.warm_up

    def of_edges(self, cell: str) -> Tensor:
        """The softmax of β over the edges into each node, edges × 1."""
        return torch.cat([betas.softmax(dim=0) for betas in self.betas[cell].split(self.incoming)])[:, None]

    def mixture(self, alphas: Tensor, cell: str, phase: Phase) -> Mixture:
        of_edges = self.of_edges(cell) if phase == "alpha" else self.of_edges(cell).detach()
        return Mixture(of_edges * super().mixture(alphas, cell, phase).weights)

    def scores(self, alphas: Tensor, cell: str) -> Tensor:
        return self.of_edges(cell).detach() * super().scores(alphas, cell)
