"""Folders of images as people have them: turned by EXIF, transparent, grey, of many formats, nested, linked."""

import os
import unicodedata

import numpy as np
import pytest
import torch
from expecting import fails
from PIL import Image

from nas.data import streaming
from nas.data.dataset import load
from nas.data.meta import read_meta
from nas.data.prepare import prepare

UPRIGHT = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
# What is stored so that the EXIF orientation turns it upright (EXIF 2.3, section 4.6.4, tag 274)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT, 1),
    7: np.rot90(UPRIGHT, 2).swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}
memory_and_streamed = pytest.mark.parametrize("workers", [0, 1])


@pytest.fixture
def folder(tmp_path):
    """Two classes, 2 + 1 PNG images each, of 6×9 pixels (height×width), in colour."""
    random = np.random.default_rng(1)
    for part, count in (("train", 2), ("test", 1)):
        for name in ("ant", "bee"):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (6, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pictures" / part / name / f"{i}.png")
    return tmp_path / "pictures"


def read(folder, workers=0, **options):
    prepare("folder", folder, folder.parent / "out", seed=0, workers=workers, **options)
    return load(folder.parent / "out", "cpu")


def first(prepared):
    """The pixels of train/ant/0.png: H×W×C."""
    return prepared.train.take(torch.tensor([0]))[0].permute(1, 2, 0).numpy()


@memory_and_streamed
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_stand_upright_as_their_exif_orientation_says(folder, orientation, workers):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).save(folder / "train/ant/0.png", exif=exif)
    prepared = read(folder, workers)
    assert prepared.shape == (3, 6, 9)  # the first image tells the size
    assert np.array_equal(first(prepared), UPRIGHT)


def transparent(kind):
    """A picture whose left half hides red behind alpha 0, and whose right half is opaque blue."""
    rgba = np.zeros((6, 9, 4), np.uint8)
    rgba[:, :4, 0], rgba[:, 4:, 2], rgba[:, 4:, 3] = 255, 255, 255
    image = Image.fromarray(rgba)
    if kind in ("RGBA", "webp"):
        return image, {}
    if kind == "LA":
        return image.convert("LA"), {}
    if kind == "P":  # red is the colour 0 of the palette, and transparent
        palette = Image.fromarray((rgba[..., 2] // 255).astype(np.uint8), mode="P")
        palette.putpalette([255, 0, 0, 0, 0, 255])
        return palette, {"transparency": 0}
    return image.convert("RGB"), {"transparency": (255, 0, 0)}  # RGB: tRNS names red


@memory_and_streamed
@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "RGB", "webp"])
def test_a_transparent_picture_shows_a_white_ground(folder, kind, workers):
    image, options = transparent(kind)
    if kind == "webp":
        (folder / "train/ant/0.png").unlink()
        image.save(folder / "train/ant/0.webp", lossless=True, exact=True)
    else:
        image.save(folder / "train/ant/0.png", **options)
    pixels = first(read(folder, workers))
    assert (pixels[:, :4] == 255).all()
    blue = 29 if kind == "LA" else (0, 0, 255)  # ITU-R 601-2 luma of blue: 0.114 · 255
    assert (pixels[:, 4:] == blue).all()


def test_what_is_half_transparent_mixes_with_the_ground(folder):
    Image.new("RGBA", (9, 6), (0, 100, 200, 51)).save(folder / "train/ant/0.png")
    expected = [255 * 0.8 + 0.2 * c for c in (0, 100, 200)]
    assert np.abs(first(read(folder)) - expected).max() <= 1


def test_every_format_is_read_and_folders_inside_a_class_too(folder):
    """What torchvision's ImageFolder takes, in the order of their paths."""
    inside = folder / "train/ant/more/deeper"
    inside.mkdir(parents=True)
    image = Image.fromarray(UPRIGHT)
    for suffix in ("bmp", "ppm", "tif", "tiff", "webp", "PNG"):
        image.save(inside / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    prepared = read(folder)
    assert prepared.train.labels.tolist() == [0] * 8 + [1] * 2
    nested = prepared.train.take(torch.arange(2, 8)).permute(0, 2, 3, 1).numpy()
    assert all(np.array_equal(pixels, UPRIGHT) for pixels in nested)


def test_files_that_are_not_read_are_counted(folder, caplog):
    for name in ("train/ant/a.gif", "train/ant/b.GIF", "train/bee/notes.txt", "train/README", "train/ant/.DS_Store"):
        (folder / name).touch()
    with caplog.at_level("WARNING", "nas"):
        assert len(read(folder).train.labels) == 4
    assert [record.getMessage() for record in caplog.records] == [
        f"data.root: 4 files below {folder}/train are not read: 2 .gif, 1 README, 1 .txt"
    ]
    assert read_meta(folder.parent / "out")["passed_over"] == {".gif": 2, "README": 1, ".txt": 1}


@memory_and_streamed
def test_a_folder_of_grey_pictures_has_one_channel(folder, workers):
    """Of 8 bits, with alpha, and of 16, which are scaled: 65,535 is white."""
    values = np.array([0, 1, 128, 129, 257, 385, 386, 65_407, 65_535], np.uint16)
    for path in folder.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    Image.fromarray(np.tile(values, (6, 1))).save(folder / "train/ant/0.png")
    Image.new("LA", (9, 6), (40, 255)).save(folder / "train/ant/1.png")
    prepared = read(folder, workers)
    assert prepared.shape == (1, 6, 9) and len(prepared.mean) == 1
    assert first(prepared)[0, :, 0].tolist() == [round(float(v) / 257) for v in values]
    images, _ = next(prepared.batches(prepared.train, batch_size=4).epoch(0))
    assert images.shape == (4, 1, 6, 9)


@memory_and_streamed
def test_one_picture_in_colour_makes_the_folder_one_of_colours(folder, workers):
    for path in list(folder.rglob("*.png"))[1:]:
        Image.open(path).convert("L").save(path)
    Image.fromarray(np.full((6, 9), 30_000, np.uint16)).save(folder / "train/ant/0.png")
    Image.fromarray(UPRIGHT).save(folder / "train/ant/1.png")
    prepared = read(folder, workers)
    assert prepared.shape == (3, 6, 9)
    assert (first(prepared) == round(30_000 / 257)).all()


@pytest.mark.parametrize("linked", ["train", "test/bee", "train/ant/inside"])
def test_a_link_to_a_folder_is_refused(folder, linked):
    """DVC hashes an empty folder for it, and would call the data unchanged whatever is put behind the link."""
    elsewhere = folder.parent / "elsewhere"
    if (folder / linked).exists():
        (folder / linked).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (folder / linked).symlink_to(elsewhere)
    fails(f"data.root: {folder / linked} is a link to a folder", "let data.root be the link", run=lambda: read(folder))


def test_a_linked_root_and_links_to_single_files_are_read(folder):
    expected = first(read(folder))
    (folder / "train/ant/0.png").rename(folder.parent / "0.png")
    (folder / "train/ant/0.png").symlink_to(folder.parent / "0.png")
    (folder.parent / "link").symlink_to(folder)
    assert np.array_equal(first(read(folder.parent / "link")), expected)


def test_no_more_is_read_than_the_limits_let_in(folder, monkeypatch):
    for i in range(2, 12):
        Image.fromarray(UPRIGHT).save(folder / f"train/ant/{i}.png")
        Image.fromarray(UPRIGHT).save(folder / f"train/bee/{i}.png")
    opened, read_image = [], streaming.read_image
    monkeypatch.setattr(streaming, "read_image", lambda path, *how: opened.append(path) or read_image(path, *how))
    read(folder, train_limit=4, test_limit=1)
    assert len(opened) == 4 + 1


def test_a_pipe_called_png_is_not_waited_for(folder, caplog):
    import os

    os.mkfifo(folder / "train/ant/9.png")
    with caplog.at_level("WARNING", "nas"):
        assert len(read(folder).train.labels) == 4
    assert "1 files below" in caplog.text


def test_values_that_are_no_pixels_are_refused(folder):
    Image.fromarray(np.full((6, 9), 0.5, np.float32)).save(folder / "train/ant/2.tiff")
    fails(
        f"data.root: {folder}/train/ant/2.tiff is not a readable image (its values are floating-point",
        run=lambda: read(folder),
    )


def test_a_class_is_the_same_in_either_of_unicodes_forms(folder):
    composed, apart = (unicodedata.normalize(form, "Müsli") for form in ("NFC", "NFD"))
    (folder / "train/ant").rename(folder / "train" / apart)
    (folder / "test/ant").rename(folder / "test" / composed)
    assert read(folder).classes == (composed, "bee")


def test_a_class_whose_name_is_not_utf_8_is_told(folder):
    (folder / "train/ant").rename(os.fsdecode(os.fsencode(folder / "train") + b"/\xff"))
    fails("data.root: ", "has a name that is not UTF-8: rename the folder", run=lambda: read(folder))
