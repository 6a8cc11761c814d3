"""nas.data.readers against torchvision and Pillow; and what they say of data that are missing or damaged."""

import pickle
import struct
import subprocess
import sys
import urllib.request
from hashlib import md5
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from expecting import fails, tensors
from PIL import Image
from torchvision import datasets
from torchvision.transforms import functional as reference

from nas.data.dataset import load
from nas.data.meta import read_meta
from nas.data.prepare import prepare
from nas.data.readers import cifar as reader
from nas.data.readers.torchvision_sets import Expected

T10K_IMAGES, T10K_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", T10K_IMAGES, T10K_LABELS)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no route\nto host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture(scope="session")
def fashion(tmp_path_factory):
    """A folder with idx files of the official sizes, filled with noise."""
    root = tmp_path_factory.mktemp("fashion")
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        header = struct.pack(">4i", 0x803, count, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + random.bytes(count * 28 * 28))
        labels = random.integers(0, 10, count, dtype=np.uint8)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, count) + labels.tobytes())
    return root


@pytest.fixture
def fashion_copy(fashion, tmp_path):
    """A folder of links to `fashion`, of which a test may replace some; returns the folder of the four files."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in IDX_FILES:
        (raw / name).symlink_to(fashion / "FashionMNIST" / "raw" / name)
    return raw


@pytest.fixture
def pictures(tmp_path):
    """A folder data set of three classes, 5 + 2 PNG and JPEG images each, of 6×9 pixels (height×width)."""
    root = tmp_path / "pictures"
    random = np.random.default_rng(1)
    for part, count in (("train", 5), ("test", 2)):
        for name in ("cat", "ant", "bee"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                suffix = (".png", ".JPG", ".jpeg")[i % 3]
                picture(root / part / name / f"{i}{suffix}", random.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    return root


def picture(path, pixels):
    Image.fromarray(pixels).save(path)


def replace_file(path, content):
    path.unlink()
    path.write_bytes(content)


# The table


def test_a_name_loads_its_reader_alone():
    code = """
import sys
from nas.data.readers import find
find("folder")
print(*(name for name in sys.modules if name.startswith("nas.data.readers.")))
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == ["nas.data.readers.folder"]


# Fashion-MNIST


def test_fashion_mnist_is_what_the_files_hold(fashion, tmp_path):
    prepare("fashion_mnist", fashion, tmp_path / "out", seed=0)
    assert read_meta(tmp_path / "out")["classes"] == datasets.FashionMNIST.classes
    for part, prefix, count in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        found = tensors(tmp_path / "out", part)
        raw = fashion / "FashionMNIST" / "raw"
        pixels = np.fromfile(raw / f"{prefix}-images-idx3-ubyte", np.uint8)[16:].reshape(count, 1, 28, 28)
        labels = np.fromfile(raw / f"{prefix}-labels-idx1-ubyte", np.uint8)[8:]
        assert np.array_equal(found["images"].numpy(), pixels)
        assert np.array_equal(found["labels"].numpy(), labels)


def test_fashion_mnist_missing_and_offline(tmp_path):
    message = fails(
        f"data.root: {tmp_path} has no whole copy of FashionMNIST/raw/train-images-idx3-ubyte, ",
        *(f"FashionMNIST/raw/{name}" for name in IDX_FILES),
        "download failed",
        "no route to host",
        "set data.root to the folder that has them",
        run=lambda: prepare("fashion_mnist", tmp_path, tmp_path / "out", seed=0),
    )
    assert message.count("FashionMNIST/raw") == 4


def test_fashion_mnist_without_one_file_names_that_one(fashion_copy, tmp_path):
    (fashion_copy / T10K_LABELS).unlink()
    message = fails(
        "data.root: ",
        T10K_LABELS,
        run=lambda: prepare("fashion_mnist", tmp_path, tmp_path / "out", seed=0),
    )
    assert "raw/train-images" not in message


def test_fashion_mnist_is_downloaded_where_it_is_missing(fashion, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(
        datasets.FashionMNIST,
        "download",
        lambda self: Path(self.raw_folder).parent.symlink_to(fashion / "FashionMNIST"),
    )
    prepare("fashion_mnist", tmp_path, tmp_path / "out", seed=0, train_limit=10, test_limit=10)
    assert load(tmp_path / "out", "cpu").shape == (1, 28, 28)
    assert capfd.readouterr().out == ""


def test_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    fails(
        f"data.root: {tmp_path / 'file'} ",
        "download failed",
        run=lambda: prepare("fashion_mnist", tmp_path / "file", tmp_path / "out", seed=0),
    )


@pytest.mark.parametrize("name", IDX_FILES)
def test_fashion_mnist_cut_in_half(fashion_copy, tmp_path, name):
    path = fashion_copy / name
    content = path.read_bytes()
    replace_file(path, content[: len(content) // 2])
    fails(f"data.root: {path} holds ", run=lambda: prepare("fashion_mnist", tmp_path, tmp_path / "out", seed=0))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "header"),
    [
        pytest.param(T10K_IMAGES, struct.pack(">4i", 0, 10_000, 28, 28), id="magic"),
        pytest.param(T10K_IMAGES, struct.pack(">4i", 0x803, 10_000, 56, 14), id="shape"),
        pytest.param(T10K_IMAGES, struct.pack(">4i", 0x903, 10_000, 28, 28), id="type"),
        pytest.param(T10K_IMAGES, struct.pack(">4i", 0x803, 9_999, 28, 28), id="count"),
        pytest.param(T10K_LABELS, struct.pack(">2i", 0x801, 10_000) + b"\x0a", id="label"),
        pytest.param(T10K_LABELS, struct.pack(">2i", 0x801, 9_999), id="labels"),
    ],
)
def test_fashion_mnist_of_another_content(fashion_copy, tmp_path, name, header):
    path = fashion_copy / name
    replace_file(path, header + path.read_bytes()[len(header) :])
    fails(
        f"data.root: {fashion_copy} is not a readable FashionMNIST (",
        run=lambda: prepare("fashion_mnist", tmp_path, tmp_path / "out", seed=0),
    )


# CIFAR, small enough to be made here


@pytest.fixture(params=["CIFAR10", "CIFAR100"])
def cifar(request, tmp_path, monkeypatch):
    """A root with 20 + 10 images, which torchvision and nas.data take for the official ones; returns it with them."""
    dataset = getattr(datasets, request.param)
    folder = tmp_path / "cifar" / dataset.base_folder
    folder.mkdir(parents=True)
    key, classes = ("labels", 10) if request.param == "CIFAR10" else ("fine_labels", 100)
    random = np.random.default_rng(2)
    made = {}
    for part, count in (("train", 20), ("test", 10)):
        made[part] = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), random.integers(0, classes, count)
        content = pickle.dumps({"data": made[part][0].reshape(count, -1), key: made[part][1].tolist()})
        (folder / part).write_bytes(content)
        monkeypatch.setattr(dataset, f"{part}_list", [[part, md5(content).hexdigest()]])
    names = pickle.dumps({dataset.meta["key"]: [f"class {c}" for c in range(classes)]})
    (folder / "names").write_bytes(names)
    monkeypatch.setattr(dataset, "meta", dataset.meta | {"filename": "names", "md5": md5(names).hexdigest()})
    monkeypatch.setitem(reader.EXPECTED, request.param.lower(), Expected(20, 10, (3, 32, 32), classes))
    return request.param, folder, made


def test_cifar_is_what_the_files_hold(cifar, tmp_path):
    name, folder, made = cifar
    prepare(name.lower(), folder.parent, tmp_path / "out", seed=0)
    prepared = load(tmp_path / "out", "cpu")
    assert prepared.classes[:2] == ("class 0", "class 1")
    assert prepared.shape == (3, 32, 32)
    for part in ("train", "test"):
        images, labels = made[part]
        assert np.array_equal(getattr(prepared, part).images.numpy(), images)
        assert np.array_equal(getattr(prepared, part).labels.numpy(), labels)


def test_cifar_missing_and_offline(tmp_path):
    batches = [f"cifar-10-batches-py/{name}" for name in ("data_batch_1", "data_batch_5", "test_batch", "batches.meta")]
    fails(
        f"data.root: {tmp_path} ",
        *batches,
        "download failed",
        "no route to host",
        run=lambda: prepare("cifar10", tmp_path, tmp_path / "out", seed=0),
    )


def test_cifar_altered_names_the_file(cifar, tmp_path):
    name, folder, _ = cifar
    content = (folder / "test").read_bytes()
    (folder / "test").write_bytes(content[:-1])
    message = fails(
        f"data.root: {folder.parent} ",
        f"{folder.name}/test,",
        run=lambda: prepare(name.lower(), folder.parent, tmp_path / "out", seed=0),
    )
    assert "/train" not in message


def test_cifar_of_another_count(cifar, tmp_path, monkeypatch):
    name, folder, _ = cifar
    expected = reader.EXPECTED[name.lower()]
    monkeypatch.setitem(reader.EXPECTED, name.lower(), expected._replace(train=21))
    fails(
        f"data.root: {folder} is not a readable {name} (",
        "(20, 32, 32, 3)",
        "(21, 32, 32, 3)",
        run=lambda: prepare(name.lower(), folder.parent, tmp_path / "out", seed=0),
    )


def test_cifar_with_a_label_too_few(cifar, tmp_path, monkeypatch):
    name, folder, _ = cifar
    dataset = getattr(datasets, name)
    entry = pickle.loads((folder / "test").read_bytes())
    for key in entry.keys() - {"data"}:
        entry[key].pop()
    (folder / "test").write_bytes(pickle.dumps(entry))
    monkeypatch.setattr(dataset, "test_list", [["test", md5((folder / "test").read_bytes()).hexdigest()]])
    fails(
        f"data.root: {folder} is not a readable {name} (labels that are not 10 numbers",
        run=lambda: prepare(name.lower(), folder.parent, tmp_path / "out", seed=0),
    )


# Folders of images


def test_folder_is_what_pillow_reads(pictures, tmp_path):
    (pictures / "train" / "ant" / "notes.txt").touch()
    (pictures / "train" / "ant" / "._0.png").touch()
    (pictures / "train" / ".cache").mkdir()
    prepare("folder", pictures, tmp_path / "out", seed=0)
    prepared = load(tmp_path / "out", "cpu")
    assert prepared.classes == ("ant", "bee", "cat")
    assert prepared.shape == (3, 6, 9)
    for part, split, count in (("train", prepared.train, 5), ("test", prepared.test, 2)):
        assert split.labels.tolist() == [0] * count + [1] * count + [2] * count
        paths = [
            pictures / part / name / f"{i}{('.png', '.JPG', '.jpeg')[i % 3]}"
            for name in ("ant", "bee", "cat")
            for i in range(count)
        ]
        expected = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in paths])
        assert np.array_equal(split.images.numpy(), expected)


def test_folder_brings_images_to_one_size(pictures, tmp_path):
    path = pictures / "train" / "bee" / "9.png"
    picture(path, np.random.default_rng(3).integers(0, 256, (40, 11, 3), dtype=np.uint8))
    prepare("folder", pictures, tmp_path / "out", seed=0, image_size=8)
    images = load(tmp_path / "out", "cpu").train.images
    assert images.shape == (16, 3, 8, 8)
    expected = reference.center_crop(reference.resize(Image.open(path), 8), [8, 8])
    assert np.array_equal(images[10].numpy(), np.asarray(expected).transpose(2, 0, 1))


def test_folder_reads_grey_as_rgb(pictures, tmp_path):
    grey = np.arange(54, dtype=np.uint8).reshape(6, 9)
    picture(pictures / "train" / "ant" / "0.png", grey)
    prepare("folder", pictures, tmp_path / "out", seed=0)
    assert np.array_equal(load(tmp_path / "out", "cpu").train.images[0].numpy(), np.stack([grey] * 3))


def folder_fails(pictures, *parts):
    output = pictures.parent / "out"
    fails(*parts, run=lambda: prepare("folder", pictures, output, seed=0))
    assert not output.exists()


def test_folder_with_images_of_two_sizes(pictures):
    for name in ("3.png", "4.JPG"):
        picture(pictures / "train" / "bee" / name, np.zeros((6, 8, 3), np.uint8))
    folder_fails(pictures, f"data.root: {pictures}/train/bee/3.png is 6×8 ", "6×9", "set data.image_size")


@pytest.mark.parametrize("part", ["train", "test"])
def test_folder_that_is_missing(pictures, part):
    (pictures / part).rename(pictures / "elsewhere")
    folder_fails(pictures, f"data.root: {pictures / part} is no folder", "CLASS/*.png (or .jpg")


def test_folder_without_classes(tmp_path):
    (tmp_path / "pictures" / "train").mkdir(parents=True)
    folder_fails(tmp_path / "pictures", f"data.root: {tmp_path}/pictures/train has no class folders")


def test_folder_with_an_empty_class(pictures):
    (pictures / "test" / "dog").mkdir()
    (pictures / "test" / "dog" / "0.gif").touch()
    folder_fails(pictures, f"data.root: {pictures}/test/dog has no images")


@pytest.mark.parametrize(("here", "there"), [("train", "test"), ("test", "train")])
def test_folder_with_an_odd_class(pictures, here, there):
    (pictures / there / "bee").rename(pictures.parent / "bee")
    folder_fails(pictures, "data.root: class bee is in ", f"{pictures / here} and not in {pictures / there}")


@pytest.mark.parametrize("name", ["0.png", "1.JPG"])
@pytest.mark.parametrize("keep", [0, 20, -30])
def test_folder_with_a_truncated_image(pictures, name, keep):
    path = pictures / "test" / "ant" / name
    path.write_bytes(path.read_bytes()[:keep])
    folder_fails(pictures, f"data.root: {path} is not a readable image (")


def test_folder_with_a_text_called_png(pictures):
    path = pictures / "train" / "ant" / "0.png"
    path.write_text("no image")
    folder_fails(pictures, f"data.root: {path} is not a readable image (")


def test_images_that_are_all_alike(pictures):
    for path in (pictures / "train").rglob("*.*"):
        path.unlink()
        picture(path.with_suffix(".png"), np.full((6, 9, 3), 7, np.uint8))
    folder_fails(pictures, "data.root: ", "one value throughout")
