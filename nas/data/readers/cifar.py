"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 60,000 colour images of 32×32 pixels each, from torchvision."""

from pathlib import Path

from torchvision import datasets

from nas.data.readers.torchvision_sets import Expected, read_both_splits
from nas.data.split import Found

EXPECTED = {
    "cifar10": Expected(50_000, 10_000, (3, 32, 32), 10),
    "cifar100": Expected(50_000, 10_000, (3, 32, 32), 100),
}


def read(name: str, root: Path, image_size: int | None, test_resize: int | None, workers: int) -> Found:
    """The set `name` under `root`, downloaded to there if one of its files is missing or altered."""
    dataset = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder = Path(dataset.base_folder)
    files = {folder / file: md5 for file, md5 in [*dataset.train_list, *dataset.test_list]}
    files[folder / dataset.meta["filename"]] = dataset.meta["md5"]
    return read_both_splits(dataset, root, files, folder, EXPECTED[name])
