"""Where a network looks: Grad-CAM heat maps (Selvaraju et al., 2017) by the grad-cam library."""

from collections.abc import Sequence

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from nas.network import Network

SIZE = 224  # pixels; the PIBConv paper's Fig. 6 shows its 32×32 images at this size


def heat_maps(network: Network, images: Tensor, labels: Sequence[int]) -> Tensor:
    """Grad-CAM of the last cell, for the class that each image belongs to.

    Parameters
    ----------
    network : Network
        In eval mode.
    images : Tensor, N × C × H × W
        Normalised as in training, on the network's device.
    labels : sequence of int

    Returns
    -------
    Tensor, N × SIZE × SIZE
        From 0 to 1, upsampled bilinearly from the images' size.
    """
    with GradCAM(model=network, target_layers=[network.cells[-1]]) as cam:
        maps = cam(input_tensor=images, targets=[ClassifierOutputTarget(int(label)) for label in labels])
    return _upsample(torch.from_numpy(maps)[:, None], "bilinear")[:, 0].clamp(0, 1)


def pictures(images: Tensor) -> list[np.ndarray]:
    """uint8 images, N × C × H × W → N pictures of SIZE × SIZE × 3, uint8; pixels stay squares."""
    large = _upsample(images.cpu().float(), "nearest")
    colour = large.expand(-1, 3, -1, -1) if large.shape[1] == 1 else large
    return list(colour.permute(0, 2, 3, 1).round().to(torch.uint8).numpy())


def overlays(images: Tensor, maps: Tensor) -> list[np.ndarray]:
    """`pictures` of `images` (uint8, N × C × H × W) under their heat maps (N × SIZE × SIZE)."""
    return [
        show_cam_on_image(picture.astype(np.float32) / 255, heat.numpy(), use_rgb=True)
        for picture, heat in zip(pictures(images), maps, strict=True)
    ]


@torch.no_grad()
def predictions(network: Network, images: Tensor) -> list[tuple[int, float]]:
    """The predicted class of each normalised image and its softmax probability."""
    confidence, classes = network(images).softmax(dim=1).max(dim=1)
    return list(zip(classes.tolist(), confidence.tolist(), strict=True))


def _upsample(images: Tensor, mode: str) -> Tensor:
    return nn.functional.interpolate(images, size=(SIZE, SIZE), mode=mode)
