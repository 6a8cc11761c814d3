"""What a search algorithm may change of DARTS: how operations are mixed, α's gradient, when to stop. Never the step.

`Algorithm` is DARTS's first order; every other algorithm is a file of its own beside it, ``nas.search.NAME``, which
holds one subclass and overrides what its paper changes. Names joined by + are one algorithm made of several.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import get_annotations
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from nas.data import sharing
from nas.networks.supernet import Mixture, Supernet
from nas.pipeline.errors import UserError
from nas.space.genotypes import CELLS
from nas.training.optim import SGD
from nas.training.recipe import Recipe

Batch = tuple[Tensor, Tensor]
Loss = Callable[..., Tensor]  # see `Step`
Phase = Literal["alpha", "weights", "valid"]


@dataclass(frozen=True)
class Step:
    """What a step of a search is made from.

    Attributes
    ----------
    loss : callable
        ``loss(weights, batch, mixtures=None)``: the mean cross-entropy of the supernet in training mode, a function of
        α too: by default of the algorithm's mixtures for the phase "alpha".
    float32_loss : callable
        The same where `loss` computes in bfloat16.
    weights : dict of str to Parameter
        w; their names are the supernet's.
    alphas : list of Parameter
        The architecture's parameters: α of the normal and the reduction cells, then the algorithm's own.
    weights_batch, alpha_batch : (images, labels)
        Of the half that trains the weights (L_train) and of the one that trains α (L_val).
    optimizer : SGD
        Of the weights.
    recipe : Recipe
    """

    loss: Loss
    float32_loss: Loss
    weights: dict[str, nn.Parameter]
    alphas: list[nn.Parameter]
    weights_batch: Batch
    alpha_batch: Batch
    optimizer: SGD
    recipe: Recipe


class Algorithm(nn.Module):
    """DARTS of first order (Liu, Simonyan & Yang, 2019), and what others override of it.

    Parameters that its optimizer of α shall train too (PC-DARTS's weights of edges) are parameters of the module.

    Parameters
    ----------
    **own
        The algorithm's own parameters: annotated attributes of the class with their defaults.

    Raises
    ------
    TypeError
        If one is none of its own.

    Attributes
    ----------
    added : int
        Above 0, it can be added to others: its methods change what ``super()`` gives, and do not replace it. The larger
        changes what the smaller gives, in whatever order they are listed.
    weights_first : bool
        Whether a step moves the weights before α. DARTS's algorithm 1 moves α first.
    repeats : bool
        Whether all steps of an epoch do the same but for what is on the device, so that a GPU may repeat one
        (``fast: graph``). A class that does not say so does not, whatever it inherits from: a number that it keeps on
        the host, a count of steps, would stand still.
    rests : bool
        Whether α stays as it is, in this epoch: `begin` may say so.
    """

    added: ClassVar[int] = 0
    weights_first: ClassVar[bool] = False
    repeats: ClassVar[bool] = True
    rests = False
    kinds = tuple(CELLS)  # of cells, as the supernet has them

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.repeats = vars(cls).get("repeats", False)

    def __init__(self, **own: object) -> None:
        super().__init__()
        known = {name for part in type(self).__mro__ for name in get_annotations(part)}
        for name, value in own.items():
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no parameter {name}")
            setattr(self, name, value)

    def supernet(self) -> dict[str, Any]:
        """What its supernet has besides the recipe's: keyword arguments of `Supernet`."""
        return {}

    def prepare(self, supernet: Supernet) -> None:
        """Before anything is trained: make what the algorithm needs of a supernet of that shape."""
        self.kinds = supernet.space.kinds

    def begin(self, epoch: int, epochs: int) -> None:
        """Before each epoch, from 0, of `epochs`."""
        self.rests = False

    def mixture(self, alphas: Tensor, cell: str, phase: Phase) -> Mixture:
        """How the edges of a kind of cell mix their operations, for one forward pass.

        Parameters
        ----------
        alphas : Tensor, edges × operations
        cell : "normal" or "reduce"
        phase : str
            "alpha" for the gradient of α, "weights" for the weights', "valid" for a validation, which draws nothing.
        """
        return Mixture(alphas.softmax(dim=-1))

    def mixtures(self, alphas: Sequence[Tensor], phase: Phase) -> list[Mixture]:
        """`mixture` of each kind of cell: of the normal and of the reduction cells, or of the only one."""
        return [self.mixture(each, cell, phase) for each, cell in zip(alphas, self.kinds, strict=True)]

    def gradients(self, step: Step) -> list[Tensor]:
        """∇α L_val(w, α), one for each of ``step.alphas``: the weights are taken to be the best for any α (ξ = 0)."""
        return first_order(step.loss, step.weights, step.alphas, step.alpha_batch)

    def before_weights(self, step: Step) -> None:
        """Before the weights' pass of each step."""

    def weights_gradients(self, step: Step, gradients: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """What the weights follow, by name; a weight whose gradient is None is left alone."""
        return gradients

    def penalty(self, alphas: Sequence[Tensor]) -> Tensor | None:
        """What is added to L_val, a function of α alone; None for nothing."""
        return None

    def scores(self, alphas: Tensor, cell: str) -> Tensor:
        """How strong each operation is, edges × operations: what a genotype is read off, and what alphas.csv keeps."""
        return alphas.softmax(dim=-1)

    def measure(self, step: Step) -> dict[str, float]:
        """After each epoch: what the history tells besides, by column; `step` is the epoch's last."""
        return {}

    def stop(self, history: Sequence[Mapping[str, Any]]) -> int | None:
        """The epoch (from 1) whose α is the result, if the search is to end after the last of `history`; else None."""
        return None


class Cooled(Algorithm):
    """An algorithm whose draws have a temperature τ, which falls linearly over the epochs from `tau` to `tau_min`."""

    tau: float
    tau_min: float

    def prepare(self, supernet: Supernet) -> None:
        super().prepare(supernet)
        self.choices = supernet.space.choices
        self.temperature = self.tau

    def begin(self, epoch: int, epochs: int) -> None:
        super().begin(epoch, epochs)
        self.temperature = self.tau + (self.tau_min - self.tau) * epoch / max(epochs - 1, 1)


def first_order(
    loss: Loss, weights: Mapping[str, Tensor], alphas: Sequence[Tensor], alpha_batch: Batch
) -> list[Tensor]:
    """∇α L_val(w, α) (DARTS, section 2.3, ξ = 0)."""
    fixed = {name: weight.detach() for name, weight in weights.items()}  # no gradient of theirs is computed then
    # What is drawn may be `none` so often that no path leads through a kind of cell: its gradient is 0 then.
    return sharing.mean(torch.autograd.grad(loss(fixed, alpha_batch), alphas, materialize_grads=True))


def make(name: str, parameters: Mapping[str, Any] | None = None) -> Algorithm:
    """The algorithm of that name with its own `parameters`, by default its defaults; of several names, joined by +.

    Raises
    ------
    UserError
        If there is no such algorithm.
    """
    parts = sorted([_class(part) for part in name.split("+")], key=lambda part: -part.added)
    joined = {"repeats": all(part.repeats for part in parts)}
    made = type(name, tuple(parts), joined) if len(parts) > 1 else parts[0]
    return made(**parameters or {})


def _class(name: str) -> type[Algorithm]:
    """The one subclass of `Algorithm` that the file ``nas.search.NAME`` holds."""
    module = import_module(path) if find_spec(path := f"nas.search.{name}") else None
    classes = [each for each in vars(module).values() if isinstance(each, type)] if module else []
    own = [each for each in classes if issubclass(each, Algorithm) and each.__module__ == path]
    if len(own) != 1:
        raise UserError(f"{name}: there is no such search algorithm")
    return own[0]
