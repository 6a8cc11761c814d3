"""Read a data set once, check it, fix its splits, and write it as one folder of safetensors.

The same data give the same bytes on every machine: pixels and labels are integers, what is drawn is drawn from torch's
generator of the CPU, and the one thing that is computed, mean and standard deviation, is computed in integers.
"""

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from nas.data.meta import file_names
from nas.data.readers import find
from nas.data.split import Split, stratified
from nas.data.streaming import ImageFiles, count_values
from nas.pipeline.errors import UserError
from nas.pipeline.files import sha256, whole_folder, write_json

log = logging.getLogger("nas")


def prepare(
    name: str,
    root: str | Path,
    output: str | Path,
    *,
    seed: int,
    image_size: int | None = None,
    test_resize: int | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    workers: int = 0,
) -> None:
    """Read the data set `name`, check it, fix its splits, and write the folder `output`.

    The folder holds train.safetensors (images, labels, half), test.safetensors (images, labels) and meta.json; the same
    data, arguments and seed leave the same bytes. `half` cuts the training images at random into two halves that differ
    by at most one image, in each class too. Of data that are streamed, digests (uint8, N×32: the SHA-256 of each image
    file) stand in the place of images, and train.json and test.json list the files' names, relative to `root`.

    Parameters
    ----------
    name
        A key of `nas.data.readers.READERS`. digits are scikit-learn's 1,797 of 8×8 pixels, a stratified fifth of them
        for the test; fashion_mnist, cifar10 and cifar100 are torchvision's; folder reads the images
        below ROOT/train/CLASS/ and ROOT/test/CLASS/.
    root
        The folder that has the data set, or that it is downloaded to; digits need none.
    output
        The folder to write, whole or not at all; an earlier one is replaced.
    seed
        What the halves and the images within a limit follow from. The test images of digits do not.
    image_size
        For folder alone: resize the shorter side to this many pixels and crop the centre. None leaves the
        images as they are, and they must all have one size.
    test_resize
        Resize the shorter side of test images to this many pixels instead, before their centre is cropped to
        `image_size`: 256 for 224 is usual for ImageNet. Not of the training images that validate a search.
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
    read = find(name)
    if image_size is not None and name != "folder":
        raise UserError(f"data.image_size: {image_size} is for the data set folder alone; set it to null for {name}")
    if workers and name != "folder":
        raise UserError(f"data.stream: {name} is in memory; only the data set folder streams")
    classes, all_train, all_test, passed = read(name, Path(root).expanduser(), image_size, test_resize, workers)
    train = _limit(all_train, train_limit, "train", seed)
    test = _limit(all_test, test_limit, "test", seed)
    _check_trainable(classes, train, root)
    meta = {"name": name, "classes": list(classes), "shape": list(train.images.shape[1:])}
    meta |= {"image_size": image_size, "test_resize": test_resize, "passed_over": dict(passed)}
    if isinstance(train.images, ImageFiles):
        first = all_train.images.paths()[0]
        if workers:
            (train_files, counts), (test_files, _) = (split.images.survey(first) for split in (train, test))
            train, test = replace(train, images=train_files), replace(test, images=test_files)
            meta |= {"root": str(root)}
        else:
            train, test = (replace(split, images=split.images.read(first)) for split in (train, test))
    if not workers:
        counts = count_values(train.images)
    mean, std = mean_and_std(counts)
    if min(std) == 0:
        raise UserError(f"data.root: the training images of {name} in {root} have a channel of one value throughout")
    train = replace(train, half=halves(train.labels, _generator(seed, "half")))
    meta |= {"mean": mean, "std": std, "train": len(train.labels), "test": len(test.labels)}
    for part, split in (("train", train), ("test", test)):
        meta[f"{part}_per_class"] = torch.bincount(split.labels, minlength=len(classes)).tolist()
    _tell(meta)
    _write(output, meta, {"train": train, "test": test})


def halves(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Cut N labels at random into two halves that differ by one at most, in each class too: uint8, N, of 0 and 1."""
    order = torch.randperm(len(labels), generator=generator)
    half = torch.zeros(len(labels), dtype=torch.uint8)
    odd = []  # of each class of an odd number, one
    for label in labels.unique():
        members = order[labels[order] == label]
        half[members[: len(members) // 2]] = 1
        odd += members[len(members) // 2 * 2 :].tolist()
    chosen = torch.randperm(len(odd), generator=generator)[: len(odd) // 2]
    half[torch.tensor(odd, dtype=torch.int64)[chosen]] = 1
    return half


def _tell(meta: dict) -> None:
    """What was found, and what of it makes a search or a training doubtful."""
    channels, height, width = meta["shape"]
    per_class = meta["train_per_class"]
    log.info(
        "%s: %d training and %d test images, %d×%d pixels (height×width), %s, %d classes of %d to %d training images",
        *(meta["name"], meta["train"], meta["test"], height, width, "grey" if channels == 1 else "in colour"),
        *(len(per_class), min(per_class), max(per_class)),
    )
    for count, trouble in ((0, "no training image"), (1, "one training image, so that half of a search never sees it")):
        if lacking := [name for name, found in zip(meta["classes"], per_class, strict=True) if found == count]:
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            log.warning("data: %s%s: %s", ", ".join(lacking[:3]), more, trouble)


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
        checksums = {name: sha256(folder / name) for name in file_names(meta)}
        write_json(folder / "meta.json", meta | {"checksums": checksums})


def mean_and_std(counts: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation (of the population) of each channel, scaled to 0..1.

    `counts` (int64, C×256) says how often each channel has each value. Sums of integers are exact, and Python rounds
    their quotient correctly, so no bit depends on the processor or on the order of the sums.
    """
    mean, std = [], []
    for channel in counts.tolist():
        n = sum(channel)
        total = sum(count * value for value, count in enumerate(channel))
        squares = sum(count * value**2 for value, count in enumerate(channel))
        mean.append(total / (255 * n))
        std.append(math.sqrt((n * squares - total**2) / (255 * n) ** 2))
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


def _generator(seed: int, purpose: str) -> torch.Generator:
    """Return a generator of its own for each purpose, so that one limit does not move what another draws."""
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
