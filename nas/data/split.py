"""Images and labels of one split, in memory or streamed. Images are N×C×H×W and contiguous throughout."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nas.data.streaming import ImageFiles


@dataclass(frozen=True)
class Split:
    """Images of one split.

    Attributes
    ----------
    images
        uint8, N×C×H×W; or where to read them, of data that are streamed. `take` gives those of either.
    labels
        int64, N.
    half
        uint8, N: 0 where the search trains weights on the image, 1 where it trains α; None for a test split.
    """

    images: Tensor | ImageFiles
    labels: Tensor
    half: Tensor | None = None

    def part(self, which: int) -> "Split":
        """The images of one half: 0 trains the search's weights, 1 its α."""
        chosen = self.half == which
        return Split(self.images[chosen], self.labels[chosen])

    def take(self, indices: Tensor) -> Tensor:
        """The images of `indices` (int64, b): uint8, b×C×H×W, on the device."""
        return next(read_batches(self.images, [indices]))


class Found(NamedTuple):
    """What a reader finds: the names of the classes, the two splits, and how many files of a kind it passed over."""

    classes: Sequence[str]
    train: Split
    test: Split
    passed_over: Mapping[str, int] = {}


def read_batches(
    images: Tensor | ImageFiles, batches: Sequence[Tensor], *crops: Sequence[Tensor] | float | None
) -> Iterator[Tensor]:
    """Yield the uint8 images of each of `batches` (indices, int64 b); `crops` as in `ImageFiles.stream`."""
    if isinstance(images, ImageFiles):
        return images.stream(batches, *crops)
    return (images[index] for index in batches)


def stratified(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose `count` of N labels at random, evenly over the classes; return their indices (int64), ascending.

    The numbers chosen of any two classes differ by at most one, but for a class that is taken whole.
    """
    order = torch.randperm(len(labels), generator=generator)
    rank = torch.empty_like(order)
    for label in labels.unique():
        members = order[labels[order] == label]
        rank[members] = torch.arange(len(members))
    # One image of each class, then a second of each, and so on: the first `count` of them are spread evenly.
    return order[rank[order].argsort(stable=True)[:count]].sort().values
