"""FairDARTS: Chu, Zhou, Zhang & Li, "Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search",
ECCV 2020.

Every operation has a weight of its own, σ(α), so that skip connections win nothing that others lose; the zero-one loss
drives each weight to 0 or 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.networks.supernet import Mixture
from nas.search.algorithm import Algorithm, Phase


class FairDarts(Algorithm):
    """FairDARTS.

    Parameters
    ----------
    zero_one : float, default 10
        w₀₁, the weight of the zero-one loss.
    """

    repeats = True

    zero_one: float = 10.0

    def mixture(self, alphas: Tensor, cell: str, phase: Phase) -> Mixture:
        return Mixture(alphas.sigmoid())

    def penalty(self, alphas: Sequence[Tensor]) -> Tensor:
        """−w₀₁ · mean (σ(α) − ½)²."""
        return (
            -self.zero_one
            * torch.cat([each.flatten() for each in alphas[: len(self.kinds)]]).sigmoid().sub(0.5).square().mean()
        )

    def scores(self, alphas: Tensor, cell: str) -> Tensor:
        return alphas.sigmoid()
