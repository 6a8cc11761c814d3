"""Zero-cost proxies in float64 against products known by hand, finite differences and slow loops."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.analysis import proxies
from nas.analysis.proxies import PROXIES, grad_norm, jacov, macs, naswot, params, score, snip, synflow
from nas.fast import accelerate
from nas.networks.bench201 import Bench201Network
from nas.networks.network import Network
from nas.pipeline.records import ProxyScore
from nas.space.genotypes import Genotype
from nas.space.operations import FAMILIES

IMAGES, CHANNELS, SIDE, CLASSES = 5, 2, 6, 3


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(IMAGES, CHANNELS, SIDE, SIDE, dtype=torch.float64, generator=generator)
    return images, torch.arange(IMAGES) % CLASSES


class Small(nn.Module):
    """Two convolutions with a batch norm behind each, a branch that nothing depends on, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, 3, 3, padding=1, bias=False)
        self.second = nn.Conv2d(3, 2, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(2)])
        self.relus = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.ReLU()])
        self.head = nn.Linear(2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relus[0](self.norms[0](self.first(x)))
        dead = torch.zeros_like(self.relus[2](-x))
        x = self.relus[1](self.norms[1](self.second(x))) + dead[:, :2]
        return self.head(x.mean(dim=(2, 3)))


def small() -> Small:
    torch.manual_seed(0)
    network = Small().double()
    for norm in network.norms:  # as if it had been trained, which synflow must not see
        nn.init.uniform_(norm.running_mean, -3, 3)
        nn.init.uniform_(norm.running_var, 0.1, 9)
        nn.init.uniform_(norm.weight, 0.5, 2)
    return network


def loss(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The mean cross-entropy, without torch's."""
    logits = deepcopy(network).train()(images).detach().numpy()
    logits = logits - logits.max(axis=1, keepdims=True)
    return float(-(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[range(IMAGES), labels.numpy()].mean())


def sensitivities(network: nn.Module, images: Tensor, labels: Tensor, step: float = 1e-5) -> tuple[list, list]:
    """∂L/∂θ and ∂L/∂c at c = 1 for the weights c·θ of convolutions and linear layers, by central differences."""
    of_weights, of_connections = [], []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            flat = module.weight.data.view(-1)
            for i, value in enumerate(flat.tolist()):
                for found, change in ((of_weights, step), (of_connections, step * value)):
                    losses = []
                    for sign in (1, -1):
                        flat[i] = value + sign * change
                        losses.append(loss(network, images, labels))
                    flat[i] = value
                    found.append((losses[0] - losses[1]) / (2 * step))
    return of_weights, of_connections


def test_snip_is_how_the_loss_answers_to_every_connection() -> None:
    network = small()
    _, of_connections = sensitivities(network, *batch())
    assert snip(network, *batch()) == pytest.approx(sum(map(abs, of_connections)), rel=1e-6)


def test_grad_norm_is_the_length_of_the_gradient() -> None:
    network = small()
    of_weights, _ = sensitivities(network, *batch())
    assert grad_norm(network, *batch()) == pytest.approx(math.sqrt(sum(g * g for g in of_weights)), rel=1e-6)


def test_synflow_of_a_linear_network_is_its_layers_times_the_product_of_absolute_weights() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(72, 4, bias=False), nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)
    )
    first, second, third = (layer.weight.detach().double().abs().numpy() for layer in network[1:])
    assert (network[1].weight < 0).any()
    expected = 3 * (third @ second @ first).sum()
    assert synflow(network, *batch()) == pytest.approx(expected, rel=1e-12)  # in float64, whatever the network's


def test_synflow_leaves_normalisation_out_and_counts_weights_alone() -> None:
    """The flow through a linear layer's bias is R's, and no weight's."""
    network = small()
    with torch.no_grad():
        first, second, head = (module.weight.abs() for module in (network.first, network.second, network.head))
        ones = torch.ones(1, CHANNELS, SIDE, SIDE, dtype=torch.float64)
        maps = nn.functional.conv2d(nn.functional.conv2d(ones, first, padding=1), second)
        flow = (maps.mean(dim=(2, 3)) @ head.T).sum().item()
    assert synflow(network, *batch()) == pytest.approx(3 * flow, rel=1e-12)


def test_layer_norm_lets_flow_through_too() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 4, bias=False), nn.LayerNorm(4), nn.Linear(4, 3, bias=False))
    without = nn.Sequential(network[0], network[1], network[3])
    assert synflow(network, *batch()) == pytest.approx(synflow(without, *batch()), rel=1e-12) != 0


def test_naswot_counts_what_pairs_of_images_switch_alike() -> None:
    """N_A less the Hamming distance, by loops; what the output does not depend on is left out."""
    network, (images, labels) = small(), batch()
    with torch.no_grad():
        plain = deepcopy(network).train()
        first = plain.norms[0](plain.first(images))
        second = plain.norms[1](plain.second(first.relu()))
    codes = [[value > 0 for value in (*first[i].flatten(), *second[i].flatten())] for i in range(IMAGES)]
    kernel = [[len(one) - sum(a != b for a, b in zip(one, other, strict=True)) for other in codes] for one in codes]
    assert naswot(network, images, labels) == pytest.approx(np.linalg.slogdet(np.array(kernel, float))[1], rel=1e-9)


def test_images_that_are_alike_have_the_least_naswot() -> None:
    images, labels = batch()
    images[3] = images[1]
    assert naswot(small(), images, labels) == -math.inf
    with pytest.raises(ValueError, match="needs a network with a ReLU"):
        naswot(nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double(), images, labels)


def test_jacov_is_made_of_the_eigenvalues_of_the_jacobians_correlations() -> None:
    """The Jacobian by central differences: batch norm makes an image's outputs depend on the others too."""
    network, (images, labels) = small(), batch()
    jacobian, step = np.zeros((IMAGES, CHANNELS * SIDE * SIDE)), 1e-6
    with torch.no_grad():
        for i in range(IMAGES):
            for j in range(jacobian.shape[1]):
                sums = []
                for sign in (1, -1):
                    shifted = images.clone()
                    shifted[i].view(-1)[j] += sign * step
                    sums.append(deepcopy(network).train()(shifted).sum().item())
                jacobian[i, j] = (sums[0] - sums[1]) / (2 * step)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(jacobian))
    expected = -sum(math.log(value + 1e-5) + 1 / (value + 1e-5) for value in eigenvalues)
    assert eigenvalues.min() > 1e-3  # or the reference would be rounding
    assert jacov(network, images, labels) == pytest.approx(expected, rel=1e-5)


def test_a_network_that_does_not_look_has_the_least_jacov() -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.bias.expand(len(x), 3)

    assert jacov(Blind(), *batch()) == -math.inf


def test_params_and_macs_are_counted() -> None:
    network = small()
    assert params(network, *batch()) == 2 * 3 * 9 + 3 * 2 + 2 * 3 + 2 * 2 + 2 * 3 + 3
    assert macs(network, *batch()) == 36 * (2 * 3 * 9 + 3 * 2) + 2 * 3


def all_on(operation: str) -> Genotype:
    edges = ((operation, 0), (operation, 1), (operation, 0), (operation, 2))
    return Genotype(edges, (2, 3), edges, (2, 3))


@pytest.mark.parametrize("operation", sorted(name for names in FAMILIES.values() for name in names if name != "none"))
def test_every_operation_has_every_proxy(operation: str) -> None:
    """And the network is what it was, on the fast path or not."""
    torch.manual_seed(0)
    network = Network(all_on(operation), channels=4, layers=3, num_classes=CLASSES, in_channels=CHANNELS)
    images, labels = (each.float() if each.is_floating_point() else each for each in batch())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def scores(network: nn.Module) -> dict[str, float]:
        torch.manual_seed(0)  # noise draws
        return {name: proxy(network, images, labels) for name, proxy in PROXIES.items()}

    found = scores(network)
    blind = {"naswot", "jacov"} if operation == "noise" else set()  # its output depends on no image
    assert {name for name, value in found.items() if value == -math.inf} == blind
    assert all(math.isfinite(value) for name, value in found.items() if name not in blind), found
    assert found["snip"] > 0 and found["grad_norm"] > 0 and found["synflow"] >= 0
    assert found["synflow"] > 0 or operation == "noise"
    assert scores(accelerate(network)) == found
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training and not any(module._forward_hooks for module in network.modules())


def test_scores_are_the_rows_of_a_table_and_repeat(tmp_path) -> None:
    genotypes = [
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|skip_connect~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    ]
    images, labels = (each.float() if each.is_floating_point() else each for each in batch())

    def rows() -> list[dict]:
        build = {"channels": 4, "cells": 1, "num_classes": CLASSES, "in_channels": CHANNELS}
        return list(score(genotypes, lambda text: Bench201Network(text, **build), images, labels, seed=3))

    found = rows()
    assert [(row["genotype"], row["proxy"]) for row in found] == [(g, p) for g in genotypes for p in PROXIES]
    torch.manual_seed(77)
    assert rows() == found
    by_name = {(row["genotype"], row["proxy"]): row["score"] for row in found}
    assert by_name[genotypes[0], "params"] > by_name[genotypes[1], "params"]
    assert by_name[genotypes[1], "synflow"] == 0  # nothing flows: each node is zero, and the blocks between see zeros
    assert by_name[genotypes[1], "jacov"] == -math.inf
    ProxyScore.write(tmp_path / "proxies.csv", found)
    assert ProxyScore.read(tmp_path / "proxies.csv").to_dict("records") == found  # infinities too


def test_the_proxies_are_those_of_the_documentation() -> None:
    assert list(PROXIES) == ["params", "macs", "synflow", "naswot", "jacov", "grad_norm", "snip"]
    assert all(proxy.__doc__ and proxy is getattr(proxies, name) for name, proxy in PROXIES.items())
