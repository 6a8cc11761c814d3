"""torch.optim's SGD and Adam for a process that compiles nothing.

Their methods import torch's compiler, only to tell it to keep off: 1.5 to 3 s of every process that trains. Those here
call what torch's methods wrap (where a torch release wraps nothing, the methods themselves): each step is torch's own.
"""

import inspect

import torch
from torch.optim import Optimizer


class _Eager(Optimizer):
    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class SGD(_Eager, torch.optim.SGD):
    """``torch.optim.SGD``."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class Adam(_Eager, torch.optim.Adam):
    """``torch.optim.Adam``."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
