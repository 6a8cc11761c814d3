"""A folder of images of one's own: ROOT/train/CLASS/ and ROOT/test/CLASS/, with whatever folders a class has inside.

Grey if all images are, else in colour; see `nas.data.streaming.read_image`. The pixels are the same on every processor,
for Pillow decodes and resizes in integers; of an image that is resized they follow from its version too (11 and 13 pass
over its two axes in another order, and some pixels differ by 1).
"""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from nas.data.split import Found, Split
from nas.data.streaming import ImageFiles, centre_square, is_grey, read_image
from nas.pipeline.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")  # torchvision's ImageFolder's

log = logging.getLogger("nas")


def read(name: str, root: Path, image_size: int | None, test_resize: int | None, workers: int) -> Found:
    """Which images there are, none of them read but the first; all have the size of the first training image.

    Test images are cut out of their centre at the size `test_resize`.
    """
    passed_over: Counter[str] = Counter()
    train, test = (_class_files(root / part, passed_over) for part in ("train", "test"))
    for odd in sorted(train.keys() ^ test.keys()):
        here, there = ("train", "test") if odd in train else ("test", "train")
        raise UserError(f"data.root: class {odd} is in {root / here} and not in {root / there}")
    channels = 1 if all(is_grey(path) for files in (train, test) for paths in files.values() for path in paths) else 3
    first = next(iter(train.values()))[0]
    _, *size = read_image(first, centre_square(image_size)).shape
    splits = []
    for files, resize in ((train, None), (test, test_resize)):
        names = [path.relative_to(root).as_posix() for of_class in files.values() for path in of_class]
        labels = torch.tensor([label for label, of_class in enumerate(files.values()) for _ in of_class])
        images = ImageFiles(
            root, np.array(names, object), image_size, tuple(size), workers=workers, resize=resize, channels=channels
        )
        splits.append(Split(images, labels))
    return Found(list(train), *splits, dict(passed_over.most_common()))


def _class_files(folder: Path, passed_over: Counter[str]) -> dict[str, list[Path]]:
    """Map each class under `folder` to its images, both sorted by the characters of their names.

    Other files are counted by their suffix in `passed_over`.
    """
    expected = f"expected {folder}/CLASS/*.png (or {', '.join(SUFFIXES[1:])})"
    if not folder.is_dir():
        raise UserError(f"data.root: {folder} is no folder; {expected}")
    _refuse_link(folder)
    classes = {_composed(path): path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if not classes:
        raise UserError(f"data.root: {folder} has no class folders; {expected}")
    files, passed = {}, [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    for name, inside in sorted(classes.items()):
        found = sorted(_files(inside), key=lambda path: path.relative_to(folder).as_posix())
        files[name] = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
        passed += [path for path in found if path not in set(files[name])]
        if not files[name]:
            raise UserError(f"data.root: {inside} has no images; {expected}")
    if passed:
        kinds = Counter(path.suffix.lower() or path.name for path in passed)
        passed_over.update(kinds)
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        log.warning("data.root: %d files below %s are not read: %s", len(passed), folder, told)
    return files


def _composed(folder: Path) -> str:
    """A class's name in Unicode's composed form: "ü" is one character or two, by the system that made the folder."""
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise UserError(f"data.root: {ascii(str(folder))} has a name that is not UTF-8: rename the folder") from None
    return unicodedata.normalize("NFC", folder.name)


def _files(folder: Path) -> Iterator[Path]:
    """Everything below `folder` that is no folder and not hidden."""
    _refuse_link(folder)
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            _refuse_link(Path(parent, name))
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise UserError(
            f"data.root: {folder} is a link to a folder, behind which DVC sees no change of the images: put the folder "
            "itself there, or let data.root be the link"
        )
