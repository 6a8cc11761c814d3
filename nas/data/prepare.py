"""Data sets, their fixed splits, and batches that are augmented on the device.

A data set is read once, by `prepare`, into one folder of safetensors. Training keeps the whole of it on the device as
uint8 and augments batch by batch with a few tensor operations, so there are no worker processes to wait for or to seed.
A folder of images too large for that stays where it is: its batches are read by `streaming`, then augmented alike.
Images are N×C×H×W and contiguous throughout.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from nas.data.streaming import DIGEST, READ_ERRORS, ImageFiles, centre_square, count_values, read_image, read_images
from nas.pipeline.errors import UserError, reason, suggest
from nas.pipeline.files import sha256, whole_folder, write_json
from nas.training import distributed

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
META_KEYS = {"name", "classes", "shape", "mean", "std", "train", "test", "checksums"}
STREAMED_KEYS = META_KEYS | {"root", "image_size"}

# Images of train and test, channels, height, width and classes of the sets that torchvision reads.
EXPECTED = {
    "FashionMNIST": (60_000, 10_000, (1, 28, 28), 10),
    "CIFAR10": (50_000, 10_000, (3, 32, 32), 10),
    "CIFAR100": (50_000, 10_000, (3, 32, 32), 100),
}


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
        return next(_read(self.images, [indices]))


def _read(
    images: Tensor | ImageFiles, batches: Sequence[Tensor], crop_seeds: Sequence[Tensor] | None = None
) -> Iterator[Tensor]:
    """Yield the uint8 images of each of `batches` (indices, int64 b); `crop_seeds` as in `ImageFiles.stream`."""
    if isinstance(images, ImageFiles):
        return images.stream(batches, crop_seeds)
    return (images[index] for index in batches)


@dataclass(frozen=True)
class Prepared:
    """A data set as `load` finds it; mean and std are per channel, of the training images scaled to 0..1."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    test: Split

    def batches(self, split: Split, **options: Any) -> "Batches":
        """`Batches` of a split, normalised by this data set's mean and std; `options` as there."""
        return Batches(split.images, split.labels, mean=self.mean, std=self.std, **options)


# Reading


@dataclass(frozen=True)
class _Source:
    classes: Sequence[str]
    train: Split
    test: Split


def _digits() -> _Source:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.from_numpy(np.rint(digits.images * 255 / 16).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    # The test images are the same for every seed, as they are in the sets that come with a test split.
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=digits.target, random_state=0)
    train, test = torch.from_numpy(np.sort(train)), torch.from_numpy(np.sort(test))
    return _Source([str(c) for c in range(10)], Split(images[train], labels[train]), Split(images[test], labels[test]))


def _fashion_mnist(root: Path) -> _Source:
    from torchvision.datasets import FashionMNIST

    train, test, (_, height, width), _ = EXPECTED["FashionMNIST"]
    folder = Path("FashionMNIST/raw")
    sizes = {}
    for prefix, count in (("train", train), ("t10k", test)):
        sizes[folder / f"{prefix}-images-idx3-ubyte"] = 16 + count * height * width
        sizes[folder / f"{prefix}-labels-idx1-ubyte"] = 8 + count
    for path, size in sizes.items():
        if (root / path).is_file() and (found := (root / path).stat().st_size) != size:
            raise UserError(
                f"data.root: {root / path} holds {found} bytes instead of {size}: delete it to have it downloaded again"
            )
    return _official(FashionMNIST, root, dict.fromkeys(sizes), folder)


def _cifar(name: str, root: Path) -> _Source:
    from torchvision import datasets

    dataset = getattr(datasets, name)
    folder = Path(dataset.base_folder)
    files = {folder / file: md5 for file, md5 in [*dataset.train_list, *dataset.test_list]}
    files[folder / dataset.meta["filename"]] = dataset.meta["md5"]
    return _official(dataset, root, files, folder)


def _official(dataset: type, root: Path, files: dict[Path, str | None], folder: Path) -> _Source:
    """Read both splits of a torchvision `dataset`, after downloading it where one of `files` is missing or altered."""
    from torchvision.datasets.utils import check_integrity

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
        return _check_official(dataset.__name__, parts)
    except READ_ERRORS as error:
        raise UserError(
            f"data.root: {root / folder} is not a readable {dataset.__name__} ({reason(error)}): "
            "delete that folder to have it downloaded again"
        ) from error


def _check_official(name: str, parts: Sequence[Any]) -> _Source:
    """Bring torchvision's arrays (N×H×W or N×H×W×C) to N×C×H×W; ValueError when they are not as `EXPECTED` says."""
    *counts, (channels, height, width), classes = EXPECTED[name]
    splits = []
    for part, count in zip(parts, counts, strict=True):
        images, labels = torch.as_tensor(part.data), torch.as_tensor(part.targets, dtype=torch.int64)
        found = (*images.shape, 1) if images.ndim == 3 else tuple(images.shape)
        if found != (count, height, width, channels) or images.dtype != torch.uint8:
            raise ValueError(f"images of {images.dtype} {found} instead of {(count, height, width, channels)}")
        if labels.shape != (count,) or labels.min() < 0 or labels.max() >= classes:
            raise ValueError(f"labels that are not {count} numbers from 0 to {classes - 1}")
        splits.append(Split(images.view(found).permute(0, 3, 1, 2).contiguous(), labels))
    return _Source(parts[0].classes, *splits)


def _folder(root: Path, image_size: int | None) -> _Source:
    source = _folder_files(root, image_size, workers=0)
    first = source.train.images.paths()[0]
    train, test = (
        replace(split, images=read_images(split.images.paths(), centre_square(image_size), first, split.images.size))
        for split in (source.train, source.test)
    )
    return replace(source, train=train, test=test)


def _folder_files(root: Path, image_size: int | None, workers: int) -> _Source:
    """List the images; read the first training image, whose size all others must have."""
    train, test = (_class_files(root / part) for part in ("train", "test"))
    for name in sorted(train.keys() ^ test.keys()):
        here, there = ("train", "test") if name in train else ("test", "train")
        raise UserError(f"data.root: class {name} is in {root / here} and not in {root / there}")
    first = next(iter(train.values()))[0]
    _, height, width = read_image(first, centre_square(image_size)).shape
    splits = []
    for files in (train, test):
        names = [path.relative_to(root).as_posix() for of_class in files.values() for path in of_class]
        labels = torch.tensor([label for label, of_class in enumerate(files.values()) for _ in of_class])
        images = ImageFiles(root, np.array(names, object), image_size, (height, width), workers=workers)
        splits.append(Split(images, labels))
    return _Source(list(train), *splits)


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """Map each class under `folder` to its images, both sorted by name."""
    expected = f"expected {folder}/CLASS/*{', *'.join(IMAGE_SUFFIXES)}"
    if not folder.is_dir():
        raise UserError(f"data.root: {folder} is no folder; {expected}")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise UserError(f"data.root: {folder} has no class folders; {expected}")
    files = {}
    for path in classes:
        files[path.name] = sorted(
            file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
        )
        if not files[path.name]:
            raise UserError(f"data.root: {path} has no images; {expected}")
    return files


READERS: dict[str, Callable[[Path, int | None], _Source]] = {
    "digits": lambda root, image_size: _digits(),
    "fashion_mnist": lambda root, image_size: _fashion_mnist(root),
    "cifar10": lambda root, image_size: _cifar("CIFAR10", root),
    "cifar100": lambda root, image_size: _cifar("CIFAR100", root),
    "folder": _folder,
}


# Preparing


def prepare(
    name: str,
    root: str | Path,
    output: str | Path,
    *,
    seed: int,
    image_size: int | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    workers: int = 0,
) -> None:
    """Read the data set `name`, check it, fix its splits, and write the folder `output`.

    The folder holds train.safetensors (images, labels, half), test.safetensors (images, labels) and meta.json; the same
    data, arguments and seed leave the same bytes. `half` cuts the training images at random into two halves that differ
    by at most one image. Of data that are streamed, digests (uint8, N×32: the SHA-256 of each image file) stand in the
    place of images, and train.json and test.json list the files' names, relative to `root`.

    Parameters
    ----------
    name
        A key of `READERS`. digits are scikit-learn's 1,797 of 8×8 pixels, a stratified fifth of them for the
        test; fashion_mnist, cifar10 and cifar100 are torchvision's; folder reads ROOT/train/CLASS/ and
        ROOT/test/CLASS/ with images of any format in `IMAGE_SUFFIXES`, as RGB.
    root
        The folder that has the data set, or that it is downloaded to; digits need none.
    output
        The folder to write, whole or not at all; an earlier one is replaced.
    seed
        What the halves and the images within a limit follow from. The test images of digits do not.
    image_size
        For folder alone: resize the shorter side to this many pixels and crop the centre. None leaves the
        images as they are, and they must all have one size.
    train_limit
        Take this many training images, spread over the classes as evenly as the data allows. None takes
        all.
    test_limit
        The same for the test images.
    workers
        For folder alone: with 1 or more the images stay where they are, to be streamed from there, and so many
        processes check them; the number leaves no trace. 0 reads all images into memory and copies them.

    Raises
    ------
    UserError
        The data set is missing, damaged or of another shape, or a limit exceeds it.
    """
    if name not in READERS:
        raise UserError(f"data.name: {name} is no data set; {suggest(name, READERS)}")
    if image_size is not None and name != "folder":
        raise UserError(f"data.image_size: {image_size} is for the data set folder alone; set it to null for {name}")
    if workers and name != "folder":
        raise UserError(f"data.stream: {name} is in memory; only the data set folder streams")
    path = Path(root).expanduser()
    source = _folder_files(path, image_size, workers) if workers else READERS[name](path, image_size)
    train = _limit(source.train, train_limit, "train", seed)
    test = _limit(source.test, test_limit, "test", seed)
    _check_trainable(source.classes, train, root)
    meta = {"name": name, "classes": list(source.classes), "shape": list(train.images.shape[1:])}
    if workers:
        first = source.train.images.paths()[0]
        (train_files, counts), (test_files, _) = (split.images.survey(first) for split in (train, test))
        train, test = replace(train, images=train_files), replace(test, images=test_files)
        meta |= {"root": str(root), "image_size": image_size}
    else:
        counts = count_values(train.images)
    mean, std = mean_and_std(counts)
    if min(std) == 0:
        raise UserError(f"data.root: the training images of {name} in {root} have a channel of one value throughout")
    half = torch.zeros(len(train.labels), dtype=torch.uint8)
    half[torch.randperm(len(half), generator=_generator(seed, "half"))[: len(half) // 2]] = 1
    meta |= {"mean": mean, "std": std, "train": len(train.labels), "test": len(test.labels)}
    _write(output, meta, {"train": replace(train, half=half), "test": test})


def _check_trainable(classes: Sequence[str], train: Split, root: str | Path) -> None:
    """Two classes, two images for each half of the search, and pixels enough to leave 2×2 when halved twice."""
    height, width = train.images.shape[2:]
    if len(classes) < 2:
        raise UserError(f"data.root: {root} has the class {classes[0]} alone; at least 2 classes are needed")
    if len(train.labels) < 4:
        raise UserError(f"data.root: {root} has {len(train.labels)} training images; at least 4 are needed")
    if min(height, width) < 5:
        raise UserError(f"data.root: images of {height}×{width} pixels (height×width) are too small; at least 5×5")


def _write(output: str | Path, meta: dict[str, object], splits: dict[str, Split]) -> None:
    with whole_folder(output) as folder:
        for part, split in splits.items():
            tensors = {name: tensor for name, tensor in vars(split).items() if tensor is not None}
            if isinstance(split.images, ImageFiles):
                tensors["digests"] = tensors.pop("images").digests
                write_json(folder / f"{part}.json", split.images.names.tolist())
            save_file(tensors, folder / f"{part}.safetensors")
        checksums = {name: sha256(folder / name) for name in _file_names(meta)}
        write_json(folder / "meta.json", meta | {"checksums": checksums})


def _file_names(meta: dict[str, Any]) -> list[str]:
    """The files that stand beside meta.json, of data that are streamed or not."""
    suffixes = ("safetensors", "json") if "root" in meta else ("safetensors",)
    return [f"{part}.{suffix}" for suffix in suffixes for part in ("train", "test")]


def mean_and_std(counts: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation (of the population) of each channel, scaled to 0..1.

    `counts` (int64, C×256) says how often each channel has each value: that is exact, whatever the number of threads,
    workers and parts that were counted.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in counts:
        share = channel.double() / channel.sum().item()
        mean.append((share @ values).item())
        std.append((share @ (values - mean[-1]).square()).sqrt().item())
    return mean, std


def _limit(split: Split, limit: int | None, part: str, seed: int) -> Split:
    if limit is None:
        return split
    if not 1 <= limit <= len(split.labels):
        raise UserError(
            f"data.{part}_limit: {limit} is not from 1 to {len(split.labels)}, the number of {part} images there are"
        )
    chosen = stratified(split.labels, limit, _generator(seed, part))
    return Split(split.images[chosen], split.labels[chosen])


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


def _generator(seed: int, purpose: str) -> torch.Generator:
    """Return a generator of its own for each purpose, so that one limit does not move what another draws."""
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


# Loading


def read_meta(folder: str | Path) -> dict[str, Any]:
    """Return meta.json of a folder that `prepare` wrote: its keys are `META_KEYS`, or `STREAMED_KEYS`.

    Raises
    ------
    UserError
        The file is missing or damaged.
    """
    path = Path(folder) / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _prepare_again(path, "is missing") from error
    except (OSError, ValueError) as error:
        raise _prepare_again(path, f"cannot be read ({reason(error)})") from error
    if not _is_meta(meta):
        raise _prepare_again(path, "was altered")
    return meta


def _is_meta(meta: object) -> bool:
    if not isinstance(meta, dict) or set(meta) not in (META_KEYS, STREAMED_KEYS):
        return False
    lists = [meta[key] for key in ("classes", "shape", "mean", "std")]
    if not all(isinstance(value, list) and value for value in lists):
        return False
    classes, shape, mean, std = lists
    return (
        isinstance(meta["name"], str)
        and all(isinstance(name, str) for name in classes)
        and len(shape) == 3
        and all(isinstance(size, int) and size > 0 for size in [*shape, meta["train"], meta["test"]])
        and len(mean) == len(std) == shape[0]
        and all(isinstance(value, float) and math.isfinite(value) for value in mean + std)
        and min(std) > 0
        and isinstance(meta["checksums"], dict)
        and set(meta["checksums"]) == set(_file_names(meta))
        and isinstance(meta.get("root", ""), str)
        and isinstance(meta.get("image_size"), int | None)
    )


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
    )


def _load_split(folder: Path, part: str, meta: dict[str, Any], device: str | torch.device, workers: int) -> Split:
    path = folder / f"{part}.safetensors"
    tensors = _load_checked(path, meta, load_file)
    if not _agrees(tensors, part, meta):
        raise _prepare_again(path, "does not agree with meta.json")
    digests = tensors.pop("digests", None)
    if digests is not None:
        tensors["images"] = _image_files(folder, part, meta, digests, workers)
    return Split(**{name: of_images.to(device) for name, of_images in tensors.items()})


def _image_files(folder: Path, part: str, meta: dict[str, Any], digests: Tensor, workers: int) -> ImageFiles:
    path = folder / f"{part}.json"
    names = _load_checked(path, meta, lambda path: json.loads(path.read_text(encoding="utf-8")))
    if not isinstance(names, list) or len(names) != meta[part] or not all(isinstance(name, str) for name in names):
        raise _prepare_again(path, "does not agree with meta.json")
    root = Path(meta["root"]).expanduser()
    if not root.is_dir():
        raise UserError(
            f"data.root: {root} is no folder, but {folder} streams the images in it: put them back, or set data.root "
            "to the folder that has them"
        )
    return ImageFiles(root, np.array(names, object), meta["image_size"], tuple(meta["shape"][1:]), digests, workers)


def _load_checked(path: Path, meta: dict[str, Any], read: Callable[[Path], Any]) -> Any:
    """What `read` makes of the file, once its checksum is that of `meta`."""
    if not path.is_file():
        raise _prepare_again(path, "is missing")
    if sha256(path) != meta["checksums"][path.name]:
        raise _prepare_again(path, "is damaged or was altered")
    try:
        return read(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _prepare_again(path, f"cannot be read ({reason(error)})") from error


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


def _prepare_again(path: Path, trouble: str) -> UserError:
    return UserError(f"{path} {trouble}: run the prepare stage again (dvc repro prepare)")


# Augmenting: `Batches` draws for a whole batch, one draw an image, then applies what it drew for its own.


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


class Batches:
    """Batches of float32 images, drawn and augmented on the device of the images.

    A shuffled epoch leaves out a last batch of a single image, unless it is the only one: batch normalisation cannot
    train on one image. Each of several processes gets its part of every batch; see ``nas.training.distributed``.

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
        Read a random part of each image, resized (as in `ImageFiles.stream`), in the place of its central square; it
        takes the place of the random crop too, so `crop_padding` does nothing then. For data that are streamed: of
        others no more than the central square is there.

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
        resized_crop: bool = False,
    ) -> None:
        if resized_crop and not isinstance(images, ImageFiles):
            raise UserError("resized_crop: true needs images that are streamed: set data.stream to true")
        self.images, self.labels = images, labels
        self.batch_size = batch_size
        # On the device from the start: a copy a batch would make a GPU wait for the host.
        self.mean, self.std = (torch.tensor(v, dtype=torch.float32, device=images.device) for v in (mean, std))
        self.shuffle, self.flip, self.cutout, self.resized_crop = shuffle, flip, cutout, resized_crop
        self.crop_padding = 0 if resized_crop else crop_padding

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
        batches = self._parts(order)
        crop_seeds = None
        if self.resized_crop:
            crop_seeds = self._parts(torch.randint(2**62, order.shape, generator=generator, device=device))
        for count, index, images in zip(counts, batches, _read(self.images, batches, crop_seeds), strict=True):
            mine = distributed.begin_batch(count)
            yield self._augment(images, count, mine, generator), self.labels[index]

    def _parts(self, values: Tensor) -> list[Tensor]:
        """This process's part of each batch of `values`, which hold one for each image of the epoch."""
        whole = values.split(self.batch_size)[: len(self)]
        return [batch[distributed.part(len(batch))] for batch in whole]

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
