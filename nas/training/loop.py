"""Training loops that can be killed and go on: devices, seeds, checkpoints, progress, the training of a network."""

import ctypes
import hashlib
import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from nas.data import sharing
from nas.data.batches import Batches
from nas.networks.network import Network
from nas.pipeline.errors import UserError, reason
from nas.pipeline.files import whole_file
from nas.pipeline.params import Params
from nas.training import distributed
from nas.training.optimizers import SGD, Optimizer

log = logging.getLogger("nas")

CHECKPOINTS = Path("checkpoints")


@dataclass(frozen=True)
class Recipe:
    """How weights are trained: SGD with momentum, the learning rate annealed by a cosine or in steps.

    Parameters
    ----------
    epochs : int
    learning_rate, learning_rate_min : float
        At the first epoch, and what the cosine falls to.
    momentum, weight_decay : float
    gradient_clip : float
        The gradient is scaled down to this norm when it is longer.
    precision : 32 or "bf16"
        32 is IEEE float32, without TF32. bf16 computes matrix products and convolutions in bfloat16; weights stay in
        float32.
    milestones : sequence of int, optional
        Divide the learning rate by 10 before each of these epochs (from 0), in place of the cosine. () keeps it.
    """

    epochs: int
    learning_rate: float
    learning_rate_min: float
    momentum: float
    weight_decay: float
    gradient_clip: float
    precision: int | str
    milestones: Sequence[int] | None = None

    @classmethod
    def of(cls, settings: dict) -> Self:
        """The recipe that `settings` holds under the names of its fields, among others."""
        return cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})

    def learning_rate_at(self, epoch: int) -> float:
        """Of `epoch` (from 0), in steps or by SGDR's cosine without restarts (Loshchilov & Hutter, 2017, eq. 5)."""
        if self.milestones is not None:
            return self.learning_rate / 10 ** sum(epoch >= milestone for milestone in self.milestones)
        cosine = (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        return self.learning_rate_min + (self.learning_rate - self.learning_rate_min) * cosine

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> SGD:
        return SGD(parameters, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay)


def autocast(device: torch.device, precision: int | str) -> AbstractContextManager:
    """Compute in bfloat16 what may be, if `precision` is "bf16"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of N × classes logits, in float32 at least.

    Of several processes (``distributed``) each gets its part, the mean of which over them is that of the batch.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if sharing.world() == 1:
        return nn.functional.cross_entropy(logits, labels)
    total = nn.functional.cross_entropy(logits, labels, reduction="sum")
    return total / sharing.mean_count(len(labels), labels.device).to(total.dtype)


def choose_device(device: str, threads: int) -> torch.device:
    """The device to compute on, made deterministic; "auto" is a GPU if there is one. Sets the number of CPU threads.

    Raises
    ------
    UserError
        If "cuda" is asked for and torch sees no GPU.
    """
    torch.set_num_threads(threads)
    _keep_freed_memory()
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but torch sees no GPU; set device to auto or cpu")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # 10 bits of mantissa would drown the second order's finite difference
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs a kernel an allocation, changes no result
    return torch.device("cuda")


def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of giving them back: fresh pages cost more than most operations on them."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    m_trim_threshold, m_mmap_max = -1, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, -1)  # never


def device_name(device: torch.device) -> str:
    """What a result says of where it was computed: "cpu", or the GPU's model."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def conditions(params: Params, device: torch.device) -> dict[str, str | int]:
    """What changes the rounding of a stage's training, for `result_key`: threads, processes, device and precision."""
    return {
        "threads": params.threads,
        "devices": params.devices * params.nodes,
        "device": device.type,
        "precision": params.precision,
    }


def seed_for(*names: object) -> int:
    """A seed that follows from `names` alone: the run's seed, a stage, an epoch. From 0 to 2⁶³ − 1."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def result_key(data: str | Path, settings: dict) -> str:
    """What determines a training's result, as a short name: settings, data, the loaded code, torch's version.

    `settings` hold `conditions` too: a training goes on with as many threads and processes as it began with, or its
    result would depend on when it was stopped.
    """
    loaded = [module for name, module in sys.modules.items() if name.split(".")[0] in ("nas", "stages", "__main__")]
    files = {str(module.__file__) for module in loaded if getattr(module, "__file__", None)}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(torch.__version__.encode())
    for file in [*sorted(files), Path(data) / "meta.json"]:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:16]


class Checkpoint:
    """The state of a training after its last whole epoch, in one safetensors file outside the stage's outputs.

    Parameters
    ----------
    name : str
        The stage's name.
    key : str
        From `result_key`; a checkpoint of other parameters, code or data has another and is not taken.
    parts : dict
        Modules and optimizers (SGD, Adam) whose tensors make up the state.
    """

    def __init__(self, name: str, key: str, **parts: nn.Module | Optimizer) -> None:
        self.path = CHECKPOINTS / name / f"{key}.safetensors"
        self.parts = parts

    def save(self, records: list[dict]) -> None:
        """Keep the parts' tensors and the epochs' `records`, which JSON can hold; one of several processes does."""
        if sharing.rank():
            return
        tensors = {
            f"{part}/{key}": tensor.detach().cpu().contiguous()
            for part, owner in self.parts.items()
            for key, tensor in _tensors(owner).items()
        }
        with whole_file(self.path) as temporary:
            save_file(tensors, temporary, {"records": json.dumps(records)})

    def restore(self) -> list[dict]:
        """Put the kept state back into the parts; return the records, none if there is no checkpoint.

        Raises
        ------
        UserError
            If the file is damaged or does not fit.
        """
        if not self.path.exists():
            return []
        try:
            with safe_open(self.path, "pt") as file:
                records = json.loads((file.metadata() or {})["records"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            for part, owner in self.parts.items():
                _restore(owner, {n.removeprefix(f"{part}/"): t for n, t in tensors.items() if n.startswith(f"{part}/")})
        except torch.OutOfMemoryError:  # the device's state, not the file's
            raise
        except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self.path}: the checkpoint is damaged ({reason(error)}); delete it to train from the start"
            ) from None
        log.info("resumed after epoch %d from %s", len(records), self.path)
        return records


def _tensors(owner: nn.Module | Optimizer) -> dict[str, Tensor]:
    if isinstance(owner, nn.Module):
        return owner.state_dict()
    parameters = [p for group in owner.param_groups for p in group["params"]]
    return {
        f"{i}/{key}": value
        for i, parameter in enumerate(parameters)
        for key, value in owner.state[parameter].items()
        if value is not None
    }


def _restore(owner: nn.Module | Optimizer, tensors: dict[str, Tensor]) -> None:
    if isinstance(owner, nn.Module):
        owner.load_state_dict(tensors)
        return
    parameters = [p for group in owner.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        i, key = name.split("/")
        parameter = parameters[int(i)]
        if key != "step" and tensor.shape != parameter.shape:
            raise ValueError(f"{name} has the shape {list(tensor.shape)} instead of {list(parameter.shape)}")
        # Adam counts its steps on the CPU; all else lives where the parameter does.
        owner.state[parameter][key] = tensor if key == "step" else tensor.to(parameter.device)


def run_epochs(
    epochs: int,
    steps: int,
    seed: int,
    checkpoint: Checkpoint | None,
    one_epoch: Callable[[int, int, Callable[[], object]], dict],
) -> list[dict]:
    """Call ``one_epoch(epoch, seed of the epoch, tick)`` for each epoch not yet in the checkpoint; return all records.

    Every random number of an epoch follows from its seed, so there is no generator's state to keep. An epoch calls
    ``tick()`` after each of its `steps`, which moves the progress bar. A record's entries of type float are told.
    """
    records = checkpoint.restore() if checkpoint else []
    distributed.require_same(len(records), f"all nodes must see the same {CHECKPOINTS}/, on a file system they share")
    hidden = sharing.rank() > 0 or not sys.stderr.isatty()
    bar = tqdm(total=epochs * steps, initial=len(records) * steps, unit="step", disable=hidden, smoothing=0.05)
    for epoch in range(len(records), epochs):
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
    return records


def _last_top1(record: dict) -> str:
    accuracies = [value for name, value in record.items() if name.endswith("top1")]
    return f"{accuracies[-1]:.1f} %" if accuracies else "–"


def _check_finite(record: dict, epoch: int) -> None:
    lost = [name for name, value in record.items() if isinstance(value, float) and not math.isfinite(value)]
    if lost:
        raise UserError(f"{lost[0]} is not finite in epoch {epoch + 1}: training diverged; lower the learning rate")


class Meter:
    """Mean loss and accuracies over batches, added up on the device, so that nothing waits for it.

    Of several processes each adds its part; the means are those of all.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | None = None

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """`loss`: mean over the batch, as `cross_entropy` gives it; `logits`: N × classes; `labels`: N."""
        count = sharing.mean_count(len(labels), labels.device)
        ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        sums = torch.stack([loss.double() * count, ranked[:, 0].sum().double(), ranked.sum().double()])
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += count

    def means(self) -> tuple[float, float, float]:
        """Loss, top-1 and top-5 accuracy in percent (top-5 of fewer than five classes is 100)."""
        (sums,) = sharing.mean([self.sums])
        loss, top1, top5 = (sums / self.count).tolist()
        return loss, 100 * top1, 100 * top5


@torch.no_grad()
def test(model: nn.Module, batches: Batches, recipe: Recipe) -> tuple[float, float, float]:
    """Loss, top-1 and top-5 (percent) of `model` in eval mode over all batches."""
    model.eval()
    meter = Meter()
    for images, labels in batches.epoch(0):
        with autocast(images.device, recipe.precision):
            logits = model(images)
        meter.add(cross_entropy(logits, labels), logits, labels)
    return meter.means()


def train(
    network: Network,
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
    """Train a discrete network from scratch (DARTS, section 3.1); the last epoch's weights are the result.

    Parameters
    ----------
    network : Network
        On the device of the batches; with an auxiliary tower if `auxiliary_weight` is not 0.
    auxiliary_weight : float, default 0
        Of the auxiliary tower's loss.
    drop_path : float, default 0
        Drop-path probability that the epochs rise to linearly, from 0.
    seed : int
    key, name : str, optional
        Where `Checkpoint` keeps the state; None keeps none.

    Returns
    -------
    list of dict
        A row an epoch: epoch (from 1), learning_rate, train_loss, train_top1, test_loss, test_top1, test_top5.
    """
    distributed.synchronise(network)
    optimizer = recipe.optimizer(network.parameters())
    checkpoint = Checkpoint(name, key, network=network, optimizer=optimizer) if key else None

    def one_epoch(epoch: int, epoch_seed: int, tick: Callable[[], object]) -> dict:
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(epoch)
        network.train()
        network.drop_path = drop_path * epoch / recipe.epochs
        meter = Meter()
        for images, labels in train_batches.epoch(epoch_seed):
            with autocast(images.device, recipe.precision):
                logits, auxiliary_logits = network(images) if auxiliary_weight else (network(images), None)
            loss = objective = cross_entropy(logits, labels)
            if auxiliary_weight:
                objective = loss + auxiliary_weight * cross_entropy(auxiliary_logits, labels)
            optimizer.zero_grad()
            objective.backward()
            distributed.average_gradients(network.parameters())
            nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
            optimizer.step()
            meter.add(loss.detach(), logits, labels)
            tick()
        train_loss, train_top1, _ = meter.means()
        test_loss, test_top1, test_top5 = test(network, test_batches, recipe)
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


def remove_checkpoints(name: str) -> None:
    """Forget the trainings of a stage, once its outputs are written: also those of other parameters."""
    shutil.rmtree(CHECKPOINTS / name, ignore_errors=True)
