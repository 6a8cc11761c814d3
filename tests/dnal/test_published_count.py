"""nas.dnal.published_count against whole masks set channel by channel, and against what the paper's tables print."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nas.dnal.backbones import build
from nas.dnal.gates import Gate, gates
from nas.dnal.published_count import published_count, published_ratios
from nas.dnal.slim import slim
from nas.networks.complexity import conv_macs
from nas.networks.complexity import params as count_params

# Sides of the images, and the baselines of the paper's tables: 10⁶ parameters and multiply-adds as printed there
# (ResNet50's as its published counter prints them, VGG16's to the digits of the table; ProxylessNAS has no second)
BASELINES = {
    "vgg16_cifar": (32, "14.99", "313.47"),
    "resnet56": (32, "0.85", "125.49"),
    "mobilenet_v2_cifar": (32, "2.30", "91.17"),
    "vgg16_bn": (224, "138.37", "15470"),
    "resnet50": (224, "25.549", "4089.21"),
    "mobilenet_v2": (224, "3.50", "300.79"),
    "proxylessnas": (224, "16.0", None),
}
each = pytest.mark.parametrize("name", BASELINES)


def network(name: str, width: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    return build(name, num_classes=10 if BASELINES[name][0] == 32 else 1000, width=width)


def close(model: nn.Module, which: Callable[[str, Tensor], Tensor]) -> None:
    """Close every gate to the mask that `which` gives for its name and its open one."""
    for name, gate in gates(model).items():
        gate.mask, gate.state = which(name, gate.mask), "closed"


def half(name: str, mask: Tensor) -> Tensor:
    return torch.rand(mask.shape) < 0.5


def in_millions(count: int, like: str) -> str:
    """With as many decimals as `like`; integers of five digits are billions, to two decimals."""
    return f"{count / 1e6:.{len(like.partition('.')[2])}f}" if "." in like else f"{round(count / 1e7) * 10}"


@each
def test_whole_networks_have_the_tables_baselines(name):
    """To the tables' digits, which the network's own count misses: it has no 1 for each batch norm's channel."""
    size, params, macs = BASELINES[name]
    counted = published_count(network(name), (3, size, size))
    assert in_millions(counted.params, params) == params
    assert macs is None or in_millions(counted.macs, macs) == macs


def test_half_of_resnet50():
    """9.00 M and 1390 M where the network that remains has 11.11 M and 1622 M, its stem whole: random, so to 3 %."""
    model, size = network("resnet50"), (3, 224, 224)
    close(model, lambda name, mask: half(name, mask) if name.startswith("layer") else mask)
    counted = published_count(model, size)
    left = slim(model, size)
    found = [counted.params, counted.macs, count_params(left), conv_macs(left, size)]
    assert [n / 1e6 for n in found] == pytest.approx([9.00, 1390, 11.11, 1622], rel=0.03)


def by_whole_masks(model: nn.Module, name: str, side: int) -> tuple[int, int]:
    """The published rule, literally: masks as large as the weights, set for one channel after another.

    Layers are walked by their places in the order of the modules.
    """
    modules = dict(model.named_modules())
    shortcut = {"mobilenet_v2_cifar": ".branches.1."}.get(name, "downsample")
    layers = [path for path, module in modules.items() if isinstance(module, nn.Conv2d | nn.Linear)]
    masks = {path: torch.ones_like(modules[path].weight) for path in layers if shortcut not in path}
    order = [path for path, module in modules.items() if path in masks or isinstance(module, Gate)]
    for place, path in enumerate(order):
        if not isinstance(modules[path], Gate):
            continue
        before, behind = ([p for p in part if p in masks] for part in (order[:place], order[place:]))
        for channel in closed(modules[path].mask):
            masks[before[-1]][channel] = 0
            if getattr(modules[before[-1]], "groups", 1) > 1:
                masks[before[-2]][channel] = 0
            pixels = masks[behind[0]].shape[1] // len(modules[path].mask)  # 49 where VGG flattens its maps
            if name != "proxylessnas" or path == "27" or path.endswith(".5") or path == "3.2":
                masks[behind[0]][:, channel * pixels : (channel + 1) * pixels] = 0
    if name == "proxylessnas":  # behind a layer: a channel that is closed in all its candidates
        for layer in range(3, 25):
            ends = ["3.6"] if layer == 3 else [f"{layer}.branches.{i}.9" for i in range(6)]
            starts = ["25"] if layer == 24 else [f"{layer + 1}.branches.{i}.0" for i in range(6)]
            for channel in closed(torch.stack([modules[path].mask for path in ends]).any(dim=0)):
                for path in starts:
                    masks[path][:, channel] = 0
    return counted(model, masks, layers, side)


def closed(mask: Tensor) -> list[int]:
    return [channel for channel, is_open in enumerate(mask.tolist()) if not is_open]


def counted(model: nn.Module, masks: dict[str, Tensor], layers: list[str], side: int) -> tuple[int, int]:
    """Parameters and "FLOPs" of what the masks leave, as torchsummary.py adds them up."""
    seen = {}
    for path in layers:
        model.get_submodule(path).register_forward_hook(lambda m, i, o, path=path: seen.update({path: o.shape}))
    model.eval()(torch.zeros(1, 3, side, side))
    params = flops = 0
    for path, shape in seen.items():
        layer = model.get_submodule(path)
        mask = masks.get(path, torch.ones_like(layer.weight))
        alive = sum(bool(filter_.any()) for filter_ in mask)
        height, width = shape[2:] if len(shape) == 4 else (1, 1)
        params, flops = params + int(mask.sum()), flops + int(mask.sum()) * height * width
        if isinstance(layer, nn.Conv2d) and path in masks:  # its batch norm
            params, flops = params + 2 * alive, flops + alive
        if layer.bias is not None:
            params, flops = params + alive, flops + alive
    return params, flops


def one_closed(number: int) -> Callable[[str, Tensor], Tensor]:
    """Half of each gate, and nothing of the gate of that number."""
    seen: list[str] = []

    def which(name: str, mask: Tensor) -> Tensor:
        seen.append(name)
        return half(name, mask) & (len(seen) - 1 != number)

    return which


CLOSED = {
    "none": lambda name, mask: mask,
    "half": half,
    "all of the first": one_closed(0),
    "all of the third": one_closed(2),
    "all": lambda name, mask: mask & False,
}


@each
@pytest.mark.parametrize("masks", CLOSED)
def test_counts_are_those_of_whole_masks(name, masks):
    side = min(BASELINES[name][0], 64)
    model = network(name, 0.125)
    torch.manual_seed(1)
    close(model, CLOSED[masks])
    assert published_count(model, (3, side, side)) == by_whole_masks(model, name, side)


def test_gates_may_stand_elsewhere():
    """One behind a linear layer closes its outputs and inputs of the next; before a depthwise one it has no inputs."""
    conv = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), Gate(4))
    depthwise = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(4))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), Gate(6), nn.Linear(6, 2)]
    model = nn.Sequential(conv, depthwise, *head)
    conv[2].mask[0] = False
    head[4].mask[:2] = False
    # Weights, batch norms, biases: 3 of 4 filters of 3; four of 9; 4 of 6 of 4; two of 4
    params = (3 * 3 + 2 * 3) + (4 * 9 + 2 * 4) + (4 * 4 + 4) + (2 * 4 + 2)
    macs = (25 * 3 * 3 + 3) + (25 * 4 * 9 + 4) + (4 * 4 + 4) + (2 * 4 + 2)
    assert published_count(model, (3, 5, 5)) == (params, macs)


def test_channels_count_that_the_gates_left_open_though_slim_closes_them():
    """A wholly closed gate of a branch makes slim close the others there; the published programs mask it alone."""
    model, size = network("resnet56", 0.25), (3, 32, 32)
    for name, gate in gates(model).items():
        gate.s.data = torch.linspace(-1, -0.5 if name == "5.branches.0.6" else 2, len(gate.s))
        gate.scale = 1e4
        gate.close()
    expected = by_whole_masks(model, "resnet56", 32)
    slim(model, size)
    assert not gates(model)["5.branches.0.2"].mask.any()  # the other gate of that branch
    assert published_count(model, size) == expected


def test_channels_count_that_slim_opened_again():
    model, size = network("vgg16_cifar", 0.125), (3, 32, 32)
    for gate in gates(model).values():
        gate.s.data.fill_(-1.0)
        gate.close()
    last = 64 * 10 + 10
    assert published_count(model, size) == (last, last)
    slim(model, size)  # one channel in each of 13 convolutions, the hidden layer reads one
    convolutions = (3 * 9 + 2 + 1) + 12 * (9 + 2 + 1)
    assert published_count(model, size).params == convolutions + (64 + 64) + last


def test_ratios_are_to_the_network_with_open_gates_and_the_masks_stay():
    model, size = network("resnet56", 0.25), (3, 32, 32)
    whole = published_count(model, size)
    close(model, half)
    masks = {name: gate.mask.clone() for name, gate in gates(model).items()}
    left = published_count(model, size)
    told = published_ratios(model, size)
    assert (told["paper_params"], told["paper_macs"]) == left
    assert told["paper_params_ratio"] == whole.params / left.params > 1.5
    assert told["paper_macs_ratio"] == whole.macs / left.macs > 1.5
    assert all(torch.equal(gate.mask, masks[name]) for name, gate in gates(model).items())
