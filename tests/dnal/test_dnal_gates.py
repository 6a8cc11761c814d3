"""nas.dnal.gates against the formulas of the paper, written with numpy and plain loops."""

from math import exp

import numpy as np
import pytest
import torch
from torch import nn

from nas.dnal.gates import Gate, gates, learn, penalty, plain, scale_at

S = [-3.0, -0.4, -1e-3, 1e-3, 0.02, 2.0]


def gate(s: list[float] = S, **attributes) -> Gate:
    made = Gate(len(s))
    with torch.no_grad():
        made.s.copy_(torch.tensor(s))
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), gate(), nn.Sequential(nn.Conv2d(6, 2, 1), gate([0.5, -0.5])), nn.Flatten(), nn.Linear(8, 3)
    )


@pytest.fixture(params=[(4, 6), (2, 6, 3, 5)], ids=["vectors", "maps"])
def x(request) -> torch.Tensor:
    return torch.randn(request.param, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1.0, 10**0.4, 40.0])
def test_value_and_gradient_while_learning(x, scale):
    module = gate(state="learning", scale=scale).double()
    s = module.s.detach().numpy()
    factor = (1 / (1 + np.exp(-scale * s))).reshape(1, 6, *[1] * (x.dim() - 2))
    np.testing.assert_allclose(module(x).detach().numpy(), x.numpy() * factor, rtol=1e-14)

    def function(x, s):
        return torch.func.functional_call(module, {"s": s}, (x,))

    assert torch.autograd.gradcheck(function, (x.requires_grad_(), module.s))


def test_the_limit_is_the_step_function(x):
    step = (torch.tensor(S) > 0).double().view(1, 6, *[1] * (x.dim() - 2))
    distances = [
        (gate(state="learning", scale=scale).double()(x) - x * step).abs().max().item()
        for scale in 10.0 ** np.arange(7)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.1 and distances[-1] < 1e-12


def test_an_open_gate_changes_nothing_and_learns_nothing(x):
    module = gate()
    assert module.state == "open" and torch.equal(module(x), x)
    module.close()
    module.state = "open"
    assert torch.equal(module(x), x)
    module(x.requires_grad_()).sum().backward()
    assert module.s.grad is None


def test_a_fresh_gate_is_undecided():
    module = Gate(5)
    assert module.values().tolist() == [0.5] * 5 and module.scale == 1 and module.mask.all()


def test_closing_keeps_what_exceeds_the_threshold(x):
    """σ(z) > 0.9 where z > ln 9 = 2.1972."""
    module = gate([-5.0, 0.0, 1.0, 2.197, 2.198, 9.0], state="learning")
    module.close()
    kept = torch.tensor([0, 0, 0, 0, 1, 1], dtype=torch.bool)
    assert module.state == "closed" and torch.equal(module.mask, kept)
    y = module(x)
    assert y.dtype == x.dtype and torch.equal(y[:, kept], x[:, kept]) and not y[:, ~kept].any()
    module = gate(state="learning", scale=150.0)
    module.close()
    assert module.mask.tolist() == [False, False, False, False, True, True]  # 150 · 0.02 = 3


def test_a_mask_is_saved_with_the_weights():
    module = gate(state="learning", scale=1e4)
    module.close()
    other = Gate(6)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.mask, module.mask) and torch.equal(other.s, module.s)


def test_the_scale_grows_by_the_same_factor_each_epoch():
    """10000^(1/10) before each of ten epochs."""
    expected = [10**0.4, 10**0.8, 10**1.2, 10**1.6, 1e2, 10**2.4, 10**2.8, 10**3.2, 10**3.6, 1e4]
    assert [scale_at(epoch, 10) for epoch in range(10)] == pytest.approx(expected, rel=1e-12)
    assert [scale_at(epoch, 2) for epoch in range(2)] == pytest.approx([1e2, 1e4], rel=1e-12)


def test_the_penalty_is_the_sum_of_unscaled_sigmoids(network):
    learn(network, 1e4)
    expected = 0.0
    for s in [*S, 0.5, -0.5]:
        expected += 1 / (1 + exp(-s))
    value = penalty(network)
    assert value.shape == () and value.item() == pytest.approx(expected, rel=1e-6)
    value.backward()
    assert all((module.s.grad > 0).all() for module in gates(network).values())


def test_all_gates_of_a_network_by_name(network):
    found = gates(network)
    assert list(found) == ["1", "2.1"] and found["2.1"] is network[2][1]
    learn(network, 7.0)
    assert [(module.state, module.scale) for module in found.values()] == [("learning", 7.0)] * 2


def test_a_plain_copy_has_no_gates_and_the_same_weights(network):
    x = torch.randn(2, 3, 4, 4)
    copy = plain(network)
    assert not gates(copy) and len(gates(network)) == 2
    assert torch.equal(copy(x), network(x))
    assert [p.shape for p in copy.parameters()] == [p.shape for n, p in network.named_parameters() if n[-2:] != ".s"]
