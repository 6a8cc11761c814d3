"""nas.data.prepare against scikit-learn and numpy: the digits, halves, limits, statistics."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from expecting import fails, tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.dataset import load
from nas.data.meta import read_meta
from nas.data.prepare import halves, mean_and_std, prepare
from nas.data.split import stratified
from nas.data.streaming import count_values
from nas.pipeline.files import sha256


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "prepared"
    prepare("digits", "unused", folder, seed=0)
    return folder


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


def test_mean_and_std_of_the_digits_to_the_last_bit(digits):
    """Summed in fractions, the root taken in decimals of 50 digits, each rounded once."""
    values = [Fraction(value, 255) for value in load(digits, "cpu").train.images.flatten().tolist()]
    mean = sum(values) / len(values)
    variance = sum(value**2 for value in values) / len(values) - mean**2
    with localcontext(prec=50):
        std = (Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt()
    meta = read_meta(digits)
    assert meta["mean"] == [float(mean)] == [0.305433688785187]
    assert meta["std"] == [float(std)] == [0.37595716498559817]


def test_statistics_are_per_channel():
    images = torch.randint(256, (7, 3, 5, 4), dtype=torch.uint8) // torch.tensor([1, 2, 4]).view(3, 1, 1)
    mean, std = mean_and_std(count_values(images.to(torch.uint8)))
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


def test_digits_are_these_bytes_on_every_machine(digits):
    """Or a clone would train again what came with it. Other versions of the libraries may call for other bytes here."""
    assert {path.name: sha256(path) for path in digits.iterdir()} == {
        "meta.json": "2924eb7865952260ae88cf14b0e8d8974cd965164746de7f3f2533f7f22fad58",
        "train.safetensors": "ed07d2bf3e6317487d17ec420cabf36db361954d4db20b4bee8986ec6d114674",
        "test.safetensors": "7ebbde8dda8d5c9985e079239b0873a66c49aa3458e9af9394e8a9703370f2bf",
    }


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


@pytest.mark.parametrize("counts", [[2] * 20, [1, 1, 1, 5, 4], [7, 1, 30, 2], [3, 3]])
def test_halves_are_equal_in_each_class_too(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    seen = set()
    for seed in range(20):
        half = halves(labels, torch.Generator().manual_seed(seed))
        seen.add(tuple(half.tolist()))
        assert half.sum() == len(labels) // 2
        for label, count in enumerate(counts):
            assert half[labels == label].sum() in (count // 2, count - count // 2)
    assert len(seen) >= 10


def test_a_class_of_one_image_and_one_of_none_are_told(tmp_path, caplog):
    with caplog.at_level("INFO", "nas"):
        prepare("digits", "unused", tmp_path / "out", seed=0, train_limit=8)
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == (
        "digits: 8 training and 360 test images, 8×8 pixels (height×width), grey, 10 classes of 0 to 1 training images"
    )
    assert told[1].endswith(": no training image") and told[1].count(",") == 1  # two classes
    assert told[2].endswith("and 5 more: one training image, so that half of a search never sees it")


def test_prepare_replaces_an_earlier_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale").touch()
    prepare("digits", "unused", tmp_path / "out", seed=0)
    assert not (tmp_path / "out" / "stale").exists()


def test_unknown_data_set(tmp_path):
    message = "data.name: unknown data set 'digit'; did you mean digits? "
    fails(message, run=lambda: prepare("digit", "unused", tmp_path / "out", seed=0))
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
    chosen = stratified(torch.tensor(labels), count, torch.Generator().manual_seed(0))
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
