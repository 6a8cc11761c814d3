"""What a masked network costs by the count behind DNAL's tables, which is not what the network that remains costs.

The published programs never cut a network: they mask its convolutions' weights and count what the masks leave (the
torchsummary.py and set_conv_mask of each of their networks). In a residual network this takes away more than can be
cut: the next block's inputs wherever a branch's last gate closes, although the shortcut still carries those channels.
``nas.networks.complexity`` counts the network that remains.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.dnal.backbones import Sum
from nas.dnal.gates import Gate, gates


class PublishedCount(NamedTuple):
    """`params` and `macs` as the paper's tables have them."""

    params: int
    macs: int


def published_count(network: nn.Module, input_size: tuple[int, int, int]) -> PublishedCount | None:
    """Count a gated network by the masks of its gates, for an image of (channels, height, width).

    A closed channel takes away its filter in the convolution before the gate and, if that is depthwise, the filter that
    feeds it; and its weights in the next masked convolution or linear layer in the order of the modules. Convolutions
    on a shortcut have no masks. Of what is left,

    - parameters are the weights, 2 for the batch norm and 1 for the bias of every filter that has a weight left; batch
      norms on a shortcut or behind a linear layer are not counted;
    - multiply-adds are those of the weights, and 1 more for each such batch norm's channel and each bias.

    None for a network with several gated branches side by side (ProxylessNAS's supernet): its program sets no masks.
    """
    if any(sum(bool(gates(branch)) for branch in m.branches) > 1 for m in network.modules() if isinstance(m, Sum)):
        return None
    layers = _masked_layers(network)
    masks = {layer: torch.ones(layer.weight.shape[:2], dtype=torch.bool) for layer in layers if _is_layer(layer)}
    for place, gate in enumerate(layers):
        if isinstance(gate, Gate):
            _close(gate, layers[:place], layers[place + 1 :], masks)
    params = macs = 0
    for layer, pixels in _output_pixels(network, input_size).items():
        convolution, masked = isinstance(layer, nn.Conv2d), layer in masks
        mask = masks[layer] if masked else torch.ones(layer.weight.shape[:2], dtype=torch.bool)
        weights = int(mask.sum()) * layer.weight[0, 0].numel()
        filters = int(mask.any(dim=1).sum())
        biases = filters if layer.bias is not None else 0
        norms = filters if convolution and masked else 0
        params += weights + 2 * norms + biases
        macs += weights * pixels + norms + biases
    return PublishedCount(params, macs)


def published_ratios(network: nn.Module, input_size: tuple[int, int, int]) -> dict[str, float | None]:
    """`published_count` of a gated network, and how many times that it gives with all gates open.

    Keys: paper_params, paper_macs, paper_params_ratio, paper_macs_ratio; all None where it is not defined.
    """
    left = published_count(network, input_size)
    open_network = deepcopy(network)
    for gate in gates(open_network).values():
        gate.mask.fill_(True)
    whole = published_count(open_network, input_size)
    told: dict[str, float | None] = {}
    for name in PublishedCount._fields:
        told[f"paper_{name}"] = left and getattr(left, name)
        told[f"paper_{name}_ratio"] = left and getattr(whole, name) / getattr(left, name)
    return told


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear)


def _masked_layers(network: nn.Module) -> list[nn.Module]:
    """Convolutions, linear layers and gates in the order of the modules, without what lies on a shortcut."""
    shortcuts = {module for path, module in network.named_modules() if path.endswith("downsample")}  # torchvision's
    for module in network.modules():
        if isinstance(module, Sum):
            shortcuts |= {branch for branch in module.branches if not gates(branch)}
    apart = {module for shortcut in shortcuts for module in shortcut.modules()}
    return [m for m in network.modules() if (_is_layer(m) or isinstance(m, Gate)) and m not in apart]


def _close(gate: Gate, before: list[nn.Module], behind: list[nn.Module], masks: dict[nn.Module, Tensor]) -> None:
    """Take the gate's closed channels away from the layers around it; masks are outputs × inputs a group."""
    closed = ~gate.mask.cpu()
    earlier = [layer for layer in before if _is_layer(layer)]
    masks[earlier[-1]][closed] = False
    if isinstance(earlier[-1], nn.Conv2d) and earlier[-1].groups > 1:
        masks[earlier[-2]][closed] = False
    following = next(layer for layer in behind if _is_layer(layer))
    inputs = masks[following].shape[1]
    masks[following][:, closed.repeat_interleave(inputs // len(closed))] = (
        False  # a linear layer may read several pixels
    )


def _output_pixels(network: nn.Module, input_size: tuple[int, int, int]) -> dict[nn.Module, int]:
    """Of every convolution and linear layer, how often each of its weights is multiplied."""
    pixels: dict[nn.Module, int] = {}

    def see(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        pixels[layer] = output[0, 0].numel()

    hooks = [layer.register_forward_hook(see) for layer in network.modules() if _is_layer(layer)]
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
