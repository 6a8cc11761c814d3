"""DNAL's second phase: the first step against finite differences, what is frozen, what the penalty does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.batches import Batches
from nas.dnal.gates import THRESHOLD, Gate, gates
from nas.dnal.phases import BINS, GateRecipe, learn_gates, restore
from nas.pipeline.errors import UserError

RECIPE = GateRecipe(epochs=4, penalty=1e-3, learning_rate=0.01, momentum=0.9, precision=32)


@pytest.fixture(autouse=True)
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CHECKPOINTS", str(tmp_path / "checkpoints"))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    convolution = [nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), Gate(12), nn.ReLU()]
    return nn.Sequential(*convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3))


def batches(size: int = 8) -> Batches:
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(32, 1, 6, 6, generator=generator) * 255).to(torch.uint8)
    return Batches(images, torch.arange(32) % 3, batch_size=size, mean=[0.5], std=[0.3])


def test_the_first_step_is_that_of_the_penalised_loss():
    """s = −lr · d/ds (cross-entropy + λ·Σσ(s)) at s = 0, with δ = 10⁴ in the only epoch: by finite differences."""
    net, recipe = network(), replace(RECIPE, epochs=1, penalty=0.3)
    images, labels = next(iter(batches(32).epoch(0)))
    with torch.no_grad():
        maps = net[1](net[0](images)).double().numpy()
        weight, bias = net[6].weight.double().numpy(), net[6].bias.double().numpy()

    def loss(s: np.ndarray) -> float:
        gated = np.maximum(maps / (1 + np.exp(-1e4 * s))[None, :, None, None], 0)
        logits = gated.mean((2, 3)) @ weight.T + bias
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        return -logits[np.arange(32), labels.numpy()].mean() + 0.3 * (1 / (1 + np.exp(-s))).sum()

    steps = 1e-8 * np.eye(12)
    expected = [-0.01 * (loss(step) - loss(-step)) / 2e-8 for step in steps]
    learn_gates(net, batches(32), recipe, seed=0)
    np.testing.assert_allclose(net[2].s.detach().numpy(), expected, rtol=2e-3, atol=1e-5)


def test_weights_stay_and_gates_close_by_the_threshold():
    net = network()
    before = {name: p.clone() for name, p in net.named_parameters()}
    rows = learn_gates(net, batches(), RECIPE, seed=0)
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"2.s"}
    assert all(p.requires_grad for p in net.parameters())
    values = 1 / (1 + np.exp(-1e4 * net[2].s.detach().double().numpy()))
    assert net[2].state == "closed"
    assert net[2].mask.tolist() == (values > THRESHOLD).tolist()
    assert [row["scale"] for row in rows] == pytest.approx([10, 100, 1000, 10000])
    assert [sum(row["counts"]) for row in rows] == [12] * 4
    assert len(rows[-1]["counts"]) == BINS
    assert rows[-1]["open"] == pytest.approx(100 * net[2].mask.double().mean().item())
    assert rows[-1]["counts"][0] + rows[-1]["counts"][-1] == 12  # split into 0 and 1


def test_momentum_goes_on_over_the_epochs():
    """Of two epochs of one batch: the second step has 0.9 of the first one's velocity, though it begins an epoch."""
    gradients, net = [], network()
    net[2].s.register_hook(lambda gradient: gradients.append(gradient.double().clone()))
    learn_gates(net, batches(32), replace(RECIPE, epochs=2, penalty=0.3), seed=0)
    first, second = gradients
    expected = -0.01 * first - 0.01 * (0.9 * first + second)
    np.testing.assert_allclose(net[2].s.detach().double().numpy(), expected.numpy(), rtol=1e-5)


def test_a_larger_penalty_leaves_fewer_channels():
    kept = []
    for weight in (0.0, 0.003, 0.03, 30.0):
        net = network()
        learn_gates(net, batches(), replace(RECIPE, penalty=weight), seed=0)
        kept.append(int(net[2].mask.sum()))
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[-1] == 0


def test_a_checkpoint_goes_on_to_the_same_bits():
    class Killed(Exception):
        pass

    class Dying(Batches):
        def epoch(self, seed):
            Dying.left -= 1
            if Dying.left < 0:
                raise Killed
            return super().epoch(seed)

    whole, net = network(), network()
    rows = learn_gates(whole, batches(), RECIPE, seed=3)
    Dying.left, dying = 2, batches()
    dying.__class__ = Dying
    with pytest.raises(Killed):
        learn_gates(net, dying, RECIPE, seed=3, key="k", name="slim@x/gates")
    resumed = network()
    assert learn_gates(resumed, batches(), RECIPE, seed=3, key="k", name="slim@x/gates") == rows
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert [gate.state for gate in gates(resumed).values()] == ["closed"]


def test_weights_that_are_missing_or_anothers(tmp_path):
    with pytest.raises(UserError, match=r"none\.safetensors: holds no such network .*run its pretraining again"):
        restore(network(), tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="holds no such network"):
        restore(network(), tmp_path / "bad.safetensors")
