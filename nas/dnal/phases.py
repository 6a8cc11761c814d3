"""DNAL's second phase: the gates learn while the weights are frozen (Guo et al., 2022, section 3).

The first and the third, which train weights alone, are ``nas.training.loop.train``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from nas.data.batches import Batches
from nas.data.dataset import Prepared
from nas.dnal.gates import THRESHOLD, gates, learn, penalty, scale_at
from nas.pipeline.errors import UserError, reason
from nas.training import distributed
from nas.training.checkpoint import Checkpoint
from nas.training.device import autocast
from nas.training.loop import Meter, cross_entropy, run_epochs
from nas.training.optim import SGD

BINS = 20


@dataclass(frozen=True)
class GateRecipe:
    """How the gates' s is trained: by SGD with momentum, without weight decay.

    Parameters
    ----------
    epochs : int
        Over which δ grows to `gates.FINAL_SCALE`.
    penalty : float
        λ_a, of Σσ(s) in the loss.
    learning_rate, momentum : float
    precision : 32 or "bf16"
        See ``nas.training.recipe.Recipe``.
    """

    epochs: int
    penalty: float
    learning_rate: float
    momentum: float
    precision: int | str


def learn_gates(
    network: nn.Module,
    batches: Batches,
    recipe: GateRecipe,
    *,
    seed: int,
    key: str | None = None,
    name: str = "gates",
) -> list[dict]:
    """Train s of every gate and close the gates; batch norms see batches, so their statistics follow the gates.

    Parameters
    ----------
    network : Module
        With gates, on the device of the batches; trained in place.
    seed : int
    key, name : str, optional
        Where ``training.checkpoint.Checkpoint`` keeps the state; None keeps none.

    Returns
    -------
    list of dict
        A row an epoch: epoch (from 1), scale (δ), train_loss (with the penalty), train_top1 (percent), open (the share
        of channels with σ(δ·s) > `gates.THRESHOLD`, percent) and counts: how many σ(δ·s) lie in each of `BINS` equal
        parts of [0, 1].
    """
    distributed.synchronise(network)
    learning = [gate.s for gate in gates(network).values()]
    optimizer = SGD(learning, lr=recipe.learning_rate, momentum=recipe.momentum)
    checkpoint = Checkpoint(name, key, network=network, optimizer=optimizer) if key else None
    frozen = [p for p in network.parameters() if not any(p is s for s in learning)]

    def one_epoch(epoch: int, epoch_seed: int, tick: Callable[[], object]) -> dict:
        scale = scale_at(epoch, recipe.epochs)
        learn(network, scale)
        network.train()
        meter = Meter()
        for images, labels in batches.epoch(epoch_seed):
            with autocast(images.device, recipe.precision):
                logits = network(images)
            loss = cross_entropy(logits, labels) + recipe.penalty * penalty(network)
            optimizer.zero_grad()
            loss.backward()
            distributed.average_gradients(learning)
            optimizer.step()
            meter.add(loss.detach(), logits, labels)
            tick()
        train_loss, train_top1, _ = meter.means()
        row = {"epoch": epoch + 1, "scale": scale, "train_loss": train_loss, "train_top1": train_top1}
        return row | _values(network)

    for parameter in frozen:
        parameter.requires_grad_(False)
    records = run_epochs(recipe.epochs, len(batches), seed, checkpoint, one_epoch)
    learn(network, scale_at(recipe.epochs - 1, recipe.epochs))
    for parameter in frozen:
        parameter.requires_grad_(True)
    for gate in gates(network).values():
        gate.close()
    return records


def fitting(prepared: Prepared) -> dict[str, int]:
    """The arguments of ``backbones.build`` that follow from the data."""
    channels, *size = prepared.shape
    return {"num_classes": len(prepared.classes), "in_channels": channels, "image_size": min(size)}


def restore(network: nn.Module, path: str | Path) -> None:
    """Load the weights that the first phase left; raises UserError if the file is missing, damaged or another's."""
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{path}: holds no such network ({reason(error)}); run its pretraining again") from None


@torch.no_grad()
def _values(network: nn.Module) -> dict[str, float | list[int]]:
    values = torch.cat([gate.values() for gate in gates(network).values()])
    counts = torch.histc(values, BINS, 0, 1).long().tolist()
    return {"open": 100 * (values > THRESHOLD).double().mean().item(), "counts": counts}
