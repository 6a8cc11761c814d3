"""OLES: Jiang, Ji, Zhu, Yuan & Huang, "Operation-Level Early Stopping for Robustifying Differentiable NAS", NeurIPS
2023.

Skip connections win where operations with weights have overfitted the weights' half. So an operation's weights stop
training once their gradients on the two halves no longer point the same way, while α and the others go on.
"""

from typing import cast

import torch
from torch import Tensor

from nas.data import sharing
from nas.networks.supernet import Supernet
from nas.search.algorithm import Algorithm, Step
from nas.space.operations.basic import FactorizedReduce


class Oles(Algorithm):
    """OLES; it can be added to others of first order.

    Parameters
    ----------
    count : int, default 20
        Steps over which an operation's gradient matching, the cosine between its two gradients, is averaged.
    patience : float, default 0.4
        An operation stops for good once that average is less (its program's value, as the other).
    """

    added = 4

    count: int = 20
    patience: float = 0.4

    def prepare(self, supernet: Supernet) -> None:
        super().prepare(supernet)
        # A skip connection of stride 2 has weights, but is none of the operations that it stands against.
        modules = dict(supernet.named_modules())
        operations: dict[str, list[str]] = {}
        for name in supernet.weights():
            edge, inside, rest = name.partition(".operations.")
            path = f"{edge}{inside}{rest.split('.')[0]}"
            if inside and not isinstance(modules[path], FactorizedReduce):
                operations.setdefault(path, []).append(name)
        self.operation_of = {name: k for k, names in enumerate(operations.values()) for name in names}
        device = supernet.alphas_normal.device
        self.register_buffer("stopped", torch.zeros(len(operations), dtype=torch.bool, device=device))
        self.register_buffer("sums", torch.zeros(len(operations), device=device))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.index = torch.tensor([*self.operation_of.values()], dtype=torch.long, device=device)
        self.on_alphas_half: dict[str, Tensor] = {}

    def begin(self, epoch: int, epochs: int) -> None:
        super().begin(epoch, epochs)
        # Read here, and what stops when some do: at every step a GPU would have to wait.
        self.left_alone, self.passed = self.get_buffer("stopped").tolist(), self.get_buffer("steps").item()

    def gradients(self, step: Step) -> list[Tensor]:
        """Those of first order; the same pass tells the operations' gradients on α's half."""
        weights = [step.weights[name] for name in self.operation_of]
        wanted = [*step.alphas, *weights]
        found = sharing.mean(torch.autograd.grad(step.loss(step.weights, step.alpha_batch), wanted))
        self.on_alphas_half = dict(zip(self.operation_of, found[len(step.alphas) :], strict=True))
        return found[: len(step.alphas)]

    def weights_gradients(self, step: Step, gradients: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        gradients = super().weights_gradients(step, gradients)
        if not self.rests:
            stopped, sums = self.get_buffer("stopped"), self.get_buffer("sums")
            sums += self._matching(gradients)
            self.passed += 1
            if self.passed == self.count:
                stopped |= sums / self.count < self.patience
                self.left_alone, self.passed = stopped.tolist(), 0
                sums.zero_()
            self.get_buffer("steps").fill_(self.passed)
        alone = {name for name, operation in self.operation_of.items() if self.left_alone[operation]}
        return {name: None if name in alone else gradient for name, gradient in gradients.items()}

    def _matching(self, gradients: dict[str, Tensor | None]) -> Tensor:
        """Of each operation, the cosine between its gradients on the two halves."""
        sums = torch.zeros_like(self.get_buffer("sums"))
        if not self.operation_of:
            return sums
        pairs = [(cast("Tensor", gradients[name]), self.on_alphas_half[name]) for name in self.operation_of]
        products = torch.stack([torch.stack([(a * b).sum(), (a * a).sum(), (b * b).sum()]) for a, b in pairs])
        both, *squares = products.new_zeros(len(sums), 3).index_add(0, self.index, products).unbind(1)
        return both / (squares[0] * squares[1]).sqrt().clamp(min=1e-12)
