"""A folder of images of one's own: ROOT/train/CLASS/ and ROOT/test/CLASS/, read as RGB.

The pixels are the same on every processor, for Pillow decodes and resizes in integers; of an image that is resized they
follow from its version too (11 and 13 pass over its two axes in another order, and some pixels differ by 1).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from nas.data.split import Split
from nas.data.streaming import ImageFiles, centre_square, read_image
from nas.pipeline.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg")


def read(
    name: str, root: Path, image_size: int | None, test_resize: int | None, workers: int
) -> tuple[list[str], Split, Split]:
    """The images in memory; with `workers`, which images there are. All have the size of the first training image.

    Test images are cut out of their centre at the size `test_resize`.
    """
    train, test = (_class_files(root / part) for part in ("train", "test"))
    for odd in sorted(train.keys() ^ test.keys()):
        here, there = ("train", "test") if odd in train else ("test", "train")
        raise UserError(f"data.root: class {odd} is in {root / here} and not in {root / there}")
    first = next(iter(train.values()))[0]
    _, *size = read_image(first, centre_square(image_size)).shape
    splits = []
    for files, resize in ((train, None), (test, test_resize)):
        names = [path.relative_to(root).as_posix() for of_class in files.values() for path in of_class]
        labels = torch.tensor([label for label, of_class in enumerate(files.values()) for _ in of_class])
        images = ImageFiles(root, np.array(names, object), image_size, tuple(size), workers=workers, resize=resize)
        splits.append(Split(images if workers else images.read(first), labels))
    return list(train), *splits


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """Map each class under `folder` to its images, both sorted by name."""
    expected = f"expected {folder}/CLASS/*{', *'.join(SUFFIXES)}"
    if not folder.is_dir():
        raise UserError(f"data.root: {folder} is no folder; {expected}")
    classes = _by_name(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise UserError(f"data.root: {folder} has no class folders; {expected}")
    files = {}
    for path in classes:
        files[path.name] = _by_name(
            file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        )
        if not files[path.name]:
            raise UserError(f"data.root: {path} has no images; {expected}")
    return files


def _by_name(paths: Iterable[Path]) -> list[Path]:
    """Sorted by the characters of their names; paths themselves sort by other rules on Windows."""
    return sorted(paths, key=lambda path: path.name)
