"""nas.explain against Grad-CAM written from its paper's equations, in numpy."""

import numpy as np
import pytest
import torch

from nas.explain import SIZE, heat_maps, overlays, pictures, predictions
from nas.genotypes import PUBLISHED
from nas.network import Network


@pytest.fixture(scope="module", params=[(1, 8), (3, 32)], ids=["grey", "colour"])
def case(request) -> tuple[Network, torch.Tensor]:
    channels, size = request.param
    torch.manual_seed(0)
    network = Network(PUBLISHED["DARTS_V2"], channels=4, layers=3, num_classes=5, in_channels=channels)
    images = torch.randn(6, channels, size, size)
    for _ in range(3):
        network(images)  # moves the running statistics away from 0 and 1
    return network.eval(), images


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Bilinear: each new pixel's centre, in the old pixels' coordinates, between its neighbours, cut at the edge."""

    def matrix(old: int) -> np.ndarray:
        weights = np.zeros((size, old))
        for i in range(size):
            centre = min(max((i + 0.5) * old / size - 0.5, 0), old - 1)
            low = min(int(centre), old - 2)
            weights[i, low : low + 2] = 1 - (centre - low), centre - low
        return weights

    return matrix(image.shape[0]) @ image @ matrix(image.shape[1]).T


def normalize(heat: np.ndarray) -> np.ndarray:
    return (heat - heat.min()) / (heat.max() - heat.min() + 1e-7)


def grad_cam(network: Network, image: torch.Tensor, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Selvaraju et al. (2017), equations 1 and 2, of one image; and the same without its ReLU."""
    before_last = last = network.stem(image[None])
    for cell in network.cells:
        before_last, last = last, cell(before_last, last)
    activations = last.detach().requires_grad_()
    score = network.classifier(activations.mean(dim=(2, 3)))[0, label]
    (gradient,) = torch.autograd.grad(score, activations)
    weights = gradient[0].double().numpy().mean(axis=(1, 2))
    heat = sum(w * a for w, a in zip(weights, activations[0].detach().double().numpy(), strict=True))
    at_image_size = resize(normalize(np.maximum(heat, 0)), image.shape[-1])
    return resize(normalize(at_image_size), 224), heat


def test_heat_maps_follow_the_papers_equations(case):
    network, images = case
    labels = [0, 1, 2, 3, 4, 0]
    maps = heat_maps(network, images, labels)
    assert maps.shape == (6, 224, 224) and SIZE == 224
    assert maps.min() >= 0 and maps.max() <= 1
    assert maps.amax(dim=(1, 2)).gt(0.9).sum() >= 3
    expected, raw = zip(*(grad_cam(network, *one) for one in zip(images, labels, strict=True)), strict=True)
    assert any(heat.min() < 0 < heat.max() for heat in raw)  # the ReLU counts
    np.testing.assert_allclose(maps.numpy(), np.stack(expected), atol=1e-4)


def test_a_heat_map_is_of_the_class_and_image_asked_for(case):
    network, images = case
    together = heat_maps(network, images, list(range(5)) + [0])
    alone = torch.cat(
        [heat_maps(network, image[None], [label]) for image, label in zip(images, [0, 1, 2, 3, 4, 0], strict=True)]
    )
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    same_image = heat_maps(network, images[:1].expand(5, -1, -1, -1), range(5))
    assert len({one.numpy().tobytes() for one in same_image}) > 1


def test_looking_changes_nothing(case):
    network, images = case
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        logits = network(images)
    first = heat_maps(network, images, [0] * 6)
    assert torch.equal(heat_maps(network, images, [0] * 6), first)
    assert not network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(m._forward_hooks for m in network.modules())
    assert torch.equal(network(images), logits)


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_show_every_pixel_as_a_square(channels, size):
    images = torch.randint(256, (4, channels, size, size), dtype=torch.uint8)
    shown = pictures(images)
    assert len(shown) == 4
    for picture, image in zip(shown, images.numpy(), strict=True):
        assert picture.shape == (224, 224, 3) and picture.dtype == np.uint8
        for colour in range(3):
            expected = np.kron(image[colour % channels], np.ones((224 // size, 224 // size)))
            assert np.array_equal(picture[:, :, colour], expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_overlays_paint_heat_red_and_cold_blue_over_the_picture(channels):
    images = torch.full((2, channels, 8, 8), 200, dtype=torch.uint8)
    images[:, :, :4] = 20  # dark above, bright below
    maps = torch.zeros(2, 224, 224)
    maps[0, :, 112:] = 1  # hot on the right of the first
    painted = overlays(images, maps)
    assert len(painted) == 2
    assert all(one.shape == (224, 224, 3) and one.dtype == np.uint8 for one in painted)
    red, green, blue = painted[0].astype(int).transpose(2, 0, 1)
    assert (red > blue)[:, 112:].all() and (blue > red)[:, :112].all()
    assert (green[112:] > green[:112]).all()
    assert (painted[1][:, 112:] == painted[0][:, :112]).all()
    with pytest.raises(ValueError):
        overlays(images, maps[:1])


def test_predictions_are_the_softmax_of_the_logits(case):
    network, images = case
    with torch.no_grad():
        logits = network(images).double().numpy()
    found = predictions(network, images)
    assert len(found) == 6
    for (label, probability), row in zip(found, logits, strict=True):
        assert type(label) is int and type(probability) is float
        assert label == row.argmax()
        assert probability == pytest.approx(np.exp(row[label]) / np.exp(row).sum(), rel=1e-5)
