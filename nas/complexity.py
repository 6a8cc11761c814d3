"""What a network costs: parameters and multiply-adds."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from ptflops import get_model_complexity_info
from torch import nn


@dataclass(frozen=True)
class Complexity:
    """Of one network and one image: learned `params`, and multiply-adds by two conventions.

    `macs` is what ptflops counts over modules (as the PIBConv paper does: pooling, batch norm and activations too),
    `conv_macs` counts convolutions and linear layers alone (as DNAL does).
    """

    params: int
    macs: int
    conv_macs: int


def count(model: nn.Module, input_size: tuple[int, int, int]) -> Complexity:
    """Count `model` in eval mode on one image of `input_size` = (channels, height, width); the model stays as it is."""
    model = deepcopy(model).eval()  # ptflops leaves methods and counters on what it counts
    conv_macs = _conv_macs(model, input_size)  # first, because ptflops swallows what a model raises
    macs, params = get_model_complexity_info(
        model,
        tuple(input_size),
        as_strings=False,
        print_per_layer_stat=False,
        verbose=False,
        backend="pytorch",
        backend_specific_config={"count_functional": False},
    )
    return Complexity(int(params), int(macs), conv_macs)


def conv_weights(model: nn.Module) -> int:
    """Weights of the convolutions alone, as the papers count a block."""
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d))


def _conv_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Each output element of a convolution or linear layer costs as many multiply-adds as one filter has weights."""
    total = 0

    def add(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        with torch.no_grad():
            model(torch.zeros(1, *input_size, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return total
