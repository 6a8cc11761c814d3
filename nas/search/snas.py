"""SNAS: Xie, Zheng, Liu & Lin, "SNAS: Stochastic Neural Architecture Search", ICLR 2019.

Each pass mixes the operations of an edge by a sample of the concrete distribution: softmax((α + g)/τ)
with Gumbel noise g, whose gradient reaches every α. As τ falls, samples come close to a single operation.
"""

from torch import Tensor, nn

from nas.networks.supernet import Mixture, strongest
from nas.search.algorithm import Cooled, Phase


class Snas(Cooled):
    """SNAS.

    Parameters
    ----------
    tau, tau_min : float, default 1 and 0.1
        Temperature in the first epoch and in the last; it falls linearly. The values are ours.
    """

    repeats = True

    tau: float = 1.0
    tau_min: float = 0.1

    def mixture(self, alphas: Tensor, cell: str, phase: Phase) -> Mixture:
        """A sample; a validation takes each edge's strongest operation that a genotype may hold."""
        if phase == "valid":
            return Mixture(strongest(alphas, self.choices))
        return Mixture(nn.functional.gumbel_softmax(alphas, tau=self.temperature, dim=-1))
