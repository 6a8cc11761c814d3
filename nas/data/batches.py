"""Batches of a split, augmented on the device: of images in memory, without worker processes to wait for or to seed."""

import logging
from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from nas.data import sharing
from nas.data.augment import crop, cut, draw_centres, draw_flips, draw_offsets, flip, normalise
from nas.data.split import read_batches
from nas.data.streaming import ImageFiles
from nas.pipeline.errors import UserError

log = logging.getLogger("nas")


@cache
def _warn_of_cutout(side: int, height: int, width: int) -> None:
    log.warning(
        "cutout: a square of %d blanks all or most of an image of %d×%d pixels (height×width)", side, height, width
    )


class Batches:
    """Batches of float32 images, drawn and augmented on the device of the images.

    A shuffled epoch leaves out a last batch of a single image, unless it is the only one: batch normalisation cannot
    train on one image. Each of several processes gets its part of every batch; see ``nas.data.sharing``.

    Parameters
    ----------
    images
        uint8, N×C×H×W; or where to read them.
    labels
        int64, N, on the device of `images`.
    batch_size
        Images a batch; the last may have fewer.
    mean, std
        Of each channel, for `normalise`.
    shuffle
        A new order each epoch instead of the order of `images`.
    crop_padding
        Zeros on each side before a random crop, in pixels; 0 crops nothing.
    flip
        Mirror half of the images left to right.
    cutout
        Side of the square that `cutout` blanks, in pixels; 0 blanks none.
    resized_crop
        Read a random part of each image, of at least this share of its area, and resize it (as in `ImageFiles.stream`),
        in the place of its central square; None reads that. It takes the place of the random crop too, so
        `crop_padding` does nothing then. For data that are streamed: of others no more than that square is there.

    Raises
    ------
    UserError
        `resized_crop` is asked of images in memory.
    """

    def __init__(
        self,
        images: Tensor | ImageFiles,
        labels: Tensor,
        *,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        shuffle: bool = False,
        crop_padding: int = 0,
        flip: bool = False,
        cutout: int = 0,
        resized_crop: float | None = None,
    ) -> None:
        if resized_crop is not None and not isinstance(images, ImageFiles):
            raise UserError(f"resized_crop: {resized_crop} needs images that are streamed: set data.stream to true")
        self.images, self.labels = images, labels
        self.batch_size = batch_size
        # On the device from the start: a copy a batch would make a GPU wait for the host.
        self.mean, self.std = (torch.tensor(v, dtype=torch.float32, device=images.device) for v in (mean, std))
        self.shuffle, self.flip, self.cutout, self.resized_crop = shuffle, flip, cutout, resized_crop
        self.crop_padding = 0 if resized_crop is not None else crop_padding
        if cutout >= min(images.shape[2:]):
            _warn_of_cutout(cutout, *images.shape[2:])

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        alone = self.shuffle and rest == 1 and whole > 0
        return whole + (rest > 0 and not alone)

    def epoch(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels) of each batch: float32 b×C×H×W, int64 b.

        Order and augmentation follow from `seed` alone, so a run that resumes needs nothing but the number.
        """
        device = self.images.device
        generator = torch.Generator(device).manual_seed(seed)
        order = torch.arange(len(self.images), device=device)
        if self.shuffle:
            order = torch.randperm(len(order), generator=generator, device=device)
        counts = [len(batch) for batch in order.split(self.batch_size)[: len(self)]]
        batches, crops = self._parts(order), ()
        if self.resized_crop is not None:
            crops = (
                self._parts(torch.randint(2**62, order.shape, generator=generator, device=device)),
                self.resized_crop,
            )
        for count, index, images in zip(counts, batches, read_batches(self.images, batches, *crops), strict=True):
            mine = sharing.begin_batch(count)
            yield self._augment(images, count, mine, generator), self.labels[index]

    def _parts(self, values: Tensor) -> list[Tensor]:
        """This process's part of each batch of `values`, which hold one for each image of the epoch."""
        whole = values.split(self.batch_size)[: len(self)]
        return [batch[sharing.part(len(batch))] for batch in whole]

    def _augment(self, images: Tensor, count: int, mine: slice, generator: torch.Generator) -> Tensor:
        """`images` are those of `mine` in a batch of `count`, for all of which is drawn."""
        if self.crop_padding:
            images = crop(images, self.crop_padding, draw_offsets(count, self.crop_padding, generator)[mine])
        if self.flip:
            images = flip(images, draw_flips(count, generator)[mine])
        images = normalise(images, self.mean, self.std)
        if self.cutout:
            images = cut(images, self.cutout, draw_centres(count, *images.shape[2:], generator)[mine])
        return images
