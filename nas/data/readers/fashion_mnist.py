"""Fashion-MNIST (Xiao, Rasul & Vollgraf, 2017): 70,000 grey images of 28×28 pixels, from torchvision."""

from pathlib import Path

from torchvision.datasets import FashionMNIST

from nas.data.readers.torchvision_sets import Expected, read_both_splits
from nas.data.split import Found
from nas.pipeline.errors import UserError

EXPECTED = Expected(60_000, 10_000, (1, 28, 28), 10)


def read(name: str, root: Path, image_size: int | None, test_resize: int | None, workers: int) -> Found:
    """The four files under `root`, downloaded to there if one is missing."""
    _, height, width = EXPECTED.shape
    folder = Path("FashionMNIST/raw")
    sizes = {}
    for prefix, count in (("train", EXPECTED.train), ("t10k", EXPECTED.test)):
        sizes[folder / f"{prefix}-images-idx3-ubyte"] = 16 + count * height * width
        sizes[folder / f"{prefix}-labels-idx1-ubyte"] = 8 + count
    for path, size in sizes.items():
        if (root / path).is_file() and (found := (root / path).stat().st_size) != size:
            raise UserError(
                f"data.root: {root / path} holds {found} bytes instead of {size}: delete it to have it downloaded again"
            )
    return read_both_splits(FashionMNIST, root, dict.fromkeys(sizes), folder, EXPECTED)
