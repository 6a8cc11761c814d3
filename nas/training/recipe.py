"""How weights are trained: the recipe's numbers, its learning rate at every epoch, its optimizer."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from torch import nn

from nas.training.optim import SGD

if TYPE_CHECKING:
    from nas.pipeline.params import Training


def augmentation(section: "Training") -> dict[str, bool | float | None]:
    """What `nas.data.batches.Batches` does to training images, as its arguments."""
    names = ("resized_crop", "crop_padding", "flip", "cutout")
    return {"shuffle": True} | {name: getattr(section, name) for name in names}


@dataclass(frozen=True)
class Recipe:
    """How weights are trained: SGD with momentum, the learning rate annealed by a cosine or in steps.

    The defaults are those of DARTS's search (Liu et al., 2019, appendix A.1).

    Parameters
    ----------
    epochs : int, default 50
    learning_rate, learning_rate_min : float, default 0.025 and 0.001
        At the first epoch, and what the cosine falls to; the minimum is its program's, the paper names none.
    momentum, weight_decay : float, default 0.9 and 3e-4
    nesterov : bool, default False
        Nesterov's momentum (Sutskever et al., 2013) in place of the usual one.
    gradient_clip : float or None, default 5
        The gradient is scaled down to this norm when it is longer; None clips nothing.
    precision : 32 or "bf16", default 32
        32 is IEEE float32, without TF32. bf16 computes matrix products and convolutions in bfloat16; weights stay in
        float32.
    milestones : sequence of int, optional
        Divide the learning rate by 10 before each of these epochs (from 0), in place of the cosine. () keeps it.
    cosine_start : int, default 0
    cosine_epochs : int, optional
        The training is a part of a cosine of `cosine_epochs` (default: its own) from `cosine_start` on.
    by_step : bool, default False
        The cosine falls at every step, in place of every epoch.
    fast : str, default "auto"
        "graph": a GPU records an epoch's second step and repeats it (``nas.training.graph``). Others change nothing.
    """

    epochs: int = 50
    learning_rate: float = 0.025
    learning_rate_min: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    gradient_clip: float | None = 5.0
    precision: int | str = 32
    milestones: Sequence[int] | None = None
    nesterov: bool = False
    cosine_start: int = 0
    cosine_epochs: int | None = None
    by_step: bool = False
    fast: str = "auto"

    @classmethod
    def of(cls, settings: dict) -> Self:
        """The recipe that `settings` holds under the names of its fields, among others."""
        return cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})

    def learning_rate_at(self, epoch: int, done: float = 0.0) -> float:
        """Of `epoch` (from 0), in steps or by SGDR's cosine without restarts (Loshchilov & Hutter, 2017, eq. 5).

        `done` is the share of the epoch's steps that are behind, which `by_step` heeds.
        """
        if self.milestones is not None:
            return self.learning_rate / 10 ** sum(epoch >= milestone for milestone in self.milestones)
        at = self.cosine_start + epoch + (done if self.by_step else 0)
        cosine = (1 + math.cos(math.pi * at / (self.cosine_epochs or self.epochs))) / 2
        return self.learning_rate_min + (self.learning_rate - self.learning_rate_min) * cosine

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> SGD:
        return SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )
