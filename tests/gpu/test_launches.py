"""How many kernels a step launches at DARTS's size, which is what a GPU's time goes by: a budget, not to be exceeded.

At C = 16, 8 layers and batch 64 a kernel computes for less time than a launch takes (5 to 8 µs).
"""

import pytest
import torch
import torch.distributed as dist
from fake import GPU, FakeGPU
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from nas.fast import accelerate
from nas.networks.network import Network
from nas.networks.supernet import Supernet
from nas.search import loop
from nas.space.published import PUBLISHED
from nas.training import distributed
from nas.training.loop import Meter, clip, cross_entropy
from nas.training.recipe import Recipe

RECIPE = Recipe(epochs=50, learning_rate=0.025)
BUDGET = {"alpha": 4_150, "weights": 4_430, "evaluation": 3_800}


def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 3, 32, 32, device=GPU), torch.randint(10, (count,), device=GPU)


def told(gpu: FakeGPU, name: str) -> None:
    launches = sum(gpu.launches.values())
    print(f"{name}: {launches:,} launches, {gpu.moved / 1e9:.0f} GB", dict(gpu.launches.most_common(8)))
    assert BUDGET[name] / 2 < launches <= BUDGET[name]
    gpu.clear()


def test_a_search_step_of_first_order() -> None:
    with FakeGPU() as gpu:
        supernet = accelerate(Supernet("darts", channels=16, layers=8, nodes=4, num_classes=10).to(GPU)).train()
        weights, alphas, meter = supernet.weights(), supernet.alphas(), Meter()
        optimizer, adam = RECIPE.optimizer(weights.values()), loop.AlphaRecipe().optimizer(alphas)
        loss = loop.functional_loss(supernet)
        loop._weights_step(supernet, weights, optimizer, batch(64), RECIPE, meter)  # makes the momentum
        gpu.clear()
        for alpha, gradient in zip(alphas, loop.first_order(loss, weights, alphas, batch(64)), strict=True):
            alpha.grad = gradient
        adam.step()
        told(gpu, "alpha")
        loop._weights_step(supernet, weights, optimizer, batch(64), RECIPE, meter)
        told(gpu, "weights")


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
        told(gpu, "evaluation")


def test_a_search_step_of_one_of_four_gpus() -> None:
    """What docs/how/scaling.md says of several: kernels, and how often each waits for the others."""
    with FakeGPU() as gpu:
        dist.init_process_group("fake", rank=0, world_size=4, store=FakeStore())
        try:
            supernet = accelerate(Supernet("darts", channels=16, layers=8, nodes=4, num_classes=10).to(GPU)).train()
            distributed.synchronise(supernet)
            weights, alphas = supernet.weights(), supernet.alphas()
            optimizer, adam = RECIPE.optimizer(weights.values()), loop.AlphaRecipe().optimizer(alphas)
            loss = loop.functional_loss(supernet)
            for parameter in [*weights.values(), *alphas]:
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step()  # makes the momentum
            adam.step()
            gpu.clear()
            for alpha, gradient in zip(alphas, loop.first_order(loss, weights, alphas, batch(16)), strict=True):
                alpha.grad = gradient
            adam.step()
            loop._weights_step(supernet, weights, optimizer, batch(16), RECIPE, Meter())
        finally:
            dist.destroy_process_group()
    waits = gpu.launches["_allgather_base_"] + gpu.launches["allreduce_"]
    print(f"of four: {sum(gpu.launches.values()):,} launches, {waits:,} collectives")
    assert 90_000 < sum(gpu.launches.values()) <= 103_400 and 3_500 < waits <= 3_630


@pytest.mark.parametrize("foreach", [3, 70])
def test_many_tensors_at_once_are_a_launch_for_64(foreach: int) -> None:
    with FakeGPU() as gpu:
        tensors = [torch.zeros(5, device=GPU) for _ in range(foreach)]
        gpu.clear()
        torch._foreach_add_(tensors, 1.0)
        assert sum(gpu.launches.values()) == -(-foreach // 64)
