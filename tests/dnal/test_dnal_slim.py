"""nas.dnal.slim against the masked network, gradients, counting by hand, and masks settled by hand."""

import json
import logging
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from nas.data.inputs import Inputs
from nas.dnal.backbones import BACKBONES, PadShortcut, Sum, build
from nas.dnal.gates import Gate, gates
from nas.dnal.slim import ScatterAdd, channel_table, load, save, settle, slim
from nas.networks.complexity import count
from nas.pipeline.errors import UserError

SHAPE = (3, 6, 6)
SMALL = {  # images on which no map is empty
    **{"vgg16_cifar": 8, "resnet56": 8, "mobilenet_v2_cifar": 8},
    **{"vgg16_bn": 32, "resnet50": 32, "mobilenet_v2": 32, "proxylessnas": 32},
}


def conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1, gate: bool = True) -> list:
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=groups == 1)]
    return [*layers, nn.BatchNorm2d(outputs), *([Gate(outputs)] if gate else [])]


def inverted(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    hidden = 2 * inputs
    return nn.Sequential(
        *(*conv(inputs, hidden, kernel=1, gate=False), nn.SiLU(inplace=True)),
        *(*conv(hidden, hidden, kernel=kernel, stride=stride, groups=hidden), nn.SiLU(inplace=True)),
        *conv(hidden, outputs, kernel=1),
    )


def branch(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*conv(inputs, 4, stride=stride), nn.SiLU(), *conv(4, outputs))


def padded(inputs: int, outputs: int, stride: int = 1) -> PadShortcut:
    shortcut = PadShortcut(inputs, outputs, stride)
    shortcut.offset = 1
    return shortcut


BLOCKS = {  # five channels to five, but pad and narrow, which come in pairs
    "conv": lambda: nn.Sequential(*conv(5, 5), nn.ReLU6(), nn.MaxPool2d(3, 1, 1)),
    "gated twice": lambda: nn.Sequential(*conv(5, 5), Gate(5), nn.GELU()),
    "depthwise behind a gate": lambda: nn.Sequential(*conv(5, 5), *conv(5, 5, groups=5)),
    "residual": lambda: Sum(branch(5, 5), nn.Identity()),
    "residual without a gate in the shortcut": lambda: Sum(branch(5, 5), nn.Sequential(*conv(5, 5, gate=False))),
    "gated shortcut": lambda: Sum(branch(5, 5), Gate(5)),
    "gate before an activation in place": lambda: Sum(
        nn.Sequential(Gate(5), nn.SiLU(inplace=True), *conv(5, 5)), nn.Identity()
    ),
    "inverted": lambda: inverted(5, 5),
    "candidates": lambda: Sum(inverted(5, 5), inverted(5, 5, kernel=5), branch(5, 5)),
    "candidates and identity": lambda: Sum(inverted(5, 5), inverted(5, 5, kernel=1), nn.Identity()),
    "twice the same": lambda: Sum(nn.Identity(), nn.Identity(), branch(5, 5)),
    "padded": lambda: nn.Sequential(
        Sum(branch(5, 8, stride=2), padded(5, 8, stride=2)), nn.SiLU(), Sum(branch(8, 8), nn.Identity()), *conv(8, 5)
    ),
    "padded at full size": lambda: nn.Sequential(Sum(branch(5, 7), padded(5, 7)), *conv(7, 5)),
}


def network_of(*blocks: str, pixels: int = 2) -> nn.Sequential:
    """Stem, blocks, a head that flattens maps of `pixels`² and has a gated hidden layer."""
    body = [nn.Sequential(*conv(3, 5), nn.SiLU()), *(BLOCKS[block]() for block in blocks)]
    hidden = [nn.Linear(5 * pixels**2, 4), nn.BatchNorm1d(4), Gate(4), nn.SiLU()]
    head = [nn.AdaptiveAvgPool2d(pixels), nn.Flatten(), *hidden, nn.Dropout(0.5), nn.Linear(4, 3)]
    return nn.Sequential(*body, *head)


def prepared(network: nn.Module, seed: int) -> nn.Module:
    """In float64, eval mode, gates closed; batch norms that move and scale, no dropout.

    An epsilon of 1 keeps batch norms from blowing up the rounding of channels that are the same for all images.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.double().eval().modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
            module.eps = 1.0
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5, generator=generator)
            if module.bias is not None:
                nn.init.normal_(module.bias, generator=generator)
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, Gate):
            nn.init.normal_(module.s, generator=generator)
            module.state = "closed"
    return network


def images(shape: tuple[int, int, int], seed: int = 0, number: int = 6) -> torch.Tensor:
    return torch.randn(number, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def calibrate(network: nn.Module, x: torch.Tensor) -> None:
    """Running statistics of `x`, so that signals neither vanish nor explode in eval mode."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(x)
    for norm in norms:
        norm.momentum = 0.1
    network.eval()


def draw_masks(network: nn.Module, data: st.DataObject) -> None:
    every = gates(network).values()
    allowed = st.sets(st.sampled_from(["some", "all", "none", "one"]), min_size=1)
    kind = st.sampled_from(sorted(data.draw(allowed)))
    kinds = data.draw(st.lists(kind, min_size=len(every), max_size=len(every)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    for gate, kind in zip(every, kinds, strict=True):
        channels = len(gate.mask)
        one = torch.arange(channels) == torch.randint(channels, (), generator=generator)
        some = torch.rand(channels, generator=generator) < 0.5
        gate.mask = {"some": some, "all": torch.ones_like(one), "none": torch.zeros_like(one), "one": one}[kind]


def masks_of(network: nn.Module) -> dict[str, list[bool]]:
    return {name: gate.mask.tolist() for name, gate in gates(network).items()}


def set_masks(network: nn.Module, **masks: str) -> None:
    """``set_masks(network, _2="0110")``: the mask of gate 2, one digit a channel."""
    for name, digits in masks.items():
        network.get_submodule(name[1:].replace("_", ".")).mask = torch.tensor([d == "1" for d in digits])


def assert_equal_and_smaller(network: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    """The slim network, after comparison with the masked one in eval and train mode."""
    x = images(shape)
    calibrate(network, x)
    slimmed = slim(network, shape)
    assert not gates(slimmed)
    for training in (False, True):
        masked = network.train(training)(x).detach()
        assert masked.isfinite().all()
        torch.testing.assert_close(
            slimmed.train(training)(x), masked, rtol=1e-10, atol=1e-10 * float(masked.abs().max())
        )
    kept, before = (sum(p.numel() for p in n.parameters()) for n in (slimmed, network))
    assert 0 < kept < before
    return slimmed.eval()


def assert_nothing_is_idle(slimmed: nn.Module, x: torch.Tensor) -> None:
    """Each filter, each input channel and each entry of a batch norm has a part in the output."""
    slimmed(x).square().sum().backward()
    for name, parameter in slimmed.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        for dimension in range(min(2, gradient.dim())):
            others = [d for d in range(gradient.dim()) if d != dimension]
            assert (gradient.abs().sum(others) > 0).all() if others else (gradient != 0).all(), name


@given(st.lists(st.sampled_from(sorted(BLOCKS)), max_size=3), st.sampled_from([1, 2]), st.data())
@settings(deadline=None, max_examples=40)
def test_slim_network_equals_the_masked_one(blocks, pixels, data):
    network = prepared(network_of(*blocks, pixels=pixels), seed=data.draw(st.integers(0, 1000)))
    draw_masks(network, data)
    slimmed = assert_equal_and_smaller(network, SHAPE)
    settled = masks_of(network)
    settle(network, SHAPE)
    assert masks_of(network) == settled
    norms = [m for m in slimmed.modules() if isinstance(m, nn.BatchNorm2d)]
    # ReLU6 alone among the activations can make a channel zero for every image.
    if "conv" not in blocks and norms:
        assert_nothing_is_idle(slimmed, images(SHAPE))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_with_random_masks(name):
    side, examples = SMALL[name], 2 if name == "proxylessnas" else 5
    shape = (3, side, side)

    @given(st.data())
    @settings(deadline=None, max_examples=examples)
    def check(data):
        network = build(name, num_classes=4, width=0.08, image_size=side)
        draw_masks(prepared(network, seed=data.draw(st.integers(0, 1000))), data)
        assert_equal_and_smaller(network, shape)

    check()


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_survives_with_all_gates_closed(name, caplog):
    side = SMALL[name]
    network = prepared(build(name, num_classes=4, width=0.08, image_size=side), seed=0)
    for gate in gates(network).values():
        gate.mask = torch.zeros_like(gate.mask)
    with caplog.at_level(logging.INFO, "nas"):
        slimmed = slim(network, (3, side, side))
    opened = [name for name, gate in gates(network).items() if gate.mask.any()]
    assert all(int(gates(network)[name].mask.sum()) == 1 for name in opened)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == opened
    if name in ("resnet56", "resnet50"):  # the shortcuts lead through, behind a stem that ResNet50's gates could close
        assert opened == ([] if name == "resnet56" else ["bn1.1"])
    assert slimmed(images((3, side, side))).shape == (6, 4)


def test_float32():
    network = prepared(network_of("residual", "candidates", "padded"), seed=1)
    set_masks(network, _0_2="10110", _1_branches_0_2="0110", _1_branches_0_6="01010")
    network.float()
    slimmed = slim(network, SHAPE)
    x = images(SHAPE).float()
    torch.testing.assert_close(slimmed(x), network(x))


@pytest.mark.parametrize("k", [(4, 3, 2), (1, 1, 1), (5, 5, 4), (2, 5, 1)])
def test_counts_of_a_chain(k):
    network = prepared(network_of("conv"), seed=0)
    for gate, kept in zip(gates(network).values(), k, strict=True):
        gate.mask[kept:] = False
    a, b, c = k
    weights = (3 * a * 9 + a) + 2 * a + (a * b * 9 + b) + 2 * b + (4 * b * c + c) + 2 * c + (c * 3 + 3)
    macs = 36 * 3 * a * 9 + 36 * a * b * 9 + 4 * b * c + c * 3
    counted = count(slim(network.float(), SHAPE), SHAPE)
    assert (counted.params, counted.conv_macs) == (weights, macs)


def test_a_depthwise_convolution_and_its_expansion_are_cut_together():
    network = prepared(network_of("inverted"), seed=0)
    set_masks(network, _1_5="0100100001", _1_9="00101")
    slimmed = slim(network, SHAPE)
    expansion, depthwise, projection = (slimmed.get_submodule(f"1.{i}") for i in (0, 3, 7))
    assert expansion.weight.shape == (3, 5, 1, 1)
    assert (depthwise.weight.shape, depthwise.groups) == ((3, 1, 3, 3), 3)
    assert projection.weight.shape == (2, 3, 1, 1)
    assert slimmed.get_submodule("1.1").num_features == 3
    torch.testing.assert_close(depthwise.weight[:, 0], network[1][3].weight[[1, 4, 9], 0], rtol=0, atol=0)


def test_a_branch_may_have_fewer_channels_than_its_stream():
    network = prepared(network_of("residual"), seed=0)
    set_masks(network, _1_branches_0_6="01001")
    slimmed = slim(network, SHAPE)
    assert slimmed.get_submodule("1.branches.0.4").weight.shape[0] == 2
    assert slimmed.get_submodule("0.0").weight.shape[0] == 5
    assert [m.index_0.tolist() for m in slimmed.modules() if isinstance(m, ScatterAdd)] == [[1, 4]]


@pytest.mark.parametrize("closed", ["1.branches.0.2", "1.branches.0.6"])
def test_a_branch_with_a_closed_gate_is_gone(closed):
    """With all that its other batch norms would add."""
    network = prepared(network_of("residual"), seed=0)
    network.get_submodule(closed).mask[:] = False
    without = nn.Sequential(network[0], *network[2:])
    x = images(SHAPE)
    slimmed = slim(network, SHAPE)
    torch.testing.assert_close(slimmed(x), without(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(network(x), without(x), rtol=1e-10, atol=1e-10)
    assert not any(name.startswith("1.") for name, _ in slimmed.named_modules())
    assert not any(isinstance(m, ScatterAdd) for m in slimmed.modules())
    assert [row["kept"] for row in channel_table(network)] == [5, 0, 0, 4]


def test_a_candidate_with_a_closed_gate_is_gone():
    network = prepared(network_of("candidates"), seed=0)
    network.get_submodule("1.branches.1.5").mask[:] = False
    slimmed = slim(network, SHAPE)
    remaining = {name.split(".")[2] for name, _ in slimmed.named_modules() if name.startswith("1.branches.")}
    assert remaining == {"0", "2"}
    network[1] = Sum(network[1].branches[0], network[1].branches[2])
    torch.testing.assert_close(slimmed(images(SHAPE)), network(images(SHAPE)), rtol=1e-10, atol=1e-10)


def test_open_channels_that_lead_nowhere_are_closed():
    network = prepared(network_of("depthwise behind a gate"), seed=0)
    set_masks(network, _1_2="11010", _1_5="01011")
    settle(network, SHAPE)
    assert network[1][2].mask.tolist() == network[1][5].mask.tolist() == [False, True, False, True, False]


def test_gates_of_single_pixels():
    """The flattened map keeps all pixels of a channel, the layers behind take those of open gates."""
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(20), Gate(20), nn.SiLU(), nn.Linear(20, 3)]
    network = prepared(nn.Sequential(*conv(3, 5), *head), seed=0)
    set_masks(network, _2="11110", _6="0100" + "0000" + "0101" + "1000" + "1111")
    slimmed = assert_equal_and_smaller(network, SHAPE)
    assert slimmed.get_submodule("0").out_channels == 3
    assert slimmed.get_submodule("8").in_features == 4


def test_a_channel_that_arrives_is_opened_again():
    network = prepared(network_of("gated twice"), seed=0)
    set_masks(network, _1_2="01010", _1_3="10101")
    with torch.no_grad():
        network[1][3].s.copy_(torch.tensor([9.0, 1.0, 8.0, 2.0, 7.0]))
    settle(network, SHAPE)
    assert network[1][3].mask.tolist() == [False, False, False, True, False]


def test_channels_opened_again_are_the_fewest_then_of_the_largest_s(caplog):
    """Two candidates of a layer need two gates each, the third one; dead candidates of the layer before stay closed."""
    network = prepared(network_of("candidates", "candidates", "conv"), seed=0)
    for name in ("1.branches.0.5", "1.branches.1.5", "2.branches.0.5", "2.branches.0.9", "2.branches.1.5"):
        network.get_submodule(name).mask[:] = False
    network[2].branches[1][9].mask[:] = False
    network[2].branches[2][2].mask[:] = False
    network[3][2].mask[:] = False
    with torch.no_grad():
        network[2].branches[0][5].s[3] = 100.0
        network[2].branches[2][2].s.copy_(torch.tensor([0.1, -1.0, 0.3, 0.2]))
        network[3][2].s.copy_(torch.tensor([-5.0, -4.0, -3.0, -2.0, -2.5]))
    with caplog.at_level(logging.INFO, "nas"):
        settle(network, SHAPE)
    kept = {row["layer"]: row["kept"] for row in channel_table(network)}
    assert {name: k for name, k in kept.items() if k} == {
        **{"0.2": 5, "1.branches.2.2": 4, "1.branches.2.6": 5},
        **{"2.branches.2.2": 1, "2.branches.2.6": 5, "3.2": 1, "8": 4},
    }
    assert network[2].branches[2][2].mask.tolist() == [False, False, True, False]
    assert network[3][2].mask.tolist() == [False, False, False, True, False]
    assert [r.getMessage() for r in caplog.records] == [
        "2.branches.2.2: channel 2 opened again; a layer keeps at least one channel",
        "3.2: channel 3 opened again; a layer keeps at least one channel",
    ]


def test_of_equally_many_the_way_of_the_largest_s_is_opened():
    network = prepared(network_of("candidates"), seed=0)
    for candidate, s in zip(network[1].branches, ([0.1, 0.2], [0.4, 0.1], [0.2, 0.2]), strict=True):
        for gate, largest in zip(gates(candidate).values(), s, strict=True):
            gate.mask[:] = False
            nn.init.constant_(gate.s, -1.0)
            with torch.no_grad():
                gate.s[1] = largest
    settle(network, SHAPE)
    kept = [[int(gate.mask.sum()) for gate in gates(candidate).values()] for candidate in network[1].branches]
    assert kept == [[0, 0], [1, 1], [0, 0]]
    assert all(gate.mask[1] for gate in gates(network[1].branches[1]).values())


def test_a_frozen_network_trains_on_when_slim():
    network = prepared(network_of("residual", "inverted", "padded"), seed=0)
    set_masks(network, _0_2="01101", _1_branches_0_6="11001", _2_5="0111011001")
    before = deepcopy(network.state_dict())
    network.requires_grad_(False)
    slimmed = slim(network.train(), SHAPE)
    assert slimmed.training
    assert_nothing_is_idle(slimmed.eval(), images(SHAPE))
    slimmed.train().zero_grad()
    nn.functional.cross_entropy(slimmed(images(SHAPE)), torch.arange(6) % 3).backward()
    old = deepcopy(slimmed.state_dict())
    torch.optim.SGD(slimmed.parameters(), 0.1).step()
    assert all(not torch.equal(p, old[name]) for name, p in slimmed.named_parameters() if name.endswith("weight"))
    after = network.state_dict()
    assert all(torch.equal(after[name], old) for name, old in before.items() if not name.endswith("mask"))


def test_channel_table():
    network = prepared(network_of("inverted"), seed=0)
    set_masks(network, _0_2="01101", _1_5="0111011001")
    assert channel_table(network) == [
        {"layer": "0.2", "channels": 5, "kept": 3},
        {"layer": "1.5", "channels": 10, "kept": 6},
        {"layer": "1.9", "channels": 5, "kept": 5},
        {"layer": "6", "channels": 4, "kept": 4},
    ]


INPUTS = Inputs(["ant", "bee", "cat", "dog"], [1, 8, 8], [0.5], [0.25])
HOW = {"name": "mobilenet_v2_cifar", "num_classes": 4, "in_channels": 1, "width": 0.1, "image_size": 8}


@pytest.fixture
def saved(tmp_path):
    network = prepared(build(**HOW), seed=0)
    for norm in [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.eps = 1e-5  # the backbone's own again: the file says how it is built
    for i, gate in enumerate(gates(network).values()):
        gate.mask[i % 2 :: 2] = False
    gate_of_a_branch = next(gate for name, gate in gates(network).items() if ".branches." in name)
    gate_of_a_branch.mask[:] = False
    slimmed = slim(network, (1, 8, 8))
    calibrate(slimmed, images((1, 8, 8)))
    save(slimmed, tmp_path / "slim.safetensors", HOW, INPUTS)
    return slimmed.eval(), tmp_path / "slim.safetensors"


def test_load_gives_what_save_wrote(saved):
    slimmed, path = saved
    state = torch.get_rng_state()
    loaded = load(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert not loaded.training
    x = images((1, 8, 8), seed=1)
    assert torch.equal(loaded(x), slimmed(x))
    assert all(p.requires_grad and p.device.type == "cpu" for p in loaded.parameters())
    assert loaded.inputs == INPUTS
    save(loaded, path.with_name("again.safetensors"), HOW, loaded.inputs)
    assert path.with_name("again.safetensors").read_bytes() == path.read_bytes()


def change(path, tensors=None, metadata=None):
    held = load_file(path) | (tensors or {})
    how = metadata or {"slim": json.dumps({"build": HOW, "shape": [1, 8, 8]})}
    save_file({name: tensor for name, tensor in held.items() if tensor is not None}, path, how)


DAMAGE = {
    "missing": lambda path: path.unlink(),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "no metadata": lambda path: change(path, metadata={"a": "b"}),
    "no backbone": lambda path: change(path, metadata={"slim": json.dumps({"build": HOW | {"name": "vgg"}})}),
    "no JSON": lambda path: change(path, metadata={"slim": "{"}),
    "no object": lambda path: change(path, metadata={"slim": "[]"}),
    "no shape": lambda path: change(path, metadata={"slim": json.dumps({"build": HOW})}),
    "a shape of two": lambda path: change(path, metadata={"slim": json.dumps({"build": HOW, "shape": [1, 8]})}),
    "a mask is missing": lambda path: change(path, {_first_mask(path): None}),
    "a mask of other size": lambda path: change(path, {_first_mask(path): torch.ones(99, dtype=torch.bool)}),
    "a mask of numbers": lambda path: change(path, {_first_mask(path): load_file(path)[_first_mask(path)].float()}),
    "another mask": lambda path: change(path, {_first_mask(path): torch.ones(3, dtype=torch.bool)}),
    "all masks closed": lambda path: change(
        path, {k: torch.zeros_like(v) for k, v in load_file(path).items() if k.endswith(".mask")}
    ),
    "a weight is missing": lambda path: change(path, {"0.weight": None}),
    "a weight too many": lambda path: change(path, {"extra.weight": torch.ones(2)}),
}


def _first_mask(path):
    return next(name for name in sorted(load_file(path)) if name.endswith(".mask"))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_file(saved, damage):
    _, path = saved
    damage(path)
    with pytest.raises(UserError, match="is no whole slim network .*run its slim stage again$") as raised:
        load(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_gates_must_be_closed():
    network = network_of()
    with pytest.raises(ValueError, match="close the gates"):
        slim(network, SHAPE)


class PlusOne(nn.Module):
    def forward(self, x):
        return x + 1


UNSUITED = {
    "grouped": nn.Conv2d(6, 6, 3, groups=2),
    "upsampled": nn.Upsample(scale_factor=2),
    "a number": PlusOne(),
}


@pytest.mark.parametrize("module", UNSUITED.values(), ids=UNSUITED)
def test_what_cannot_be_cut_is_named(module):
    network = prepared(nn.Sequential(*conv(3, 6), module, *conv(6, 2, gate=False)), seed=0)
    with pytest.raises(ValueError, match="slim cannot cut"):
        slim(network, SHAPE)


def test_a_layer_used_twice_is_refused():
    shared = nn.Conv2d(3, 3, 1)
    network = prepared(nn.Sequential(shared, nn.BatchNorm2d(3), Gate(3), shared), seed=0)
    with pytest.raises(ValueError, match="used twice"):
        slim(network, SHAPE)


def test_constants_of_a_closed_gate_need_a_gate_behind():
    """Else the slim network could not equal the masked one."""
    bad = nn.Sequential(*conv(5, 4), nn.SiLU(), *conv(4, 5, gate=False))
    network = prepared(nn.Sequential(*conv(3, 5), Sum(bad, nn.Identity()), *conv(5, 2, gate=False)), seed=0)
    slim(network, SHAPE)
    network[3].branches[0][2].mask[:] = False
    with pytest.raises(ValueError, match="no gate stands between"):
        slim(network, SHAPE)
    network = prepared(nn.Sequential(*conv(3, 5), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1)), seed=0)
    network[2].mask[0] = False
    with pytest.raises(ValueError, match="no gate stands between"):
        slim(network, SHAPE)


def test_the_output_is_not_cut():
    network = prepared(nn.Sequential(*conv(3, 5)), seed=0)
    network[2].mask[0] = False
    with pytest.raises(ValueError, match="part of the output"):
        slim(network, SHAPE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu():
    network = prepared(network_of("residual", "candidates", "padded"), seed=0)
    set_masks(network, _0_2="01101", _1_branches_0_6="01001", _2_branches_0_5="0111011001")
    slimmed, x = slim(network.cuda(), SHAPE), images(SHAPE).cuda()
    torch.testing.assert_close(slimmed(x), network(x), rtol=1e-10, atol=1e-10)
    slimmed.train()(x).sum().backward()
    assert all(p.grad is not None for p in slimmed.parameters())
