"""SmoothDARTS: Chen & Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based Regularization",
ICML 2020.

The weights are trained for mixtures near α's, not for α's alone, so that the validation loss is smooth around α: with
a random perturbation of the mixture within ±ε (RS), or with the worst one, by projected gradient ascent (ADV).
"""

import torch
from torch import Tensor

from nas.data import sharing
from nas.networks.supernet import Mixture
from nas.search.algorithm import Algorithm, Phase, Step


class SmoothDarts(Algorithm):
    """SmoothDARTS; it can be added to others.

    Parameters
    ----------
    epsilon, epsilon_min : float, default 0.3 and 0.03
        ε, which rises linearly over the epochs from the smaller towards the larger (its program's).
    attack_steps : int, default 0
        0 draws the perturbation uniformly (RS); above, it is found by so many steps of gradient ascent (ADV; 7 in the
        paper).
    """

    added = 1
    repeats = True

    epsilon: float = 0.3
    epsilon_min: float = 0.03
    attack_steps: int = 0

    def begin(self, epoch: int, epochs: int) -> None:
        super().begin(epoch, epochs)
        self.radius = self.epsilon_min + (self.epsilon - self.epsilon_min) * epoch / epochs

    def before_weights(self, step: Step) -> None:
        super().before_weights(step)
        alphas = [alphas.detach() for alphas in step.alphas[: len(self.kinds)]]
        self.shifts = {
            cell: self.radius * (2 * torch.rand_like(each) - 1) for cell, each in zip(self.kinds, alphas, strict=True)
        }
        fixed = {name: weight.detach() for name, weight in step.weights.items()}
        for _ in range(self.attack_steps):
            shifts = [shift.requires_grad_() for shift in self.shifts.values()]
            loss = step.loss(fixed, step.weights_batch, self.mixtures(alphas, "weights"))
            slopes = sharing.mean(torch.autograd.grad(loss, shifts))
            self.shifts = {cell: self._ascended(*each) for cell, *each in zip(self.kinds, shifts, slopes, strict=True)}

    def _ascended(self, shift: Tensor, slope: Tensor) -> Tensor:
        """A step along the gradient's signs, within ±ε; all together they reach from one end to the other."""
        moved = shift.detach() + 2 * self.radius / self.attack_steps * slope.sign()
        return moved.clamp(-self.radius, self.radius)

    def mixture(self, alphas: Tensor, cell: str, phase: Phase) -> Mixture:
        """For the weights with the shift, none below 0, and an edge's sum as it was."""
        weights = super().mixture(alphas, cell, phase).weights
        if phase != "weights":
            return Mixture(weights)
        moved = (weights + self.shifts[cell]).clamp(min=0)
        return Mixture(moved * (weights.sum(dim=-1, keepdim=True) / moved.sum(dim=-1, keepdim=True).clamp(min=1e-6)))
