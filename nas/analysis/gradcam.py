"""Where a network looks: class activation maps by the grad-cam library, and how well they find what decides."""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from torch import Tensor, nn
from tqdm import tqdm

from nas.data.augment import normalise
from nas.pipeline.errors import UserError, unknown

SIZE = 224  # pixels; the PIBConv paper's Fig. 6 shows its 32×32 images at this size


class _EigenCAM(EigenCAM):
    """The sign of a singular vector is the linear algebra library's choice; here the value farthest from 0 is hot."""

    def get_cam_image(self, input_tensor, target_layer, targets, activations, grads, eigen_smooth) -> np.ndarray:
        return get_2d_projection_with_sign_correction(activations)


class _ScoreCAM(ScoreCAM):
    """Silent, and one image at a time: a batch's masked images, one for each channel, would not fit into memory."""

    def get_cam_weights(self, input_tensor, target_layer, targets, activations, grads) -> np.ndarray:
        self.activations_and_grads.release()  # or its hooks keep the activations of every masked image
        rows = []
        with redirect_stderr(io.StringIO()):  # tqdm's bar
            for i, target in enumerate(targets):
                one = slice(i, i + 1)
                rows.append(super().get_cam_weights(input_tensor[one], target_layer, [target], activations[one], None))
        return np.concatenate(rows)


METHODS: dict[str, type] = {
    "GradCAM": GradCAM,
    "GradCAM++": GradCAMPlusPlus,
    "HiResCAM": HiResCAM,
    "ScoreCAM": _ScoreCAM,
    "EigenCAM": _EigenCAM,
    "LayerCAM": LayerCAM,
}


@dataclass(frozen=True)
class Merit:
    """What `confidence_drop` finds, averaged over images.

    Attributes
    ----------
    confidence
        Softmax probability of an image's own class, from 0 to 1.
    drop
        `confidence` minus the same after the hottest pixels were removed; the more, the better the maps.
    other_drop
        The same with each image's map exchanged for another image's: what a map that is no better than any loses.
    random_drop
        The same with pixels drawn at random.
    """

    confidence: float
    drop: float
    other_drop: float
    random_drop: float


def heat_maps(network: nn.Module, images: Tensor, labels: Sequence[int], method: str = "GradCAM") -> Tensor:
    """Class activation maps of the last cell, for the class that each image belongs to.

    Parameters
    ----------
    network : Network, or another Module
        In eval mode. Of one without cells it is the last module whose maps have more than one pixel.
    images : Tensor, N × C × H × W
        Normalised as in training, on the network's device.
    labels : sequence of int, N
    method : str, default "GradCAM"
        One of `METHODS`. With A the last cell's K maps, g the gradient of the class's logit by them:

        - GradCAM (Selvaraju et al., 2017, equations 1 and 2): A weighted by the means of g.
        - GradCAM++ (Chattopadhay et al., 2018, equations 7 and 19): by sums of positive g, each times an α made for A
          that is nowhere negative, which a cell's is not. grad-cam adds 1e-6 to α's denominator, which lessens the
          weights of channels with g below about 1e-3.
        - HiResCAM (Draelos and Carin, 2020): g·A. In a `Network`, where A meets global average pooling and one linear
          layer, g is constant in a channel and the map that of GradCAM.
        - LayerCAM (Jiang et al., 2021): positive g·A. In a `Network`, GradCAM without the channels
          of negative weight.
        - ScoreCAM (Wang et al., 2020, algorithm 1): A weighted by the softmax over the channels of the logits of the
          image masked with each of A. K forward passes an image, hundreds of times slower than the others.
        - EigenCAM (Muhammad and Yeasin, 2020): A projected on its first right singular vector, whatever the class.
          grad-cam subtracts each channel's mean first, which the paper does not; the sign is such that the value
          farthest from 0 is positive (Chung and Ying, 2025, equation 13). Seconds for an image of 224×224.

        Every map passes grad-cam's ReLU, also HiResCAM's and EigenCAM's, whose equations have none; a map that is
        constant after it has no heat at all.

    Returns
    -------
    Tensor, N × height × width, of which the larger is SIZE
        From 0 to 1, upsampled bilinearly from the images' size.

    Raises
    ------
    UserError
        If there is no such method.
    """
    return _upsample(_maps(network, images, labels, method)[:, None], "bilinear")[:, 0].clamp(0, 1)


def _maps(network: nn.Module, images: Tensor, labels: Sequence[int], method: str) -> Tensor:
    """`heat_maps` at the images' own size: N × H × W, on the CPU."""
    if method not in METHODS:
        raise UserError(f"method: {unknown('CAM method', method, METHODS)}")
    targets = [ClassifierOutputTarget(int(label)) for _, label in zip(images, labels, strict=True)]
    trainable = [weight for weight in network.parameters() if weight.requires_grad]
    last = _explained(network, images)
    # The gradient stops at the last cell's maps: the weights need none, and most of the time would go there.
    leaf = last.register_forward_hook(lambda module, inputs, output: output.requires_grad_())
    cam = METHODS[method](network, [last])
    try:
        for weight in trainable:
            weight.requires_grad_(False)
        return torch.from_numpy(cam(images, targets))
    finally:  # not `with`: a CAM as context manager swallows an IndexError
        cam.activations_and_grads.release()
        leaf.remove()
        for weight in trainable:
            weight.requires_grad_()


@torch.no_grad()
def _explained(network: nn.Module, images: Tensor) -> nn.Module:
    """The last cell, or of a network without cells the last module whose maps have more than one pixel."""
    if hasattr(network, "cells"):
        return network.cells[-1]
    seen: list[nn.Module] = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        if output.ndim == 4 and output.shape[2:].numel() > 1:
            seen.append(module)

    hooks = [leaf.register_forward_hook(note) for leaf in network.modules() if not [*leaf.children()]]
    try:
        network(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise UserError("network: no module of it leaves maps of more than one pixel, in which heat could be shown")
    return seen[-1]


def confidence_drop(
    network: nn.Module,
    images: Tensor,
    labels: Sequence[int] | Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    method: str = "GradCAM",
    removed: float = 0.2,
    batch_size: int = 64,
    seed: int = 0,
) -> Merit:
    """How much of its confidence a network loses without the pixels that its heat maps call the hottest.

    The pixels are removed by noisy linear imputation (ROAD: Rong et al., 2022): each becomes the weighted mean of its
    eight neighbours, removed ones included, plus noise of standard deviation 0.01. Black or mean pixels instead would
    draw the shape of what was removed into the image, for the network to see.

    Parameters
    ----------
    network : Network
        In eval mode.
    images : Tensor, N × C × H × W, uint8
        On the network's device; normalised here, batch by batch.
    labels : sequence of int or Tensor, N
    mean, std : sequence of float, C
        As in training.
    method : str, default "GradCAM"
        One of `METHODS`.
    removed : float, default 0.2
        Share of the pixels; round(removed·H·W) go, those of equal heat in random order.
    batch_size : int, default 64
        Images at a time; changes memory and time, and the result by no more than rounding.
    seed : int, default 0
        Of the noise, the order of equals and the random pixels. Equal seeds, equal bits.

    Returns
    -------
    Merit

    Raises
    ------
    UserError
        If there is no such method, no image, or `removed` leaves no pixel or takes none.

    Notes
    -----
    Neighbours restore scattered pixels better than a compact region: `random_drop` is low for any network. That the
    heat is in the right place shows where `drop` exceeds `other_drop`.

    The three imputations take about 5 ms an image of 32×32, and 0.3 s one of 224×224, on one core. The maps of all
    images are kept: 4·H·W bytes each.
    """
    pixels = images.shape[2] * images.shape[3]
    count = round(removed * pixels)
    if not 0 < count < pixels:
        raise UserError(f"removed: {removed} of {pixels} pixels is {count}; at least 1 must go and 1 stay")
    if not len(images):
        raise UserError("there is no image to explain")
    labels = torch.as_tensor(labels, device=images.device)
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    confidences = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        bar = tqdm(total=2 * len(images), unit="image", disable=not sys.stderr.isatty())
        heats = []
        for batch, own in batches:
            heats.append(_maps(network, normalise(batch, mean, std), own.tolist(), method))
            bar.update(len(batch))
        heats = torch.cat(heats)
        others = heats[_of_another(len(heats))]
        for (batch, own), heat, other in zip(batches, heats.split(batch_size), others.split(batch_size), strict=True):
            intact = normalise(batch, mean, std)
            altered = [_altered(*one, count) for one in zip(intact.cpu(), heat, other, strict=True)]
            versions = [intact, *(torch.stack(kind).to(images.device) for kind in zip(*altered, strict=True))]
            confidences.append(torch.stack([_confidence(network, version, own) for version in versions]))
            bar.update(len(batch))
        bar.close()
    confidence, *without = torch.cat(confidences, dim=1).cpu().double().mean(dim=1).tolist()
    return Merit(confidence, *(confidence - left for left in without))


def _of_another(count: int) -> Tensor:
    """For each of `count` images the number of another, at random; of a single one its own."""
    order = torch.randperm(count)  # neighbours in a data set may be of one class
    others = torch.empty_like(order)
    others[order] = order.roll(1)
    return others


def _altered(image: Tensor, heat: Tensor, other: Tensor, count: int) -> list[Tensor]:
    """`image` (C × H × W) without the `count` pixels hottest by `heat` and by `other` (H × W), and as many at random.

    Draws from torch's default generator alone and for one image after the other, so that no batch size matters.
    """
    return [_without(image, _hottest(map_, count)) for map_ in (heat, other, torch.zeros_like(heat))]


def _hottest(heat: Tensor, count: int) -> Tensor:
    """Flat indices of the `count` greatest of H × W values, of equals at random.

    Ranked, not cut at a percentile as by grad-cam: most of a map can be 0, and a cut would take all of it.
    """
    order = torch.randperm(heat.numel())
    return order[heat.flatten()[order].argsort(descending=True, stable=True)][:count]


def _without(image: Tensor, removed: Tensor) -> Tensor:
    """`image` (C × H × W, on the CPU) with the pixels at the flat indices `removed` imputed."""
    known = torch.ones(image[0].numel())
    known[removed] = 0
    return NoisyLinearImputer(noise=0.01)(image, known.view_as(image[0]))


@torch.no_grad()
def _confidence(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Softmax probability, N, of each normalised image's own class."""
    return network(images).softmax(dim=1).gather(1, labels[:, None])[:, 0]


def pictures(images: Tensor) -> list[np.ndarray]:
    """uint8 images, N × C × H × W → N pictures of height × width × 3, uint8, of whose sides the longer is SIZE."""
    large = _upsample(images.cpu().float(), "nearest")
    colour = large.expand(-1, 3, -1, -1) if large.shape[1] == 1 else large
    return list(colour.permute(0, 2, 3, 1).round().to(torch.uint8).numpy())


def overlays(images: Tensor, maps: Tensor) -> list[np.ndarray]:
    """`pictures` of `images` (uint8, N × C × H × W) under their heat maps (N × height × width)."""
    return [
        show_cam_on_image(picture.astype(np.float32) / 255, heat.numpy(), use_rgb=True)
        for picture, heat in zip(pictures(images), maps, strict=True)
    ]


@torch.no_grad()
def predictions(network: nn.Module, images: Tensor) -> list[tuple[int, float]]:
    """The predicted class of each normalised image and its softmax probability."""
    confidence, classes = network(images).softmax(dim=1).max(dim=1)
    return list(zip(classes.tolist(), confidence.tolist(), strict=True))


def _upsample(images: Tensor, mode: str) -> Tensor:
    """N × C × H × W, enlarged so that the longer side has SIZE pixels."""
    sides = images.shape[2:]
    return nn.functional.interpolate(images, size=[round(SIZE * side / max(sides)) for side in sides], mode=mode)
