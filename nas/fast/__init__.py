"""The same mathematics computed faster: on the CPU by identities whose kernels are faster, on a GPU by fewer kernels.

For others: accelerate. Nothing outside this room branches on it, and a reader of the mathematics may skip it whole.
What the classes of ``nas.networks.NAME`` compute, ``nas.fast.NAME`` does.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MethodType

from torch import Tensor, nn

from nas.fast import layers


def accelerate(network: nn.Module) -> nn.Module:
    """Let `network` compute as it did, but faster where that is known; the same network, changed in place.

    Each module whose class has a ``forward`` that is known here gets another of its own: sequences of layers, cells,
    mixed cells. State dicts, classes, hooks and results (but for rounding) stay. A subclass with a ``forward`` of its
    own, modules with hooks, batch norms that are frozen and gradients that are to be differentiated again are computed
    the plain way; so is all in evaluation mode, on small maps, in bfloat16's autocast on processors that only imitate
    it, and on a GPU all but what ``grouped`` knows of mixed cells.

    Parameters
    ----------
    network : Module
        A ``Network``, a ``Supernet``, or a part of one; one that was accelerated stays as it is.

    Notes
    -----
    ``del module.forward`` of a module takes it back.
    """
    for module in network.modules():
        plain = type(module).forward
        forward = _forwards(plain.__module__).get(plain)
        if forward and "forward" not in vars(module):
            module.forward = MethodType(forward, module)
    return network


@cache
def _forwards(module: str) -> dict[Callable[..., Tensor], Callable[..., Tensor]]:
    """The fast ``forward`` for each that is known of the classes of `module`."""
    room, _, name = module.rpartition(".")
    if room == "nas.networks" and find_spec(twin := f"{__name__}.{name}"):
        return layers.FORWARDS | import_module(twin).FORWARDS
    return layers.FORWARDS
