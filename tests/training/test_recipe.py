"""The recipe's learning rates, by their formulas."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.training.recipe import Recipe

RECIPE = Recipe(
    epochs=3,
    learning_rate=0.05,
    learning_rate_min=0.0,
    momentum=0.9,
    weight_decay=1e-3,
    gradient_clip=1.0,
    precision=32,
)


def test_cosine_follows_sgdr() -> None:
    recipe = Recipe(
        epochs=4, learning_rate=1.0, learning_rate_min=0.2, momentum=0, weight_decay=0, gradient_clip=1, precision=32
    )
    expected = [0.2 + 0.4 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]
    assert [recipe.learning_rate_at(t) for t in range(4)] == pytest.approx(expected)
    assert recipe.learning_rate_at(0) == 1.0


def test_steps_divide_by_ten_at_each_milestone() -> None:
    recipe = replace(RECIPE, epochs=5, milestones=(1, 3))
    assert [recipe.learning_rate_at(t) for t in range(5)] == pytest.approx([0.05, 0.005, 0.005, 0.0005, 0.0005])
    assert {replace(RECIPE, milestones=()).learning_rate_at(t) for t in range(3)} == {0.05}


def test_the_cosines_of_dnals_programs_fall_at_every_step() -> None:
    """MobileNetV2's program: phase 1 is 80 epochs of a cosine of 160, phase 3 the epochs 30 to 120 of one of 120."""
    first = replace(RECIPE, epochs=80, learning_rate=0.1, cosine_epochs=160, by_step=True)
    third = replace(RECIPE, epochs=90, learning_rate=0.1, cosine_start=30, cosine_epochs=120, by_step=True)
    for epoch, step, steps in ((0, 0, 4), (0, 1, 4), (79, 3, 4), (10, 5004, 5005)):
        t = epoch + step / steps
        assert first.learning_rate_at(epoch, step / steps) == pytest.approx(0.05 * (1 + math.cos(math.pi * t / 160)))
        assert third.learning_rate_at(epoch, step / steps) == pytest.approx(
            0.05 * (1 + math.cos(math.pi * (t + 30) / 120))
        )
    assert replace(first, by_step=False).learning_rate_at(3, 0.5) == first.learning_rate_at(3)


@pytest.mark.parametrize("nesterov", [False, True])
def test_two_steps_with_momentum_by_their_formulas(nesterov: bool) -> None:
    """Sutskever et al. (2013) as torch writes it: v ← μv + g, then w ← w − η(g + μv), or without Nesterov w − ηv."""
    recipe = replace(RECIPE, nesterov=nesterov)
    w = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    optimizer = recipe.optimizer([w])
    expected, velocity = 2.0, 0.0
    for gradient in (0.3, -0.7):
        w.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        g = gradient + 1e-3 * expected
        velocity = 0.9 * velocity + g
        expected -= 0.05 * (g + 0.9 * velocity if nesterov else velocity)
        assert w.item() == pytest.approx(expected, rel=1e-12)
