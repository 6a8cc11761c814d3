"""nas.training.optimizers against torch.optim."""

import subprocess
import sys

import pytest
import torch

from nas.training import optimizers


@pytest.mark.parametrize(
    "name, options",
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
        ("Adam", {"lr": 0.1, "betas": (0.5, 0.999), "weight_decay": 0.01}),
    ],
)
def test_steps_have_the_bits_of_torchs_own(name, options):
    torch.manual_seed(0)
    start = [torch.randn(3, 4), torch.ones(5)]
    ours, theirs = ([torch.nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    optimizer, reference = getattr(optimizers, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(6):
        for group in (optimizer.param_groups[0], reference.param_groups[0]):
            group["lr"] = 0.1 / (step + 1)
        for mine, their in zip(ours, theirs, strict=True):
            their.grad = torch.randn(their.shape)
            mine.grad = their.grad.clone()
        if step in (0, 3):  # an operation that GDAS did not draw
            ours[1].grad = theirs[1].grad = None
        optimizer.step()
        reference.step()
        for mine, their in zip(ours, theirs, strict=True):
            assert torch.equal(mine, their)
            assert optimizer.state[mine].keys() == {k for k, v in reference.state[their].items() if v is not None}
            assert all(torch.equal(value, reference.state[their][k]) for k, value in optimizer.state[mine].items())
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in ours)


def test_training_and_search_do_not_import_the_compiler():
    """It would be the longest part of a short stage: more than a second."""
    program = """
import sys
import torch
from nas.search import loop as search
from nas.training import loop as training
from nas.networks.complexity import count
from nas.space.genotypes import PUBLISHED
from nas.networks.network import Network
recipe = training.Recipe(1, 0.1, 0.0, 0.9, 3e-4, 5.0, 32)
alphas = search.AlphaRecipe("darts", "second", 10.0, 1.0, 0.1, (0.5, 0.999), 0.0)
network = Network(PUBLISHED["DARTS_V2"], channels=4, layers=3, num_classes=10)
for optimizer in recipe.optimizer(network.parameters()), alphas.optimizer(list(network.parameters())):
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
    optimizer.step()
count(network, (3, 8, 8))
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
