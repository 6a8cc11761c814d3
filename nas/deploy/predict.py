"""Class probabilities of images by a network that knows what it takes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nas.deploy import images as reading
from nas.deploy.inputs import inputs_of
from nas.deploy.models import load


@torch.no_grad()
def predict(
    network: nn.Module | str | Path,
    images: Tensor | np.ndarray | str | Path | Sequence[str | Path],
    batch_size: int = 256,
) -> Tensor:
    """Return the probability of each class for each image.

    Parameters
    ----------
    network : Module, or str or Path
        As `nas.deploy.models.load` reads it, or what it reads: a file, or a network's key in this project.
        ``network.inputs.classes`` names the classes. It computes in eval mode, on its device and in its weights' type;
        its mode is put back.
    images : Tensor, N × C × H × W; array, channels last; or files and folders
        uint8, or floating-point numbers from 0 to 1, not normalised: see ``Inputs.normalised``. Arrays may be
        N × H × W × C, N × H × W, or one image. Of a folder every image is taken, in the order of names.
    batch_size : int, default 256
        Images that are computed at a time. The result is that of any other, but for rounding.

    Returns
    -------
    Tensor, float32, N × classes
        On the device of `images`; the softmax of the logits, each row of which sums to 1.

    Raises
    ------
    UserError
        The images are of another shape or kind, a file is none of an image or of a network, or the network does not
        know what it takes.
    """
    if isinstance(network, str | Path):
        network = load(network)
    inputs = inputs_of(network)
    if isinstance(images, np.ndarray):
        images = reading.of_array(images)
    elif not isinstance(images, Tensor):
        found, _ = reading.files([images] if isinstance(images, str | Path) else images)
        images = reading.read(found, inputs)
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
