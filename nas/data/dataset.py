"""A prepared data set as stages load it: the whole of it on the device as uint8, or where to stream its images from."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nas.data.batches import Batches
from nas.data.inputs import Inputs
from nas.data.meta import prepare_again, read_meta
from nas.data.split import Split
from nas.data.streaming import DIGEST, ImageFiles
from nas.pipeline.errors import UserError, reason
from nas.pipeline.files import sha256


@dataclass(frozen=True)
class Prepared:
    """A data set as `load` finds it.

    mean and std are per channel, of the training images scaled to 0..1; `resize` is what test images were resized to
    before their centre was cropped, None for their own size.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    test: Split
    resize: int | None = None

    @property
    def inputs(self) -> Inputs:
        """What a network that is trained on this takes."""
        return Inputs(self.classes, self.shape, self.mean, self.std, self.resize)

    def batches(self, split: Split, **options: Any) -> Batches:
        """`Batches` of a split, normalised by this data set's mean and std; `options` as there."""
        return Batches(split.images, split.labels, mean=self.mean, std=self.std, **options)


def load(folder: str | Path, device: str | torch.device, workers: int = 0) -> Prepared:
    """Load a folder that `prepare` wrote, after checking it against its checksums; the tensors go to `device`.

    Parameters
    ----------
    folder
    device
    workers
        Processes that read the images of data that are streamed, for each epoch under way; 0: this process reads them.
        No result depends on it. Other data need none.

    Raises
    ------
    UserError
        A file is missing, damaged or altered; the folder that images are streamed from is gone.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    train, test = (_load_split(folder, part, meta, device, workers) for part in ("train", "test"))
    return Prepared(
        name=meta["name"],
        classes=tuple(meta["classes"]),
        shape=tuple(meta["shape"]),
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
        train=train,
        test=test,
        resize=meta["test_resize"],
    )


def _load_split(folder: Path, part: str, meta: dict[str, Any], device: str | torch.device, workers: int) -> Split:
    path = folder / f"{part}.safetensors"
    tensors = _load_checked(path, meta, load_file)
    if not _agrees(tensors, part, meta):
        raise prepare_again(path, "does not agree with meta.json")
    digests = tensors.pop("digests", None)
    if digests is not None:
        tensors["images"] = _image_files(folder, part, meta, digests, workers)
    return Split(**{name: of_images.to(device) for name, of_images in tensors.items()})


def _image_files(folder: Path, part: str, meta: dict[str, Any], digests: Tensor, workers: int) -> ImageFiles:
    path = folder / f"{part}.json"
    names = _load_checked(path, meta, lambda path: json.loads(path.read_text(encoding="utf-8")))
    if not isinstance(names, list) or len(names) != meta[part] or not all(isinstance(name, str) for name in names):
        raise prepare_again(path, "does not agree with meta.json")
    root = Path(meta["root"]).expanduser()
    if not root.is_dir():
        raise UserError(
            f"data.root: {root} is no folder, but {folder} streams the images in it: put them back, or set data.root "
            "to the folder that has them"
        )
    return ImageFiles(
        root,
        np.array(names, object),
        meta["image_size"],
        tuple(meta["shape"][1:]),
        digests,
        workers,
        resize=meta["test_resize"] if part == "test" else None,
        channels=meta["shape"][0],
    )


def _load_checked(path: Path, meta: dict[str, Any], read: Callable[[Path], Any]) -> Any:
    """What `read` makes of the file, once its checksum is that of `meta`."""
    if not path.is_file():
        raise prepare_again(path, "is missing")
    if sha256(path) != meta["checksums"][path.name]:
        raise prepare_again(path, "is damaged or was altered")
    try:
        return read(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise prepare_again(path, f"cannot be read ({reason(error)})") from error


def _agrees(tensors: dict[str, Tensor], part: str, meta: dict[str, Any]) -> bool:
    count = meta[part]
    images, shape = ("digests", (count, DIGEST)) if "root" in meta else ("images", (count, *meta["shape"]))
    types = {images: torch.uint8, "labels": torch.int64} | ({"half": torch.uint8} if part == "train" else {})
    if {name: tensor.dtype for name, tensor in tensors.items()} != types:
        return False
    if tensors[images].shape != shape or tensors["labels"].shape != (count,):
        return False
    low, high = tensors["labels"].aminmax()
    if low < 0 or high >= len(meta["classes"]):
        return False
    half = tensors.get("half")
    return half is None or half.shape == (count,) and half.max() <= 1 and half.sum() == count // 2
