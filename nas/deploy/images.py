"""Images that somebody else feeds: files, folders and arrays, brought to what a network takes."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nas.data.inputs import Inputs
from nas.data.readers.folder import SUFFIXES
from nas.data.streaming import centre_square, read_image
from nas.pipeline.errors import UserError

INK = (2, 25)  # percent of an image's pixels, from its darkest and from its brightest


def files(paths: Iterable[str | Path]) -> tuple[list[Path], Counter[str]]:
    """The image files among `paths` and in the folders among them, and how many others lie there, by their suffix.

    A file that is named is taken whatever its suffix; of a folder those that `nas.data.readers.folder` reads, in the
    order of their names, hidden ones apart.

    Raises
    ------
    UserError
        If a path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    passed_over: Counter[str] = Counter()
    for path in map(Path, paths):
        if not path.is_dir():
            if not path.exists():
                raise UserError(f"{path}: there is no such file or folder")
            found.append(path)
            continue
        inside = sorted(Path(parent, name) for parent, _, names in os.walk(path) for name in names)
        shown = [file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        images = [file for file in shown if file.suffix.lower() in SUFFIXES]
        if not images:
            raise UserError(f"{path}: holds no image ({', '.join(SUFFIXES)})")
        found += images
        passed_over.update(file.suffix.lower() or file.name for file in shown if file not in set(images))
    return found, passed_over


def read(paths: Sequence[Path], inputs: Inputs, ink: bool = False) -> Tensor:
    """Read image files as the network's test images were read.

    Parameters
    ----------
    paths : sequence of Path
    inputs : Inputs
        What the network takes. An image of another size is resized and its centre cropped, one in colour made grey for
        a network of grey images, and the other way round.
    ink : bool, default False
        They show dark strokes on paper, and the network learned light ones on a black ground, as sets of handwritten
        digits have them: make the brightest quarter of an image white and its darkest fiftieth black, and exchange
        light and dark.

    Returns
    -------
    Tensor, uint8, N × channels × height × width

    Raises
    ------
    UserError
        If a file is no image, or of another size than a network takes whose images are no squares.
    """
    channels, height, width = inputs.shape

    def brought(image: Image.Image) -> Image.Image:
        if ink:
            image = ImageOps.invert(ImageOps.autocontrast(image.convert("L"), cutoff=INK))
        fits = image.size == (width, height) or height != width  # of the latter a wrong size is told below
        return image if fits else centre_square(height, inputs.resize)(image)

    images = torch.empty(len(paths), *inputs.shape, dtype=torch.uint8)
    for place, path in zip(images, paths, strict=True):
        try:
            image = read_image(path, brought, channels)
        except UserError as error:  # as the reader of data sets says it, whose parameter names their folder
            told = str(error).removeprefix("data.root: ").removeprefix(f"{path} ")
            raise UserError(f"{path}: {told}") from None
        if image.shape != place.shape:
            found, taken = ("×".join(map(str, shape[1:])) for shape in (image.shape, inputs.shape))
            raise UserError(f"{path}: is {found} pixels (height×width), and the network takes {taken}")
        place.copy_(image)
    return images


def of_array(array: np.ndarray) -> Tensor:
    """An array of images, channels last as Pillow, OpenCV and matplotlib have it, as a Tensor, N × C × H × W.

    N × H × W × C, N × H × W (grey), or one image: H × W × C with 1 or 3 channels, or H × W.

    Raises
    ------
    UserError
        If it has another number of dimensions.
    """
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3)):
        array = array[None]
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4:
        shape = " × ".join(map(str, array.shape))
        raise UserError(f"images: an array must be N × H × W × C, N × H × W, H × W × C or H × W, not {shape}")
    return torch.from_numpy(np.array(array)).permute(0, 3, 1, 2)
