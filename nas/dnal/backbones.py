"""The networks whose widths DNAL learns, by name, with a gate behind the batch norms that it names."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from nas.dnal.gates import Gate
from nas.pipeline.errors import UserError, unknown

# VGG's configuration D (Simonyan and Zisserman, 2015, Table 1): channels of each convolution, M for a max pooling
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
# Sandler et al., 2018, Table 2: expansion, channels, layers, stride of the first; strides for 32 × 32
MOBILENET_V2_CIFAR = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# The macro-architecture of Cai et al., 2019: channels, layers, stride of the first
PROXYLESSNAS = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))


class Sum(nn.Module):
    """The sum of what each of `branches` makes of the same input: a residual block, or a layer of candidates."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return reduce(add, [branch(x) for branch in self.branches])


class PadShortcut(nn.Module):
    """A shortcut without parameters: every `stride`-th pixel, and channels of zeros (He et al., 2016, option A).

    Channels `offset` … `offset` + `channels_in` − 1 of the result are the input's, in their order; the others are 0.
    ``forward(x)``: N × channels_in × H × W → N × channels_out × ⌈H/stride⌉ × ⌈W/stride⌉.
    """

    offset = 0

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.channels_in, self.channels_out, self.stride = channels_in, channels_out, stride

    def forward(self, x: Tensor) -> Tensor:
        after = self.channels_out - self.channels_in - self.offset
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.offset, after))


def vgg16_cifar(num_classes: int, in_channels: int, width: float, image_size: int) -> nn.Module:
    """VGG16 with batch norm and one hidden linear layer of 512; it pools only while the map has more than one pixel.

    The hidden layer has no gate, as in the published program for ImageNet: DNAL gates maps.
    """
    layers: list[nn.Module] = []
    channels, pixels = in_channels, image_size
    for entry in VGG16:
        if entry != "M":
            outputs = _scaled(entry, width)
            layers += _conv(channels, outputs, 3, gated=True, bias=True, activation=nn.ReLU)
            channels = outputs
        elif pixels > 1:
            layers.append(nn.MaxPool2d(2))
            pixels //= 2
    hidden = _scaled(512, width)
    head = [nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head, nn.Linear(hidden, num_classes)]
    return _initialised(nn.Sequential(*layers))


def resnet56(num_classes: int, in_channels: int, width: float, image_size: int) -> nn.Module:
    """ResNet56 for CIFAR-10 (He et al., 2016, section 4.2): 3 × 9 blocks of two convolutions, shortcuts of option A."""
    channels = _scaled(16, width)
    layers = _conv(in_channels, channels, 3, activation=nn.ReLU)
    for stage, base in enumerate((16, 32, 64)):
        outputs = _scaled(base, width)
        for block in range(9):
            stride = 2 if stage and not block else 1
            branch = nn.Sequential(
                *_conv(channels, outputs, 3, stride, gated=True, activation=nn.ReLU),
                *_conv(outputs, outputs, 3, gated=True, activation=None),
            )
            shortcut = nn.Identity() if stride == 1 else PadShortcut(channels, outputs, stride)
            layers += [Sum(branch, shortcut), nn.ReLU(inplace=True)]
            channels = outputs
    return _initialised(nn.Sequential(*layers, *_head(channels, num_classes)))


def mobilenet_v2_cifar(num_classes: int, in_channels: int, width: float, image_size: int) -> nn.Module:
    """MobileNetV2 for 32×32: strides 1 in the stem and the second stage, a shortcut in every block of stride 1."""
    channels = _scaled(32, width)
    layers = _conv(in_channels, channels, 3)
    for expansion, base, repeats, first_stride in MOBILENET_V2_CIFAR:
        outputs = _scaled(base, width)
        for repeat in range(repeats):
            stride = 1 if repeat else first_stride
            block = _mbconv(channels, outputs, 3, expansion, stride, expand=True)
            if stride == 1:
                shortcut = nn.Identity() if repeat else nn.Sequential(*_conv(channels, outputs, 1, activation=None))
                block = Sum(block, shortcut)
            layers.append(block)
            channels = outputs
    return _initialised(nn.Sequential(*layers, *_mobile_head(channels, num_classes, width)))


def proxylessnas(num_classes: int, in_channels: int, width: float, image_size: int) -> nn.Module:
    """ProxylessNAS's supernet, no path of which is sampled: each layer sums six MBConv candidates.

    Kernels {3, 5, 7} × expansions {3, 6}, and the identity where a layer keeps stride and channels.
    """
    channels, outputs = _scaled(32, width), _scaled(16, width)
    layers = [*_conv(in_channels, channels, 3, 2), _mbconv(channels, outputs, 3, 1, 1, expand=False)]
    channels = outputs
    for base, repeats, first_stride in PROXYLESSNAS:
        outputs = _scaled(base, width)
        for repeat in range(repeats):
            stride = 1 if repeat else first_stride
            candidates = [_mbconv(channels, outputs, k, e, stride, expand=True) for k in (3, 5, 7) for e in (3, 6)]
            layers.append(Sum(*candidates, nn.Identity()) if repeat else Sum(*candidates))
            channels = outputs
    network = nn.Sequential(*layers, *_mobile_head(channels, num_classes, width))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3  # as in the published supernet
    return _initialised(network)


def _mbconv(inputs: int, outputs: int, kernel: int, expansion: int, stride: int, *, expand: bool) -> nn.Module:
    """Inverted bottleneck (Sandler et al., 2018), gates behind the depthwise convolution and the projection."""
    hidden = expansion * inputs
    return nn.Sequential(
        *(_conv(inputs, hidden, 1) if expand else []),
        *_conv(hidden, hidden, kernel, stride, groups=hidden, gated=True),
        *_conv(hidden, outputs, 1, gated=True, activation=None),
    )


def _conv(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    bias: bool = False,
    gated: bool = False,
    activation: type[nn.Module] | None = nn.ReLU6,
) -> list[nn.Module]:
    """Convolution, batch norm, gate, activation."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias),
        nn.BatchNorm2d(outputs),
    ]
    if gated:
        layers.append(Gate(outputs))
    if activation is not None:
        layers.append(activation(inplace=True))
    return layers


def _head(channels: int, num_classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]


def _mobile_head(channels: int, num_classes: int, width: float) -> list[nn.Module]:
    last = _scaled(1280, width)
    return [*_conv(channels, last, 1, gated=True), *_head(last, num_classes)]


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _initialised(network: nn.Module) -> nn.Module:
    """Weights drawn as torchvision draws those of VGG and MobileNetV2 (He et al., 2015, by fan-out)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return network


def _from_torchvision(
    name: str, gated: Callable[[str], bool], num_classes: int, in_channels: int, width: float, image_size: int
) -> nn.Module:
    """torchvision's network of that name, without dropout, with a gate behind each batch norm that `gated` accepts.

    Its weights are drawn by torchvision, or by `_initialised` where its channels are not torchvision's. VGG's two
    hidden linear layers get a batch norm each, in dropout's place (both as in DNAL's published programs).
    """
    import torchvision  # takes a second, and only these networks need it

    make = partial(torchvision.models.get_model, name, weights=None, num_classes=num_classes)
    if width == 1 and in_channels == 3:
        network = make()
    else:
        with torch.device("meta"):  # no memory for layers that are all made anew
            network = make()
        network = _initialised(_resized(network, in_channels, width))
    if name == "vgg16_bn":
        first, second, last = (layer for layer in network.classifier if isinstance(layer, nn.Linear))
        hidden = [(linear, nn.BatchNorm1d(linear.out_features), nn.ReLU(inplace=True)) for linear in (first, second)]
        network.classifier = nn.Sequential(*hidden[0], *hidden[1], last)
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.Dropout):
            network.set_submodule(path, nn.Identity())
        if isinstance(module, nn.BatchNorm2d) and gated(path):
            network.set_submodule(path, nn.Sequential(module, Gate(module.num_features)))
    return network


def _resized(network: nn.Module, in_channels: int, width: float) -> nn.Module:
    """Make every layer of `network` anew with other channels: `in_channels` for the image's 3, `width` times the rest.

    torchvision itself narrows MobileNetV2 alone, and takes images of three channels alone.
    """
    *_, last = (module for module in network.modules() if isinstance(module, nn.Linear))
    before = 3
    for path, old in list(network.named_modules()):
        if isinstance(old, nn.Conv2d):
            inputs = in_channels if old.in_channels == 3 else _scaled(old.in_channels, width)
            before, outputs = old.out_channels, _scaled(old.out_channels, width)
            groups, bias = 1 if old.groups == 1 else outputs, old.bias is not None
            new = nn.Conv2d(inputs, outputs, old.kernel_size, old.stride, old.padding, groups=groups, bias=bias)
        elif isinstance(old, nn.BatchNorm2d):
            new = nn.BatchNorm2d(_scaled(old.num_features, width))
        elif isinstance(old, nn.Linear):
            pixels = old.in_features // before  # VGG flattens maps of 7 × 7
            outputs = old.out_features if old is last else _scaled(old.out_features, width)
            new = nn.Linear(pixels * _scaled(before, width), outputs)
            before = old.out_features
        else:
            continue
        network.set_submodule(path, new)
    return network


def _in_mobilenet_v2(path: str) -> bool:
    """features.I.conv is depthwise, 1×1 in the first block and 1×1, depthwise, 1×1 in the others; 18 is the head."""
    expansions = {f"features.{block}.conv.0.1" for block in range(2, 18)}
    return path != "features.0.1" and path not in expansions


@dataclass(frozen=True)
class Backbone:
    """How to make a network, ``make(num_classes, in_channels, width, image_size)``, and for which images.

    Parameters
    ----------
    image_size : int
        Pixels along a side of the images that its published figures hold for.
    smallest : int, default 1
        The least that it takes.
    """

    make: Callable[[int, int, float, int], nn.Module]
    image_size: int
    smallest: int = 1


BACKBONES: dict[str, Backbone] = {
    "vgg16_cifar": Backbone(vgg16_cifar, 32),
    "resnet56": Backbone(resnet56, 32),
    "mobilenet_v2_cifar": Backbone(mobilenet_v2_cifar, 32),
    "vgg16_bn": Backbone(partial(_from_torchvision, "vgg16_bn", lambda path: True), 224, smallest=32),
    "resnet50": Backbone(partial(_from_torchvision, "resnet50", lambda path: "downsample" not in path), 224),
    "mobilenet_v2": Backbone(partial(_from_torchvision, "mobilenet_v2", _in_mobilenet_v2), 224),
    "proxylessnas": Backbone(proxylessnas, 224),
}


def build(
    name: str, *, num_classes: int, in_channels: int = 3, width: float = 1.0, image_size: int | None = None
) -> nn.Module:
    """A gated network with fresh weights and all gates open.

    Parameters
    ----------
    name : str
        Of `BACKBONES`.
    width : float, default 1.0
        What every layer's channels are multiplied by (rounded, at least 1), the classes excepted.
    image_size : int, optional
        Pixels along the shorter side of the images; by default those of the backbone. It tells vgg16_cifar how often
        to pool; the others take what comes.

    Returns
    -------
    Module
        ``forward(x)``: N × in_channels × H × W → N × num_classes. torch.fx traces it with `Gate` and `PadShortcut` as
        leaves.

    Raises
    ------
    UserError
        If there is no backbone of that name, `width` is not above 0, or the images are too small.
    """
    if name not in BACKBONES:
        raise UserError(unknown("backbone", name, BACKBONES))
    if not width > 0:
        raise UserError(f"width: {width} is not allowed: must be above 0")
    backbone = BACKBONES[name]
    image_size = backbone.image_size if image_size is None else image_size
    if image_size < backbone.smallest:
        raise UserError(
            f"image_size: {image_size} is not allowed: {name} needs at least {backbone.smallest} along each side"
        )
    return backbone.make(num_classes, in_channels, width, image_size)
