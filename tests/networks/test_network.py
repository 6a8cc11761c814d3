"""nas.networks.network against slow evaluation, the papers' positions and sizes, and torch's own pooling."""

import json

import numpy as np
import pytest
import reference
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nas.data.inputs import Inputs
from nas.networks.network import AuxiliaryTower, Cell, CellSpec, Network, drop_path, load, pool_to_2x2, save
from nas.pipeline.errors import UserError
from nas.space.genotypes import Genotype
from nas.space.operations.basic import Identity
from nas.space.published import PUBLISHED

pytestmark = pytest.mark.usefixtures("paths")

REDUCTIONS = {  # cells counted from 0, at one and two thirds
    **{1: (0, 0), 2: (0, 1), 3: (1, 2), 4: (1, 2), 5: (1, 3), 6: (2, 4), 7: (2, 4), 8: (2, 5), 9: (3, 6), 10: (3, 6)},
    **{11: (3, 7), 12: (4, 8), 13: (4, 8), 14: (4, 9), 15: (5, 10), 16: (5, 10), 17: (5, 11), 18: (6, 12)},
    **{19: (6, 12), 20: (6, 13)},
}
INPUTS = Inputs(["ant", "bee", "cat"], [3, 9, 9], [0.5, 0.4, 0.3], [0.25, 0.2, 0.3])
SMALL = Genotype(  # every state of two nodes in the output, both kinds of edge
    normal=(("skip_connect", 0), ("sep_conv_3x3", 1), ("skip_connect", 2), ("dil_conv_3x3", 0)),
    normal_concat=(2, 3),
    reduce=(("max_pool_3x3", 0), ("skip_connect", 1), ("skip_connect", 2), ("avg_pool_3x3", 1)),
    reduce_concat=(3,),
)
BLOCKS = Genotype(  # EfficientNetV2's blocks, each at both strides and on inner states
    normal=(("ds_conv", 0), ("mb_conv", 1), ("fused_mb_conv", 2), ("ds_conv", 1)),
    normal_concat=(2, 3),
    reduce=(("mb_conv", 0), ("ds_conv", 1), ("mb_conv", 2), ("fused_mb_conv", 1)),
    reduce_concat=(2, 3),
)
GENOTYPES = PUBLISHED | {"blocks": BLOCKS}


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize(
    "genotype, layers, size",
    [
        ("DARTS_V1", 4, (8, 8)),
        ("DARTS_V2", 4, (8, 8)),
        ("DARTS_PseudoInvBn", 4, (8, 8)),
        ("DARTS_V2", 5, (7, 7)),
        ("DARTS_V2", 2, (6, 8)),
        ("DARTS_V1", 1, (5, 5)),
        ("blocks", 4, (7, 8)),
    ],
)
def test_network_equals_slow_evaluation(genotype, layers, size, training):
    network = Network(GENOTYPES[genotype], channels=2, layers=layers, num_classes=3, in_channels=1)
    network = reference.randomize(network).train(training)
    x = images(3, 1, *size).double()
    take, rest = reference.take_from(network)
    expected = reference.network(GENOTYPES[genotype].to_dict(), x.numpy(), layers, take, training)
    assert next(rest, None) is None
    np.testing.assert_allclose(network(x).detach().numpy(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize(
    "genotype, layers, size",
    [("DARTS_V2", 4, (33, 32)), ("DARTS_PseudoInvBn", 3, (32, 32)), ("DARTS_V1", 1, (24, 24))],
)
def test_network_with_the_imagenet_stem_equals_slow_evaluation(genotype, layers, size, training):
    how = {"channels": 2, "layers": layers, "num_classes": 3, "in_channels": 1, "stem": "imagenet"}
    network = reference.randomize(Network(PUBLISHED[genotype], **how)).train(training)
    x = images(3, 1, *size).double()
    take, rest = reference.take_from(network)
    cells = PUBLISHED[genotype].to_dict()
    expected = reference.network(cells, x.numpy(), layers, take, training, stem="imagenet")
    assert next(rest, None) is None
    np.testing.assert_allclose(network(x).detach().numpy(), expected, rtol=1e-8, atol=1e-8)


def test_maps_of_the_mobile_setting():
    """DARTS, section 3.3: 224×224 images come to 28×28 before the first cell, to 14×14 and 7×7 in the reductions."""
    network = Network(PUBLISHED["DARTS_V2"], channels=4, layers=14, num_classes=6, auxiliary=True, stem="imagenet")
    maps, seen = [], []
    for cell in network.cells:
        cell.register_forward_hook(lambda _, __, out: maps.append(tuple(out.shape[1:])))
    network.auxiliary.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0].shape[2:]))
    x = images(2, 3, 224, 224)
    assert [tuple(m.shape[1:]) for m in network.stem(x)] == [(4, 56, 56), (4, 28, 28)]
    logits, auxiliary_logits = network(x)
    assert maps == 4 * [(16, 28, 28)] + 5 * [(32, 14, 14)] + 5 * [(64, 7, 7)]
    assert seen == [(7, 7)]
    assert logits.shape == auxiliary_logits.shape == (2, 6)


@pytest.mark.parametrize("channels, stem, message", [(4, "imagnet", "did you mean imagenet"), (1, "imagenet", "2")])
def test_a_stem_that_cannot_be_built(channels, stem, message):
    with pytest.raises(UserError, match=message):
        Network(SMALL, channels=channels, layers=3, num_classes=3, stem=stem)


def test_cell_concatenates_the_states_that_the_genotype_names():
    cell = Cell(SMALL.normal, (3, 0), CellSpec(4, 6, 2, reduction=False, reduction_prev=False)).eval()
    inputs = images(2, 4, 5, 5), images(2, 6, 5, 5, seed=1)
    s0, s1 = cell.preprocess0(inputs[0]), cell.preprocess1(inputs[1])
    s2 = s0 + cell.operations[1](s1)
    s3 = s2 + cell.operations[3](s0)
    torch.testing.assert_close(cell(*inputs), torch.cat([s3, s0], dim=1))


@pytest.mark.parametrize("layers", REDUCTIONS)
def test_reduction_cells_halve_the_map_and_double_the_channels(layers):
    network = Network(SMALL, channels=4, layers=layers, num_classes=3, in_channels=1).eval()
    maps = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _, __, out: maps.append(tuple(out.shape[1:])))
    network(images(1, 1, 12, 12))
    channels, size, expected = 4, 12, []
    for layer in range(layers):
        if layer in REDUCTIONS[layers]:
            channels, size = 2 * channels, size // 2
        nodes = len(SMALL.reduce_concat if layer in REDUCTIONS[layers] else SMALL.normal_concat)
        expected.append((nodes * channels, size, size))
    assert maps == expected


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("size", [8, 7, 28, 32])
@pytest.mark.parametrize("layers", [1, 2, 3, 8])
def test_forward_takes_images_of_any_size(size, layers, in_channels):
    network = Network(PUBLISHED["DARTS_V2"], channels=4, layers=layers, num_classes=7, in_channels=in_channels)
    assert [(m.in_channels, m.out_channels, m.stride) for m in network.stem if isinstance(m, nn.Conv2d)] == [
        (in_channels, 12, (1, 1))
    ]
    assert network.stem(images(2, in_channels, size, size)).shape == (2, 12, size, size)
    for training in (True, False):
        assert network.train(training)(images(2, in_channels, size, size)).shape == (2, 7)


def test_channels_of_the_published_width():
    network = Network(PUBLISHED["DARTS_V2"], channels=36, layers=20, num_classes=10)
    widths = [cell.preprocess1[1].out_channels for cell in network.cells]
    assert widths == [36] * 6 + [72] * 7 + [144] * 7
    assert (network.stem[0].out_channels, network.classifier.in_features) == (108, 4 * 144)


@pytest.mark.parametrize("image, map_size", [(8, 2), (7, 2), (12, 3), (16, 4), (28, 7), (32, 8)])
@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_auxiliary_tower_answers_while_training_only(image, map_size, layers):
    network = Network(SMALL, channels=4, layers=layers, num_classes=6, in_channels=1, auxiliary=True)
    if layers == 1:  # one reduction instead of two
        image = 2 * map_size
    seen = []
    network.auxiliary.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0], out)))
    outputs = []
    network.cells[2 * layers // 3].register_forward_hook(lambda _, __, out: outputs.append(out))
    x = images(3, 1, image, image)
    logits, auxiliary_logits = network(x)
    assert logits.shape == auxiliary_logits.shape == (3, 6)
    assert seen[0][0] is outputs[0] and seen[0][1] is auxiliary_logits
    assert outputs[0].shape[2:] == (map_size, map_size)
    logits = network.eval()(x)
    assert isinstance(logits, torch.Tensor) and logits.shape == (3, 6)
    assert len(seen) == 1


@pytest.mark.parametrize("layers", [2, 3, 5])
def test_the_classifier_is_trained_on_the_map_itself(layers):
    """With 2 and 3 layers the auxiliary tower reads the last cell's map, which its first ReLU must leave as it is."""
    torch.manual_seed(0)
    network = Network(PUBLISHED["DARTS_PseudoInvBn"], channels=4, layers=layers, num_classes=3, auxiliary=True).train()
    assert (network.cells[2 * layers // 3] is network.cells[-1]) == (layers < 5)
    maps = []
    network.cells[-1].register_forward_hook(lambda cell, inputs, output: maps.append(output.clone()))
    logits, _ = network(torch.randn(4, 3, 32, 32))
    (last,) = maps
    assert (last < 0).any()
    torch.testing.assert_close(logits, network.classifier(last.mean(dim=(2, 3))))


def test_auxiliary_tower_is_the_papers():
    tower = AuxiliaryTower(5, 7)
    weights = 5 * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 768 * 7 + 7
    assert sum(p.numel() for p in tower.parameters()) == weights
    reference.randomize(tower).eval()
    x = images(2, 5, 8, 8).double()
    take, _ = reference.take_from(tower)
    corners = [slice(0, 5), slice(3, 8)]
    rectified = reference.relu(x.numpy())
    pooled = np.array([[rectified[:, :, a, b].mean(axis=(2, 3)) for b in corners] for a in corners])
    hidden = reference.conv(pooled.transpose(2, 3, 0, 1), take())
    hidden = reference.relu(reference.norm(hidden, take, False))
    hidden = reference.relu(reference.norm(reference.conv(hidden, take()), take, False))
    expected = hidden[:, :, 0, 0] @ take().T + take()
    np.testing.assert_allclose(tower(x).detach().numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("height", range(2, 17))
def test_pool_to_2x2(height):
    for width in range(2, 17):
        x = images(2, 3, height, width).double()
        darts = {(8, 8): nn.AvgPool2d(5, 3), (7, 7): nn.AvgPool2d(5, 2)}
        pooled = darts.get((height, width), nn.AdaptiveAvgPool2d(2))(x)
        torch.testing.assert_close(pool_to_2x2(x), pooled, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_drop_path_drops_whole_images_and_keeps_the_mean(probability):
    torch.manual_seed(0)
    x = images(4000, 2, 3, 3).double()
    factors = drop_path(x, probability) / x
    kept = factors[:, 0, 0, 0] != 0
    assert factors[~kept].eq(0).all()
    torch.testing.assert_close(factors[kept], torch.full_like(factors[kept], 1 / (1 - probability)))
    deviation = (probability * (1 - probability) / len(x)) ** 0.5
    assert abs(kept.double().mean() - (1 - probability)) < 4 * deviation
    assert abs(factors.mean() - 1) < 4 * deviation / (1 - probability)


@pytest.mark.parametrize("reduction", [False, True])
def test_drop_path_spares_identities_alone(reduction):
    genotype = PUBLISHED["DARTS_V2"]
    edges, concat = (genotype.reduce, genotype.reduce_concat) if reduction else (genotype.normal, (2, 3, 4, 5))
    cell = Cell(edges, concat, CellSpec(4, 4, 2, reduction=reduction, reduction_prev=False))
    inputs = images(3, 4, 6, 6), images(3, 4, 6, 6, seed=1)
    s0 = cell.preprocess0(inputs[0])
    almost_surely = 1 - 1e-9
    out = cell(*inputs, almost_surely)
    # what reaches a node through identities alone: states 4 and 5 of the normal cell are the first input
    expected = torch.zeros(3, 8, 3, 3) if reduction else torch.cat([0 * s0, 0 * s0, s0, s0], dim=1)
    torch.testing.assert_close(out, expected)
    assert sum(isinstance(m, Identity) for m in cell.operations) == (3 if reduction else 2)
    torch.testing.assert_close(cell.eval()(*inputs, almost_surely), cell(*inputs))


def test_each_edge_and_image_is_dropped_by_itself():
    torch.manual_seed(0)
    edges = (("max_pool_3x3", 0), ("max_pool_3x3", 1))
    cell = Cell(edges, (2,), CellSpec(1, 1, 1, reduction=False, reduction_prev=False))
    cell.preprocess0 = cell.preprocess1 = nn.Identity()
    ones = torch.ones(4000, 1, 1, 1)
    sums = cell(ones, 100 * ones, 0.25).flatten() * 0.75
    counts = [int((sums - value).abs().lt(1e-3).sum()) for value in (0, 1, 100, 101)]
    assert sum(counts) == 4000
    for found, share in zip(counts, (1 / 16, 3 / 16, 3 / 16, 9 / 16), strict=True):
        assert abs(found - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5


def test_drop_path_of_a_network_acts_in_training_only():
    network = Network(SMALL, channels=4, layers=3, num_classes=5, in_channels=1)
    assert network.drop_path == 0
    x = images(4, 1, 8, 8)
    plain = network(x)
    network.drop_path = 0.5
    assert not torch.allclose(network(x), plain)
    network.eval()
    dropping = network(x)
    network.drop_path = 0.0
    assert torch.equal(network(x), dropping)


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize(
    "genotype, layers, in_channels, stem",
    [
        ("DARTS_V2", 3, 1, "cifar"),
        ("DARTS_PseudoInvBn", 2, 3, "cifar"),
        ("DARTS_V2", 2, 3, "imagenet"),
        ("blocks", 3, 1, "cifar"),
    ],
)
def test_saved_network_comes_back_bit_for_bit(genotype, layers, in_channels, stem, auxiliary, tmp_path):
    how = {"channels": 4, "layers": layers, "num_classes": 5, "in_channels": in_channels, "stem": stem}
    network = Network(GENOTYPES[genotype], **how, auxiliary=auxiliary)
    x = images(6, in_channels, *((9, 9) if stem == "cifar" else (64, 64)))
    for p in network.parameters():
        p.data += 0.1 * torch.randn_like(p)
    network(x)  # moves the running statistics
    path = tmp_path / "new" / "network.safetensors"
    save(network, path, INPUTS)
    assert network.training
    loaded = load(path)
    assert not loaded.training and loaded.auxiliary is None
    assert torch.equal(loaded(x), network.eval()(x))
    tensors = load_file(path)
    assert set(tensors) == set(Network(GENOTYPES[genotype], **how).state_dict())
    assert [file.name for file in path.parent.iterdir()] == ["network.safetensors"]
    again = tmp_path / "again.safetensors"
    assert loaded.inputs == INPUTS
    save(loaded, again, loaded.inputs)
    assert again.read_bytes() == path.read_bytes()


def damaged(kind: str, path) -> None:
    save(Network(SMALL, channels=2, layers=2, num_classes=3), path, INPUTS)
    content, tensors = path.read_bytes(), load_file(path)
    built = {"genotype": SMALL.to_dict(), "channels": 2, "layers": 2, "num_classes": 3, "in_channels": 3}
    other = {
        "unknown operation": {"genotype": json.loads(json.dumps(SMALL.to_dict()).replace("max_pool", "min_pool"))},
        "no genotype": {"genotype": {}},
        "other shape": {"channels": 4},
        "unknown argument": {"depth": 3},
    }
    if kind == "missing":
        path.unlink()
    elif kind in other:
        save_file(tensors, path, {"network": json.dumps(built | other[kind])})
    elif kind == "tensor missing":
        del tensors["cells.0.preprocess1.1.weight"]
        save_file(tensors, path, {"network": json.dumps(built)})
    elif kind == "no description":
        save_file(tensors, path)
    else:
        path.write_bytes({"truncated": content[:-100], "empty": b"", "text": b"no tensors here"}[kind])


@pytest.mark.parametrize(
    "kind, message",
    [
        ("missing", "network.safetensors"),
        ("truncated", ""),
        ("empty", ""),
        ("text", ""),
        ("no description", "does not say which network"),
        ("unknown operation", "unknown operation 'min_pool_3x3'; did you mean max_pool_3x3?"),
        ("no genotype", "a genotype has the keys"),
        ("other shape", "size mismatch"),
        ("unknown argument", "depth"),
        ("tensor missing", "Missing key"),
    ],
)
def test_load_says_what_is_wrong_in_one_line(kind, message, tmp_path):
    path = tmp_path / "network.safetensors"
    damaged(kind, path)
    with pytest.raises(UserError, match="is no whole network .*; run its evaluation again") as caught:
        load(path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_that_cannot_be_built():
    value = json.loads(json.dumps(SMALL.to_dict()).replace("max_pool_3x3", "max_pol_3x3"))
    with pytest.raises(UserError, match=r"^unknown operation 'max_pol_3x3'; did you mean max_pool_3x3\?"):
        Network(Genotype.from_dict(value), channels=4, layers=3, num_classes=3)
    with pytest.raises(UserError, match="layers: 0 .* at least 1"):
        Network(SMALL, channels=4, layers=0, num_classes=3)


def test_gradients_reach_every_parameter_through_both_heads():
    torch.manual_seed(0)
    network = Network(PUBLISHED["DARTS_V2"], channels=4, layers=4, num_classes=5, in_channels=1, auxiliary=True)
    labels = torch.arange(6) % 5
    logits, auxiliary_logits = network.double()(images(6, 1, 12, 12).double())
    loss = nn.functional.cross_entropy(logits, labels) + 0.4 * nn.functional.cross_entropy(auxiliary_logits, labels)
    loss.backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_training_step_changes_every_number_that_the_loss_of_efficientnets_blocks_depends_on():
    torch.manual_seed(0)
    network = Network(BLOCKS, channels=4, layers=4, num_classes=10, in_channels=1, auxiliary=True).double()
    maps = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _, __, out: maps.append(tuple(out.shape)))
    x, labels = images(12, 1, 28, 28).double(), torch.arange(12) % 10
    logits, auxiliary_logits = network(x)
    assert maps == [(12, 8, 28, 28), (12, 16, 14, 14), (12, 32, 7, 7), (12, 32, 7, 7)]
    assert logits.shape == auxiliary_logits.shape == (12, 10)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.025)  # without weight decay, which changes dead ones too
    loss = nn.functional.cross_entropy(logits, labels) + 0.4 * nn.functional.cross_entropy(auxiliary_logits, labels)
    loss.backward()
    optimizer.step()
    # A batch norm takes away a shift that reaches it through a 1×1 convolution. So the loss does not depend on that of
    # a reduction cell's first input: mb_conv alone reads it, and has no residual at stride 2.
    shifts = {"cells.1.preprocess0.2.bias", "cells.2.preprocess0.norm.bias"}
    assert all(network.get_parameter(name).grad.abs().max() < 1e-12 for name in shifts)  # zero but for rounding
    assert {name for name, p in network.named_parameters() if p.eq(before[name]).any()} <= shifts
    assert network.eval()(x).shape == (12, 10)


def test_an_auxiliary_tower_on_images_too_small_for_the_stem_says_so():
    network = Network(GENOTYPES["DARTS_V2"], channels=4, layers=3, num_classes=5, auxiliary=True, stem="imagenet")
    with pytest.raises(UserError, match="needs a map of at least 2×2, not 1×1: the images are too small"):
        network(images(2, 3, 32, 32))
