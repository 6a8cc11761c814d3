"""How weights are trained: the recipe's numbers, its learning rate at every epoch, its optimizer."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Self

from torch import nn
from torch.optim import SGD

from nas.pipeline.params import Training


def augmentation(section: Training) -> dict[str, bool | int]:
    """What `nas.data.batches.Batches` does to training images, as its arguments."""
    names = ("resized_crop", "crop_padding", "flip", "cutout")
    return {"shuffle": True} | {name: getattr(section, name) for name in names}


@dataclass(frozen=True)
class Recipe:
    """How weights are trained: SGD with momentum, the learning rate annealed by a cosine or in steps.

    Parameters
    ----------
    epochs : int
    learning_rate, learning_rate_min : float
        At the first epoch, and what the cosine falls to.
    momentum, weight_decay : float
    nesterov : bool, default False
        Nesterov's momentum (Sutskever et al., 2013) in place of the usual one.
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
    nesterov: bool = False

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
        return SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )
