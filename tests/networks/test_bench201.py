"""nas.networks.bench201 against what the benchmark publishes: parameters, FLOPs, how many architectures there are."""

import numpy as np
import pytest
import reference
import torch

from nas.fast import accelerate
from nas.networks.bench201 import Bench201Network
from nas.networks.complexity import conv_macs, count, params
from nas.pipeline.errors import UserError
from nas.space import bench201
from nas.space.bench201 import architectures, expression, parse, written

CONVOLUTIONS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SKIPS = CONVOLUTIONS.replace("nor_conv_3x3", "skip_connect")
MIXED = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@pytest.mark.parametrize(
    ("architecture", "classes", "parameters"),
    [
        # The largest and the smallest values of the benchmark's table for CIFAR-10 and CIFAR-100
        (CONVOLUTIONS, 10, 1531546),
        (SKIPS, 10, 73306),
        (CONVOLUTIONS, 100, 1537396),
        (SKIPS, 100, 79156),
        (MIXED, 10, 802426),  # github.com/D-X-Y/NATS-Bench, issue 36
    ],
)
def test_parameters_are_the_benchmarks(architecture: str, classes: int, parameters: int) -> None:
    assert params(Bench201Network(architecture, num_classes=classes)) == parameters


@pytest.mark.parametrize(
    ("architecture", "classes", "flops"),
    [
        (CONVOLUTIONS, 10, 220119690),
        (SKIPS, 10, 7783050),
        (CONVOLUTIONS, 100, 220125540),
        (SKIPS, 100, 7788900),
    ],
)
def test_multiply_adds_are_the_benchmarks(architecture: str, classes: int, flops: int) -> None:
    """The benchmark counts those of convolutions and of the linear layer, and with them the latter's bias."""
    network = Bench201Network(architecture, num_classes=classes)
    assert conv_macs(network, (3, 32, 32)) + classes == flops


def test_images_of_16_pixels_have_a_quarter_of_the_multiply_adds() -> None:
    """ImageNet-16-120: 1.95340 and 55.03756 million."""
    found = [conv_macs(Bench201Network(a, num_classes=120), (3, 16, 16)) + 120 for a in (SKIPS, CONVOLUTIONS)]
    assert found == [1953400, 55037560]


def test_all_layers_are_counted_by_the_other_convention_too() -> None:
    found = count(Bench201Network(CONVOLUTIONS), (3, 32, 32))
    assert found.macs > found.conv_macs == 220119680


def test_the_space_has_as_many_architectures_as_the_benchmark() -> None:
    """Its program tells 6,466 apart: github.com/D-X-Y/NATS-Bench, notebooks/issue-12.ipynb."""
    every = list(architectures())
    assert len(set(every)) == len(every) == 15625
    assert len(set(map(expression, every))) == 6466


def test_architectures_are_read_as_they_are_written() -> None:
    for architecture in list(architectures())[::97]:
        assert parse(written(architecture)) == architecture
    assert parse(MIXED) == (
        ("skip_connect",),
        ("none", "nor_conv_3x3"),
        ("avg_pool_3x3", "nor_conv_3x3", "nor_conv_3x3"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown operation ''"),
        (SKIPS.replace("|skip_connect~0|+", "|skip_conect~0|+", 1), "did you mean skip_connect?"),
        (SKIPS.replace("~2", "~1"), "is not allowed: must be like |OP~0|+|OP~0|OP~1|+|OP~0|OP~1|OP~2|"),
        (SKIPS.split("+", 1)[1], "must be like"),
        ("|skip_connect~0|+|skip_connect~0|skip_connect~1|", "must be like"),
        (SKIPS[1:], "must be like"),
        (SKIPS + "\n", "unknown operation '\\n'"),
    ],
)
def test_what_is_no_architecture(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Bench201Network(text)
    assert str(caught.value).startswith("architecture: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def plain(architecture: str, x: np.ndarray, cells: int, take: reference.Take, training: bool) -> np.ndarray:
    """The whole network by slow loops."""
    how = {"training": training}
    x = reference.norm(reference.conv(x, take(), padding=(1, 1)), take, **how)
    for stack in range(3):
        if stack:
            once = reference.conv(reference.relu(x), take(), (2, 2), (1, 1))
            once = reference.norm(once, take, **how)
            branch = reference.norm(reference.conv(reference.relu(once), take(), (1, 1), (1, 1)), take, **how)
            height, width = x.shape[2] // 2, x.shape[3] // 2
            pooled = x.reshape(*x.shape[:2], height, 2, width, 2).mean(axis=(3, 5))
            x = reference.conv(pooled, take()) + branch
        for _ in range(cells):
            states = [x]
            for node in architecture.split("+"):
                ends = [edge.split("~") for edge in node.strip("|").split("|")]
                states.append(sum(reference.operation(op, states[int(s)], 1, take, **how) for op, s in ends))
            x = states[-1]
    x = reference.relu(reference.norm(x, take, **how)).mean(axis=(2, 3))
    weight, bias = take(), take()
    return x @ weight.T + bias


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize(
    "architecture", [MIXED, "|nor_conv_1x1~0|+|avg_pool_3x3~0|skip_connect~1|+|nor_conv_3x3~0|nor_conv_1x1~1|none~2|"]
)
def test_the_network_by_slow_loops(architecture: str, training: bool, monkeypatch) -> None:
    monkeypatch.setattr("nas.fast.conditions.SMALLEST", 0)
    network = Bench201Network(architecture, channels=2, cells=2, num_classes=3, in_channels=1)
    network = reference.randomize(network).train(training)
    take, rest = reference.take_from(network)
    x = torch.randn(3, 1, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = plain(architecture, x.numpy(), 2, take, training)
    assert next(rest, None) is None
    np.testing.assert_allclose(network(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(accelerate(network)(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_images_of_any_size() -> None:
    network = Bench201Network(MIXED, channels=2, cells=1, num_classes=3)
    for size in (4, 5, 7, 33):
        assert network(torch.randn(2, 3, size, size)).shape == (2, 3)
    assert len(bench201.OPERATIONS) == 5
