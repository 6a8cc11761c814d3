"""What images a trained network takes: written into its file, for those who use it elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from nas.data.augment import normalise
from nas.pipeline.errors import UserError

GREY = (19595, 38470, 7471)  # of red, green and blue in 65,536 of white: ITU-R BT.601, as Pillow's "L" has it


@dataclass(frozen=True)
class Inputs:
    """The images that a network was trained on.

    Parameters
    ----------
    classes : sequence of str
    shape : (channels, height, width)
    mean, std : sequence of float
        Of each channel, of pixels from 0 to 1.
    resize : int, optional
        Pixels of a test image's shorter side before its centre is cropped to height × width; by default, that size.
    """

    classes: Sequence[str]
    shape: Sequence[int]
    mean: Sequence[float]
    std: Sequence[float]
    resize: int | None = None

    @classmethod
    def of(cls, saved: Mapping[str, Any] | None) -> Self | None:
        """From what `to_dict` gave; TypeError or ValueError if it was altered. None of None: an older file."""
        if saved is None:
            return None
        inputs = cls(**saved)
        channels, _, _ = inputs.shape
        if not inputs.classes or not channels == len(inputs.mean) == len(inputs.std) or min(inputs.std) <= 0:
            raise ValueError("its inputs do not fit each other")
        return inputs

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def normalised(self, images: Tensor) -> Tensor:
        """Bring images to what the network takes.

        Parameters
        ----------
        images : Tensor, N × C × H × W
            uint8, or floating-point numbers from 0 to 1; C is 1 or 3. Those of another size are resized and their
            centre cropped, those in colour made grey for a network of grey images, and the other way round.

        Returns
        -------
        Tensor, float32, N × channels × height × width

        Raises
        ------
        UserError
            The images are of another shape or kind.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise UserError(f"images: must be N × 1 or 3 × H × W, not {' × '.join(map(str, images.shape))}")
        if not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise UserError(f"images: must be uint8, or floating-point numbers from 0 to 1, not {images.dtype}")
        if images.is_floating_point() and images.numel() and not (images.amin() >= 0 and images.amax() <= 1):
            raise UserError(
                f"images: floating-point numbers must be from 0 to 1, not {images.amin():g} to {images.amax():g}: they "
                "are normalised here"
            )
        images = self._sized(self._coloured(images))
        if images.dtype != torch.uint8:
            images = images.float() * 255
        return normalise(images, self.mean, self.std)

    def _coloured(self, images: Tensor) -> Tensor:
        channels = self.shape[0]
        if images.shape[1] == channels:
            return images
        if channels == 3:
            return images.expand(-1, 3, -1, -1)
        whole = images.dtype == torch.uint8
        parts = zip(GREY, images.split(1, dim=1), strict=True)
        grey = sum(weight * (part.int() if whole else part) for weight, part in parts)
        return ((grey + 32_768) >> 16).to(torch.uint8) if whole else grey / 65_536

    def _sized(self, images: Tensor) -> Tensor:
        size = list(self.shape[1:])
        if list(images.shape[2:]) == size:
            return images
        from torchvision.transforms.v2 import functional

        if len(set(size)) > 1:
            raise UserError(f"images: must be {size[0]}×{size[1]} pixels (height×width)")
        return functional.center_crop(functional.resize(images, [self.resize or size[0]], antialias=True), size)
