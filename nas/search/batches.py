"""The batches that a search takes, from images in memory, for a search without the pipeline."""

from typing import Any

import torch
from torch import Tensor

from nas.data.batches import Batches
from nas.data.prepare import halves as cut_in_halves
from nas.data.prepare import mean_and_std
from nas.data.split import Split
from nas.data.streaming import count_values


def halves(
    images: Tensor, labels: Tensor, *, batch_size: int = 64, seed: int = 0, **augmentation: Any
) -> tuple[Batches, Batches, Batches]:
    """Cut training images into the half of the weights and the half of α, equal in each class.

    Parameters
    ----------
    images : Tensor, N × C × H × W, uint8
        On the device to search on.
    labels : Tensor, N, int64
        From 0, on the device.
    batch_size : int, default 64
        As DARTS has it.
    seed : int, default 0
        Of the cut.
    **augmentation
        Of the training's batches: crop_padding, flip, cutout, as `nas.data.batches.Batches` takes them.

    Returns
    -------
    weights, alpha, valid : Batches
        The two halves, shuffled and augmented, and the half of α in its order: what `nas.search.search` takes. All are
        normalised by the images' own mean and standard deviation.
    """
    mean, std = mean_and_std(count_values(images.cpu()))
    half = cut_in_halves(labels.cpu(), torch.Generator().manual_seed(seed)).to(labels.device)
    split = Split(images, labels, half)
    of_weights, of_alpha = split.part(0), split.part(1)

    def batches(part: Split, **options: Any) -> Batches:
        return Batches(part.images, part.labels, batch_size=batch_size, mean=mean, std=std, **options)

    trained = {"shuffle": True} | augmentation
    return batches(of_weights, **trained), batches(of_alpha, **trained), batches(of_alpha)
