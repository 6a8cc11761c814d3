"""nas.data.augment and nas.data.batches against torchvision and slow loops."""

import pytest
import torch
from expecting import DEVICES
from torchvision.transforms import functional as reference

from nas.data import augment, batches
from nas.data.batches import Batches


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


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
    found = augment.normalise(images, mean, std)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-6)
    exact = (images.cpu().double() / 255 - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(augment.normalise(images, mean, std, torch.float64).cpu(), exact, rtol=1e-6, atol=1e-6)


def test_normalise_rounds_once_to_half_width():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = augment.normalise(images, (0.3,), (0.2,)).bfloat16()
    assert torch.equal(augment.normalise(images, (0.3,), (0.2,), torch.bfloat16), expected)


def test_normalise_leaves_its_argument_alone():
    images = torch.full((1, 1, 2, 2), 255.0)
    augment.normalise(images, (0.0,), (1.0,))
    assert (images == 255).all()


def test_crop_is_torchvisions(device):
    padding = 3
    offsets = torch.cartesian_prod(torch.arange(2 * padding + 1), torch.arange(2 * padding + 1))
    images = some_images(len(offsets), device=device)
    padded = reference.pad(images.cpu(), padding)
    expected = [reference.crop(p, top, left, 8, 11) for p, (top, left) in zip(padded, offsets.tolist(), strict=True)]
    found = augment.crop(images, padding, offsets.to(device))
    assert torch.equal(found.cpu(), torch.stack(expected))
    assert found.is_contiguous()
    assert found.dtype == torch.uint8


def test_flip_is_torchvisions(device):
    images = some_images(5, device=device)
    flips = torch.tensor([True, False, False, True, True], device=device)
    expected = [reference.hflip(image) if f else image for image, f in zip(images, flips, strict=True)]
    found = augment.flip(images, flips)
    assert torch.equal(found, torch.stack(expected))
    assert found.is_contiguous()


@pytest.mark.parametrize("length", [1, 2, 5, 6, 30])
def test_cut_is_that_of_a_loop(device, length):
    centres = torch.cartesian_prod(torch.arange(8), torch.arange(11))
    images = some_images(len(centres), device=device).float() + 1
    found = augment.cut(images, length, centres.to(device))
    expected = images.clone()
    for image, (row, column) in zip(expected, centres.tolist(), strict=True):
        top, bottom = (min(max(row + s * (length // 2), 0), 8) for s in (-1, 1))
        left, right = (min(max(column + s * (length // 2), 0), 11) for s in (-1, 1))
        image[:, top:bottom, left:right] = 0
    assert torch.equal(found, expected)
    assert found.is_contiguous()


def test_cut_blanks_a_square_of_the_length():
    found = augment.cut(torch.ones(1, 1, 32, 32), 16, torch.tensor([[16, 10]]))
    assert (found == 0).sum() == 16 * 16


def test_offsets_are_uniform(device):
    offsets = augment.draw_offsets(81 * 500, 4, generator_on(device))
    counts = (offsets[:, 0] * 9 + offsets[:, 1]).bincount(minlength=81)
    assert len(counts) == 81
    # Five standard deviations of a count of mean 500.
    assert (counts - 500).abs().max() < 5 * 500**0.5


def test_flips_are_half(device):
    flips = augment.draw_flips(10_000, generator_on(device))
    assert abs(flips.float().mean().item() - 0.5) < 0.02


def test_centres_are_uniform(device):
    centres = augment.draw_centres(6 * 9 * 500, 6, 9, generator_on(device))
    counts = (centres[:, 0] * 9 + centres[:, 1]).bincount(minlength=54)
    assert len(counts) == 54
    assert (counts - 500).abs().max() < 5 * 500**0.5


@pytest.mark.parametrize(
    ("options", "draw", "apply"),
    [
        ({"crop_padding": 2}, lambda g: augment.draw_offsets(6, 2, g), lambda x, d: augment.crop(x, 2, d)),
        ({"flip": True}, lambda g: augment.draw_flips(6, g), augment.flip),
        ({"cutout": 4}, lambda g: augment.draw_centres(6, 8, 11, g), lambda x, d: augment.cut(x, 4, d)),
    ],
    ids=["crop", "flip", "cutout"],
)
def test_each_augmentation_applies_what_it_draws(options, draw, apply, device):
    images, scale = some_images(6, device=device), {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    ((found, _),) = Batches(images, torch.arange(6, device=device), batch_size=6, **scale, **options).epoch(7)
    images = augment.normalise(images, **scale)
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
    expected = augment.crop(images, 2, augment.draw_offsets(8, 2, generator))
    expected = augment.normalise(
        augment.flip(expected, augment.draw_flips(8, generator)), (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
    )
    expected = augment.cut(expected, 4, augment.draw_centres(8, *images.shape[2:], generator))
    assert torch.equal(found, expected)


def test_each_batch_draws_its_own_augmentation():
    images = some_images(1).expand(16, -1, -1, -1).contiguous()
    batches = Batches(images, torch.arange(16), batch_size=8, mean=(0.0,) * 3, std=(1.0,) * 3, crop_padding=2)
    first, second = (images for images, _ in batches.epoch(0))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("cutout", "warned"), [(16, True), (8, True), (7, False), (0, False)])
def test_a_cutout_as_large_as_the_image_is_told_once(cutout, warned, caplog):
    batches._warn_of_cutout.cache_clear()
    images, labels = torch.zeros(4, 1, 8, 12, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    with caplog.at_level("WARNING", "nas"):
        for _ in range(2):
            batches.Batches(images, labels, batch_size=2, mean=[0.5], std=[0.5], cutout=cutout)
    told = f"cutout: a square of {cutout} blanks all or most of an image of 8×12 pixels (height×width)"
    assert [record.getMessage() for record in caplog.records] == [told] * warned
