"""What a network costs: parameters and multiply-adds."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU)
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


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
    macs = conv_macs = 0

    def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal macs, conv_macs
        products = _products(module, output)
        conv_macs += products
        macs += products + _other_macs(module, inputs[0], output)

    training = [module for module in model.modules() if module.training]
    hooks = [module.register_forward_hook(add) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_size, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return Complexity(sum(p.numel() for p in model.parameters()), macs, conv_macs)


def _products(module: nn.Module, output: Tensor) -> int:
    """Each output element of a convolution or linear layer costs as many multiply-adds as one filter has weights."""
    return output.numel() * module.weight[0].numel() if isinstance(module, nn.Conv2d | nn.Linear) else 0


def _other_macs(module: nn.Module, x: Tensor, output: Tensor) -> int:
    """What ptflops counts besides products: SiLU, the sigmoid and a layer norm's scale are nothing to it."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return output.numel() if module.bias is not None else 0
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return x.numel() * (2 if module.affine else 1)
    if isinstance(module, POOLING + (nn.LayerNorm,)):
        return x.numel()
    return output.numel() if isinstance(module, ACTIVATIONS) else 0


def conv_weights(model: nn.Module) -> int:
    """Weights of the convolutions alone, as the papers count a block."""
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d))
