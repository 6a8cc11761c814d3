"""Class probabilities of images by a network that knows what it takes."""

import torch
from torch import Tensor, nn

from nas.pipeline.errors import UserError


@torch.no_grad()
def predict(network: nn.Module, images: Tensor, batch_size: int = 256) -> Tensor:
    """Return the probability of each class for each image.

    Parameters
    ----------
    network : Module
        As ``nas.networks.network.load`` and ``nas.dnal.slim.load`` read it; ``network.inputs.classes`` names the
        classes. It computes in eval mode, on its device and in its weights' type; its mode is put back.
    images : Tensor, N × C × H × W
        uint8, or floating-point numbers from 0 to 1, not normalised: see ``Inputs.normalised``.
    batch_size : int, default 256
        Images that are computed at a time. The result is that of any other, but for rounding.

    Returns
    -------
    Tensor, float32, N × classes
        On the device of `images`; the softmax of the logits, each row of which sums to 1.

    Raises
    ------
    UserError
        The images are of another shape or kind, or the network does not know what it takes.
    """
    inputs = getattr(network, "inputs", None)
    if inputs is None:
        raise UserError("network: it does not say what images it takes; load one that was trained since it does")
    weight, was_training = next(network.parameters()), network.training
    network.eval()
    try:
        parts = [
            network(inputs.normalised(part.to(weight.device)).to(weight.dtype)).float().softmax(1).to(images.device)
            for part in images.split(batch_size)
        ]
    finally:
        network.train(was_training)
    return torch.cat(parts)
