"""What a masked network costs by the count behind DNAL's tables, which is not what the network that remains costs.

The published programs never cut a network: they mask its convolutions' weights and count what the masks leave (the
torchsummary.py and set_conv_mask of each of their networks). In a residual network this takes away more than can be
cut: the next block's inputs wherever a branch's last gate closes, although the shortcut still carries those channels.
``nas.networks.complexity`` counts the network that remains.
"""

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.dnal.backbones import Sum
from nas.dnal.gates import THRESHOLD, Gate, gates

Layer = nn.Conv2d | nn.Linear
Masks = dict[Layer, Tensor]  # outputs × inputs (of a group): which weights are left


class PublishedCount(NamedTuple):
    """`params` and `macs` as the paper's tables have them."""

    params: int
    macs: int


def published_count(network: nn.Module, input_size: tuple[int, int, int], *, whole: bool = False) -> PublishedCount:
    """Count a gated network by what its gates decided, for an image of (channels, height, width).

    A closed channel takes away its filter in the convolution before the gate and, if that is depthwise, the filter that
    feeds it; and its weights in the masked layers behind. Behind candidates side by side a channel is closed if it is
    in all of them, behind a block if it is in the branch: convolutions on a shortcut have no masks. Of what is left,

    - parameters are the weights, 2 for the batch norm and 1 for the bias of every filter that has a weight left; batch
      norms on a shortcut or behind a linear layer are not counted;
    - multiply-adds are those of the weights, and 1 more for each such batch norm's channel and each bias.

    `whole` counts it with all gates open.
    """
    masks: Masks = {}
    _mask(network, None, masks, whole)
    params = macs = 0
    for layer, pixels in _output_pixels(network, input_size).items():
        mask = masks.get(layer, torch.ones(layer.weight.shape[:2], dtype=torch.bool))
        weights, filters = int(mask.sum()) * layer.weight[0, 0].numel(), int(mask.any(dim=1).sum())
        biases = filters if layer.bias is not None else 0
        norms = filters if isinstance(layer, nn.Conv2d) and layer in masks else 0
        params += weights + 2 * norms + biases
        macs += weights * pixels + norms + biases
    return PublishedCount(params, macs)


def published_ratios(network: nn.Module, input_size: tuple[int, int, int]) -> dict[str, float]:
    """`published_count` of a gated network, and how many times that it gives with all gates open.

    Keys: paper_params, paper_macs, paper_params_ratio, paper_macs_ratio.
    """
    left, whole = published_count(network, input_size), published_count(network, input_size, whole=True)
    return {
        "paper_params": left.params,
        "paper_macs": left.macs,
        "paper_params_ratio": whole.params / left.params,
        "paper_macs_ratio": whole.macs / left.macs,
    }


def _decided(gate: Gate) -> Tensor:
    """The channels that the gate left open: `slim` opens some again, and closes those that take part in nothing.

    The published programs do not look for the latter.
    """
    return (gate.mask | (gate.values() > THRESHOLD)).cpu()


def _mask(module: nn.Module, arriving: Tensor | None, masks: Masks, whole: bool) -> Tensor | None:
    """Mask the layers of `module`, in their order, and add them to `masks`.

    `arriving` are the channels that the gates before it left open, None for all; returns those behind it.
    """
    match module:
        case Gate():
            opened = torch.ones_like(module.mask.cpu()) if whole else _decided(module)
            *_, feeding, gated = [None, *masks]
            masks[gated][~opened] = False
            if _is_depthwise(gated) and feeding is not None:
                masks[feeding][~opened] = False
            return opened if arriving is None else arriving & opened
        case nn.Conv2d() | nn.Linear():
            masks[module] = torch.ones(module.weight.shape[:2], dtype=torch.bool)
            if arriving is not None and not _is_depthwise(module):  # which has no inputs of other channels
                pixels = masks[module].shape[1] // len(arriving)  # a linear layer may read several of each channel
                masks[module][:, ~arriving.repeat_interleave(pixels)] = False
            return None
        case Sum():
            branches = [_mask(branch, arriving, masks, whole) for branch in module.branches if gates(branch)]
            return None if any(opened is None for opened in branches) else reduce(torch.logical_or, branches)
    for name, child in module.named_children():
        if name != "downsample":  # torchvision's shortcut
            arriving = _mask(child, arriving, masks, whole)
    return arriving


def _is_depthwise(layer: Layer) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1


def _output_pixels(network: nn.Module, input_size: tuple[int, int, int]) -> dict[Layer, int]:
    """Of every convolution and linear layer, how often each of its weights is multiplied."""
    pixels: dict[Layer, int] = {}

    def see(layer: Layer, inputs: tuple, output: Tensor) -> None:
        pixels[layer] = output[0, 0].numel()

    hooks = [m.register_forward_hook(see) for m in network.modules() if isinstance(m, Layer)]
    training = [module for module in network.modules() if module.training]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *input_size, device=next(network.parameters()).device))
    finally:
        for module in training:
            module.training = True
        for hook in hooks:
            hook.remove()
    return pixels
