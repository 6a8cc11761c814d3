"""nas.dnal.backbones against the published costs, torchvision's own networks, and rules for where a gate stands."""

import operator
from functools import cache

import pytest
import torch
import torchvision
from torch import fx, nn
from torch.nn import functional

from nas.dnal.backbones import BACKBONES, PadShortcut, build
from nas.dnal.gates import Gate, gates, learn, plain
from nas.networks.complexity import count
from nas.pipeline import params
from nas.pipeline.errors import UserError

# 10⁶ parameters and 10⁶ multiply-adds of convolutions and linear layers that reproduce the paper's tables
BASELINES = {
    "vgg16_cifar": (32, 10, "14.9919", "313.46"),
    "resnet56": (32, 10, "0.8530", "125.49"),
    "mobilenet_v2_cifar": (32, 10, "2.2969", "91.15"),
    "vgg16_bn": (224, 1000, "138.3824", "15470.26"),  # 138.3660 without its two BatchNorm1d, as the paper counts
    "resnet50": (224, 1000, "25.5570", "4089.18"),
    "mobilenet_v2": (224, 1000, "3.5049", "300.77"),
    "proxylessnas": (224, 1000, "16.0342", "2260.35"),  # 16.0949 with the gates, see below
}
# Inputs and outputs of MobileNetV2's blocks of expansion 6, and of the supernet's layers of candidates
BLOCKS = [16, *[24] * 2, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320]
LAYERS = [16, *[24] * 4, *[40] * 4, *[80] * 4, *[96] * 4, *[192] * 4, 320]
MOBILENET_V2_GATES = (2 * 17 + 1, (32 + 16) + 6 * sum(BLOCKS[:-1]) + sum(BLOCKS[1:]) + 1280)
GATES = {  # how many, and the channels of all of them
    "vgg16_cifar": (13, 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512),
    "resnet56": (54, 18 * (16 + 32 + 64)),
    "mobilenet_v2_cifar": MOBILENET_V2_GATES,
    "vgg16_bn": (13, 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512),
    "resnet50": (1 + 48, 64 + 6 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512)),
    "mobilenet_v2": MOBILENET_V2_GATES,
    "proxylessnas": (2 * (1 + 6 * 21) + 1, (32 + 16) + 3 * (3 + 6) * sum(LAYERS[:-1]) + 6 * sum(LAYERS[1:]) + 1280),
}
ADDITIONS = {  # a shortcut for each block, for each of stride 1, or for each of stride 1 and equal channels
    "vgg16_cifar": 0,
    "resnet56": 27,
    "mobilenet_v2_cifar": 17 - 3,
    "vgg16_bn": 0,
    "resnet50": 16,
    "mobilenet_v2": 17 - 7,
    "proxylessnas": 5 * 21 + 21 - 6,
}
TORCHVISION = ["vgg16_bn", "resnet50", "mobilenet_v2"]
MODULES = (
    nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, Gate, PadShortcut, nn.ReLU, nn.ReLU6, nn.MaxPool2d,
    nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity, nn.Flatten, nn.Linear,
)  # fmt: skip
FUNCTIONS = (operator.add, operator.iadd, torch.flatten, functional.adaptive_avg_pool2d)
each = pytest.mark.parametrize("name", BASELINES)


class Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, Gate | PadShortcut) or super().is_leaf_module(module, name)


@cache
def abstract(name: str) -> nn.Module:
    """At full width, without memory for its weights; not to be changed."""
    with torch.device("meta"):
        return build(name, num_classes=BASELINES[name][1])


def narrow(name: str, width: float = 0.125, in_channels: int = 1, size: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return build(name, num_classes=5, in_channels=in_channels, width=width, image_size=size)


def images(channels: int = 1, size: int = 32) -> torch.Tensor:
    return torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(1))


@each
def test_baselines_cost_what_the_papers_tables_say(name):
    size, _, params, macs = BASELINES[name]
    assert BACKBONES[name].image_size == size
    cost = count(plain(abstract(name)), (3, size, size))
    assert (f"{cost.params / 1e6:.4f}", f"{cost.conv_macs / 1e6:.2f}") == (params, macs)


def test_the_papers_supernet_is_counted_with_its_gates():
    assert f"{sum(p.numel() for p in abstract('proxylessnas').parameters()) / 1e6:.4f}" == "16.0949"


def test_the_papers_vgg16_is_counted_without_the_batch_norms_of_its_linear_layers():
    network = abstract("vgg16_bn")
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    assert [norm.num_features for norm in norms] == [4096, 4096]
    counted = sum(p.numel() for p in plain(network).parameters()) - 2 * 2 * 4096
    assert f"{counted / 1e6:.4f}" == "138.3660"


@each
def test_no_network_has_dropout_and_the_supernets_batch_norms_have_an_epsilon_of_their_own(name):
    modules = list(abstract(name).modules())
    assert not any(isinstance(module, nn.Dropout) for module in modules)
    norms = {module.eps for module in modules if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
    assert norms == {1e-3 if name == "proxylessnas" else 1e-5}


@each
def test_linear_layers_have_no_gate(name):
    network = abstract(name)
    modules = dict(network.named_modules())
    for node in Tracer().trace(network).nodes:
        if isinstance(modules.get(str(node.target)), Gate):
            (norm,) = node.all_input_nodes
            assert isinstance(modules[norm.target], nn.BatchNorm2d)


def ungated(name: str, path: str, stem: bool, depthwise: bool, projection: bool, head: bool) -> bool:
    """Whether the convolution at `path` has no gate, by the paper's rule for its kind of network."""
    if "vgg" in name:
        return False
    if "resnet" in name:
        return (stem and name == "resnet56") or "downsample" in path
    return not (depthwise or projection or head)


@each
def test_gates_stand_behind_the_batch_norms_that_the_paper_names(name):
    network = abstract(name)
    modules = dict(network.named_modules())
    graph = Tracer().trace(network)

    def module(node: fx.Node) -> nn.Module | None:
        return modules[node.target] if node.op == "call_module" else None

    def producer(node: fx.Node) -> nn.Module | None:
        """The convolution that a node reads through batch norm, gate and activation."""
        while isinstance(module(node), nn.BatchNorm2d | Gate | nn.ReLU6):
            (node,) = node.all_input_nodes
        return module(node)

    def depthwise(layer: nn.Module | None) -> bool:
        return isinstance(layer, nn.Conv2d) and layer.groups > 1

    convolutions = [node for node in graph.nodes if isinstance(module(node), nn.Conv2d)]
    for node in convolutions:
        (norm,) = node.users
        assert isinstance(module(norm), nn.BatchNorm2d)
        gated = [user for user in norm.users if isinstance(module(user), Gate)]
        (source,) = node.all_input_nodes
        inside_bottleneck = depthwise(module(node)) or depthwise(producer(source))
        if inside_bottleneck or "vgg" in name or "resnet" in name:
            assert source.op == "placeholder" or isinstance(module(source), nn.ReLU | nn.ReLU6 | nn.MaxPool2d)
        expected = not ungated(
            name,
            node.target,
            stem=source.op == "placeholder",
            depthwise=depthwise(module(node)),
            projection=depthwise(producer(source)),
            head=node is convolutions[-1],
        )
        assert bool(gated) == expected, node.target
        assert not gated or len(norm.users) == 1, f"{node.target} is read past its gate"
    for node in graph.nodes:
        if isinstance(module(node), Gate):
            (norm,) = node.all_input_nodes
            assert module(norm).num_features == len(module(node).s)
    found = gates(network).values()
    assert (len(found), sum(len(gate.s) for gate in found)) == GATES[name]


@each
def test_torch_fx_sees_ordinary_layers_alone(name):
    network = narrow(name).eval()
    learn(network, 1.0)
    graph = Tracer().trace(network)
    for node in graph.nodes:
        if node.op == "call_module":
            layer = network.get_submodule(node.target)
            assert type(layer) in MODULES
            if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                assert layer.groups == layer.in_channels == layer.out_channels
        else:
            assert node.op in ("placeholder", "output") or node.target in FUNCTIONS
    assert sum(node.target in (operator.add, operator.iadd) for node in graph.nodes) == ADDITIONS[name]
    with torch.no_grad():
        assert torch.equal(fx.GraphModule(network, graph)(images()), network(images()))


@each
def test_a_step_reaches_every_weight_and_later_every_gate(name):
    network = narrow(name)
    architecture = {f"{path}.s" for path in gates(network)}
    before_norm = set()  # a batch norm takes away what such a bias adds
    if "vgg" in name:
        convolutions = [path for path, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        before_norm = {f"{path}.bias" for path in convolutions[: 14 if name == "vgg16_cifar" else 13]}

    def gradients() -> dict[str, torch.Tensor]:
        network.zero_grad()
        functional.cross_entropy(network(images()), torch.tensor([0, 1, 2, 3])).backward()
        return {path: p.grad for path, p in network.named_parameters() if p.grad is not None}

    weights = gradients()
    assert set(weights) == {path for path, _ in network.named_parameters()} - architecture
    assert all(gradient.any() for path, gradient in weights.items() if path not in before_norm)
    learn(network, 1.0)
    both = gradients()
    assert architecture < set(both) and all(both[path].any() for path in architecture)


@each
def test_an_eighth_of_the_width(name):
    """All channels of all backbones are multiples of 8."""

    def widths(network: nn.Module) -> list[int]:
        return [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)]

    def groups(network: nn.Module) -> list[int]:
        return [m.groups for m in network.modules() if isinstance(m, nn.Conv2d)]

    full, eighth = abstract(name), narrow(name)
    assert [channels / 8 for channels in widths(full)] == widths(eighth)
    assert [1 if n == 1 else n / 8 for n in groups(full)] == groups(eighth)


@each
def test_other_images_and_odd_widths(name):
    network = narrow(name, 0.07, 4, 45).eval()
    assert network(images(4, 45)).shape == (4, 5)


@pytest.mark.parametrize("name", ["vgg16_cifar", "resnet56", "mobilenet_v2_cifar"])
@pytest.mark.parametrize("size", [1, 8])
def test_images_of_a_few_pixels(name, size):
    network = narrow(name, size=size).eval()
    assert network(images(size=size)).shape == (4, 5)


@pytest.mark.parametrize("size, pools", [(1, 0), (8, 3), (28, 4), (32, 5), (64, 5)])
def test_vgg_pools_while_there_is_more_than_one_pixel(size, pools):
    network = narrow("vgg16_cifar", size=size)
    assert sum(isinstance(module, nn.MaxPool2d) for module in network.modules()) == pools
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in narrow("vgg16_cifar").parameters())


@pytest.mark.parametrize("name", TORCHVISION)
def test_open_gates_leave_torchvisions_output(name):
    """VGG16's with a batch norm behind each hidden linear layer."""
    torch.manual_seed(0)
    network = build(name, num_classes=1000).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    with torch.device("meta"):
        reference = torchvision.models.get_model(name)
        if name == "vgg16_bn":
            reference.classifier[2], reference.classifier[5] = nn.Identity(), nn.Identity()  # dropout
            for place in (0, 3):
                reference.classifier[place] = nn.Sequential(reference.classifier[place], nn.BatchNorm1d(4096))
        reference.eval()
    ours = plain(network).state_dict()
    assert len(ours) == len(reference.state_dict())
    reference.load_state_dict(dict(zip(reference.state_dict(), ours.values(), strict=True)), assign=True)
    with torch.no_grad():
        assert torch.equal(network(images(3, 64)), reference(images(3, 64)))


@each
def test_weights_start_as_he_says(name):
    """A deviation of √(2 / fan-out), the fan-out being filters × pixels of the kernel, for depthwise ones as well."""
    network = narrow(name, 0.5)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 4000]
    assert convolutions
    for module in convolutions:
        filters, _, height, width = module.weight.shape
        assert module.weight.std().item() == pytest.approx((2 / (filters * height * width)) ** 0.5, rel=0.1)
    assert not any(p.any() for path, p in network.named_parameters() if path.endswith("bias"))


def test_closed_gates_leave_resnet56_its_shortcuts():
    """The stem's channels come first among those of the head, at every fourth pixel."""
    network = narrow("resnet56", 0.5).eval()
    for gate in gates(network).values():
        gate.close()  # σ(0) is below the threshold
    with torch.no_grad():
        stem, features, logits = network[:3](images()), torch.zeros(4, 32), network(images())
        features[:, :8] = stem[:, :, ::4, ::4].mean((2, 3))
        torch.testing.assert_close(logits, network[-1](features))
    assert features.any()


def test_the_padded_shortcut():
    x = torch.randn(2, 3, 5, 6)
    shortcut = PadShortcut(3, 7, 2)
    y = shortcut(x)
    assert y.shape == (2, 7, 3, 3)
    for channel in range(7):
        source = channel - shortcut.offset
        expected = x[:, source, ::2, ::2] if 0 <= source < 3 else torch.zeros(2, 3, 3)
        assert torch.equal(y[:, channel], expected)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "resnet65"}, "unknown backbone 'resnet65'; did you mean resnet56?"),
        ({"name": "resnet56", "width": 0}, "width: 0 is not allowed: must be above 0"),
        (
            {"name": "vgg16_bn", "image_size": 28},
            "image_size: 28 is not allowed: vgg16_bn needs at least 32 along each side",
        ),
        (
            {"name": "resnet56", "image_size": 0},
            "image_size: 0 is not allowed: resnet56 needs at least 1 along each side",
        ),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(UserError) as error:
        build(**arguments, num_classes=10)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_params_know_every_backbone_before_torch_does():
    assert tuple(BACKBONES) == params.BACKBONES
