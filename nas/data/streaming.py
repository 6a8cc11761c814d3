"""Image files: read one by one, or streamed batch by batch through worker processes that run ahead of the training.

A worker does what needs the whole picture: it decodes, resizes and crops, by torchvision.transforms.v2. The uint8
images that it hands over are augmented as those in memory are, by `batches`, on the device. Every random number is
drawn outside the workers, or from a seed that was, so how many there are changes no bit.
"""

import functools
import os
import pickle
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from nas.pipeline.errors import UserError, reason
from nas.pipeline.files import sha256

# What a damaged file makes the readers of torchvision and Pillow raise.
READ_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AssertionError,
    EOFError,
    SyntaxError,
    struct.error,
    zlib.error,
    pickle.UnpicklingError,
    Image.DecompressionBombError,
)
# What torchvision's ImageFolder takes. Pillow tries no others: some it would hand to another program.
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
DIGEST = 32  # bytes of a SHA-256
CHUNK = 64  # images that a worker surveys at a time

Transform = Callable[[Image.Image], Image.Image]


# Reading


def centre_square(size: int | None, resize: int | None = None) -> Transform:
    """Resize the shorter side to `resize` pixels, by default `size`, and crop the centre; None changes nothing."""
    from torchvision.transforms import v2  # takes seconds, and data that is prepared in memory needs none of it

    return v2.Identity() if size is None else v2.Compose([v2.Resize(resize or size), v2.CenterCrop(size)])


def read_image(path: Path, transform: Transform, channels: int = 3) -> Tensor:
    """Return the image at `path` after `transform`, in colour or grey (`channels` 3 or 1): uint8, channels×H×W.

    It stands upright as its EXIF orientation says; what is transparent shows a white ground; 16 bits a channel are
    scaled to 8.

    Raises
    ------
    UserError
        The file is missing or damaged, or has values of another kind.
    """
    with _opened(path) as image:
        image = transform(_opaque(_in_8_bits(ImageOps.exif_transpose(image))).convert("RGB" if channels == 3 else "L"))
    return torch.from_numpy(np.array(image)).view(*image.size[::-1], channels).permute(2, 0, 1)


def is_grey(path: Path) -> bool:
    """Whether the image at `path` has no colours, by its header alone; raises UserError as `read_image`."""
    with _opened(path) as image:
        return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except READ_ERRORS as error:
        raise UserError(f"data.root: {path} is not a readable image ({reason(error)})") from error


def _in_8_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8; Pillow's own conversion clips it."""
    if image.mode.startswith("F"):
        raise ValueError("its values are floating-point numbers")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("more than 16 bits a channel")
    return Image.fromarray(((values * 255 + 32_767) // 65_535).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """Colours that hide behind alpha 0 are nobody's; a white ground is what most viewers show."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def read_images(
    paths: Sequence[Path], transform: Transform, first: Path, size: tuple[int, int], channels: int = 3
) -> Tensor:
    """Return images that all have the `size` (height, width) of the image at `first`: uint8, N×channels×H×W.

    Raises
    ------
    UserError
        As in `read_image`, or one is of another size.
    """
    images = torch.empty(len(paths), channels, *size, dtype=torch.uint8)
    for place, path in zip(images, paths, strict=True):
        image = read_image(path, transform, channels)
        if image.shape != place.shape:
            found, expected = (f"{height}×{width}" for height, width in (image.shape[1:], size))
            raise UserError(
                f"data.root: {path} is {found} and {first} is {expected} (height×width): "
                "set data.image_size to bring all images to one size"
            )
        place.copy_(image)
    return images


def count_values(images: Tensor) -> Tensor:
    """Return how often each channel of uint8 N×C×H×W has each value: int64, C×256."""
    return torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])


def cpus() -> int:
    """CPUs that this process may use: as many workers read. No result depends on it.

    The processes of one training on this node (`sharing`) share them.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, there // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


# What workers are called with, and what they do


class _File(NamedTuple):
    path: Path
    digest: bytes
    seed: int | None


def _read_batch(files: Sequence[_File], transform: Transform, size: tuple[int, int], channels: int) -> Tensor:
    images = torch.empty(len(files), channels, *size, dtype=torch.uint8)
    for place, file in zip(images, files, strict=True):
        _check_unaltered(file)
        with nullcontext() if file.seed is None else _seeded(file.seed):
            place.copy_(read_image(file.path, transform, channels))
    return images


def _check_unaltered(file: _File) -> None:
    again = "put it back as it was, or run the prepare stage again (dvc repro prepare)"
    try:
        altered = sha256(file.path) != file.digest.hex()
    except OSError as error:
        raise UserError(f"data.root: {file.path} cannot be read ({error.strerror}): {again}") from error
    if altered:
        raise UserError(f"data.root: {file.path} was altered since the data were prepared: {again}")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let what draws from torch's global generator draw from `seed` on, and put the generator back after it."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
        yield


def _survey(
    paths: Sequence[Path], transform: Transform, first: Path, size: tuple[int, int], channels: int
) -> tuple[Tensor, Tensor]:
    counts = count_values(read_images(paths, transform, first, size, channels))
    digests = b"".join(bytes.fromhex(sha256(path)) for path in paths)
    return counts, torch.frombuffer(bytearray(digests), dtype=torch.uint8).view(-1, DIGEST)


class _Calls:
    """A data set whose item of an index is what a function returns for it, or the UserError that it raises.

    DataLoader would put the worker's traceback into the message of an exception.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __getitem__(self, argument: Any) -> Any:
        try:
            return self.function(argument)
        except UserError as error:
            return error


def _in_workers(
    function: Callable[[Any], Any], arguments: Iterable[Any], workers: int, *, pin_memory: bool = False
) -> Iterator[Any]:
    """Yield ``function(argument)`` for each of `arguments` in their order, computed by `workers` processes; 0: by this.

    The processes end with the iterator, also with one that is left early.
    """
    results = DataLoader(
        _Calls(function),
        batch_size=None,  # an argument is a whole batch
        sampler=arguments,
        num_workers=workers,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # or it would draw from the caller's
    )
    try:
        for result in results:
            if isinstance(result, UserError):
                raise result
            yield result
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise UserError(
            f"a process that reads images was killed, as when memory runs out ({reason(error)}): "
            "set batch_size or data.image_size lower"
        ) from error


# What stands for the images of a split


@dataclass(frozen=True)
class ImageFiles:
    """N images of one split, left on the disk until they are needed.

    Attributes
    ----------
    root
        The folder that `names` are relative to.
    names
        str, N: an array of objects.
    image_size, resize
        What `centre_square` brings each image to, and by way of which size.
    size, channels
        Height and width of all images after that, and 1 for grey or 3 for colour.
    digests
        uint8, N×32: the SHA-256 of each file when it was prepared; None before.
    workers
        Processes that read; 0: this one reads.
    device
        Where images go.
    """

    root: Path
    names: np.ndarray
    image_size: int | None
    size: tuple[int, int]
    digests: Tensor | None = None
    workers: int = 0
    device: torch.device = torch.device("cpu")
    resize: int | None = None
    channels: int = 3

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, channels, height, width: what a tensor of the images would have."""
        return len(self), self.channels, *self.size

    def __getitem__(self, chosen: Tensor) -> "ImageFiles":
        """Those that `chosen` says, as it would of a tensor: indices (int64) or a mask (bool, N). Reads none."""
        chosen = chosen.cpu()
        digests = None if self.digests is None else self.digests[chosen]
        return replace(self, names=self.names[chosen.numpy()], digests=digests)

    def to(self, device: str | torch.device) -> "ImageFiles":
        """The same, whose images go to `device`."""
        return replace(self, device=torch.device(device))

    def paths(self) -> list[Path]:
        """Where the images lie."""
        return [self.root / name for name in self.names]

    def read(self, first: Path) -> Tensor:
        """All images, by this process: `read_images`."""
        return read_images(self.paths(), centre_square(self.image_size, self.resize), first, self.size, self.channels)

    def survey(self, first: Path) -> tuple["ImageFiles", Tensor]:
        """Read each image once; return the files with their digests, and `count_values` of all images.

        Raises
        ------
        UserError
            An image is missing or damaged, or is not of the size of the one at `first`.
        """
        transform = centre_square(self.image_size, self.resize)
        work = functools.partial(_survey, transform=transform, first=first, size=self.size, channels=self.channels)
        paths = self.paths()
        chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
        counts, digests = torch.zeros(self.channels, 256, dtype=torch.int64), []
        with tqdm(total=len(paths), unit="image", disable=not sys.stderr.isatty()) as bar:
            for of_chunk, of_files in _in_workers(work, chunks, self.workers):
                counts += of_chunk
                digests.append(of_files)
                bar.update(len(of_files))
        return replace(self, digests=torch.cat(digests)), counts

    def stream(
        self, batches: Sequence[Tensor], crop_seeds: Sequence[Tensor] | None = None, smallest: float = 0.08
    ) -> Iterator[Tensor]:
        """Yield the images of each of `batches` (indices, int64 b): uint8, b×C×H×W, on the device.

        With `crop_seeds` (int64 b each) an image is no central square but a random part, resized: v2.RandomResizedCrop,
        which takes at least the share `smallest` of the area, at a ratio of 3/4 to 4/3; of an image too long for that,
        the largest centre of such a ratio. What it draws follows from the seed of the image.

        Raises
        ------
        UserError
            An image is missing, or not what was prepared.
        """
        from torchvision.transforms import v2

        transform = centre_square(self.image_size, self.resize)
        if crop_seeds is not None:
            transform = v2.RandomResizedCrop(self.size, scale=(smallest, 1))
        work = functools.partial(_read_batch, transform=transform, size=self.size, channels=self.channels)
        # A batch alone would wait for the start of a process.
        workers = self.workers if len(batches) > 1 else 0
        pin_memory = self.device.type == "cuda"
        for images in _in_workers(work, self._files(batches, crop_seeds), workers, pin_memory=pin_memory):
            yield images.to(self.device, non_blocking=True)

    def _files(self, batches: Sequence[Tensor], crop_seeds: Sequence[Tensor] | None) -> Iterator[list[_File]]:
        """The files of each batch: workers hold no list of all names, which each would come to copy."""
        # To the host all at once: later copies would wait for what the GPU has to do by then.
        indices = [index.tolist() for index in batches]
        seeds = [[None] * len(index) for index in indices] if crop_seeds is None else [s.tolist() for s in crop_seeds]
        for of_batch, seeds_of_batch in zip(indices, seeds, strict=False):  # an epoch may leave out its last image
            yield [
                _File(self.root / self.names[i], self.digests[i].numpy().tobytes(), seed)
                for i, seed in zip(of_batch, seeds_of_batch, strict=True)
            ]
