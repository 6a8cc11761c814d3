"""DARTS of second order: Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 2.3.

What α does to the weights' next step counts too.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nas.data import sharing
from nas.search.algorithm import Algorithm, Batch, Loss, Step
from nas.training.optim import SGD


class DartsSecond(Algorithm):
    """DARTS, second order; ξ is the weights' learning rate."""

    repeats = True

    def gradients(self, step: Step) -> list[Tensor]:
        return second_order(
            step.loss,
            step.weights,
            step.alphas,
            step.weights_batch,
            step.alpha_batch,
            xi=step.optimizer.param_groups[0]["lr"],
            weight_decay=step.recipe.weight_decay,
            momentum=step.recipe.momentum,
            velocity=_velocity(step.optimizer, step.weights),
            difference_loss=step.float32_loss,
        )


def second_order(
    loss: Loss,
    weights: Mapping[str, Tensor],
    alphas: Sequence[Tensor],
    weights_batch: Batch,
    alpha_batch: Batch,
    *,
    xi: float,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    velocity: dict[str, Tensor] | None = None,
    radius: float = 0.01,
    difference_loss: Loss | None = None,
) -> list[Tensor]:
    """∇α L_val(w − ξ·step(w, α), α): what α does to the weights' next SGD step is taken into account.

    The Hessian–vector product is a central finite difference (DARTS, eq. 7 and 8):

        ∇α L_val(w', α) − ξ · (∇α L_train(w + εv, α) − ∇α L_train(w − εv, α)) / 2ε,    v = ∇w' L_val,  ε = radius/‖v‖.

    Parameters
    ----------
    loss : callable
        ``loss(weights, batch)`` → the mean loss, a function of α too.
    weights : dict of str to Tensor
        w, which require a gradient.
    alphas : sequence of Tensor
    weights_batch, alpha_batch : (images, labels)
        Of the half that trains the weights (L_train) and of the one that trains α (L_val).
    xi : float
        ξ, the weights' learning rate now.
    weight_decay, momentum, velocity
        Of the weights' SGD; `velocity` maps names to momentum buffers, None before the first step.
    radius : float, default 0.01
        Length of the finite difference's step in the space of all weights.
    difference_loss : callable, optional
        `loss` in at least float32, where that is computed in bfloat16, whose rounding is larger than the step.

    Returns
    -------
    list of Tensor
        A gradient for each of `alphas`.
    """
    names, values = list(weights), list(weights.values())
    gradients = sharing.mean(torch.autograd.grad(loss(weights, weights_batch), values))
    with torch.no_grad():
        steps = [g + weight_decay * w for g, w in zip(gradients, values, strict=True)]
        if velocity:
            steps = [step + momentum * velocity[name] for name, step in zip(names, steps, strict=True)]
        stepped = [(w - xi * step).requires_grad_() for w, step in zip(values, steps, strict=True)]
    loss_ahead = loss(dict(zip(names, stepped, strict=True)), alpha_batch)
    ahead = sharing.mean(torch.autograd.grad(loss_ahead, [*alphas, *stepped]))
    direct, v = ahead[: len(alphas)], ahead[len(alphas) :]
    epsilon = radius / torch.cat([part.flatten() for part in v]).norm()

    def shifted(sign: int) -> Sequence[Tensor]:
        moved = {n: w.detach() + sign * epsilon * part for n, w, part in zip(names, values, v, strict=True)}
        return sharing.mean(torch.autograd.grad((difference_loss or loss)(moved, weights_batch), alphas))

    return [
        g - xi * (plus - minus) / (2 * epsilon) for g, plus, minus in zip(direct, shifted(+1), shifted(-1), strict=True)
    ]


def _velocity(optimizer: SGD, weights: dict[str, nn.Parameter]) -> dict[str, Tensor] | None:
    buffers = {name: optimizer.state[weight].get("momentum_buffer") for name, weight in weights.items()}
    return None if any(buffer is None for buffer in buffers.values()) else buffers
