"""The optimizers against torch's, bit for bit; and what a process that trains does not import."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from nas.training import optim

SETTINGS = {
    "SGD": [{"momentum": 0.9, "weight_decay": 3e-4}, {"momentum": 0.9, "nesterov": True}, {}],
    "Adam": [{"betas": (0.5, 0.999), "weight_decay": 1e-3}],
}
CASES = [(name, settings) for name, several in SETTINGS.items() for settings in several]


def trained(kind: type[torch.optim.Optimizer], settings: dict) -> tuple[list[Tensor], dict]:
    """Two parameters after five steps, the third with another learning rate, the fourth by a restored optimizer."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.randn(3))]
    optimizer = kind(parameters, lr=0.1, **settings)
    for step in range(5):
        if step == 2:
            optimizer.param_groups[0]["lr"] = 0.03
        if step == 3:
            state = optimizer.state_dict()
            optimizer = kind(parameters, lr=0.5, **settings)
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        assert all(parameter.grad is None for parameter in parameters)
        (torch.randn(5, 4) @ parameters[0] + parameters[1]).square().sum().backward()
        optimizer.step()
    return parameters, optimizer.state_dict()


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_steps_and_state_are_those_of_torch(name, settings):
    ours, state = trained(getattr(optim, name), settings)
    theirs, other = trained(getattr(torch.optim, name), settings)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert state["param_groups"] == other["param_groups"]
    for i, own in other["state"].items():
        assert own.keys() == state["state"][i].keys()
        assert all(torch.equal(torch.as_tensor(own[k]), torch.as_tensor(state["state"][i][k])) for k in own)


def test_a_step_keeps_no_graph_and_a_closure_does():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = optim.SGD([parameter], lr=0.5)

    def closure() -> Tensor:
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert parameter.tolist() == [0, 0] and parameter.is_leaf and parameter.requires_grad


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_step_imports_no_compiler(name):
    code = f"""
import sys, torch
from nas.training.optim import {name}
parameter = torch.nn.Parameter(torch.ones(2))
optimizer = {name}([parameter], lr=0.1)
optimizer.zero_grad()
parameter.sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
