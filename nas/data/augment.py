"""Augmentation on the device: a few tensor operations on a whole batch, as torchvision's transforms do on one image.

What is random is drawn apart from what applies it, one draw an image, so that several processes can draw for a whole
batch and each apply what was drawn for its part.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def normalise(
    images: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return (images / 255 − mean) / std of uint8 N×C×H×W in `dtype`; mean and std have C elements."""
    # In a half-width type the quotients would be rounded three times over.
    wide = torch.promote_types(dtype, torch.float32)
    mean, std = (torch.as_tensor(v, dtype=wide, device=images.device).view(-1, 1, 1) for v in (mean, std))
    return images.to(wide).div(255).sub_(mean).div_(std).to(dtype)


def draw_offsets(count: int, padding: int, generator: torch.Generator) -> Tensor:
    """Return the top and left edges of `count` crops (int64, count×2), in pixels of the padded image.

    Uniform on 0..2·padding in both directions, as in torchvision's RandomCrop.
    """
    return torch.randint(2 * padding + 1, (count, 2), generator=generator, device=generator.device)


def crop(images: Tensor, padding: int, offsets: Tensor) -> Tensor:
    """Crop each of N×C×H×W, padded with `padding` zeros, at its row of `offsets` (N×2: top, left)."""
    height, width = images.shape[2:]
    # Every window there is, as a view: N×C×(2·padding+1)×(2·padding+1)×H×W.
    windows = functional.pad(images, [padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, offsets[:, 0], offsets[:, 1]].contiguous()


def draw_flips(count: int, generator: torch.Generator) -> Tensor:
    """Return which of `count` images to mirror (bool, count), each with probability 0.5."""
    return torch.rand(count, generator=generator, device=generator.device) < 0.5


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror left to right those of N×C×H×W where `flips` (bool, N) is true."""
    return torch.where(flips.view(-1, 1, 1, 1), images.flip(3), images)


def draw_centres(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return row and column of a uniformly random pixel for each of `count` images (int64, count×2)."""
    rows, columns = (
        torch.randint(size, (count,), generator=generator, device=generator.device) for size in (height, width)
    )
    return torch.stack((rows, columns), dim=1)


def cut(images: Tensor, length: int, centres: Tensor) -> Tensor:
    """Set to 0 in each of N×C×H×W the square of side `length` around its row of `centres` (N×2: row, column).

    Meant for normalised images, where the 0 that is written is the mean. The square, clipped at the border, reaches
    from length // 2 pixels before its centre to length // 2 after it, exclusive: an odd length counts as the even one
    below.

    Source: T. DeVries, G. W. Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.
    """
    inside = []
    for axis, size in enumerate(images.shape[2:]):
        distance = torch.arange(size, device=images.device) - centres[:, axis : axis + 1]
        inside.append((distance >= -(length // 2)) & (distance < length // 2))
    rows, columns = inside
    return images.masked_fill((rows[:, :, None] & columns[:, None, :]).unsqueeze(1), 0)
