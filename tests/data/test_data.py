"""nas.data.prepare against scikit-learn, torchvision, numpy and slow loops; and what it says of bad data."""

import json
import pickle
import struct
import urllib.request
from hashlib import md5
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import datasets
from torchvision.transforms import functional as reference

from nas.data import prepare as data
from nas.data.prepare import Batches, load, prepare, read_meta
from nas.pipeline.errors import UserError
from nas.pipeline.files import sha256

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
T10K_IMAGES, T10K_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", T10K_IMAGES, T10K_LABELS)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no route\nto host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "prepared"
    prepare("digits", "unused", folder, seed=0)
    return folder


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


def fails(*parts, run):
    """Check that `run` ends in a UserError of one line that has each of `parts`, the first at its beginning."""
    with pytest.raises(UserError) as caught:
        run()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(parts[0])), message
    for part in parts[1:]:
        assert str(part) in message, message
    return message


def tensors(folder, part):
    return load_file(folder / f"{part}.safetensors")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Digits, and what is the same for every data set


def test_digits_hold_the_images_of_sklearn(digits):
    from sklearn.datasets import load_digits

    source = load_digits()
    scaled = np.floor(source.data * 255 / 16 + 0.5).astype(int)
    expected = sorted([*row, label] for row, label in zip(scaled.tolist(), source.target.tolist(), strict=True))
    found = []
    for part in ("train", "test"):
        images, labels = tensors(digits, part)["images"], tensors(digits, part)["labels"]
        found += [[*row, label] for row, label in zip(images.flatten(1).tolist(), labels.tolist(), strict=True)]
    assert sorted(found) == expected


def test_digits_keep_a_stratified_fifth_for_the_test(digits):
    train, test = (tensors(digits, part)["labels"].bincount() for part in ("train", "test"))
    assert test.sum() == 360
    assert ((train + test) / 5 - test).abs().max() <= 1


def test_digits_have_the_same_test_images_for_every_seed(digits, tmp_path):
    prepare("digits", "unused", tmp_path / "other", seed=1)
    assert sha256(tmp_path / "other/test.safetensors") == sha256(digits / "test.safetensors")


def test_mean_and_std_are_those_of_numpy(digits):
    prepared = load(digits, "cpu")
    scaled = prepared.train.images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(prepared.mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(prepared.std, scaled.std((0, 2, 3)), rtol=1e-12)


def test_statistics_are_per_channel():
    images = torch.randint(256, (7, 3, 5, 4), dtype=torch.uint8) // torch.tensor([1, 2, 4]).view(3, 1, 1)
    mean, std = data.mean_and_std(data.count_values(images.to(torch.uint8)))
    scaled = images.double().numpy() / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), rtol=1e-12)


def test_meta_describes_the_files(digits):
    meta = read_meta(digits)
    assert meta["name"] == "digits"
    assert meta["classes"] == list("0123456789")
    assert meta["shape"] == [1, 8, 8]
    assert (meta["train"], meta["test"]) == (1437, 360)
    assert meta["checksums"] == {
        f"{part}.safetensors": sha256(digits / f"{part}.safetensors") for part in ("train", "test")
    }
    assert {path.name for path in digits.iterdir()} == {*meta["checksums"], "meta.json"}


def test_same_seed_same_bytes(tmp_path):
    for name in ("first", "second"):
        prepare("digits", "unused", tmp_path / name, seed=3, train_limit=100, test_limit=50)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_other_seed_other_halves(digits, tmp_path):
    prepare("digits", "unused", tmp_path / "other", seed=1)
    one, other = tensors(digits, "train"), tensors(tmp_path / "other", "train")
    assert torch.equal(one["images"], other["images"])
    assert not torch.equal(one["half"], other["half"])


@pytest.mark.parametrize(("limit", "alphas"), [(100, 50), (101, 50), (None, 718)])
def test_halves_are_equal_and_random(tmp_path, limit, alphas):
    prepare("digits", "unused", tmp_path / "out", seed=0, train_limit=limit)
    half = tensors(tmp_path / "out", "train")["half"]
    assert half.dtype == torch.uint8
    assert (half == 1).sum() == alphas
    assert (half == 0).sum() == len(half) - alphas
    # Neither one after the other nor by turns: changes are near half of the neighbours.
    assert 0.3 < half.diff().ne(0).float().mean() < 0.7


def test_prepare_replaces_an_earlier_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale").touch()
    prepare("digits", "unused", tmp_path / "out", seed=0)
    assert not (tmp_path / "out" / "stale").exists()


def test_unknown_data_set(tmp_path):
    fails("data.name: digit ", "did you mean digits?", run=lambda: prepare("digit", "unused", tmp_path / "out", seed=0))
    assert not (tmp_path / "out").exists()


def test_image_size_is_for_folders_alone(tmp_path):
    fails("data.image_size: 16 ", "digits", run=lambda: prepare("digits", "x", tmp_path / "o", seed=0, image_size=16))


# Limits


def test_limits_are_stratified_and_seeded(digits, tmp_path):
    for seed in (0, 1):
        prepare("digits", "unused", tmp_path / str(seed), seed=seed, train_limit=123, test_limit=45)
    for part, limit in (("train", 123), ("test", 45)):
        one, other = (tensors(tmp_path / str(seed), part) for seed in (0, 1))
        counts = one["labels"].bincount(minlength=10)
        assert counts.sum() == limit
        assert counts.max() - counts.min() == 1
        assert not torch.equal(one["images"], other["images"])
        whole = {bytes(image.flatten().tolist()) for image in tensors(digits, part)["images"]}
        assert {bytes(image.flatten().tolist()) for image in one["images"]} <= whole


def test_a_limit_keeps_images_beside_their_labels(digits, tmp_path):
    prepare("digits", "unused", tmp_path / "out", seed=0, train_limit=200)
    whole, some = tensors(digits, "train"), tensors(tmp_path / "out", "train")
    pairs = {(bytes(i.flatten().tolist()), int(c)) for i, c in zip(whole["images"], whole["labels"], strict=True)}
    assert {(bytes(i.flatten().tolist()), int(c)) for i, c in zip(some["images"], some["labels"], strict=True)} <= pairs


def test_train_limit_does_not_move_the_test_images(tmp_path):
    for limit in (100, 200):
        prepare("digits", "unused", tmp_path / str(limit), seed=0, train_limit=limit, test_limit=50)
    assert sha256(tmp_path / "100/test.safetensors") == sha256(tmp_path / "200/test.safetensors")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
@settings(deadline=None, max_examples=100)
def test_stratified_is_as_even_as_the_data_allows(labels, draw):
    count = draw.draw(st.integers(1, len(labels)))
    chosen = data.stratified(torch.tensor(labels), count, torch.Generator().manual_seed(0))
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == count
    taken = np.bincount(np.array(labels)[chosen.numpy()], minlength=5)
    there = np.bincount(labels, minlength=5)
    assert (taken >= np.minimum(there, taken.max() - 1)).all()


@pytest.mark.parametrize(("part", "there"), [("train", 1437), ("test", 360)])
@pytest.mark.parametrize("wrong", ["more", "none"])
def test_limit_out_of_range(tmp_path, part, there, wrong):
    limit = {f"{part}_limit": there + 1 if wrong == "more" else 0}
    fails(f"data.{part}_limit: ", f"{there},", run=lambda: prepare("digits", "x", tmp_path / "out", seed=0, **limit))
    assert not (tmp_path / "out").exists()


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
    monkeypatch.setitem(data.EXPECTED, request.param, (20, 10, (3, 32, 32), classes))
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
    monkeypatch.setitem(data.EXPECTED, name, (21, *data.EXPECTED[name][1:]))
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
    folder_fails(pictures, f"data.root: {pictures / part} is no folder", "CLASS/*.png")


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


def test_folder_with_16_bit_images(pictures):
    path = pictures / "train" / "ant" / "0.png"
    picture(path, np.full((6, 9), 30_000, np.uint16))
    folder_fails(pictures, f"data.root: {path} is not a readable image (more than 8 bits")


def test_images_that_are_all_alike(pictures):
    for path in (pictures / "train").rglob("*.*"):
        path.unlink()
        picture(path.with_suffix(".png"), np.full((6, 9, 3), 7, np.uint8))
    folder_fails(pictures, "data.root: ", "one value throughout")


# Loading


@pytest.fixture
def prepared_copy(digits, tmp_path):
    folder = tmp_path / "prepared"
    folder.mkdir()
    for path in digits.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def load_fails(folder, *parts):
    fails(*parts, "dvc repro prepare", run=lambda: load(folder, "cpu"))


def change_meta(folder, **changes):
    meta = json.loads((folder / "meta.json").read_text()) | changes
    (folder / "meta.json").write_text(json.dumps(meta))


def test_load_gives_what_was_prepared(digits, device):
    prepared = load(digits, device)
    assert (prepared.name, prepared.shape, prepared.classes) == ("digits", (1, 8, 8), tuple("0123456789"))
    assert prepared.test.half is None
    for part, names in (("train", ("images", "labels", "half")), ("test", ("images", "labels"))):
        for name in names:
            tensor = getattr(getattr(prepared, part), name)
            assert tensor.device.type == device
            assert torch.equal(tensor.cpu(), tensors(digits, part)[name])
    assert prepared.train.images.dtype == torch.uint8
    assert prepared.train.images.is_contiguous()


def test_load_puts_every_tensor_on_the_device(digits):
    prepared = load(digits, "meta")
    found = [*vars(prepared.train).values(), prepared.test.images, prepared.test.labels]
    assert {tensor.device.type for tensor in found} == {"meta"}


def test_the_parts_of_a_split_are_its_halves(digits):
    train = load(digits, "cpu").train
    weights, alphas = train.part(0), train.part(1)
    assert torch.equal(weights.images, train.images[train.half == 0])
    assert torch.equal(alphas.labels, train.labels[train.half == 1])
    assert len(weights.images) + len(alphas.images) == len(train.images)
    assert len(weights.labels) == len(weights.images)


def test_batches_of_prepared_data_have_mean_0_and_std_1(digits):
    prepared = load(digits, "cpu")
    images = torch.cat([images for images, _ in prepared.batches(prepared.train, batch_size=100).epoch(0)])
    assert abs(images.mean().item()) < 1e-5
    assert abs(images.std().item() - 1) < 1e-4


@pytest.mark.parametrize("name", ["train.safetensors", "test.safetensors", "meta.json"])
def test_load_without_a_file(prepared_copy, name):
    (prepared_copy / name).unlink()
    load_fails(prepared_copy, f"{prepared_copy / name} is missing")


def test_load_without_the_folder(tmp_path):
    load_fails(tmp_path / "nothing", f"{tmp_path}/nothing/meta.json is missing")


@pytest.mark.parametrize("position", [-1, 8, 300])
def test_load_with_an_altered_byte(prepared_copy, position):
    path = prepared_copy / "train.safetensors"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    load_fails(prepared_copy, f"{path} is damaged or was altered")


def test_load_with_a_truncated_file(prepared_copy):
    path = prepared_copy / "test.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    load_fails(prepared_copy, f"{path} is damaged or was altered")


@pytest.mark.parametrize("text", ["", "{", "\udcff"])
def test_meta_that_is_no_json(prepared_copy, text):
    path = prepared_copy / "meta.json"
    path.write_text(text, errors="surrogateescape")
    fails(f"{path} cannot be read", "dvc repro prepare", run=lambda: read_meta(prepared_copy))


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"name": None},
        {"classes": []},
        {"classes": [0, 1]},
        {"shape": [8, 8]},
        {"shape": "1x8x8"},
        {"mean": [0.1, 0.2]},
        {"std": [0.0]},
        {"std": [float("nan")]},
        {"train": "1437"},
        {"test": 0},
        {"checksums": {}},
    ],
    ids=str,
)
def test_meta_that_was_altered(prepared_copy, changes):
    change_meta(prepared_copy, **changes)
    path = prepared_copy / "meta.json"
    fails(f"{path} was altered", "dvc repro prepare", run=lambda: read_meta(prepared_copy))


@pytest.mark.parametrize("text", ["[]", "null", '{"name": "digits"}'])
def test_meta_that_lacks_keys(prepared_copy, text):
    (prepared_copy / "meta.json").write_text(text)
    fails(f"{prepared_copy}/meta.json was altered", run=lambda: read_meta(prepared_copy))


@pytest.mark.parametrize("changes", [{"train": 1436}, {"shape": [1, 4, 16]}, {"classes": list("012345678")}], ids=str)
def test_load_with_a_meta_of_other_data(prepared_copy, changes):
    change_meta(prepared_copy, **changes)
    load_fails(prepared_copy, f"{prepared_copy}/train.safetensors does not agree with meta.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("half"),
        lambda t: t.update(images=t["images"].float()),
        lambda t: t.update(labels=t["labels"] - 1),
        lambda t: t.update(labels=t["labels"][:-1].clone()),
        lambda t: t.update(half=t["half"] * 2),
        lambda t: t["half"].index_copy_(0, t["half"].nonzero()[:2, 0], torch.tensor([2, 0], dtype=torch.uint8)),
        lambda t: t.update(half=torch.zeros_like(t["half"])),
    ],
)
def test_load_with_other_tensors(prepared_copy, change):
    path = prepared_copy / "train.safetensors"
    changed = load_file(path)
    change(changed)
    save_file(changed, path)
    change_meta(prepared_copy, checksums=read_meta(prepared_copy)["checksums"] | {path.name: sha256(path)})
    load_fails(prepared_copy, f"{path} does not agree with meta.json")


def test_load_of_what_is_no_safetensors(prepared_copy):
    path = prepared_copy / "test.safetensors"
    path.write_bytes(b"no tensors")
    change_meta(prepared_copy, checksums=read_meta(prepared_copy)["checksums"] | {path.name: sha256(path)})
    load_fails(prepared_copy, f"{path} cannot be read")


# Augmentation


def some_images(count, shape=(3, 8, 11), device="cpu"):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator).to(device)


def generator_on(device):
    return torch.Generator(device).manual_seed(0)


def test_normalise_is_torchvisions(device):
    images = some_images(4, device=device)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
    expected = reference.normalize(images.cpu().float() / 255, mean, std)
    found = data.normalise(images, mean, std)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-6)
    exact = (images.cpu().double() / 255 - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(data.normalise(images, mean, std, torch.float64).cpu(), exact, rtol=1e-6, atol=1e-6)


def test_normalise_rounds_once_to_half_width():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = data.normalise(images, (0.3,), (0.2,)).bfloat16()
    assert torch.equal(data.normalise(images, (0.3,), (0.2,), torch.bfloat16), expected)


def test_normalise_leaves_its_argument_alone():
    images = torch.full((1, 1, 2, 2), 255.0)
    data.normalise(images, (0.0,), (1.0,))
    assert (images == 255).all()


def test_crop_is_torchvisions(device):
    padding = 3
    offsets = torch.cartesian_prod(torch.arange(2 * padding + 1), torch.arange(2 * padding + 1))
    images = some_images(len(offsets), device=device)
    padded = reference.pad(images.cpu(), padding)
    expected = [reference.crop(p, top, left, 8, 11) for p, (top, left) in zip(padded, offsets.tolist(), strict=True)]
    found = data.crop(images, padding, offsets.to(device))
    assert torch.equal(found.cpu(), torch.stack(expected))
    assert found.is_contiguous()
    assert found.dtype == torch.uint8


def test_flip_is_torchvisions(device):
    images = some_images(5, device=device)
    flips = torch.tensor([True, False, False, True, True], device=device)
    expected = [reference.hflip(image) if f else image for image, f in zip(images, flips, strict=True)]
    found = data.flip(images, flips)
    assert torch.equal(found, torch.stack(expected))
    assert found.is_contiguous()


@pytest.mark.parametrize("length", [1, 2, 5, 6, 30])
def test_cut_is_that_of_a_loop(device, length):
    centres = torch.cartesian_prod(torch.arange(8), torch.arange(11))
    images = some_images(len(centres), device=device).float() + 1
    found = data.cut(images, length, centres.to(device))
    expected = images.clone()
    for image, (row, column) in zip(expected, centres.tolist(), strict=True):
        top, bottom = (min(max(row + s * (length // 2), 0), 8) for s in (-1, 1))
        left, right = (min(max(column + s * (length // 2), 0), 11) for s in (-1, 1))
        image[:, top:bottom, left:right] = 0
    assert torch.equal(found, expected)
    assert found.is_contiguous()


def test_cut_blanks_a_square_of_the_length():
    found = data.cut(torch.ones(1, 1, 32, 32), 16, torch.tensor([[16, 10]]))
    assert (found == 0).sum() == 16 * 16


def test_offsets_are_uniform(device):
    offsets = data.draw_offsets(81 * 500, 4, generator_on(device))
    counts = (offsets[:, 0] * 9 + offsets[:, 1]).bincount(minlength=81)
    assert len(counts) == 81
    # Five standard deviations of a count of mean 500.
    assert (counts - 500).abs().max() < 5 * 500**0.5


def test_flips_are_half(device):
    flips = data.draw_flips(10_000, generator_on(device))
    assert abs(flips.float().mean().item() - 0.5) < 0.02


def test_centres_are_uniform(device):
    centres = data.draw_centres(6 * 9 * 500, 6, 9, generator_on(device))
    counts = (centres[:, 0] * 9 + centres[:, 1]).bincount(minlength=54)
    assert len(counts) == 54
    assert (counts - 500).abs().max() < 5 * 500**0.5


@pytest.mark.parametrize(
    ("options", "draw", "apply"),
    [
        ({"crop_padding": 2}, lambda g: data.draw_offsets(6, 2, g), lambda x, d: data.crop(x, 2, d)),
        ({"flip": True}, lambda g: data.draw_flips(6, g), data.flip),
        ({"cutout": 4}, lambda g: data.draw_centres(6, 8, 11, g), lambda x, d: data.cut(x, 4, d)),
    ],
    ids=["crop", "flip", "cutout"],
)
def test_each_augmentation_applies_what_it_draws(options, draw, apply, device):
    images, scale = some_images(6, device=device), {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    ((found, _),) = Batches(images, torch.arange(6, device=device), batch_size=6, **scale, **options).epoch(7)
    images = data.normalise(images, **scale)
    assert torch.equal(found, apply(images, draw(torch.Generator(device).manual_seed(7))))
    assert not torch.equal(found, images)


# Batches


def numbered(count, device="cpu", **options):
    """Batches of images that each hold their own number, which is the label too."""
    numbers = torch.arange(count, device=device)
    images = numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    return Batches(images, numbers, **({"batch_size": 8, "mean": (0.0,), "std": (1 / 255,)} | options))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("count", "batch_size"), [(16, 8), (20, 8), (3, 8), (1, 8), (5, 1)])
def test_an_epoch_has_every_image_once(count, batch_size, shuffle, device):
    batches = numbered(count, device, batch_size=batch_size, shuffle=shuffle)
    epoch = list(batches.epoch(0))
    assert len(epoch) == len(batches) == -(-count // batch_size)
    labels = torch.cat([labels for _, labels in epoch])
    images = torch.cat([images for images, _ in epoch])
    assert sorted(labels.tolist()) == list(range(count))
    assert (labels.tolist() == list(range(count))) or shuffle
    torch.testing.assert_close(images, labels.float().view(-1, 1, 1, 1).expand_as(images))
    assert images.device.type == labels.device.type == device
    assert all(len(labels) == batch_size for _, labels in epoch[:-1])


def test_a_shuffled_epoch_leaves_out_a_single_last_image():
    batches = numbered(17, shuffle=True)
    assert [len(labels) for _, labels in batches.epoch(0)] == [8, 8]
    assert len(batches) == 2
    whole = numbered(17)
    assert [len(labels) for _, labels in whole.epoch(0)] == [8, 8, 1]
    assert len(whole) == 3


AUGMENTED = {"shuffle": True, "crop_padding": 2, "flip": True, "cutout": 4}


def an_epoch(seed, device, **options):
    images = some_images(30, device=device)
    batches = Batches(
        images, torch.arange(30, device=device), batch_size=8, mean=(0.5,) * 3, std=(0.25,) * 3, **options
    )
    return [torch.cat(parts) for parts in zip(*batches.epoch(seed), strict=True)]


def test_an_epoch_follows_from_its_seed(device):
    torch.manual_seed(1)
    images, labels = an_epoch(5, device, **AUGMENTED)
    torch.manual_seed(2)
    again, again_labels = an_epoch(5, device, **AUGMENTED)
    assert torch.equal(images, again)
    assert torch.equal(labels, again_labels)
    assert images.is_contiguous()


@pytest.mark.parametrize("option", AUGMENTED)
def test_each_option_draws_anew_for_another_seed(option, device):
    images = [an_epoch(seed, device, **{option: AUGMENTED[option]})[0] for seed in (5, 6)]
    plain = an_epoch(5, device)[0]
    assert not torch.equal(*images)
    assert not torch.equal(images[0], plain)


def test_batches_crop_then_flip_then_normalise_then_cut(device):
    images = some_images(8, device=device)
    batches = Batches(
        images,
        torch.arange(8, device=device),
        batch_size=8,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.1),
        crop_padding=2,
        flip=True,
        cutout=4,
    )
    ((found, _),) = batches.epoch(7)
    generator = torch.Generator(device).manual_seed(7)
    expected = data.crop(images, 2, data.draw_offsets(8, 2, generator))
    expected = data.normalise(data.flip(expected, data.draw_flips(8, generator)), (0.5, 0.4, 0.3), (0.2, 0.3, 0.1))
    expected = data.cut(expected, 4, data.draw_centres(8, *images.shape[2:], generator))
    assert torch.equal(found, expected)


def test_each_batch_draws_its_own_augmentation():
    images = some_images(1).expand(16, -1, -1, -1).contiguous()
    batches = Batches(images, torch.arange(16), batch_size=8, mean=(0.0,) * 3, std=(1.0,) * 3, crop_padding=2)
    first, second = (images for images, _ in batches.epoch(0))
    assert not torch.equal(first, second)
