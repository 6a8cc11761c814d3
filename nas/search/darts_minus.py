"""DARTS-: Chu, Wang, Zhang, Lu, Wei & Yan, "DARTS-: Robustly Stepping out of Performance Collapse Without Indicators",
ICLR 2021.

A second skip connection on every edge, whose weight β fades, does for the training of the supernet what skip
connections do, so that α need not favour them for it. No genotype holds it.
"""

from typing import Any

import torch
from torch import Tensor

from nas.networks.supernet import Mixture
from nas.search.algorithm import Algorithm, Phase


class DartsMinus(Algorithm):
    """DARTS-; it can be added to others.

    Parameters
    ----------
    beta : float, default 1
        β in the first epoch; it falls linearly to 0 in the last.
    """

    added = 2
    repeats = True

    beta: float = 1.0

    def supernet(self) -> dict[str, Any]:
        return super().supernet() | {"beside": ("skip_connect",)}

    def begin(self, epoch: int, epochs: int) -> None:
        super().begin(epoch, epochs)
        self.faded = self.beta * (1 - epoch / max(epochs - 1, 1))

    def mixture(self, alphas: Tensor, cell: str, phase: Phase) -> Mixture:
        weights = super().mixture(alphas, cell, phase).weights
        return Mixture(torch.cat([weights, weights.new_full((len(weights), 1), self.faded)], dim=1))
