"""What a network takes, by its own word."""

from torch import nn

from nas.data.inputs import Inputs
from nas.pipeline.errors import UserError


def inputs_of(network: nn.Module) -> Inputs:
    """What a network says that it takes; raises UserError if it says nothing."""
    inputs = getattr(network, "inputs", None)
    if not isinstance(inputs, Inputs):
        raise UserError("network: it does not say what images it takes; load one that was trained since it does")
    return inputs
