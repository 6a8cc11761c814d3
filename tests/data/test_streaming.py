"""nas.data.streaming against images in memory, Pillow and torchvision; and what it says of images that are gone."""

import gc
import json
import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from expecting import DEVICES, fails
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms import functional as reference
from torchvision.transforms import v2

from nas.data import streaming
from nas.data.augment import normalise
from nas.data.dataset import load
from nas.data.meta import read_meta
from nas.data.prepare import prepare
from nas.data.split import Split
from nas.pipeline.files import sha256

SIZE = 12
AUGMENTED = {"shuffle": True, "crop_padding": 2, "flip": True, "cutout": 4}
RESIZED = {"shuffle": True, "flip": True, "cutout": 4, "resized_crop": 0.08}


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    if multiprocessing.active_children():
        gc.collect()  # an exception that a test caught may hold them
    for child in multiprocessing.active_children():
        child.join(10)
    assert not multiprocessing.active_children()


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK", 4)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three classes, 7 + 3 images each, of many sizes and modes."""
    root = tmp_path_factory.mktemp("streamed") / "pictures"
    random = np.random.default_rng(1)
    for part, count in (("train", 7), ("test", 3)):
        for name in ("ant", "bee", "cat"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                height, width = random.integers(8, 40, 2)
                image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
                mode, suffix = (("RGB", "jpg"), ("L", "png"), ("P", "png"), ("RGBA", "png"), ("L", "jpeg"))[i % 5]
                image.convert(mode).save(root / part / name / f"{i}.{suffix}")
    return root


@pytest.fixture
def pictures_copy(pictures, tmp_path):
    return shutil.copytree(pictures, tmp_path / "pictures")


def prepared(root, output, workers, device="cpu", load_workers=None, **options):
    prepare("folder", root, output, workers=workers, **({"seed": 3, "image_size": SIZE} | options))
    return load(output, device, workers=workers if load_workers is None else load_workers)


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory):
    """What `prepare` writes of `pictures` to be streamed."""
    output = tmp_path_factory.mktemp("streamed") / "prepared"
    prepare("folder", pictures, output, seed=3, image_size=SIZE, workers=1)
    return output


def epoch(of, split, seed=5, **options):
    batches = of.batches(split, **({"batch_size": 4} | options))
    found = list(batches.epoch(seed))
    assert len(found) == len(batches)
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


def all_equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# As in memory


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", [{}, {"shuffle": True}, AUGMENTED], ids=["plain", "shuffled", "augmented"])
def test_batches_are_those_of_images_in_memory(pictures, tmp_path, options, device):
    memory = prepared(pictures, tmp_path / "memory", 0, device)
    streamed = prepared(pictures, tmp_path / "streamed", 2, device)
    for name in ("name", "classes", "shape", "mean", "std"):
        assert getattr(streamed, name) == getattr(memory, name)
    assert torch.equal(streamed.train.half, memory.train.half)
    for choose in (lambda p: p.train, lambda p: p.test, lambda p: p.train.part(0), lambda p: p.train.part(1)):
        assert torch.equal(choose(streamed).labels, choose(memory).labels)
        images, labels = epoch(streamed, choose(streamed), **options)
        assert images.device.type == labels.device.type == device
        assert images.dtype == torch.float32
        assert all_equal((images, labels), epoch(memory, choose(memory), **options))


def test_images_are_what_pillow_and_torchvision_make_of_the_files(pictures, folder):
    split = load(folder, "cpu", workers=2).test
    paths = sorted((pictures / "test").rglob("*.*"))
    expected = [
        reference.center_crop(reference.resize(Image.open(path).convert("RGB"), SIZE), [SIZE, SIZE]) for path in paths
    ]
    expected = torch.stack([reference.pil_to_tensor(image) for image in expected])
    assert torch.equal(split.take(torch.arange(9)), expected)
    assert split.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3


def test_images_of_one_size_need_no_image_size(pictures_copy, tmp_path):
    for path in pictures_copy.rglob("*.*"):
        Image.open(path).convert("RGB").resize((9, 6)).save(path)
    memory = prepared(pictures_copy, tmp_path / "memory", 0, image_size=None)
    streamed = prepared(pictures_copy, tmp_path / "streamed", 2, image_size=None)
    assert streamed.shape == memory.shape == (3, 6, 9)
    assert all_equal(epoch(streamed, streamed.train), epoch(memory, memory.train))
    assert epoch(streamed, streamed.train, resized_crop=0.08)[0].shape == (21, 3, 6, 9)


def test_mean_and_std_are_those_of_numpy(folder):
    streamed = load(folder, "cpu")
    scaled = streamed.train.take(torch.arange(21)).numpy().astype(np.float64) / 255
    np.testing.assert_allclose(streamed.mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(streamed.std, scaled.std((0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("indices", [[4, 0, 4, 20], [-1], []], ids=str)
def test_take_is_indexing(pictures, tmp_path, workers, indices):
    memory = prepared(pictures, tmp_path / "memory", 0)
    streamed = prepared(pictures, tmp_path / "streamed", 1, load_workers=workers)
    indices = torch.tensor(indices, dtype=torch.int64)
    expected = memory.train.images[indices]
    for of in (memory, streamed):
        found = of.train.take(indices)
        assert found.dtype == torch.uint8
        assert torch.equal(found, expected)
    half = streamed.train.part(1)
    assert torch.equal(half.take(torch.tensor([2])), memory.train.part(1).images[2:3])


def test_limits_choose_the_images_that_they_choose_in_memory(pictures, tmp_path):
    limits = {"train_limit": 10, "test_limit": 5}
    memory = prepared(pictures, tmp_path / "memory", 0, **limits)
    streamed = prepared(pictures, tmp_path / "streamed", 2, **limits)
    assert streamed.mean == memory.mean
    for part, count in (("train", 10), ("test", 5)):
        of_memory, of_files = getattr(memory, part), getattr(streamed, part)
        assert torch.equal(of_files.labels, of_memory.labels)
        assert torch.equal(of_files.take(torch.arange(count)), of_memory.images)


def test_limits_choose_before_images_are_read(pictures_copy, tmp_path):
    chosen = prepared(pictures_copy, tmp_path / "whole", 1, train_limit=6).train.images.names
    for path in (pictures_copy / "train").rglob("*.*"):
        # The first image tells the size.
        if path.relative_to(pictures_copy).as_posix() not in chosen and path.name != "0.jpg":
            path.write_text("no image")
    again = prepared(pictures_copy, tmp_path / "some", 1, train_limit=6)
    assert again.train.images.names.tolist() == chosen.tolist()


def test_a_shuffled_epoch_leaves_out_a_single_last_image(folder):
    streamed = load(folder, "cpu", workers=1)
    sizes = [len(labels) for _, labels in streamed.batches(streamed.train, batch_size=5, shuffle=True).epoch(0)]
    assert sizes == [5] * 4
    sizes = [len(labels) for _, labels in streamed.batches(streamed.train, batch_size=5).epoch(0)]
    assert sizes == [5, 5, 5, 5, 1]


# What prepare leaves


def test_prepared_folder_holds_names_and_digests_and_no_images(pictures, folder):
    meta = read_meta(folder)
    assert (meta["root"], meta["image_size"], meta["shape"]) == (str(pictures), SIZE, [3, SIZE, SIZE])
    assert (meta["train"], meta["test"]) == (21, 9)
    for part in ("train", "test"):
        names = json.loads((folder / f"{part}.json").read_text())
        assert names == sorted(path.relative_to(pictures).as_posix() for path in (pictures / part).rglob("*.*"))
        tensors = load_file(folder / f"{part}.safetensors")
        assert set(tensors) == {"digests", "labels"} | ({"half"} if part == "train" else set())
        assert [bytes(row.tolist()).hex() for row in tensors["digests"]] == [sha256(pictures / name) for name in names]
    files = {f"{part}.{suffix}" for part in ("train", "test") for suffix in ("safetensors", "json")}
    assert meta["checksums"] == {name: sha256(folder / name) for name in files}
    assert {path.name for path in folder.iterdir()} == {*files, "meta.json"}


def test_number_of_workers_leaves_no_trace(pictures, folder, tmp_path):
    prepare("folder", pictures, tmp_path / "out", seed=3, image_size=SIZE, workers=2)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_a_changed_image_changes_the_prepared_folder(pictures_copy, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    prepared(pictures_copy, before, 1)
    with (pictures_copy / "test" / "bee" / "1.png").open("ab") as file:
        file.write(b"\0")  # after the image's end: its pixels stay
    prepared(pictures_copy, after, 1)
    assert (before / "meta.json").read_bytes() != (after / "meta.json").read_bytes()


def test_root_is_kept_as_given(pictures_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    streamed = prepared("pictures", "out", 1)
    assert read_meta("out")["root"] == "pictures"
    assert epoch(streamed, streamed.train)[0].shape == (21, 3, SIZE, SIZE)


def prepare_fails(root, *parts, **options):
    output = root.parent / "out"
    fails(*parts, run=lambda: prepared(root, output, 2, **options))
    assert not output.exists()


def test_streaming_is_for_folders_alone(tmp_path):
    run = lambda: prepare("digits", "unused", tmp_path / "out", seed=0, workers=1)  # noqa: E731
    fails("data.stream: digits is in memory", "folder", "digits", run=run)


@pytest.mark.parametrize("name", ["train/ant/0.jpg", "train/cat/6.png", "test/bee/1.png"])
def test_prepare_names_an_unreadable_image(pictures_copy, name):
    (pictures_copy / name).write_bytes((pictures_copy / name).read_bytes()[:60])
    prepare_fails(pictures_copy, f"data.root: {pictures_copy / name} is not a readable image (")


def test_prepare_names_an_image_of_another_size(pictures_copy):
    for path in pictures_copy.rglob("*.*"):
        Image.open(path).convert("RGB").resize((9, 6)).save(path)
    path = pictures_copy / "test" / "bee" / "1.png"
    Image.open(path).resize((8, 6)).save(path)
    first = pictures_copy / "train" / "ant" / "0.jpg"
    expected = f"data.root: {path} is 6×8 and {first} is 6×9 (height×width): set data.image_size"
    prepare_fails(pictures_copy, expected, image_size=None)


def test_prepare_refuses_limits_and_classes_as_in_memory(pictures_copy):
    prepare_fails(pictures_copy, "data.train_limit: 22 is not from 1 to 21", train_limit=22)
    shutil.rmtree(pictures_copy / "test" / "bee")
    prepare_fails(pictures_copy, "data.root: class bee is in ")


# Random numbers


@pytest.mark.parametrize("options", [AUGMENTED, RESIZED], ids=["augmented", "resized"])
def test_an_epoch_follows_from_its_seed_alone(folder, options):
    def images(workers, seed):
        streamed = load(folder, "cpu", workers=workers)
        return epoch(streamed, streamed.train, seed, **options)

    first = images(0, 5)
    for workers in (0, 1, 2):
        torch.manual_seed(workers)
        state = torch.get_rng_state()
        assert all_equal(images(workers, 5), first)
        assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(images(2, 6)[0], first[0])


def test_epochs_may_run_side_by_side_and_again(folder):
    streamed = load(folder, "cpu", workers=2)
    batches = streamed.batches(streamed.train, batch_size=4, **RESIZED)
    alone = [list(batches.epoch(seed)) for seed in (0, 1)]
    for one, other, *expected in zip(batches.epoch(0), batches.epoch(1), *alone, strict=True):
        assert all_equal(one, expected[0])
        assert all_equal(other, expected[1])


@pytest.mark.parametrize("share", [0.08, 0.2])
def test_resized_crop_is_a_box_of_torchvision(pictures, folder, monkeypatch, share):
    boxes = []
    make_params = v2.RandomResizedCrop.make_params

    def record(self, inputs):
        boxes.append(make_params(self, inputs))
        return boxes[-1]

    monkeypatch.setattr(v2.RandomResizedCrop, "make_params", record)
    streamed = load(folder, "cpu")
    # What crops the padded image has no part in it.
    images, _ = epoch(streamed, streamed.train, resized_crop=share, crop_padding=3)
    paths = sorted((pictures / "train").rglob("*.*"))
    expected = [
        v2.functional.resized_crop(Image.open(path).convert("RGB"), **box, size=[SIZE, SIZE])
        for path, box in zip(paths, boxes, strict=True)
    ]
    expected = torch.stack([reference.pil_to_tensor(image) for image in expected])
    assert torch.equal(images, normalise(expected, streamed.mean, streamed.std))
    sizes = [Image.open(path).size for path in paths]
    shares = [box["height"] * box["width"] / (w * h) for box, (w, h) in zip(boxes, sizes, strict=True)]
    assert min(shares) < 0.4
    assert max(shares) > 0.7
    assert len({round(share, 6) for share in shares}) > 18


@pytest.mark.parametrize("share", [0.08, 0.2])
def test_what_a_resized_crop_draws_is_torchvisions_from_a_seed_an_image(pictures, folder, share):
    """One draw an image for its crop, whatever the share, before what the batches draw: no other may come between."""
    streamed = load(folder, "cpu")
    images, _ = epoch(streamed, streamed.train, seed=5, resized_crop=share, flip=True)
    generator = torch.Generator().manual_seed(5)
    seeds = torch.randint(2**62, (21,), generator=generator).tolist()
    flips = torch.cat([torch.rand(count, generator=generator) < 0.5 for count in (4, 4, 4, 4, 4, 1)])
    expected = []
    for path, seed, flipped in zip(sorted((pictures / "train").rglob("*.*")), seeds, flips, strict=True):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            image = v2.RandomResizedCrop(SIZE, scale=(share, 1))(Image.open(path).convert("RGB"))
        expected.append(reference.pil_to_tensor(reference.hflip(image) if flipped else image))
    assert torch.equal(images, normalise(torch.stack(expected), streamed.mean, streamed.std))


@pytest.mark.parametrize("share", [0.08, 0.2, 0.9])
def test_resized_crop_takes_at_least_its_share_of_the_area(tmp_path, share):
    """Over 700 draws; a whole picture has more pixels than its crop loses by rounding."""
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / part / name / "0.png")
            Image.fromarray(pixels).save(tmp_path / "pictures" / part / name / "1.png")
    shares = []
    streamed = prepared(tmp_path / "pictures", tmp_path / "out", 1, load_workers=0)
    make_params = v2.RandomResizedCrop.make_params

    def record(self, inputs):
        box = make_params(self, inputs)
        shares.append(box["height"] * box["width"] / (300 * 400))
        return box

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v2.RandomResizedCrop, "make_params", record)
        for seed in range(175):
            epoch(streamed, streamed.train, seed, resized_crop=share)
    assert len(shares) == 700
    assert share - 0.01 < min(shares) < share + 0.05
    assert max(shares) > 0.9


@pytest.mark.parametrize("workers", [0, 2])
def test_test_images_are_resized_before_their_centre_is_cut(pictures, tmp_path, workers):
    """torchvision's reference for ImageNet: 256, then the centre of 224. Training images are not."""
    data = prepared(pictures, tmp_path / "out", workers, test_resize=15)
    for split, part, resize in ((data.test, "test", 15), (data.train, "train", SIZE)):
        files = [Image.open(path).convert("RGB") for path in sorted((pictures / part).rglob("*.*"))]
        cut = [v2.Compose([v2.Resize(resize), v2.CenterCrop(SIZE)])(image) for image in files]
        expected = torch.stack([reference.pil_to_tensor(image) for image in cut])
        assert torch.equal(split.take(torch.arange(len(files))), expected)
    half = data.train.part(1)
    assert torch.equal(half.take(torch.arange(len(half.labels))), expected[data.train.half == 1])


def test_each_image_and_epoch_has_a_crop_of_its_own(pictures_copy, tmp_path):
    source = Image.open(pictures_copy / "train" / "ant" / "0.jpg").convert("RGB")
    for path in pictures_copy.rglob("*.png"):
        source.save(path)
    streamed = prepared(pictures_copy, tmp_path / "out", 2)
    alike = [i for i, name in enumerate(streamed.train.images.names) if name.endswith("png")]
    split = Split(streamed.train.images[torch.tensor(alike)], streamed.train.labels[alike])
    assert len(epoch(streamed, split)[0].unique(dim=0)) == 1
    images = torch.cat([epoch(streamed, split, seed, resized_crop=0.08)[0] for seed in (0, 1)])
    assert len(images.unique(dim=0)) == 2 * len(alike)


def test_resized_crop_needs_the_files(pictures, tmp_path):
    memory = prepared(pictures, tmp_path / "memory", 0)
    run = lambda: memory.batches(memory.train, batch_size=4, resized_crop=0.08)  # noqa: E731
    fails("resized_crop: 0.08 ", "set data.stream to true", run=run)


# Images that are gone, or not what they were


def test_root_that_moved(pictures_copy, tmp_path):
    prepared(pictures_copy, tmp_path / "out", 1)
    pictures_copy.rename(tmp_path / "elsewhere")
    fails(f"data.root: {pictures_copy} is no folder", run=lambda: load(tmp_path / "out", "cpu"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["missing", "garbage", "altered", "folder"])
def test_an_epoch_names_an_image_that_is_not_what_it_was(pictures_copy, tmp_path, damage, workers):
    prepared(pictures_copy, tmp_path / "out", 1)
    path = pictures_copy / "train" / "cat" / "1.png"
    path.unlink()
    if damage == "garbage":
        path.write_bytes(b"no image")
    elif damage == "altered":
        Image.new("RGB", (20, 20)).save(path)
    elif damage == "folder":
        path.mkdir()
    streamed = load(tmp_path / "out", "cpu", workers=workers)  # reads no image
    words = "was altered" if damage in ("garbage", "altered") else "cannot be read ("
    message = f"data.root: {path} {words}"
    fails(message, "prepare stage again", run=lambda: epoch(streamed, streamed.train))
    fails(message, run=lambda: streamed.train.take(torch.tensor([15])))
    assert len(streamed.train.take(torch.tensor([14]))) == 1
    assert len(epoch(streamed, streamed.test)[0]) == 9


@pytest.mark.parametrize("name", ["train.json", "test.json"])
def test_names_that_were_altered(folder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / name
    names = json.loads(path.read_text())
    path.write_text(json.dumps(names[::-1]))
    fails(f"{path} is damaged or was altered", "dvc repro prepare", run=lambda: load(copy, "cpu"))
    path.unlink()
    fails(f"{path} is missing", "dvc repro prepare", run=lambda: load(copy, "cpu"))


def rewrite_meta(folder, **changes):
    meta = read_meta(folder)
    checksums = {name: sha256(folder / name) for name in meta["checksums"]}
    (folder / "meta.json").write_text(json.dumps(meta | {"checksums": checksums} | changes))


@pytest.mark.parametrize("text", ["{", '["a.png"]', "{}", json.dumps([0] * 21)])
def test_names_that_are_none(folder, tmp_path, text):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "train.json").write_text(text)
    rewrite_meta(copy)
    words = "cannot be read" if text == "{" else "does not agree with meta.json"
    fails(f"{copy / 'train.json'} {words}", run=lambda: load(copy, "cpu"))


def test_digests_of_another_shape(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "train.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"digests": tensors["digests"][:, :8].contiguous()}, path)
    rewrite_meta(copy)
    fails(f"{path} does not agree with meta.json", run=lambda: load(copy, "cpu"))


@pytest.mark.parametrize("changes", [{"root": 1}, {"image_size": "8"}, {"checksums": {}}], ids=str)
def test_meta_that_was_altered(folder, tmp_path, changes):
    copy = shutil.copytree(folder, tmp_path / "copy")
    rewrite_meta(copy, **changes)
    fails(f"{copy / 'meta.json'} was altered", run=lambda: read_meta(copy))


# Processes


def test_workers_read_and_take_reads_here(folder, monkeypatch):
    def mark(path, transform, channels):
        assert torch.get_num_threads() == 1
        return (
            torch.frombuffer(bytearray(os.getpid().to_bytes(4)), dtype=torch.uint8).expand(3, SIZE, 4).repeat(1, 1, 3)
        )

    def readers(images):
        return {int.from_bytes(bytes(image[0, 0, :4].tolist())) for image in images}

    monkeypatch.setattr(streaming, "read_image", mark)
    for workers in (0, 1, 2):
        train = load(folder, "cpu", workers=workers).train
        found = readers(torch.cat(list(train.images.stream(torch.arange(21).split(4)))))
        assert len(found) == max(workers, 1)
        assert (os.getpid() in found) == (workers == 0)
        assert readers(train.take(torch.tensor([0]))) == {os.getpid()}


def test_an_epoch_left_early_ends_its_processes(folder):
    streamed = load(folder, "cpu", workers=2)
    batches = streamed.batches(streamed.train, batch_size=2).epoch(0)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert not multiprocessing.active_children()


def test_threads_of_the_caller_do_not_hang_the_workers(folder):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (torch.rand(500, 500, requires_grad=True) @ torch.rand(500, 500)).sum().backward()
        streamed = load(folder, "cpu", workers=2)
        assert len(epoch(streamed, streamed.train, batch_size=7, **AUGMENTED)[0]) == 21
    finally:
        torch.set_num_threads(threads)


def test_a_worker_that_is_killed_ends_in_one_line(folder, monkeypatch):
    monkeypatch.setattr(streaming, "read_image", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    streamed = load(folder, "cpu", workers=2)
    fails("a process that reads images was killed", run=lambda: epoch(streamed, streamed.train))


def test_a_bug_is_no_mistake_of_the_user(folder, monkeypatch):
    def bug(path, transform, channels):
        raise RuntimeError("a bug")

    monkeypatch.setattr(streaming, "read_image", bug)
    streamed = load(folder, "cpu")
    with pytest.raises(RuntimeError, match="^a bug$"):
        epoch(streamed, streamed.train)


def test_workers_that_inherit_nothing_read_the_same(folder, monkeypatch):
    here = load(folder, "cpu")
    expected = epoch(here, here.train, **RESIZED)
    method = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        streamed = load(folder, "cpu", workers=1)
        assert all_equal(epoch(streamed, streamed.train, **RESIZED), expected)
    finally:
        multiprocessing.set_start_method(method, force=True)
