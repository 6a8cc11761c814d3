"""Operations against slow loops over pixels, the papers' definitions and torchvision's EfficientNet blocks."""

import ast
import subprocess
import sys
from copy import deepcopy
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
import torchvision
from conftest import ROOT
from torch import nn
from torchvision.models import efficientnet

from nas.fast import accelerate
from nas.pipeline.errors import UserError
from nas.space import operations
from nas.space.operations import build
from nas.space.operations.basic import FactorizedReduce, Identity, relu_conv_norm
from nas.space.operations.efficientnet import FusedMBConv, MBConv, SqueezeExcitation
from nas.space.operations.pib import PIBConv

PAPERS = [
    *("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "conv_7x1_1x7", "dil_conv_3x3", "dil_conv_5x5"),
    *(f"{kind}_conv_{k}x{k}" for kind in ("sep", "pib") for k in (3, 5, 7)),
    *(f"{kind}_{k}x{k}" for kind in ("sep_conv_gelu", "sep_conv_gelu_ln", "convnext") for k in (3, 5)),
    *(f"pib_conv_f{f}_{k}x{k}" for f in ("1.5", "3", "4.5") for k in (3, 5, 7)),
    *("ds_conv", "mb_conv", "fused_mb_conv", "noise", "nor_conv_1x1", "nor_conv_3x3"),
]
MAPS = [(8, 8), (7, 7), (5, 8), (2, 2), (1, 1)]
C = 4


def image(channels: int, size: tuple[int, int], batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch + channels)
    return torch.randn(batch, channels, *size, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", PAPERS)
def test_operation_equals_its_definition(name, stride, affine, training, monkeypatch):
    monkeypatch.setattr("nas.fast.conditions.SMALLEST", 0)
    for size in MAPS:
        module = reference.randomize(build(name, C, stride, affine)).train(training)
        take, rest = reference.take_from(module)
        x = image(C, size)
        expected = reference.operation(name, x.numpy(), stride, take, training=training, affine=affine)
        assert next(rest, None) is None
        for path in (module, accelerate(deepcopy(module))):
            torch.manual_seed(0)  # of noise
            out = path(x)
            assert out.shape == (3, C, -(-size[0] // stride), -(-size[1] // stride))
            np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_noise_is_standard_normal_and_knows_nothing_of_its_input(training):
    noise = build("noise", C, 1, True).train(training)
    torch.manual_seed(1)
    x = image(C, (40, 40), batch=4).requires_grad_()
    one, other = noise(x), noise(x)
    n = one.numel()
    assert not one.requires_grad and abs((one * other).mean()) < 4 / n**0.5
    assert abs(one.mean()) < 4 / n**0.5 and abs(one.var() - 1) < 4 * (2 / n) ** 0.5


def test_every_operation_has_a_reference():
    assert set(PAPERS) == set(operations.names())


def test_the_table_of_families_is_plain_text_and_says_what_each_file_holds():
    source = Path(operations.__file__)
    table = next(node.value for node in ast.parse(source.read_text()).body if isinstance(node, ast.AnnAssign))
    assert ast.literal_eval(table) == operations.FAMILIES
    held = {}
    for file in source.parent.glob("*.py"):
        if file != source:
            held[file.stem] = tuple(import_module(f"nas.space.operations.{file.stem}").OPERATIONS)
    assert held == operations.FAMILIES
    assert len(set(operations.names())) == len(operations.names())


LOADED = """
import sys
from nas.space import operations
assert "torch" not in sys.modules
from nas.networks import network, supernet
assert "nas.space.published" not in sys.modules
operations.build("sep_conv_3x3", 4, 1, True)
print(*sorted(name.split(".")[-1] for name in sys.modules if name.startswith("nas.space.operations.")))
"""


def test_only_the_family_of_an_operation_is_loaded():
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["basic", "separable"]


def test_an_unknown_operation():
    for ask in (operations.family_of, lambda name: build(name, C, 1, True)):
        with pytest.raises(
            UserError, match=r"^unknown operation 'sep_conv3x3'; did you mean sep_conv_3x3\? \(known: none, "
        ):
            ask("sep_conv3x3")


@pytest.mark.parametrize("name", operations.names())
def test_every_operation_keeps_the_channels_and_divides_the_map_by_the_stride(name):
    for stride in (1, 2):
        for height, width in MAPS:
            out = build(name, 6, stride, True)(image(6, (height, width)).float())
            assert out.shape == (3, 6, -(-height // stride), -(-width // stride))


@pytest.mark.parametrize("name", operations.names())
def test_normalizations_learn_a_scale_and_a_shift_if_asked(name):
    for stride in (1, 2):
        modules = {affine: build(name, C, stride, affine) for affine in (True, False)}
        counts = {affine: sum(p.numel() for p in module.parameters()) for affine, module in modules.items()}
        kinds = nn.BatchNorm2d | nn.LayerNorm
        norms = {affine: [m for m in modules[affine].modules() if isinstance(m, kinds)] for affine in modules}
        assert all((m.weight is not None) == affine for affine, found in norms.items() for m in found)
        widths = [m.normalized_shape[0] if isinstance(m, nn.LayerNorm) else m.num_features for m in norms[True]]
        assert counts[True] - counts[False] == 2 * sum(widths)


WEIGHTS = {  # of C channels at stride 1 and 2, batch norms aside
    "none": (0, 0),
    "skip_connect": (0, C * C),
    "noise": (0, 0),
    "nor_conv_1x1": (C * C, C * C),
    "nor_conv_3x3": 2 * (9 * C * C,),
    "max_pool_3x3": (0, 0),
    "avg_pool_3x3": (0, 0),
    "sep_conv_5x5": 2 * (2 * (25 * C + C * C),),
    "dil_conv_5x5": 2 * (25 * C + C * C,),
    "conv_7x1_1x7": 2 * (14 * C * C,),
    "pib_conv_5x5": 2 * (2 * 25 * C + 3 * C * C + 25 * C,),
    "convnext_5x5": 2 * (2 * 4 * C * C + 25 * C,),  # PIBConv, equation 1
    "sep_conv_gelu_ln_3x3": 2 * (2 * (9 * C + C * C),),
    "pib_conv_f1.5_3x3": 2 * (9 * C + 1.5 * C * C + 9 * 3 * C + C * C,),  # 2 groups of 3 channels to 2
    "pib_conv_f4.5_5x5": 2 * (25 * C + 4.5 * C * C + 25 * 9 * C + C * C,),  # 2 groups of 9 channels to 2
    "ds_conv": 2 * (9 * C + C * C,),
    "mb_conv": 2 * (4 * C * C + 9 * 4 * C + (4 * C + 1 + 4 * C + 4 * C) + 4 * C * C,),  # 1 squeezed channel, biases
    "fused_mb_conv": 2 * (9 * 4 * C * C + 4 * C * C,),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_number_of_weights(name):
    counts = tuple(sum(p.numel() for p in build(name, C, stride, False).parameters()) for stride in (1, 2))
    assert counts == WEIGHTS[name]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(
    "expansion, wide_channels, groups",  # groups = gcd(C, F·C)
    [
        (1, 4, 4),
        (2, 8, 4),
        (3, 12, 4),
        (1.5, 6, 2),
        (4.5, 18, 2),
        (1.25, 5, 1),
        (2.75, 11, 1),
    ],
)
def test_pibconv_widens_by_its_expansion(expansion, wide_channels, groups, kernel):
    default = {} if expansion == 2 else {"expansion": expansion}
    module = PIBConv(C, 1, False, kernel=kernel, **default)
    weights = kernel**2 * C + C * wide_channels + kernel**2 * C * wide_channels // groups + C**2
    assert sum(p.numel() for p in module.parameters()) == weights
    wide, grouped = [m for m in module if isinstance(m, nn.Conv2d)][1:3]
    assert wide.out_channels == grouped.in_channels == wide_channels
    assert (grouped.groups, grouped.out_channels) == (groups, C)
    module = reference.randomize(module)
    take, rest = reference.take_from(module)
    x = image(C, (5, 5))
    expected = reference.operation(f"pib_conv_{kernel}x{kernel}", x.numpy(), 1, take, training=True, affine=False)
    assert next(rest, None) is None
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_pibconv_expands_only_by_keyword():
    with pytest.raises(TypeError):
        PIBConv(C, 1, True, 3, 3)


def test_pibconv_does_not_narrow_and_has_whole_channels():
    with pytest.raises(UserError, match="expansion: 0.5 is not allowed: must be at least 1"):
        PIBConv(C, 1, True, kernel=3, expansion=0.5)
    with pytest.raises(UserError, match="channels: 15 is not allowed: pib_conv widens it 1.5 times"):
        build("pib_conv_f1.5_3x3", 15, 1, True)
    PIBConv(10, 1, True, kernel=3, expansion=1.1)  # 11.000000000000002


# EfficientNetV2's blocks


def take_over(module: nn.Module, other: nn.Module) -> None:
    """Copy the tensors of `other` into `module`: both hold them in the order of the forward pass."""
    values = other.state_dict().values()
    module.load_state_dict(dict(zip(module.state_dict(), values, strict=True)))


@pytest.mark.parametrize("channels, squeezed", [(16, 4), (6, 1), (3, 5)])
def test_squeeze_excitation_is_torchvisions(channels, squeezed):
    theirs = torchvision.ops.SqueezeExcitation(channels, squeezed, activation=nn.SiLU)
    ours = SqueezeExcitation(channels, squeezed).double()
    take_over(ours, reference.randomize(theirs))
    x = image(channels, (5, 4))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    expected = reference.squeeze_excitation(x.numpy(), squeezed, reference.take_from(theirs)[0])
    np.testing.assert_allclose(ours(x).detach().numpy(), expected, rtol=1e-12)


BOTTLENECKS = {"mb_conv": MBConv, "fused_mb_conv": FusedMBConv}
TORCHVISION = {
    "mb_conv": (efficientnet.MBConv, efficientnet.MBConvConfig, (1, 4, 6)),
    # With expansion 1 torchvision's has no projection: EfficientNetV2's first stage, one 3×3 convolution
    "fused_mb_conv": (efficientnet.FusedMBConv, efficientnet.FusedMBConvConfig, (4, 6)),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("name, expansion", [(name, e) for name, row in TORCHVISION.items() for e in row[2]])
def test_blocks_of_efficientnet_are_torchvisions(name, expansion, kernel, stride, training):
    """Outputs, their gradient by the input and, in training, running statistics."""
    block, config, _ = TORCHVISION[name]
    theirs = block(config(expansion, kernel, stride, 8, 8, 1), stochastic_depth_prob=0.0, norm_layer=nn.BatchNorm2d)
    ours = BOTTLENECKS[name](8, stride, True, kernel=kernel, expansion=expansion).double()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    take_over(ours, reference.randomize(theirs))
    for module in (ours, theirs):
        module.train(training)
    for size in MAPS:
        x = image(8, size).requires_grad_()
        outputs = [ours(x), theirs(x)]
        torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
        slopes = [torch.autograd.grad(out.square().mean(), x)[0] for out in outputs]
        torch.testing.assert_close(*slopes, rtol=1e-8, atol=1e-8)
        for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", BOTTLENECKS)
@pytest.mark.parametrize(
    "expansion, se_ratio, wide, squeezed",
    [(1.5, 0.5, 6, 2), (4, 1, 16, 4), (6, 0.1, 24, 1), (6, 0, 24, 0)],
)
def test_keywords_of_the_inverted_bottlenecks(name, expansion, se_ratio, wide, squeezed, stride):
    module = BOTTLENECKS[name](C, stride, True, kernel=5, expansion=expansion, se_ratio=se_ratio)
    assert sum(isinstance(m, SqueezeExcitation) for m in module.modules()) == (squeezed > 0)
    take, rest = reference.take_from(reference.randomize(module))
    x = image(C, (5, 4))
    how = {"kernel": 5, "wide": wide, "squeezed": squeezed, "fused": name == "fused_mb_conv", "training": True}
    expected = reference.mb_conv(x.numpy(), stride, take, **how)
    assert next(rest, None) is None
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(TypeError):
        BOTTLENECKS[name](C, stride, True, 5)


@pytest.mark.parametrize("name", BOTTLENECKS)
@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"expansion": 0.5}, "expansion: 0.5 is not allowed: must be at least 1"),
        ({"expansion": 0}, "expansion: 0 is not allowed: must be at least 1"),
        ({"expansion": -4}, "expansion: -4 is not allowed: must be at least 1"),
        ({"expansion": float("nan")}, "expansion: nan is not allowed: must be at least 1, and finite"),
        ({"expansion": float("inf")}, "expansion: inf is not allowed: must be at least 1, and finite"),
        ({"expansion": 1.3}, "channels: 4 is not allowed: {name} widens it 1.3 times, .* a whole number of channels"),
        ({"se_ratio": -0.25}, "se_ratio: -0.25 is not allowed: must be from 0 to 1"),
        ({"se_ratio": 1.5}, "se_ratio: 1.5 is not allowed: must be from 0 to 1"),
        ({"se_ratio": float("nan")}, "se_ratio: nan is not allowed"),
    ],
)
def test_inverted_bottlenecks_that_cannot_be_built(name, wrong, message):
    with pytest.raises(UserError, match=f"^{message.format(name=name)}") as caught:
        BOTTLENECKS[name](C, 1, True, **wrong)
    assert "\n" not in str(caught.value)


def test_skip_at_stride_1_is_the_identity_that_drop_path_spares():
    skip, x = build("skip_connect", C, 1, True), image(C, (4, 4))
    assert isinstance(skip, Identity)
    assert skip(x) is x
    assert isinstance(build("skip_connect", C, 2, True), FactorizedReduce)


@pytest.mark.parametrize("pixel, half", [((2, 4), "even"), ((3, 5), "odd"), ((2, 5), None), ((3, 4), None)])
def test_factorized_reduce_sees_even_pixels_in_one_half_and_odd_in_the_other(pixel, half):
    module = FactorizedReduce(2, 4).double().eval()
    nn.init.ones_(module.even.weight)
    nn.init.ones_(module.odd.weight)
    x = torch.zeros(1, 2, 6, 6, dtype=torch.float64)
    x[:, :, *pixel] = 1
    seen = module(x)[0].detach().abs() > 0
    assert {"even": seen[:2, 1, 2].all(), "odd": seen[2:, 1, 2].all(), None: True}[half]
    assert seen.sum() == (2 if half else 0)


@pytest.mark.parametrize("channels_in, channels_out", [(6, 4), (3, 5)])
@pytest.mark.parametrize("size", MAPS)
def test_adapters_change_the_width(size, channels_in, channels_out):
    x = image(channels_in, size)
    for affine in (True, False):
        how = {"training": True, "affine": affine}
        module = reference.randomize(FactorizedReduce(channels_in, channels_out, affine))
        expected = reference.factorized_reduce(x.numpy(), reference.take_from(module)[0], **how)
        np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
        module = reference.randomize(relu_conv_norm(channels_in, channels_out, affine))
        take, _ = reference.take_from(module)
        expected = reference.norm(reference.conv(reference.relu(x.numpy()), take()), take, **how)
        np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_average_pooling_leaves_padded_cells_out():
    x = torch.ones(1, C, 5, 5)
    for stride in (1, 2):
        assert build("avg_pool_3x3", C, stride, True)(x).eq(1).all()
        assert build("max_pool_3x3", C, stride, True)(-x).eq(-1).all()
