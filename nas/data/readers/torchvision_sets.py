"""What the readers of torchvision's data sets share: download where a file is missing, read, and check."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torchvision.datasets.utils import check_integrity

from nas.data.split import Found, Split
from nas.data.streaming import READ_ERRORS
from nas.pipeline.errors import UserError, reason


class Expected(NamedTuple):
    """Images of train and test, (channels, height, width) of each, and classes."""

    train: int
    test: int
    shape: tuple[int, int, int]
    classes: int


def read_both_splits(
    dataset: type, root: Path, files: dict[Path, str | None], folder: Path, expected: Expected
) -> Found:
    """Read both splits of a torchvision `dataset`, after downloading it where one of `files` is missing or altered.

    Parameters
    ----------
    dataset
        A class of torchvision.datasets.
    root
        What torchvision calls so.
    files
        The files that are needed, relative to `root`, with their MD5; None where none is known.
    folder
        Where they lie in `root`, for messages.
    expected

    Raises
    ------
    UserError
        The data set cannot be downloaded or read, or is not as `expected`.
    """
    missing = [path.as_posix() for path, md5 in files.items() if not check_integrity(root / path, md5)]
    if missing:
        try:
            dataset(str(root), download=True)
        except READ_ERRORS as error:
            raise UserError(
                f"data.root: {root} has no whole copy of {', '.join(missing)}, and the download failed "
                f"({reason(error)}): put the files there, or set data.root to the folder that has them"
            ) from error
    try:
        parts = [dataset(str(root), train=train, download=False) for train in (True, False)]
        return _check(parts, expected)
    except READ_ERRORS as error:
        raise UserError(
            f"data.root: {root / folder} is not a readable {dataset.__name__} ({reason(error)}): "
            "delete that folder to have it downloaded again"
        ) from error


def _check(parts: Sequence[Any], expected: Expected) -> Found:
    """Bring torchvision's arrays (N×H×W or N×H×W×C) to N×C×H×W; ValueError when they are not as `expected`."""
    (channels, height, width), splits = expected.shape, []
    for part, count in zip(parts, (expected.train, expected.test), strict=True):
        images, labels = torch.as_tensor(part.data), torch.as_tensor(part.targets, dtype=torch.int64)
        found = (*images.shape, 1) if images.ndim == 3 else tuple(images.shape)
        if found != (count, height, width, channels) or images.dtype != torch.uint8:
            raise ValueError(f"images of {images.dtype} {found} instead of {(count, height, width, channels)}")
        if labels.shape != (count,) or labels.min() < 0 or labels.max() >= expected.classes:
            raise ValueError(f"labels that are not {count} numbers from 0 to {expected.classes - 1}")
        splits.append(Split(images.view(found).permute(0, 3, 1, 2).contiguous(), labels))
    return Found(parts[0].classes, *splits)
