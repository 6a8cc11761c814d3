"""GDAS: Dong & Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR 2019.

One operation an edge is drawn for every batch (eq. 3 to 5), and only what was drawn is computed. As in its program, a
step moves the weights before α (algorithm 1), and operations that were not drawn are left alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.networks.supernet import Mixture, strongest
from nas.search.algorithm import Cooled, Phase


class Gdas(Cooled):
    """GDAS.

    Parameters
    ----------
    tau, tau_min : float, default 10 and 0.1
        Temperature of the draws in the first epoch and in the last (its program's; section 4.1 ends at 1); it falls
        linearly.
    """

    weights_first = True

    tau: float = 10.0
    tau_min: float = 0.1

    def mixtures(self, alphas: Sequence[Tensor], phase: Phase) -> list[Mixture]:
        """Draws; a validation takes each edge's strongest operation that a genotype may hold."""
        if phase == "valid":
            weights = [strongest(each, self.choices) for each in alphas]
        else:
            weights = [one_hot_sample(each, self.temperature) for each in alphas]
        # What is computed depends on it, so a GPU has to wait here: once a pass, for both kinds of cells.
        chosen = torch.stack(weights).argmax(dim=-1).tolist()
        return [Mixture(*each) for each in zip(weights, chosen, strict=True)]


def one_hot_sample(alphas: Tensor, temperature: float) -> Tensor:
    """Draw an operation for each edge with the probabilities softmax(α) (GDAS, eq. 3 to 5).

    The weights, edges × operations, are 1 for the operation drawn and 0 for the others. Their gradient is that of
    softmax((α + Gumbel noise) / temperature): straight through.
    """
    return nn.functional.gumbel_softmax(alphas, tau=temperature, hard=True, dim=-1)
