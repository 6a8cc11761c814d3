"""DrNAS: Chen, Wang, Cheng, Tang & Hsieh, "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021.

The weights of an edge's operations are drawn from a Dirichlet distribution, whose concentration ELU(α) + 1 is learned
by pathwise gradients. α = 0 is the uniform distribution over all mixtures; the distance to it, which the objective
penalises, is α's weight decay, as in its program.
"""

from typing import Any

from torch import Tensor, nn
from torch.distributions import Dirichlet

from nas.networks.supernet import Mixture
from nas.search.algorithm import Algorithm, Phase


class DrNas(Algorithm):
    """DrNAS, without progressive shrinking.

    Parameters
    ----------
    alone : int, default 10
        Epochs at the beginning in which the weights train alone (its program's).
    share : int, default 1
        Each edge mixes one part of so many of the channels, as in PC-DARTS but without weights of edges; 1 is all.
    """

    repeats = True

    alone: int = 10
    share: int = 1

    def supernet(self) -> dict[str, Any]:
        return super().supernet() | {"partial": self.share}

    def begin(self, epoch: int, epochs: int) -> None:
        super().begin(epoch, epochs)
        self.rests = self.rests or epoch < self.alone

    def mixture(self, alphas: Tensor, cell: str, phase: Phase) -> Mixture:
        """A draw; a validation takes the distribution's mean."""
        if phase == "valid":
            return Mixture(DrNas.scores(self, alphas, cell))
        return Mixture(Dirichlet(nn.functional.elu(alphas) + 1, validate_args=False).rsample())  # or a GPU waits

    def scores(self, alphas: Tensor, cell: str) -> Tensor:
        """The mean of the distribution."""
        concentration = nn.functional.elu(alphas) + 1
        return concentration / concentration.sum(dim=-1, keepdim=True)
