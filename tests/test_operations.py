"""nas.operations against slow loops over pixels and the papers' definitions."""

import numpy as np
import pytest
import reference
import torch
from torch import nn

from nas.errors import UserError
from nas.operations import OPERATIONS, FactorizedReduce, Identity, PIBConv, relu_conv_norm

PAPERS = [
    *("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "conv_7x1_1x7", "dil_conv_3x3", "dil_conv_5x5"),
    *(f"{kind}_conv_{k}x{k}" for kind in ("sep", "pib") for k in (3, 5, 7)),
    *(f"{kind}_{k}x{k}" for kind in ("sep_conv_gelu", "sep_conv_gelu_ln", "convnext") for k in (3, 5)),
    *(f"pib_conv_f{f}_{k}x{k}" for f in ("1.5", "3", "4.5") for k in (3, 5, 7)),
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
def test_operation_equals_its_definition(name, stride, affine, training):
    for size in MAPS:
        module = reference.randomize(OPERATIONS[name](C, stride, affine)).train(training)
        take, rest = reference.take_from(module)
        x = image(C, size)
        expected = reference.operation(name, x.numpy(), stride, take, training=training, affine=affine)
        assert next(rest, None) is None
        out = module(x)
        assert out.shape == (3, C, -(-size[0] // stride), -(-size[1] // stride))
        np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_every_operation_has_a_reference():
    assert set(PAPERS) == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_the_channels_and_divides_the_map_by_the_stride(name):
    for stride in (1, 2):
        for height, width in MAPS:
            out = OPERATIONS[name](6, stride, True)(image(6, (height, width)).float())
            assert out.shape == (3, 6, -(-height // stride), -(-width // stride))


@pytest.mark.parametrize("name", OPERATIONS)
def test_normalizations_learn_a_scale_and_a_shift_if_asked(name):
    for stride in (1, 2):
        modules = {affine: OPERATIONS[name](C, stride, affine) for affine in (True, False)}
        counts = {affine: sum(p.numel() for p in module.parameters()) for affine, module in modules.items()}
        kinds = nn.BatchNorm2d | nn.LayerNorm
        norms = {affine: [m for m in modules[affine].modules() if isinstance(m, kinds)] for affine in modules}
        assert all((m.weight is not None) == affine for affine, found in norms.items() for m in found)
        assert counts[True] - counts[False] == len(norms[True]) * 2 * C


WEIGHTS = {  # of C channels at stride 1 and 2, batch norms aside
    "none": (0, 0),
    "skip_connect": (0, C * C),
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
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_number_of_weights(name):
    counts = tuple(sum(p.numel() for p in OPERATIONS[name](C, stride, False).parameters()) for stride in (1, 2))
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
        OPERATIONS["pib_conv_f1.5_3x3"](15, 1, True)
    PIBConv(10, 1, True, kernel=3, expansion=1.1)  # 11.000000000000002


def test_skip_at_stride_1_is_the_identity_that_drop_path_spares():
    skip, x = OPERATIONS["skip_connect"](C, 1, True), image(C, (4, 4))
    assert isinstance(skip, Identity)
    assert skip(x) is x
    assert isinstance(OPERATIONS["skip_connect"](C, 2, True), FactorizedReduce)


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
        assert OPERATIONS["avg_pool_3x3"](C, stride, True)(x).eq(1).all()
        assert OPERATIONS["max_pool_3x3"](C, stride, True)(-x).eq(-1).all()
