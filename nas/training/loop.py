"""The training of a network, epoch by epoch, in a loop that can be killed and goes on."""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from nas.data import sharing
from nas.data.batches import Batches
from nas.pipeline.errors import UserError
from nas.training import distributed, graph
from nas.training.checkpoint import Checkpoint, checkpoints
from nas.training.device import autocast, seed_for
from nas.training.recipe import Recipe

log = logging.getLogger("nas")


def run_epochs(
    epochs: int,
    steps: int,
    seed: int,
    checkpoint: Checkpoint | None,
    one_epoch: Callable[[int, int, Callable[[], object]], dict],
    finished: Callable[[list[dict]], bool] = lambda records: False,
) -> list[dict]:
    """Call ``one_epoch(epoch, seed of the epoch, tick)`` for each epoch not yet in the checkpoint; return all records.

    Every random number of an epoch follows from its seed, so there is no generator's state to keep. An epoch calls
    ``tick()`` after each of its `steps`, which moves the progress bar. A record's entries of type float are told.
    No further epoch begins once ``finished(records)``.
    """
    records = checkpoint.restore() if checkpoint else []
    if len(records) > epochs:
        raise UserError(f"{checkpoint.path}: has {len(records)} epochs of {epochs}; delete it to train from the start")
    advice = f"all nodes must see the same {checkpoints()}/, on a file system they share"
    distributed.require_same(len(records), advice)
    hidden = sharing.rank() > 0 or not sys.stderr.isatty()
    bar = tqdm(total=epochs * steps, initial=len(records) * steps, unit="step", disable=hidden, smoothing=0.05)
    for epoch in range(len(records), epochs):
        if finished(records):
            break
        start = time.perf_counter()
        epoch_seed = seed_for(seed, epoch)
        torch.manual_seed(epoch_seed)
        record = one_epoch(epoch, epoch_seed, bar.update)
        _check_finite(record, epoch)
        records.append(record)
        if checkpoint:
            checkpoint.save(records)
        told = {name: f"{value:.4g}" for name, value in record.items() if isinstance(value, float)}
        bar.set_description_str(f"epoch {epoch + 1}/{epochs}, top-1 {_last_top1(record)}")
        line = "  ".join(f"{name} {value}" for name, value in told.items())
        log.info("epoch %d/%d  %s  (%.1f s)", epoch + 1, epochs, line, time.perf_counter() - start)
    bar.close()
    if checkpoint:
        checkpoint.prune()
    return records


def _last_top1(record: dict) -> str:
    accuracies = [value for name, value in record.items() if name.endswith("top1")]
    return f"{accuracies[-1]:.1f} %" if accuracies else "–"


def _check_finite(record: dict, epoch: int) -> None:
    lost = [name for name, value in record.items() if isinstance(value, float) and not math.isfinite(value)]
    if lost:
        raise UserError(f"{lost[0]} is not finite in epoch {epoch + 1}: training diverged; lower the learning rate")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of N × classes logits, in float32 at least.

    Of several processes (``distributed``) each gets its part, the mean of which over them is that of the batch.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if sharing.world() == 1:
        return nn.functional.cross_entropy(logits, labels)
    total = nn.functional.cross_entropy(logits, labels, reduction="sum")
    return total / sharing.mean_count(len(labels), labels.device).to(total.dtype)


def clip(parameters: Iterable[nn.Parameter], recipe: Recipe) -> None:
    """Scale the gradients down to the recipe's norm, if it has one and they are longer together."""
    if recipe.gradient_clip is not None:
        nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)


class Meter:
    """Mean loss and accuracies over batches, added up on the device, so that nothing waits for it.

    The host counts nothing, so a GPU may repeat a step that adds. Of several processes each adds its part; the means
    are those of all.
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """`loss`: mean over the batch, as `cross_entropy` gives it; `logits`: N × classes; `labels`: N."""
        count = sharing.mean_count(len(labels), labels.device)
        ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        sums = torch.stack([loss.double() * count, ranked[:, 0].sum().double(), ranked.sum().double(), count])
        self.sums = sums if self.sums is None else self.sums.add_(sums)

    def means(self) -> tuple[float, float, float]:
        """Loss, top-1 and top-5 accuracy in percent (top-5 of fewer than five classes is 100)."""
        (sums,) = sharing.mean([self.sums])
        loss, top1, top5 = (sums[:3] / sums[3]).tolist()
        return loss, 100 * top1, 100 * top5


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, recipe: Recipe) -> tuple[float, float, float]:
    """Loss, top-1 and top-5 (percent) of `model` in eval mode over all batches."""
    model.eval()
    meter = Meter()
    for images, labels in batches.epoch(0):
        with autocast(images.device, recipe.precision):
            logits = model(images)
        meter.add(cross_entropy(logits, labels), logits, labels)
    return meter.means()


UNEVEN = 1.5  # times as many test images as the smallest class has, from which on accuracy a class is told


@torch.no_grad()
def class_scores(network: nn.Module, batches: Batches, classes: Sequence[str], precision: int | str) -> dict[str, Any]:
    """What top-1 over all images hides when the test images are unevenly spread over the classes; {} if they are not.

    Returns
    -------
    dict
        class_top1: top-1 (percent) of each class that has test images; balanced_top1: their mean (balanced accuracy).
    """
    counts = batches.labels.bincount(minlength=len(classes))
    there = counts[counts > 0]
    if there.max() <= UNEVEN * there.min():
        return {}
    network.eval()
    right = torch.zeros_like(counts)
    for images, labels in batches.epoch(0):
        with autocast(images.device, precision):
            logits = network(images)
        right += labels[logits.argmax(1) == labels].bincount(minlength=len(classes))
    percent = (100 * right.double() / counts).tolist()
    of_classes = {name: value for name, value, count in zip(classes, percent, counts.tolist(), strict=True) if count}
    return {"class_top1": of_classes, "balanced_top1": sum(of_classes.values()) / len(of_classes)}


def train(
    network: nn.Module,
    train_batches: Batches,
    test_batches: Batches,
    recipe: Recipe,
    *,
    auxiliary_weight: float = 0.0,
    drop_path: float = 0.0,
    seed: int,
    key: str | None = None,
    name: str = "train",
) -> list[dict]:
    """Train a network's weights (DARTS, section 3.1); the last epoch's are the result.

    Parameters
    ----------
    network : Module
        On the device of the batches. With `auxiliary_weight` it returns a pair of logits while training.
    auxiliary_weight : float, default 0
        Of the auxiliary tower's loss.
    drop_path : float, default 0
        Drop-path probability that the epochs rise to linearly, from 0.
    seed : int
    key, name : str, optional
        Where ``checkpoint.Checkpoint`` keeps the state; None keeps none.

    Returns
    -------
    list of dict
        A row an epoch: epoch (from 1), learning_rate, train_loss, train_top1, test_loss, test_top1, test_top5.
    """
    distributed.synchronise(network)
    optimizer = recipe.optimizer(network.parameters())
    checkpoint = Checkpoint(name, key, network=network, optimizer=optimizer) if key else None

    def one_epoch(epoch: int, epoch_seed: int, tick: Callable[[], object]) -> dict:
        network.train()
        network.drop_path = drop_path * epoch / recipe.epochs
        meter = Meter()

        def take(images: Tensor, labels: Tensor) -> None:
            with autocast(images.device, recipe.precision):
                logits, auxiliary_logits = network(images) if auxiliary_weight else (network(images), None)
            loss = objective = cross_entropy(logits, labels)
            if auxiliary_weight:
                objective = loss + auxiliary_weight * cross_entropy(auxiliary_logits, labels)
            optimizer.zero_grad()
            objective.backward()
            distributed.average_gradients(network.parameters())
            clip(network.parameters(), recipe)
            optimizer.step()
            meter.add(loss.detach(), logits, labels)

        device = next(network.parameters()).device
        # What a step of the cosine changes is a number of the host.
        repeated = graph.repeated(take, device, recipe.fast == "graph" and not recipe.by_step)
        for step, batch in enumerate(train_batches.epoch(epoch_seed)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(epoch, step / len(train_batches))
            repeated(*batch)
            tick()
        train_loss, train_top1, _ = meter.means()
        test_loss, test_top1, test_top5 = evaluate(network, test_batches, recipe)
        return {
            "epoch": epoch + 1,
            "learning_rate": recipe.learning_rate_at(epoch),
            "train_loss": train_loss,
            "train_top1": train_top1,
            "test_loss": test_loss,
            "test_top1": test_top1,
            "test_top5": test_top5,
        }

    return run_epochs(recipe.epochs, len(train_batches), seed, checkpoint, one_epoch)


def scores(history: Sequence[Mapping]) -> dict[str, float]:
    """The last epoch's top1, top5 and loss on the test images: no epoch is chosen by them."""
    return {name: history[-1][f"test_{name}"] for name in ("top1", "top5", "loss")}
