"""SGD and Adam as ``torch.optim`` computes them, without its import of the whole compiler at a process's first step.

That import takes longer than all else at the start of a stage. A parameter without gradient is left alone.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd


class Optimizer:
    """`param_groups` (one group) and `state` are those of ``torch.optim.Optimizer``."""

    def __init__(self, parameters: Iterable[nn.Parameter], **options: object) -> None:
        self.param_groups = [{"params": list(parameters), **options}]
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    def zero_grad(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def _with_gradient(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.param_groups[0]["params"] if parameter.grad is not None]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: v ← momentum·v + g + weight_decay·w, w ← w − lr·v; first v = g."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self) -> None:
        group, parameters = self.param_groups[0], self._with_gradient()
        velocities = [self.state[parameter].get("momentum_buffer") for parameter in parameters]
        sgd(
            parameters,
            [parameter.grad for parameter in parameters],
            velocities,
            lr=group["lr"],
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for parameter, velocity in zip(parameters, velocities, strict=True):
            if velocity is not None:
                self.state[parameter]["momentum_buffer"] = velocity


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015, algorithm 1), the weight decay added to the gradient."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr=lr, betas=betas, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self) -> None:
        group, parameters = self.param_groups[0], self._with_gradient()
        for parameter in parameters:
            if not self.state[parameter]:
                moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                self.state[parameter] = {"step": torch.tensor(0.0), **moments}
        states = [self.state[parameter] for parameter in parameters]
        adam(
            parameters,
            [parameter.grad for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )
