"""How many kernels a step launches at DARTS's size, which is what a GPU's time goes by: a budget, not to be exceeded.

At C = 16, 8 layers and batch 64 a kernel computes for less time than a launch takes (5 to 8 µs).
"""

from collections import Counter
from contextlib import ExitStack
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from fake import GPU, LAUNCHES, FakeGPU
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from nas.fast import accelerate, grouped
from nas.networks.network import Network
from nas.networks.supernet import Supernet
from nas.search import loop
from nas.search.algorithm import Algorithm, Step, first_order
from nas.space.published import PUBLISHED
from nas.training import distributed
from nas.training.loop import Meter, clip, cross_entropy
from nas.training.recipe import Recipe

RECIPE = Recipe(epochs=50, learning_rate=0.025)
BUDGET = {"alpha": 4_150, "weights": 4_430, "evaluation": 3_800}


def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 3, 32, 32, device=GPU), torch.randint(10, (count,), device=GPU)


def told(launches: Counter[str], name: str) -> None:
    print(f"{name}: {launches.total():,} launches", dict(launches.most_common(8)))
    assert BUDGET[name] / 2 < launches.total() <= BUDGET[name]


def search_step(
    layers: int, nodes: int, gpus: int = 1, devices: tuple[str, ...] = (GPU,)
) -> tuple[Counter[str], Counter[str]]:
    """What one of `gpus` launches for a step of first order with 64 images: for alpha, and for the weights.

    `devices`: on which edges are grouped.
    """
    with FakeGPU() as gpu, mock.patch.object(grouped, "DEVICES", devices), ExitStack() as ends:
        if gpus > 1:
            dist.init_process_group("fake", rank=0, world_size=gpus, store=FakeStore())
            ends.callback(dist.destroy_process_group)
        how = {"channels": 16, "layers": layers, "nodes": nodes, "num_classes": 10}
        supernet = accelerate(Supernet("darts", **how).to(GPU)).train()
        distributed.synchronise(supernet)
        weights, alphas = supernet.weights(), supernet.alphas()
        optimizer, adam = RECIPE.optimizer(weights.values()), loop.AlphaRecipe().optimizer(alphas)
        loss = loop.functional_loss(supernet)
        for parameter in [*weights.values(), *alphas]:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()  # makes the momentum
        adam.step()
        gpu.clear()
        step = Step(loss, loss, weights, alphas, batch(64 // gpus), batch(64 // gpus), optimizer, RECIPE)
        for alpha, gradient in zip(alphas, first_order(loss, weights, alphas, step.alpha_batch), strict=True):
            alpha.grad = gradient
        adam.step()
        of_alpha = gpu.launches.copy()
        loop._weights_step(supernet, Algorithm(), step, Meter())
        return [of_alpha, gpu.launches - of_alpha]


def of_four(of_one: Counter[str]) -> tuple[int, int]:
    """Launches and collectives of one of four GPUs, from those of a GPU alone that groups no edges."""
    forward, backward = (of_one[name] // LAUNCHES[name] for name in ("native_batch_norm", "native_batch_norm_backward"))
    return of_one.total() + 18 * forward + 17 * backward + 20, forward + backward + 5


@pytest.mark.parametrize(("layers", "nodes"), [(3, 1), (3, 2)])
def test_what_batch_norms_add_on_four_gpus(layers: int, nodes: int) -> None:
    """At two sizes, for one would not tell forward from backward; at the full size it was counted once, and agreed."""
    launches = sum(search_step(layers, nodes, gpus=4), Counter())
    collectives = launches["_allgather_base_"] + launches["allreduce_"]
    assert (launches.total(), collectives) == of_four(sum(search_step(layers, nodes, devices=()), Counter()))


def test_a_search_step_of_first_order() -> None:
    """Grouped edges keep the budget."""
    alpha, weights = search_step(layers=8, nodes=4)
    told(alpha, "alpha")
    told(weights, "weights")


def test_a_search_step_of_first_order_without_grouped_edges() -> None:
    """What docs/how/scaling.md says: of one GPU, and of one of four."""
    of_one = sum(search_step(layers=8, nodes=4, devices=()), Counter())
    launches, collectives = of_four(of_one)
    print(f"of one: {of_one.total():,}; of four: {launches:,} launches, {collectives:,} collectives")
    assert (of_one.total(), launches, collectives) == (31_128, 94_478, 3_621)


@pytest.mark.parametrize("space", ["darts", "pibconv", "efficientnetv2"])
def test_grouped_edges_launch_a_third_and_move_no_more_bytes(space: str) -> None:
    found = []
    with FakeGPU() as gpu:
        for path in (accelerate, nn.Module.train):
            supernet = path(Supernet(space, channels=16, layers=3, nodes=4, num_classes=10).to(GPU))
            gpu.clear()
            images, labels = batch(64)
            cross_entropy(supernet(images), labels).backward()
            found.append((sum(gpu.launches.values()), gpu.moved))
    (launches, moved), (plain_launches, plain_moved) = found
    print(f"{space}: {launches:,} and {plain_launches:,} launches, {moved / 1e9:.0f} and {plain_moved / 1e9:.0f} GB")
    assert launches < plain_launches / 3 and moved < plain_moved


def test_a_training_step() -> None:
    with FakeGPU() as gpu:
        network = accelerate(Network(PUBLISHED["DARTS_V2"], channels=36, layers=20, num_classes=10).to(GPU)).train()
        optimizer = RECIPE.optimizer(network.parameters())
        for _ in range(2):
            gpu.clear()
            images, labels = batch(96)
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            clip(network.parameters(), RECIPE)
            optimizer.step()
        told(gpu.launches, "evaluation")


@pytest.mark.parametrize("foreach", [3, 70])
def test_many_tensors_at_once_are_a_launch_for_64(foreach: int) -> None:
    with FakeGPU() as gpu:
        tensors = [torch.zeros(5, device=GPU) for _ in range(foreach)]
        gpu.clear()
        torch._foreach_add_(tensors, 1.0)
        assert sum(gpu.launches.values()) == -(-foreach // 64)
