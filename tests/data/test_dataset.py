"""nas.data.dataset and nas.data.meta: what was prepared is loaded, and nothing else."""

import json
import subprocess
import sys

import pytest
import torch
from expecting import DEVICES, fails, tensors
from safetensors.torch import load_file, save_file

from nas.data.dataset import load
from nas.data.meta import read_meta
from nas.data.prepare import prepare
from nas.pipeline.files import sha256


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "prepared"
    prepare("digits", "unused", folder, seed=0)
    return folder


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


@pytest.mark.parametrize("device", DEVICES)
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


def test_loading_loads_nothing_that_prepares():
    """What a training imports is what it is run again for."""
    code = "import sys, nas.data.dataset; print(*(name for name in sys.modules if name.startswith('nas.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name.removeprefix("nas.data.") for name in loaded if name.startswith("nas.data.")}
    assert ours == {"augment", "batches", "dataset", "inputs", "meta", "sharing", "split", "streaming"}
    assert {name.split(".")[1] for name in loaded} == {"data", "pipeline"}


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
        {"train": 1436},
        {"classes": list("012345678")},
        {"test_per_class": None},
        {"passed_over": [1]},
        {"image_size": "8"},
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


@pytest.mark.parametrize(
    "changes", [{"shape": [1, 4, 16]}, {"train": 1436, "train_per_class": [1436] + 9 * [0]}], ids=str
)
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
