"""Bilevel optimisation of a supernet: weights on one half of the training images, α on the other (DARTS, GDAS)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas.data import sharing
from nas.data.batches import Batches
from nas.networks.supernet import Supernet
from nas.pipeline.errors import unknown
from nas.space.genotypes import weight_rows
from nas.training import distributed
from nas.training.checkpoint import Checkpoint
from nas.training.device import autocast
from nas.training.loop import Meter, clip, cross_entropy, evaluate, run_epochs
from nas.training.optim import SGD, Adam
from nas.training.recipe import Recipe

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Mapping[str, Tensor], Batch], Tensor]

SETTLING = 50  # batches, of which batch norm's statistics are taken before a validation


@dataclass(frozen=True)
class AlphaRecipe:
    """How α is trained: by Adam.

    Parameters
    ----------
    algorithm : "darts" or "gdas", default "darts"
        All operations mixed by softmax(α) (DARTS), or one operation an edge drawn for every batch (GDAS: Dong & Yang,
        2019, algorithm 1). In each step DARTS moves α first, then the weights (its algorithm 1); GDAS's program the
        weights first.
    order : "first" or "second", default "first"
        Of DARTS's gradient (section 2.3); GDAS's is of first order.
    tau, tau_min : float, default 10 and 0.1
        Temperature of GDAS's draws in the first epoch and in the last (its program's; section 4.1 ends at 1); it falls
        linearly.
    learning_rate, weight_decay : float, default 3e-4 and 1e-3
        DARTS's (section 3.1.1 and appendix A.1), as the betas.
    betas : pair of float, default (0.5, 0.999)

    Raises
    ------
    ValueError
        If there is no such algorithm or order.
    """

    algorithm: str = "darts"
    order: str = "first"
    tau: float = 10.0
    tau_min: float = 0.1
    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        for key, known in (("algorithm", ("darts", "gdas")), ("order", ("first", "second"))):
            if getattr(self, key) not in known:
                raise ValueError(unknown(key, getattr(self, key), known))

    def optimizer(self, alphas: Sequence[nn.Parameter]) -> Adam:
        return Adam(alphas, lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay)

    @property
    def weights_first(self) -> bool:
        """Whether a step moves the weights before α."""
        return self.algorithm == "gdas"

    def temperature_at(self, epoch: int, epochs: int) -> float | None:
        """τ of `epoch` (from 0) of `epochs`; None for DARTS, which draws nothing."""
        if self.algorithm == "darts":
            return None
        return self.tau + (self.tau_min - self.tau) * epoch / max(epochs - 1, 1)


def first_order(
    loss: Loss, weights: Mapping[str, Tensor], alphas: Sequence[Tensor], alpha_batch: Batch
) -> list[Tensor]:
    """∇α L_val(w, α): the weights are taken to be the best for any α (DARTS, ξ = 0)."""
    fixed = {name: weight.detach() for name, weight in weights.items()}  # no gradient of theirs is computed then
    # GDAS may draw `none` so often that no path leads through a kind of cell: its gradient is 0 then.
    return sharing.mean(torch.autograd.grad(loss(fixed, alpha_batch), alphas, materialize_grads=True))


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


def functional_loss(supernet: nn.Module, precision: int | str = 32) -> Loss:
    """The cross-entropy of `supernet`, in training mode, as a function of its weights.

    The supernet's running statistics of batch norm stay: those of these passes go to a copy that nobody reads.
    """
    scratch = {name: buffer.clone() for name, buffer in supernet.named_buffers()}

    def loss(weights: Mapping[str, Tensor], batch: Batch) -> Tensor:
        images, labels = batch
        with autocast(images.device, precision):
            return cross_entropy(functional_call(supernet, {**weights, **scratch}, (images,)), labels)

    return loss


def search(
    supernet: Supernet,
    weights_batches: Batches,
    alpha_batches: Batches,
    valid_batches: Batches,
    recipe: Recipe,
    alpha_recipe: AlphaRecipe,
    *,
    seed: int,
    key: str | None = None,
    name: str = "search",
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train a supernet's weights and α in turn, a step each (DARTS, algorithm 1).

    Parameters
    ----------
    supernet : Supernet
        On the device of the batches; trained in place.
    weights_batches, alpha_batches : Batches
        The two halves of the training images, as many batches each.
    valid_batches : Batches
        The half of α again, without augmentation: what the validation scores are measured on.
    recipe, alpha_recipe
        Of the weights and of α.
    seed : int
    key, name : str, optional
        Where ``training.checkpoint.Checkpoint`` keeps the state; None keeps none.

    Returns
    -------
    history : list of dict
        A row an epoch: epoch (from 1), learning_rate, train_loss, train_top1, valid_loss, valid_top1 (percent),
        entropy_normal, entropy_reduce (mean over edges, in nats), skips_normal, skips_reduce (skip connections in the
        genotype that α stands for then).
    alphas : list of dict
        A row for each epoch (0 is the start), cell, edge ("source-target" states) and operation: the softmax weight.
    """
    distributed.synchronise(supernet)
    weights, alphas = supernet.weights(), supernet.alphas()
    optimizer = recipe.optimizer(weights.values())
    alpha_optimizer = alpha_recipe.optimizer(alphas)
    checkpoint = (
        Checkpoint(name, key, supernet=supernet, optimizer=optimizer, alpha_optimizer=alpha_optimizer) if key else None
    )
    loss, float32_loss = functional_loss(supernet, recipe.precision), functional_loss(supernet)
    start = softmax_weights(supernet, 0)

    def alpha_step(weights_batch: Batch, alpha_batch: Batch) -> None:
        if alpha_recipe.algorithm == "gdas" or alpha_recipe.order == "first":
            gradients = first_order(loss, weights, alphas, alpha_batch)
        else:
            gradients = second_order(
                loss,
                weights,
                alphas,
                weights_batch,
                alpha_batch,
                xi=optimizer.param_groups[0]["lr"],
                weight_decay=recipe.weight_decay,
                momentum=recipe.momentum,
                velocity=_velocity(optimizer, weights),
                difference_loss=float32_loss,
            )
        for alpha, gradient in zip(alphas, gradients, strict=True):
            alpha.grad = gradient
        alpha_optimizer.step()

    def one_epoch(epoch: int, epoch_seed: int, tick: Callable[[], object]) -> dict[str, Any]:
        learning_rate = optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(epoch)
        supernet.temperature = alpha_recipe.temperature_at(epoch, recipe.epochs)
        supernet.train()
        meter = Meter()
        # Halves of an odd number differ by an image, which can be a batch more.
        for batches in zip(weights_batches.epoch(epoch_seed), alpha_batches.epoch(epoch_seed + 1), strict=False):
            if not alpha_recipe.weights_first:
                alpha_step(*batches)
            _weights_step(supernet, weights, optimizer, batches[0], recipe, meter)
            if alpha_recipe.weights_first:
                alpha_step(*batches)
            tick()
        train_loss, train_top1, _ = meter.means()
        settle_statistics(supernet, weights_batches, recipe, seed=epoch_seed + 2)
        valid_loss, valid_top1, _ = evaluate(supernet, valid_batches, recipe)
        row = {
            "epoch": epoch + 1,
            "learning_rate": learning_rate,
            "train_loss": train_loss,
            "train_top1": train_top1,
            "valid_loss": valid_loss,
            "valid_top1": valid_top1,
            **_summary(supernet),
        }
        return row | {"alphas": softmax_weights(supernet, epoch + 1)}

    steps = min(len(weights_batches), len(alpha_batches))
    records = run_epochs(recipe.epochs, steps, seed, checkpoint, one_epoch)
    history = [{k: v for k, v in record.items() if k != "alphas"} for record in records]
    return history, start + [row for record in records for row in record["alphas"]]


def _weights_step(
    supernet: Supernet,
    weights: dict[str, nn.Parameter],
    optimizer: SGD,
    batch: Batch,
    recipe: Recipe,
    meter: Meter,
) -> None:
    images, labels = batch
    fixed = {name: p.detach() for name, p in supernet.named_parameters() if name not in weights}  # α wants no gradient
    with autocast(images.device, recipe.precision):
        logits = functional_call(supernet, fixed, (images,))
        loss = cross_entropy(logits, labels)
    # GDAS computes one operation an edge: the others have no gradient, and this step leaves them alone.
    gradients = sharing.mean(torch.autograd.grad(loss, list(weights.values()), allow_unused=True))
    for weight, gradient in zip(weights.values(), gradients, strict=True):
        weight.grad = gradient
    clip(weights.values(), recipe)
    optimizer.step()
    meter.add(loss.detach(), logits, labels)


@torch.no_grad()
def settle_statistics(supernet: Supernet, batches: Batches, recipe: Recipe, *, seed: int) -> None:
    """Set batch norm's statistics to those of the weights and of the mixture that a validation sees.

    Running averages lag behind weights that still move fast, and with GDAS they are those of what was drawn, while the
    strongest operations are validated. So mean and variance become the averages over the first `SETTLING` of `batches`
    at the weights as they are. The weights' training reads none of them.

    Parameters
    ----------
    supernet : Supernet
        Its batch norms' statistics are replaced; it is in eval mode afterwards.
    batches : Batches
        Training images of the weights' half, augmented as in training: nothing is learned from the half of α.
    recipe : Recipe
    seed : int
        Of the batches' order and augmentation.
    """
    supernet.eval()
    norms = [module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
    for count, (images, _) in enumerate(islice(batches.epoch(seed), SETTLING), start=1):
        for norm in norms:
            norm.momentum = 1 / count  # the running average becomes the mean over all batches so far
        with autocast(images.device, recipe.precision):
            supernet(images)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    supernet.eval()


def _velocity(optimizer: SGD, weights: dict[str, nn.Parameter]) -> dict[str, Tensor] | None:
    buffers = {name: optimizer.state[weight].get("momentum_buffer") for name, weight in weights.items()}
    return None if any(buffer is None for buffer in buffers.values()) else buffers


def softmax_weights(supernet: Supernet, epoch: int) -> list[dict[str, Any]]:
    """The softmax weight of every operation on every edge, as ``genotypes.weight_rows``."""
    cells = {"normal": supernet.alphas_normal, "reduce": supernet.alphas_reduce}
    tables = {cell: alphas.detach().softmax(dim=-1).tolist() for cell, alphas in cells.items()}
    return weight_rows(supernet.space.operations, tables, epoch)


def _summary(supernet: Supernet) -> dict[str, float | int]:
    summary: dict[str, float | int] = {}
    for cell, alphas in (("normal", supernet.alphas_normal), ("reduce", supernet.alphas_reduce)):
        weights = alphas.detach().softmax(dim=-1)
        summary[f"entropy_{cell}"] = torch.special.entr(weights).sum(dim=-1).mean().item()
    return summary | supernet.genotype().skips()
