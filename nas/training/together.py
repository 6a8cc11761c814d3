"""The training of many networks on the same batches: fused into one wider network, or one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from nas.data.batches import Batches
from nas.fast.fused import Fused
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.training.checkpoint import Checkpoint
from nas.training.device import autocast
from nas.training.loop import cross_entropy, run_epochs
from nas.training.recipe import Recipe


class Meters:
    """``nas.training.loop.Meter`` of each of several networks."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | None = None

    @torch.no_grad()
    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """`losses`: networks, means over the batch; `logits`: N × networks × classes; `labels`: N."""
        ranked = logits.topk(min(5, logits.shape[2])).indices == labels[:, None, None]
        rights = [ranked[..., 0].sum(0).double(), ranked.sum((0, 2)).double()]
        sums = torch.stack([losses.double() * len(labels), *rights])
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += len(labels)

    def means(self, prefix: str) -> list[dict[str, float]]:
        """Of each network loss, and top-1 and top-5 in percent."""
        losses, top1, top5 = (cast("Tensor", self.sums) / self.count).tolist()
        return [
            {f"{prefix}_loss": loss, f"{prefix}_top1": 100 * one, f"{prefix}_top5": 100 * five}
            for loss, one, five in zip(losses, top1, top5, strict=True)
        ]


def losses_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each network; `logits`: N × networks × classes."""
    return torch.stack([cross_entropy(own, labels) for own in logits.unbind(1)])


def train_together(
    networks: Sequence[Network],
    train_batches: Batches,
    test_batches: Batches,
    recipe: Recipe,
    *,
    seed: int,
    key: str | None = None,
    name: str = "train",
) -> list[list[dict]]:
    """``nas.training.loop.train`` of each of `networks`, whose history it gives, all at once.

    Every network sees the batches that it would see alone with this seed, and ends with the same weights but for
    rounding. Parameters as there; the networks must fit ``nas.fast.fused.Fused``.
    """
    fused = Fused(networks)
    optimizer = recipe.optimizer(fused.parameters())
    checkpoint = Checkpoint(name, key, network=fused, optimizer=optimizer) if key else None

    def one_epoch(epoch: int, epoch_seed: int, tick: Callable[[], object]) -> dict[str, Any]:
        fused.train()
        meters = Meters()
        for step, (images, labels) in enumerate(train_batches.epoch(epoch_seed)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(epoch, step / len(train_batches))
            with autocast(images.device, recipe.precision):
                logits = fused(images)
            losses = losses_of(logits, labels)
            optimizer.zero_grad()
            losses.sum().backward()
            if recipe.gradient_clip is not None:
                fused.clip(recipe.gradient_clip)
            optimizer.step()
            meters.add(losses.detach(), logits, labels)
            tick()
        rows = zip(meters.means("train"), evaluate(fused, test_batches, recipe), strict=True)
        return {"networks": [_row(epoch, recipe, train | test) for train, test in rows]}

    records = run_epochs(recipe.epochs, len(train_batches), seed, checkpoint, one_epoch)
    fused.unfuse()
    return [list(history) for history in zip(*(record["networks"] for record in records), strict=True)]


def _row(epoch: int, recipe: Recipe, measured: dict[str, float]) -> dict[str, Any]:
    if not all(map(math.isfinite, measured.values())):
        raise UserError(f"a loss is not finite in epoch {epoch + 1}: training diverged; lower the learning rate")
    del measured["train_top5"]
    return {"epoch": epoch + 1, "learning_rate": recipe.learning_rate_at(epoch)} | measured


@torch.no_grad()
def evaluate(fused: Fused, batches: Batches, recipe: Recipe) -> list[dict[str, float]]:
    """Of each network test_loss, test_top1 and test_top5 in eval mode over all batches."""
    fused.eval()
    meters = Meters()
    for images, labels in batches.epoch(0):
        with autocast(images.device, recipe.precision):
            logits = fused(images)
        meters.add(losses_of(logits, labels), logits, labels)
    return meters.means("test")
