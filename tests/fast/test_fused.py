"""Networks fused into one against the same networks trained one by one, in float64."""

from copy import deepcopy
from dataclasses import replace
from itertools import product

import pytest
import torch

from nas.data.batches import Batches
from nas.fast.fused import Fused
from nas.networks.network import Network
from nas.space.enumerate import Enumeration
from nas.space.genotypes import Genotype
from nas.space.spaces import SPACES, SearchSpace
from nas.training.loop import train
from nas.training.recipe import Recipe
from nas.training.together import train_together

RECIPE = Recipe(epochs=2, learning_rate=0.05, learning_rate_min=0.0, gradient_clip=0.5)


class Double(Batches):
    """Batches in float64."""

    def epoch(self, seed):
        for images, labels in super().epoch(seed):
            yield images.double(), labels


def batches(shuffle: bool, size: int = 9) -> Batches:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(256, (22, 2, size, size - 1), generator=generator, dtype=torch.uint8)
    labels = torch.randint(7, (22,), generator=generator)
    augmented = {"crop_padding": 1, "flip": True, "cutout": 2} if shuffle else {}
    return Double(images, labels, batch_size=8, mean=[0.5, 0.5], std=[0.2, 0.3], shuffle=shuffle, **augmented)


def make(genotypes: list[Genotype], channels: int = 4, layers: int = 3, stem: str = "cifar") -> list[Network]:
    networks = []
    for genotype in genotypes:
        torch.manual_seed(0)
        how = {"channels": channels, "layers": layers, "num_classes": 7, "in_channels": 2, "stem": stem}
        networks.append(Network(genotype, **how).double())
    return networks


def assert_as_one_by_one(networks: list[Network], size: int = 9) -> None:
    alone = deepcopy(networks)
    together = train_together(networks, batches(True, size), batches(False, size), RECIPE, seed=5)
    for ours, plain, history in zip(networks, alone, together, strict=True):
        expected = train(plain, batches(True, size), batches(False, size), RECIPE, seed=5)
        assert [row.keys() for row in history] == [row.keys() for row in expected]
        for row, other in zip(history, expected, strict=True):
            assert row == pytest.approx(other, rel=1e-9, abs=1e-9)
        for (name, value), other in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
            if not name.endswith("num_batches_tracked"):
                torch.testing.assert_close(value, other, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("name", ["darts", "darts_ln", "nas_bench_201", "pibconv", "efficientnetv2", "convnext"])
def test_every_operation_trains_as_it_would_alone(name):
    space = Enumeration(replace(SPACES[name], cell="darts"), 1)
    operations = [operation for operation in SPACES[name].operations if operation != "none"]
    wanted = [(a, b) for a, b in zip(operations, operations[::-1], strict=True)]
    concat = (2,)
    genotypes = [Genotype(((a, 0), (b, 1)), concat, ((b, 0), (a, 1)), concat) for a, b in wanted]
    assert set(genotypes) <= set(space) and len(genotypes) > 2
    assert_as_one_by_one(make(genotypes))


def test_nodes_choose_other_inputs_and_groups_lie_apart():
    space = Enumeration(SearchSpace("mine", ("skip_connect", "sep_conv_3x3", "avg_pool_3x3")), 2)
    assert_as_one_by_one(make(space.chosen(7, "a")))


def test_the_stem_for_large_images():
    space = Enumeration(SearchSpace("mine", ("skip_connect", "nor_conv_3x3")), 1)
    assert_as_one_by_one(make(space.chosen(3, "b"), stem="imagenet"), size=34)


def test_each_network_is_clipped_by_its_own_norm():
    genotypes = list(Enumeration(SearchSpace("mine", ("skip_connect", "nor_conv_1x1")), 1))[:3]
    networks = make(genotypes)
    fused = Fused(networks)
    for parameter in fused.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = {parameter: parameter.grad.clone() for parameter in fused.parameters()}
    fused.clip(1.0)
    for i in range(3):
        own = [(p.grad, before[p], of.index(i), len(of)) for p, of in fused.members.items() if i in of]
        parts = [(now.view(count, -1)[at], then.view(count, -1)[at]) for now, then, at, count in own]
        norm = sum(then.square().sum() for _, then in parts).sqrt()
        assert norm > 1
        for now, then in parts:
            torch.testing.assert_close(now, then / (norm + 1e-6))


def test_networks_keep_to_themselves():
    """The gradients of one network's logits are of its own weights alone."""
    conv = ("sep_conv_3x3", "nor_conv_3x3")
    genotypes = [Genotype(((a, 0), (b, 1)), (2,), ((b, 0), (a, 1)), (2,)) for a, b in product(conv, repeat=2)]
    fused, x = Fused(make(genotypes)), torch.randn(4, 2, 9, 8, dtype=torch.float64)
    parameters = list(fused.parameters())
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(fused(x)[:, 1].sum(), parameters, allow_unused=True), strict=True
    ):
        members = fused.members[parameter]
        for i, own in zip(members, gradient.reshape(len(members), -1), strict=True):
            assert own.any() == (i == 1)
