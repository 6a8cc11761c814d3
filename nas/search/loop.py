"""Bilevel optimisation of a supernet: weights on one half of the training images, α on the other (DARTS, algorithm 1).

The step stands here, once, for every algorithm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from nas.data import sharing
from nas.data.batches import Batches
from nas.networks.supernet import Mixture, Supernet
from nas.search.algorithm import Algorithm, Batch, Loss, Step
from nas.space.genotypes import derive_from_weights, weight_rows
from nas.training import distributed, graph
from nas.training.checkpoint import Checkpoint
from nas.training.device import autocast
from nas.training.loop import Meter, clip, cross_entropy, evaluate, run_epochs
from nas.training.optim import SGD, Adam
from nas.training.recipe import Recipe

SETTLING = 50  # batches, of which batch norm's statistics are taken before a validation


@dataclass(frozen=True)
class AlphaRecipe:
    """How α is trained: by Adam.

    Parameters
    ----------
    learning_rate, weight_decay : float, default 3e-4 and 1e-3
        DARTS's (section 3.1.1 and appendix A.1), as the betas.
    betas : pair of float, default (0.5, 0.999)
    """

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def optimizer(self, alphas: Sequence[nn.Parameter], on_device: bool = False) -> Adam:
        """`on_device`: it counts its steps there, so that a GPU can repeat them; rounding differs."""
        rate, decay = self.learning_rate, self.weight_decay
        return Adam(alphas, lr=rate, betas=self.betas, weight_decay=decay, capturable=on_device)


def functional_loss(supernet: Supernet, precision: int | str = 32, algorithm: Algorithm | None = None) -> Loss:
    """The cross-entropy of `supernet`, in training mode, as a function of its weights, and of α as `algorithm` mixes.

    The supernet's running statistics of batch norm stay: those of these passes go to a copy that nobody reads.
    """
    if algorithm is None:
        algorithm = Algorithm()
        algorithm.prepare(supernet)
    scratch = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    tied = _tied(supernet)

    def loss(weights: Mapping[str, Tensor], batch: Batch, mixtures: Sequence[Mixture] | None = None) -> Tensor:
        images, labels = batch
        with autocast(images.device, precision):
            mixtures = mixtures or algorithm.mixtures(supernet.alphas(), "alpha")
            logits = functional_call(supernet, {**weights, **scratch}, (images, mixtures), tie_weights=tied)
            return cross_entropy(logits, labels)

    return loss


def _tied(supernet: Supernet) -> bool:
    """Whether a tensor has several names, which an operation of one's own may give it; to ask takes long."""
    every = [*supernet.named_parameters(remove_duplicate=False), *supernet.named_buffers(remove_duplicate=False)]
    return len({id(tensor) for _, tensor in every}) < len(every)


def search(
    supernet: Supernet,
    weights_batches: Batches,
    alpha_batches: Batches,
    valid_batches: Batches,
    recipe: Recipe,
    alpha_recipe: AlphaRecipe,
    algorithm: Algorithm | None = None,
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
    algorithm : Algorithm, optional
        By default DARTS of first order.
    seed : int
    key, name : str, optional
        Where ``training.checkpoint.Checkpoint`` keeps the state; None keeps none.

    Returns
    -------
    history : list of dict
        A row an epoch: epoch (from 1), learning_rate, train_loss, train_top1, valid_loss, valid_top1 (percent),
        entropy_normal, entropy_reduce (mean over edges, in nats), skips_normal, skips_reduce (skip connections in the
        genotype that α stands for then), and what the algorithm measures. A space without a reduction cell has nothing
        of it.
    alphas : list of dict
        A row for each epoch (0 is the start), cell, edge ("source-target" states) and operation: the softmax weight,
        or what else the algorithm reads a genotype off.
    """
    algorithm = algorithm or Algorithm()
    algorithm.prepare(supernet)
    distributed.synchronise(supernet)
    weights, alphas = supernet.weights(), [*supernet.alphas(), *algorithm.parameters()]
    optimizer = recipe.optimizer(weights.values())
    device, repeats = alphas[0].device, algorithm.repeats and recipe.fast == "graph"
    alpha_optimizer = alpha_recipe.optimizer(alphas, on_device=graph.applies(device, repeats))
    parts: dict[str, nn.Module | Optimizer] = {"supernet": supernet, "algorithm": algorithm}
    parts |= {"optimizer": optimizer, "alpha_optimizer": alpha_optimizer}
    checkpoint = Checkpoint(name, key, **parts) if key else None
    loss, float32_loss = (functional_loss(supernet, precision, algorithm) for precision in (recipe.precision, 32))
    start = weight_rows(supernet.space.operations, _scores(supernet, algorithm), 0)

    def alpha_step(step: Step) -> None:
        if algorithm.rests:
            return
        gradients = algorithm.gradients(step)
        penalty = algorithm.penalty(alphas)
        if penalty is not None:
            more = torch.autograd.grad(penalty, alphas, materialize_grads=True)
            gradients = [g + m for g, m in zip(gradients, more, strict=True)]
        for alpha, gradient in zip(alphas, gradients, strict=True):
            alpha.grad = gradient
        alpha_optimizer.step()

    def one_epoch(epoch: int, epoch_seed: int, tick: Callable[[], object]) -> dict[str, Any]:
        learning_rate = optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(epoch)
        algorithm.begin(epoch, recipe.epochs)
        supernet.train()
        meter = Meter()

        def step_of(weights_batch: Batch, alpha_batch: Batch) -> Step:
            return Step(loss, float32_loss, weights, alphas, weights_batch, alpha_batch, optimizer, recipe)

        def take(images: Tensor, labels: Tensor, alpha_images: Tensor, alpha_labels: Tensor) -> None:
            step = step_of((images, labels), (alpha_images, alpha_labels))
            if not algorithm.weights_first:
                alpha_step(step)
            _weights_step(supernet, algorithm, step, meter)
            if algorithm.weights_first:
                alpha_step(step)

        repeated = graph.repeated(take, device, repeats)
        # Halves of an odd number differ by an image, which can be a batch more.
        for batches in zip(weights_batches.epoch(epoch_seed), alpha_batches.epoch(epoch_seed + 1), strict=False):
            repeated(*batches[0], *batches[1])
            tick()
        measured = algorithm.measure(step_of(*batches))
        train_loss, train_top1, _ = meter.means()
        relaxed = Relaxed(supernet, algorithm)
        settle_statistics(relaxed, weights_batches, recipe, seed=epoch_seed + 2)
        valid_loss, valid_top1, _ = evaluate(relaxed, valid_batches, recipe)
        row = {
            "epoch": epoch + 1,
            "learning_rate": learning_rate,
            "train_loss": train_loss,
            "train_top1": train_top1,
            "valid_loss": valid_loss,
            "valid_top1": valid_top1,
        }
        scores = _scores(supernet, algorithm)
        rows = weight_rows(supernet.space.operations, scores, epoch + 1)
        return row | _summary(supernet.space.operations, scores) | measured | {"alphas": rows}

    steps = min(len(weights_batches), len(alpha_batches))
    stopped = lambda records: bool(records) and algorithm.stop(records) is not None  # noqa: E731
    records = run_epochs(recipe.epochs, steps, seed, checkpoint, one_epoch, stopped)
    history = [{k: v for k, v in record.items() if k != "alphas"} for record in records]
    return history, start + [row for record in records for row in record["alphas"]]


def _weights_step(supernet: Supernet, algorithm: Algorithm, step: Step, meter: Meter) -> None:
    algorithm.before_weights(step)
    fixed = [alphas.detach() for alphas in supernet.alphas()]  # α wants no gradient
    mixtures, heed = algorithm.mixtures(fixed, "weights"), partial(algorithm.weights_gradients, step)
    move_weights(supernet, step.weights, mixtures, step.weights_batch, step.recipe, step.optimizer, meter, heed)


def move_weights(
    supernet: Supernet,
    weights: Mapping[str, nn.Parameter],
    mixtures: Sequence[Mixture],
    batch: Batch,
    recipe: Recipe,
    optimizer: SGD,
    meter: Meter,
    heed: Callable[[dict[str, Tensor | None]], dict[str, Tensor | None]] = lambda gradients: gradients,
) -> None:
    """A step of the weights, by name, with these mixtures; they follow what `heed` makes of their gradients."""
    images, labels = batch
    with autocast(images.device, recipe.precision):
        logits = supernet(images, mixtures)
        loss = cross_entropy(logits, labels)
    # An operation that was not computed has no gradient, and this step leaves it alone.
    values = list(weights.values())
    found = sharing.mean(torch.autograd.grad(loss, values, allow_unused=True))
    gradients = heed(dict(zip(weights, found, strict=True)))
    for name, weight in weights.items():
        weight.grad = gradients[name]
    clip(values, recipe)
    optimizer.step()
    meter.add(loss.detach(), logits, labels)


class Relaxed(nn.Module):
    """A supernet with the mixtures that an algorithm validates: N × in_channels × H × W → N × num_classes logits."""

    def __init__(self, supernet: Supernet, algorithm: Algorithm) -> None:
        super().__init__()
        self.supernet = supernet
        with torch.no_grad():
            self.mixtures = algorithm.mixtures(supernet.alphas(), "valid")

    def forward(self, x: Tensor) -> Tensor:
        return self.supernet(x, self.mixtures)


@torch.no_grad()
def settle_statistics(supernet: nn.Module, batches: Batches, recipe: Recipe, *, seed: int) -> None:
    """Set batch norm's statistics to those of the weights and of the mixture that a validation sees.

    Running averages lag behind weights that still move fast, and with GDAS they are those of what was drawn, while the
    strongest operations are validated. So mean and variance become the averages over the first `SETTLING` of `batches`
    at the weights as they are. The weights' training reads none of them.

    Parameters
    ----------
    supernet : Module
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


def _scores(supernet: Supernet, algorithm: Algorithm) -> dict[str, list[list[float]]]:
    """Of each kind of cell: how strong each operation is, edges × operations."""
    found = zip(supernet.space.kinds, supernet.alphas(), strict=True)
    return supernet.table([algorithm.scores(alphas.detach(), cell) for cell, alphas in found])


def _summary(operations: Sequence[str], scores: Mapping[str, list[list[float]]]) -> dict[str, float | int]:
    """Mean entropy of the edges' scores, in nats, and the skip connections of the genotype that they stand for."""
    summary: dict[str, float | int] = {}
    for cell, table in scores.items():
        shares = torch.tensor(table)
        if any(abs(sum(row) - 1) > 1e-5 for row in table):  # of sigmoids, for one
            shares = shares / shares.sum(dim=-1, keepdim=True)
        summary[f"entropy_{cell}"] = torch.special.entr(shares).sum(dim=-1).mean().item()
    return summary | derive_from_weights(operations, scores).skips()
