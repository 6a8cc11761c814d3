"""What DNAL's stages train by under the paper's presets, against the formulas of its published programs."""

import math
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

from nas.pipeline.names import Slimmed
from nas.pipeline.params import load, preset
from nas.training.context import Context
from stages import pretrain, slim

STEPS = 8  # an epoch

# Of each network on ImageNet: epochs of phases 1 and 3, and their learning rate after t epochs, parts of them counted
PROGRAMS = {
    "vgg16": (30, 70, lambda t: 0.01, lambda t: 0.01 / (1 if t < 11 else 10 if t < 41 else 100)),
    "resnet50": (30, 70, lambda t: 0.1, lambda t: 0.1 / (1 if t < 11 else 10 if t < 41 else 100)),
    "mobilenet_v2": (
        *(80, 90),
        lambda t: 0.1 * (1 + math.cos(math.pi * t / 160)) / 2,
        lambda t: 0.1 * (1 + math.cos(math.pi * (t + 30) / 120)) / 2,
    ),
    "proxylessnas": (
        *(100, 110),
        lambda t: 0.05 * (1 + math.cos(math.pi * t / 150)) / 2,
        lambda t: 0.05 * (1 + math.cos(math.pi * (t + 40) / 150)) / 2,
    ),
}
NETWORKS = [
    ("dnal_cifar10", "vgg16_cifar", "vgg16"),
    ("dnal_cifar10", "resnet56", "resnet50"),
    ("dnal_cifar10", "mobilenet_v2_cifar", "mobilenet_v2"),
    ("dnal_imagenet", "vgg16_bn", "vgg16"),
    ("dnal_imagenet", "resnet50", "resnet50"),
    ("dnal_imagenet", "mobilenet_v2", "mobilenet_v2"),
    ("dnal_imagenet", "proxylessnas", "proxylessnas"),
]


@pytest.fixture
def recipes(monkeypatch) -> list:
    """Those that the stages hand to the loops, in their order; nothing is trained, nor is a weight's memory taken."""
    found = []

    def note(network, batches, *others, **options):
        found.append(others[-1])
        return []

    monkeypatch.setattr("nas.training.loop.train", note)
    monkeypatch.setattr("nas.dnal.phases.learn_gates", note)
    monkeypatch.setattr("nas.dnal.phases.restore", lambda network, path: None)
    monkeypatch.setattr("nas.dnal.slim.slim", lambda network, shape: network)
    monkeypatch.setattr("nas.pipeline.files.sha256", lambda path: "")
    monkeypatch.setattr(Context, "key", lambda self, settings: "")
    return found


@pytest.mark.parametrize(("name", "model", "program"), NETWORKS)
def test_all_three_phases_follow_the_networks_program(name, model, program, recipes, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    preset(name, tmp_path / "params.yaml")
    side = 32 if name == "dnal_cifar10" else 224
    prepared = SimpleNamespace(
        shape=(3, side, side), classes=["a", "b"], train=None, test=None, batches=lambda split, **options: None
    )
    with torch.device("meta"):
        context = Context(load(tmp_path / "params.yaml"), model, torch.device("meta"), prepared, 0)
        pretrain.train(context, model)
        slim.train(context, Slimmed(model, 1e-4))
    first, gates, third = recipes
    epochs_first, epochs_third, rate_first, rate_third = PROGRAMS[program]
    assert (first.epochs, gates.epochs, third.epochs) == (epochs_first, 10, epochs_third)
    assert (gates.penalty, gates.learning_rate, gates.momentum) == (1e-4, 0.01, 0.9)
    for recipe, rate in ((first, rate_first), (third, rate_third)):
        assert recipe.gradient_clip is None
        for epoch in range(recipe.epochs):
            for step in range(STEPS):
                told = recipe.learning_rate_at(epoch, step / STEPS)
                assert told == pytest.approx(rate(epoch + step / STEPS), rel=1e-12), (epoch, step)
