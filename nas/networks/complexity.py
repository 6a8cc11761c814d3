"""What a network costs: parameters and multiply-adds."""

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nas.pipeline.errors import UserError

COUNTED = ("conv1d", "conv2d", "conv3d", "linear")
# Other functions of torch that multiply matrices, by their names
NOT_COUNTED = re.compile(r"\w*(matmul|mm|mv|dot|attention\w*)_*|conv_\w+|bilinear|inner|einsum|(lstm|gru|rnn)\w*")


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
    """Count `model` in eval mode on one image of `input_size` = (channels, height, width); the model stays as it is.

    Imports ptflops, which takes seconds: for a part of it alone see `params` and `conv_macs`.

    Raises
    ------
    UserError
        If the model multiplies matrices in a way that is not counted, such as attention.
    """
    products = conv_macs(model, input_size)
    from ptflops import get_model_complexity_info

    with torch.no_grad():
        macs, _ = get_model_complexity_info(
            deepcopy(model),
            input_size,
            print_per_layer_stat=False,
            as_strings=False,
            backend_specific_config={"count_functional": False},
        )
    if macs < products:
        raise UserError(
            f"{type(model).__name__}: ptflops counts {macs} multiply-adds, but convolutions and linear layers alone "
            f"have {products}: it knows torch.nn's own modules, not subclasses of them or functions"
        )
    return Complexity(params(model), macs, products)


def params(model: nn.Module) -> int:
    """Learned parameters."""
    return sum(p.numel() for p in model.parameters())


def conv_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Multiply-adds of convolutions and linear layers alone, as in `count`, which says more."""
    training = [module for module in model.modules() if module.training]
    try:
        with torch.no_grad(), _Products() as products:
            model.eval()(torch.zeros(1, *input_size, device=next(model.parameters()).device))
    finally:
        for module in training:
            module.training = True
    return products.macs


class _Products(TorchFunctionMode):
    """Adds up the multiply-adds of all convolutions and linear layers that are computed inside."""

    macs = 0

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output, name = function(*args, **(kwargs or {})), getattr(function, "__name__", "")
        if name in COUNTED:  # each element costs as many multiply-adds as one filter has weights
            weight: Tensor = args[1] if len(args) > 1 else kwargs["weight"]
            self.macs += output.numel() * weight[0].numel()
        elif NOT_COUNTED.fullmatch(name):
            raise UserError(
                f"the network calls torch's {name}, whose multiply-adds are not counted: "
                "nas/networks/complexity.py knows convolutions and linear layers alone"
            )
        return output


def conv_weights(model: nn.Module) -> int:
    """Weights of the convolutions alone, as the papers count a block."""
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d))
