"""nas.networks.complexity against the published tables and counts by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from nas.dnal.backbones import BACKBONES, build
from nas.networks.complexity import Complexity, conv_macs, conv_weights, count
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.report.published.pibconv import PIBCONV_BLOCKS, PIBCONV_TABLE_1
from nas.space import operations
from nas.space.genotypes import Genotype
from nas.space.published import PUBLISHED

LAYERS = (20, 15, 10, 8, 7, 6, 5, 4, 3, 2)
# 10⁶ parameters and 10⁹ multiply-adds that the authors' own programs and ptflops give: C = 36, 3 × 32 × 32, 10 classes.
AUTHORS = {
    "DARTS_V2": (
        ("3.3493", "2.2813", "1.5960", "1.1549", "1.0474", "0.6354", "0.6050", "0.4872", "0.1167", "0.0823"),
        ("0.5475", "0.4081", "0.2648", "0.2077", "0.1799", "0.1533", "0.1215", "0.0909", "0.0670", "0.0352"),
    ),
    "DARTS_PseudoInvBn": (
        ("6.0068", "4.1735", "2.9930", "2.2369", "2.0505", "1.3461", "1.2931", "1.0964", "0.4334", "0.3765"),
        ("0.9493", "0.7093", "0.4610", "0.3623", "0.3143", "0.2691", "0.2142", "0.1636", "0.1209", "0.0661"),
    ),
}
ROWS = [(genotype, *row) for genotype, columns in AUTHORS.items() for row in zip(LAYERS, *columns, strict=True)]


@pytest.mark.parametrize("genotype, layers, params, gmac", ROWS)
def test_published_networks_cost_what_the_authors_programs_count(genotype, layers, params, gmac):
    network = Network(PUBLISHED[genotype], channels=36, layers=layers, num_classes=10)
    cost = count(network, (3, 32, 32))
    assert (f"{cost.params / 1e6:.4f}", f"{cost.macs / 1e9:.4f}") == (params, gmac)
    assert cost.params == sum(p.numel() for p in network.parameters())
    assert 0.8 * cost.macs < cost.conv_macs < cost.macs


@pytest.mark.parametrize("block", PIBCONV_BLOCKS, ids=lambda block: block.operation)
@pytest.mark.parametrize("channels", [16, 36])
def test_weights_of_a_block_beside_the_papers_equation(block, channels):
    """Equation 1 is exact; equation 2 counts K²C where C groups over F·C channels hold F·K²C."""
    built = conv_weights(operations.build(block.operation, channels, 1, True))
    c, k, f = channels, block.kernel, block.expansion
    if block.operation.startswith("convnext"):
        assert built == block.equation(c, k, f) == 2 * f * c**2 + k**2 * c
    else:
        in_a_group = {1.5: 3, 2: 2, 3: 3, 4.5: 9}[f]
        assert block.equation(c, k, f) == (f + 1) * c**2 + 2 * k**2 * c
        assert built - block.equation(c, k, f) == (in_a_group - 1) * k**2 * c


def test_layer_norm_costs_what_the_papers_roadmap_says():
    """ptflops counts no multiplication by LayerNorm's scale: 0.547 GMAC become 0.54 (Fig. 1), in DARTS_V2 too."""
    v2 = PUBLISHED["DARTS_V2"]
    cells = [[(o.replace("sep_conv", "sep_conv_gelu_ln"), s) for o, s in cell] for cell in (v2.normal, v2.reduce)]
    genotype = Genotype(cells[0], v2.normal_concat, cells[1], v2.reduce_concat)
    gmac = count(Network(genotype, channels=36, layers=20, num_classes=10), (3, 32, 32)).macs / 1e9
    assert int(1000 * gmac) == 543


def test_the_papers_own_table_stands_beside_ours():
    """The paper truncates or rounds to three digits; its own networks of PIBConv are up to 2.3 % larger."""
    papers = {(row.genotype, row.layers): row for row in PIBCONV_TABLE_1}
    assert len(PIBCONV_TABLE_1) == len(papers) == len(ROWS)
    for genotype, layers, params, gmac in ROWS:
        row = papers[genotype, layers]
        smaller = 0.024 if genotype == "DARTS_PseudoInvBn" else 0.0
        assert row.params == pytest.approx(float(params), rel=smaller + 0.015)
        assert row.gmac == pytest.approx(float(gmac), rel=smaller, abs=0.0011)


C, HEIGHT, WIDTH = 6, 7, 4
HAND = {  # multiply-adds for every pixel of the result at stride 1
    "none": 0,
    "skip_connect": 0,
    "max_pool_3x3": 0,
    "avg_pool_3x3": 0,
    "sep_conv_3x3": 2 * (9 * C + C * C),
    "sep_conv_5x5": 2 * (25 * C + C * C),
    "sep_conv_7x7": 2 * (49 * C + C * C),
    "dil_conv_3x3": 9 * C + C * C,
    "dil_conv_5x5": 25 * C + C * C,
    "conv_7x1_1x7": 14 * C * C,
    "pib_conv_3x3": 9 * C + 2 * C * C + 2 * 9 * C + C * C,
    "pib_conv_5x5": 25 * C + 2 * C * C + 2 * 25 * C + C * C,
    "pib_conv_7x7": 49 * C + 2 * C * C + 2 * 49 * C + C * C,
    "sep_conv_gelu_3x3": 2 * (9 * C + C * C),
    "sep_conv_gelu_ln_5x5": 2 * (25 * C + C * C),
    "convnext_3x3": 9 * C + 2 * 4 * C * C,
    "pib_conv_f1.5_3x3": 9 * C + 1.5 * C * C + 9 * 3 * C + C * C,
    "pib_conv_f3_5x5": 25 * C + 3 * C * C + 25 * 3 * C + C * C,
    "ds_conv": 9 * C + C * C,
    "mb_conv": 4 * C * C + 9 * 4 * C + 4 * C * C,
    "fused_mb_conv": 9 * 4 * C * C + 4 * C * C,
}
SQUEEZE = {"mb_conv": 2 * 4 * C * 1}  # once an image: 4·C channels to max(1, C // 4) and back


@pytest.mark.parametrize("name", HAND)
def test_multiply_adds_of_each_operation(name):
    def conv_macs(stride: int) -> int:
        model = nn.Sequential(nn.Conv2d(C, C, 1), operations.build(name, C, stride, True))
        return count(model, (C, HEIGHT, WIDTH)).conv_macs - HEIGHT * WIDTH * C * C

    assert conv_macs(1) == HEIGHT * WIDTH * HAND[name] + SQUEEZE.get(name, 0)
    if name == "skip_connect":
        assert conv_macs(2) == 4 * 2 * C * C
    elif name == "conv_7x1_1x7":  # the first convolution strides along the rows alone
        assert conv_macs(2) == 7 * C * C * (HEIGHT * 2 + 4 * 2)
    elif name == "mb_conv":  # it widens before it strides
        assert conv_macs(2) == HEIGHT * WIDTH * 4 * C * C + 4 * 2 * (9 * 4 * C + 4 * C * C) + SQUEEZE[name]
    else:
        assert conv_macs(2) == 4 * 2 * HAND[name]


def test_multiply_adds_of_a_whole_network_by_hand():
    """DARTS_V2, C = 2, three cells on a 1 × 8 × 8 image: normal, and two reductions to 4 × 4 and 2 × 2."""

    def sep(channels: int) -> int:
        return 2 * (9 * channels + channels**2)

    stem = 64 * 9 * 6
    # cell 0: both inputs 6 → 2; 2·2 + 1 separable convolutions and a dilated one, at 8 × 8
    normal = 64 * (6 * 2 + 6 * 2 + 5 * sep(2) + (9 * 2 + 2**2))
    # cell 1: inputs 6 → 4 and 8 → 4 at 8 × 8; its skips come from node 0, so they cost nothing
    reduction = 64 * (6 * 4 + 8 * 4)
    # cell 2: the input before the reduction by factorized reduce 8 → 8 to 4 × 4, the last 16 → 8 at 4 × 4
    after = 16 * (8 * 8 + 16 * 8)
    head = 32 * 5
    network = Network(PUBLISHED["DARTS_V2"], channels=2, layers=3, num_classes=5, in_channels=1)
    assert count(network, (1, 8, 8)).conv_macs == stem + normal + reduction + after + head


def slow_macs(genotype: Genotype, channels: int, layers: int, classes: int, size: int) -> int:
    """Multiply-adds of convolutions and the linear layer with the ImageNet stem, added up cell by cell."""

    def conv(inputs: int, outputs: int, kernel: int, pixels: int) -> int:
        return inputs * outputs * kernel**2 * pixels**2

    def of_operation(name: str, c: int, stride: int, pixels: int) -> int:
        if name == "skip_connect":
            return conv(c, c, 1, pixels) if stride == 2 else 0
        if "pool" in name:
            return 0
        if name in BLOCKS:
            return BLOCKS[name](c, (stride * pixels) ** 2, pixels**2)
        kind, kernel = name.rsplit("_", 1)
        return PER_PIXEL[kind](c, int(kernel[0])) * pixels**2

    def width(cell: int) -> int:
        return channels * 2 ** sum(cell >= r for r in (layers // 3, 2 * layers // 3))

    total = conv(3, channels // 2, 3, size // 2) + conv(channels // 2, channels, 3, size // 4)
    total += conv(channels, channels, 3, size // 8)
    outputs, pixels = [channels, channels], size // 8
    for cell in range(layers):
        c, reduction = width(cell), cell in (layers // 3, 2 * layers // 3)
        total += (outputs[-2] + outputs[-1]) * c * pixels**2  # both inputs, at the size of the second
        edges = genotype.reduce if reduction else genotype.normal
        after = pixels // 2 if reduction else pixels
        for name, state in edges:
            total += of_operation(name, c, 2 if reduction and state < 2 else 1, after)
        outputs.append(4 * c)
        pixels = after
    return total + outputs[-1] * classes


PER_PIXEL = {  # of C channels and a K×K kernel, for every pixel of the result
    "sep_conv": lambda c, k: 2 * (k * k * c + c * c),
    "dil_conv": lambda c, k: k * k * c + c * c,
    "pib_conv": lambda c, k: k * k * c + 2 * c * c + 2 * k * k * c + c * c,
}


BLOCKS = {  # of C channels, by the pixels before and after the stride
    "ds_conv": lambda c, before, after: after * (9 * c + c * c),
    "mb_conv": lambda c, before, after: 4 * c * (before * c + after * (9 + c) + 2 * max(1, c // 4)),
    "fused_mb_conv": lambda c, before, after: 4 * c * after * (9 * c + c),
}


@pytest.mark.parametrize("genotype", ["DARTS_V1", "DARTS_V2", "DARTS_PseudoInvBn"])
@pytest.mark.parametrize("channels, layers", [(48, 14), (36, 20)])
def test_multiply_adds_at_224x224(genotype, channels, layers):
    network = Network(PUBLISHED[genotype], channels=channels, layers=layers, num_classes=1000, stem="imagenet")
    assert count(network, (3, 224, 224)).conv_macs == slow_macs(PUBLISHED[genotype], channels, layers, 1000, 224)


@pytest.mark.parametrize("block", BLOCKS)
def test_multiply_adds_of_a_network_of_one_block(block):
    genotype = PUBLISHED["DARTS_V2"].with_all(block)
    network = Network(genotype, channels=6, layers=6, num_classes=10, stem="imagenet")
    cost = count(network, (3, 64, 64))
    assert cost.conv_macs == slow_macs(genotype, 6, 6, 10, 64)
    assert cost.params == sum(p.numel() for p in network.parameters())
    assert cost.macs > cost.conv_macs


@pytest.mark.parametrize("genotype, params", [("DARTS_V2", 4.7)])  # DARTS (Liu et al., 2019), Table 3, in millions
def test_parameters_of_the_mobile_setting(genotype, params):
    network = Network(PUBLISHED[genotype], channels=48, layers=14, num_classes=1000, stem="imagenet")
    assert count(network, (3, 224, 224)).params / 1e6 == pytest.approx(params, abs=0.05)


def test_multiply_adds_of_grouped_strided_convolutions_and_linear_layers():
    model = nn.Sequential(
        nn.Conv2d(3, 6, (3, 5), stride=2, groups=3),  # 9 × 11 → 4 × 4, one channel to two
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 7),
    )
    params = 6 * 15 + 6 + 2 * 6 + 96 * 7 + 7
    conv_macs = 4 * 4 * 6 * 15 + 96 * 7
    cost = count(model, (3, 9, 11))
    assert (cost.params, cost.conv_macs) == (params, conv_macs)
    assert cost.macs > conv_macs


@pytest.mark.parametrize("name", BACKBONES)
def test_multiply_adds_of_each_backbone_as_torchs_own_counter_has_them(name):
    """Of the operations underneath, two FLOPs each, where ours are of the layers above."""
    model = build(name, num_classes=10, in_channels=3, width=0.25, image_size=64).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 64, 64))
    assert 2 * conv_macs(model, (3, 64, 64)) == counter.get_total_flops() > 0


class Shapes(nn.Module):
    """Convolutions and a linear layer that are called as functions, on sequences, images and volumes."""

    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList(torch.zeros(4, 3, *[3] * n) for n in (1, 2, 3))

    def forward(self, x):
        y = functional.conv1d(x.flatten(2), self.weights[0]).sum(2)
        y = y + functional.conv2d(x, weight=self.weights[1]).sum((2, 3))
        y = y + functional.conv3d(x[:, :, None], self.weights[2], padding=(1, 0, 0)).sum((2, 3, 4))
        return functional.linear(y, torch.zeros(5, 4))


def test_what_is_called_as_a_function_counts_too():
    assert conv_macs(Shapes(), (3, 6, 5)) == 28 * 4 * 9 + 4 * 3 * 4 * 27 + 4 * 3 * 4 * 81 + 4 * 5


def test_ptflops_counts_modules_alone():
    """A convolution's products and biases, twice a batch norm's elements, ReLU's; nothing of what is no module."""

    class Twice(nn.Sequential):
        def forward(self, x):
            return functional.relu(super().forward(x)) + 1

    model = Twice(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    assert count(model, (3, 5, 5)) == Complexity(12 + 4 + 8, 25 * (12 + 4 + 2 * 4 + 4), 25 * 12)


PRODUCTS = {
    "multi_head_attention_forward": lambda t: nn.MultiheadAttention(4, 1, batch_first=True)(t, t, t),
    "scaled_dot_product_attention": lambda t: functional.scaled_dot_product_attention(t, t, t),
    "matmul": lambda t: t @ t.mT,
    "bmm": lambda t: torch.bmm(t, t.mT),
    "einsum": lambda t: torch.einsum("bqc,bkc->bqk", t, t),
    "lstm": lambda t: nn.LSTM(4, 4)(t),
    "conv_transpose1d": lambda t: nn.ConvTranspose1d(16, 4, 1)(t),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("counting", [count, conv_macs])
def test_products_that_are_not_counted_are_told(name, counting):
    """Rather than a count that is too low, as 11.3 instead of 17.6 GMAC of ViT-B/16."""

    class Tokens(nn.Conv2d):
        def forward(self, x):
            return PRODUCTS[name](super().forward(x).flatten(2).mT)

    model = Tokens(3, 4, 1)
    with pytest.raises(UserError, match=f"^the network calls torch's {name}, whose multiply-adds are not counted: "):
        counting(model, (3, 4, 4))
    assert model.training


def test_layers_that_ptflops_does_not_know_are_told():
    class Convolution(nn.Conv2d):
        pass

    model = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), Convolution(3, 3, 1, bias=False))
    with pytest.raises(UserError, match="^Sequential: ptflops counts 900 multiply-adds, .* alone have 1800: "):
        count(model, (3, 10, 10))


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_model_as_it_was(training):
    network = Network(PUBLISHED["DARTS_V2"], channels=4, layers=3, num_classes=10, auxiliary=True).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    attributes = [set(vars(module)) for module in network.modules()]
    first = count(network, (3, 16, 16))
    assert isinstance(first, Complexity) and all(type(n) is int for n in (first.params, first.macs, first.conv_macs))
    assert all(module.training is training for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert [set(vars(module)) for module in network.modules()] == attributes
    for module in network.modules():
        assert not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
    assert all(p.grad is None for p in network.parameters())
    assert count(network, (3, 16, 16)) == first


def test_a_model_that_cannot_run_says_why_and_keeps_no_hooks():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(5, 5))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        count(model, (3, 8, 8))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_parts_keep_their_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval())
    count(model, (3, 8, 8))
    assert [module.training for module in model.modules()] == [True, True, False]
