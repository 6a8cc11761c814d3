"""nas.analysis.gradcam against the papers' equations, written out in numpy."""

import gc

import numpy as np
import pytest
import torch
from torch import nn

from nas.analysis.gradcam import METHODS, SIZE, confidence_drop, heat_maps, overlays, pictures, predictions
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.space.published import PUBLISHED

# grad-cam's imputer hands a tensor to numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")


@pytest.fixture(scope="module", params=[(1, 8), (3, 32)], ids=["grey", "colour"])
def case(request) -> tuple[Network, torch.Tensor]:
    channels, size = request.param
    torch.manual_seed(0)
    network = Network(PUBLISHED["DARTS_V2"], channels=4, layers=3, num_classes=5, in_channels=channels)
    images = torch.randn(6, channels, size, size)
    for _ in range(3):
        network(images)  # moves the running statistics away from 0 and 1
    return network.eval(), images


class Bent(nn.Module):
    """One convolution for a cell, and a head that bends: unlike Network's, its gradient differs from pixel to pixel."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.Conv2d(channels, 6, 4, stride=4)])
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6 * (size // 4) ** 2, 8), nn.Tanh(), nn.Linear(8, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells[0](x))


@pytest.fixture(params=[(1, 8), (3, 32)], ids=["grey", "colour"])
def bent(request) -> tuple[Bent, torch.Tensor]:
    channels, size = request.param
    torch.manual_seed(1)
    return Bent(channels, size).eval(), torch.randn(8, channels, size, size)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear: each new pixel's centre, in the old pixels' coordinates, between its neighbours, cut at the edge."""

    def matrix(old: int, size: int) -> np.ndarray:
        weights = np.zeros((size, old))
        for i in range(size):
            centre = min(max((i + 0.5) * old / size - 0.5, 0), old - 1)
            low = min(int(centre), old - 2)
            weights[i, low : low + 2] = 1 - (centre - low), centre - low
        return weights

    return matrix(image.shape[0], height) @ image @ matrix(image.shape[1], width).T


def normalize(heat: np.ndarray) -> np.ndarray:
    return (heat - heat.min()) / (heat.max() - heat.min() + 1e-7)


def finished(heat: np.ndarray, image: torch.Tensor) -> np.ndarray:
    """After the equations: ReLU, 0..1, the image's size, 0..1."""
    return normalize(resize(normalize(np.maximum(heat, 0)), *image.shape[1:]))


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
    return finished(heat, image), heat


def finite_differences(head: nn.Module, a: np.ndarray, label: int) -> np.ndarray:
    """∂y/∂A of the class's logit y by the maps A (K × h × w), central differences in float64."""
    steps = 1e-5 * np.eye(a.size).reshape(-1, *a.shape)
    with torch.no_grad():
        ahead, behind = head(torch.tensor(a + steps)), head(torch.tensor(a - steps))
    return ((ahead - behind)[:, label] / 2e-5).numpy().reshape(a.shape)


def grad_cam_plus_plus(a: np.ndarray, g: np.ndarray, score) -> np.ndarray:
    """Equations 7 and 19; without exp(score), a positive factor common to all channels."""
    heat = np.zeros(a.shape[1:])
    for a_k, g_k in zip(a, g, strict=True):
        alpha = g_k**2 / (2 * g_k**2 + a_k.sum() * g_k**3 + 1e-6)  # 1e-6 is grad-cam's
        heat += (alpha * np.maximum(g_k, 0)).sum() * a_k
    return heat


def score_cam(a: np.ndarray, g: np.ndarray, score) -> np.ndarray:
    """Algorithm 1; grad-cam's masks are upsampled from corner to corner. A baseline would cancel in the softmax."""
    scores = []
    for a_k in a:
        mask = stretch(a_k, score.size)
        scores.append(score((mask - mask.min()) / (mask.max() - mask.min())))
    weights = np.exp(scores) / np.exp(scores).sum()
    return np.einsum("k,khw->hw", weights, a)


def stretch(image: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, the corners' pixels kept at the corners."""
    old, new = np.linspace(0, 1, len(image)), np.linspace(0, 1, size)
    rows = np.array([np.interp(new, old, row) for row in image])
    return np.array([np.interp(new, old, column) for column in rows.T]).T


def eigen_cam(a: np.ndarray, g: np.ndarray, score) -> np.ndarray:
    """The first principal component: grad-cam subtracts the channels' means; the farthest from 0 is made positive."""
    x = a.reshape(len(a), -1).T
    x = x - x.mean(axis=0)
    heat = (x @ np.linalg.eigh(x.T @ x).eigenvectors[:, -1]).reshape(a.shape[1:])
    return heat * np.sign(heat.flat[np.abs(heat).argmax()])


EQUATIONS = {
    "GradCAM": lambda a, g, score: sum(a_k * g_k.mean() for a_k, g_k in zip(a, g, strict=True)),
    "GradCAM++": grad_cam_plus_plus,
    "HiResCAM": lambda a, g, score: sum(a_k * g_k for a_k, g_k in zip(a, g, strict=True)),
    "ScoreCAM": score_cam,
    "EigenCAM": eigen_cam,
    "LayerCAM": lambda a, g, score: sum(a_k * np.maximum(g_k, 0) for a_k, g_k in zip(a, g, strict=True)),
}


class Score:
    """The class's logit of an image under a mask, in float64."""

    def __init__(self, network: nn.Module, image: torch.Tensor, label: int) -> None:
        self.network, self.image, self.label, self.size = network, image, label, image.shape[-1]

    @torch.no_grad()
    def __call__(self, mask: np.ndarray) -> float:
        return self.network((self.image * torch.tensor(mask))[None])[0, self.label].item()


def test_the_methods_are_those_that_have_equations():
    assert set(METHODS) == set(EQUATIONS)


@pytest.mark.parametrize("method", EQUATIONS)
def test_every_method_follows_its_papers_equations(bent, method):
    network, images = bent
    labels = [0, 1, 2, 3, 4, 0, 1, 2]
    maps = heat_maps(network, images, labels, method)
    network, images = network.double(), images.double()
    hot = 0
    for found, image, label in zip(maps, images, labels, strict=True):
        a = network.cells[0](image[None])[0].detach().numpy()
        g = finite_differences(network.head, a, label)
        assert np.ptp(g, axis=(1, 2)).min() > 0.1 * np.abs(g).max()  # so that the methods differ
        heat = EQUATIONS[method](a, g, Score(network, image, label))
        hot += heat.max() > 0
        np.testing.assert_allclose(found.numpy(), resize(finished(heat, image), 224, 224), atol=1e-4)
    assert hot >= 4


def test_in_a_network_hirescam_is_gradcam(case):
    network, images = case
    labels = [0, 1, 2, 3, 4, 0]
    grad = heat_maps(network, images, labels)
    torch.testing.assert_close(heat_maps(network, images, labels, "HiResCAM"), grad, rtol=0, atol=1e-4)
    for method in set(METHODS) - {"GradCAM", "HiResCAM"}:
        assert (heat_maps(network, images, labels, method) - grad).abs().max() > 0.1


def test_heat_maps_follow_the_papers_equations(case):
    network, images = case
    labels = [0, 1, 2, 3, 4, 0]
    maps = heat_maps(network, images, labels)
    assert maps.shape == (6, 224, 224) and SIZE == 224
    assert maps.min() >= 0 and maps.max() <= 1
    assert maps.amax(dim=(1, 2)).gt(0.9).sum() >= 3
    expected, raw = zip(*(grad_cam(network, *one) for one in zip(images, labels, strict=True)), strict=True)
    assert any(heat.min() < 0 < heat.max() for heat in raw)  # the ReLU counts
    np.testing.assert_allclose(maps.numpy(), [resize(heat, 224, 224) for heat in expected], atol=1e-4)


def test_a_heat_map_is_of_the_class_and_image_asked_for(case):
    network, images = case
    together = heat_maps(network, images, list(range(5)) + [0])
    alone = torch.cat(
        [heat_maps(network, image[None], [label]) for image, label in zip(images, [0, 1, 2, 3, 4, 0], strict=True)]
    )
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    same_image = heat_maps(network, images[:1].expand(5, -1, -1, -1), range(5))
    assert len({one.numpy().tobytes() for one in same_image}) > 1


@pytest.mark.parametrize("method", METHODS)
def test_looking_changes_nothing(case, method, capfd):
    network, images = case
    network.stem[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        logits = network(images)
    first = heat_maps(network, images, [0] * 6, method)
    assert torch.equal(heat_maps(network, images, [0] * 6, method), first)
    assert not network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert {name for name, p in network.named_parameters() if not p.requires_grad} == {"stem.0.weight"}
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in network.modules())
    assert torch.equal(network(images), logits)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_method_takes_every_image(method, size, channels):
    torch.manual_seed(0)
    network = Network(PUBLISHED["DARTS_V2"], channels=2, layers=3, num_classes=3, in_channels=channels).eval()
    images = torch.randn(3, channels, size, size)
    images[1] = 0
    maps = heat_maps(network, images, [0, 1, 2], method)
    assert maps.shape == (3, 224, 224) and maps.dtype == torch.float32
    assert maps.min() >= 0 and maps.max() <= 1  # so no NaN
    assert maps.max() > 0.9


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_constant_map_has_no_heat(method, value):
    torch.manual_seed(0)
    network = Bent(1, 8).eval()
    nn.init.zeros_(network.cells[0].weight)
    nn.init.constant_(network.cells[0].bias, value)
    nn.init.ones_(network.head[1].weight)  # the gradient is constant, too
    maps = heat_maps(network, torch.randn(2, 1, 8, 8), [0, 1], method)
    assert torch.equal(maps, torch.zeros(2, 224, 224))


@pytest.mark.parametrize("method", ["ScoreCAM", "EigenCAM"])
def test_methods_without_gradient_compute_none(case, method, monkeypatch):
    network, images = case
    monkeypatch.setattr(torch.Tensor, "backward", lambda *_, **__: pytest.fail("a gradient"))
    heat_maps(network, images, [0] * 6, method)


def test_scorecam_does_not_keep_the_maps_of_its_masked_images(case):
    network, images = case
    kept = []

    def count(module, inputs, last):
        alive = [one for one in gc.get_objects() if type(one) is torch.Tensor and one.shape[1:] == last.shape[1:]]
        kept.append(len(alive))

    hook = network.cells[-1].register_forward_hook(count)
    heat_maps(network, images[:2], [0, 1], "ScoreCAM")
    hook.remove()
    assert len(kept) == 9  # 64 channels, 16 at a time
    assert kept[-1] <= kept[1]


def test_the_gradient_stops_at_the_last_cell(case):
    network, images = case
    reached = []
    hook = network.cells[-2].register_forward_hook(lambda module, inputs, last: reached.append(last.requires_grad))
    heat_maps(network, images, [0] * 6)
    hook.remove()
    assert reached == [False]


@pytest.mark.parametrize("labels, error", [([0, 99], IndexError), ([0], ValueError), ([0, 1, 2], ValueError)])
def test_wrong_labels_are_an_error_that_leaves_nothing_behind(case, labels, error):
    network, images = case
    with pytest.raises(error) as raised:
        heat_maps(network, images[:2], labels)
    assert raised.tb  # while it is held, nothing is cleared away by itself
    assert not any(m._forward_hooks for m in network.modules())
    assert any(p.requires_grad for p in network.parameters())


def test_an_unknown_method_is_told(case):
    network, images = case
    for explain in (
        lambda: heat_maps(network, images, [0] * 6, "gradcam+"),
        lambda: confidence_drop(network, images.byte(), [0] * 6, mean=[0.5], std=[0.5], method="gradcam+"),
    ):
        with pytest.raises(UserError, match=r"^method: unknown CAM method 'gradcam\+'; did you mean GradCAM"):
            explain()


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


class Bright(nn.Module):
    """Class 1 where at least half of `area` pixels are bright (1), not dark (−1); its cell marks bright pixels."""

    def __init__(self, area: int, weight: float = 40.0) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())])
        nn.init.ones_(self.cells[0][0].weight)
        nn.init.zeros_(self.cells[0][0].bias)
        self.area, self.weight = area, weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = self.cells[0](x).sum(dim=(1, 2, 3)) / self.area
        return torch.stack([0 * share, self.weight * (share - 0.5)], dim=1)


def squares(count: int = 12, size: int = 16, side: int = 4) -> torch.Tensor:
    """Dark images with one bright square, each at a place of its own."""
    images = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    for i, image in enumerate(images):
        image[:, i : i + side, (5 * i) % (size - side) :][..., :side] = 255
    return images


HALF = {"mean": [0.5], "std": [0.5]}


@pytest.mark.parametrize("method", ["GradCAM", "GradCAM++", "HiResCAM", "LayerCAM", "ScoreCAM", "EigenCAM"])
def test_the_drop_is_large_where_the_heat_is_what_decides(method):
    merit = confidence_drop(Bright(16).eval(), squares(), [1] * 12, method=method, removed=16 / 256, **HALF)
    assert merit.confidence > 0.999
    assert merit.drop > 0.999
    assert 0 <= merit.random_drop < 0.001


def test_the_drop_is_small_where_the_heat_is_elsewhere():
    """What decides class 0 is that little is bright; the bright pixels that are hot are not needed."""
    network = Bright(16)
    network.weight = -40.0
    merit = confidence_drop(network.eval(), squares(side=2), [1] * 12, removed=16 / 256, **HALF)
    assert merit.confidence > 0.999
    assert abs(merit.drop) < 0.001 and abs(merit.random_drop) < 0.001


class Seen:
    """The images whose confidence is asked for: intact, without those pixels hottest by the own map, by another
    image's, and without random ones."""

    def __init__(self, network: nn.Module, images: torch.Tensor, labels, **options) -> None:
        batches = []
        hook = network.register_forward_pre_hook(
            lambda module, inputs: None if torch.is_grad_enabled() else batches.append(inputs[0].clone())
        )
        self.merit = confidence_drop(network, images, labels, **options)
        hook.remove()
        self.intact, self.hottest, self.other, self.random = (torch.cat(batches[kind::4]) for kind in range(4))
        self.without_hottest = (self.hottest != self.intact).any(dim=1)
        self.without_other = (self.other != self.intact).any(dim=1)
        self.without_random = (self.random != self.intact).any(dim=1)


@pytest.mark.parametrize("removed", [0.02, 0.2, 0.5, 0.98])
@pytest.mark.parametrize("weight", [40.0, 0.0], ids=["heat", "no heat at all"])
def test_the_same_number_of_pixels_is_removed_from_every_image(removed, weight):
    images = squares(size=20)
    seen = Seen(Bright(16, weight).eval(), images, [1] * 12, removed=removed, **HALF)
    count = round(removed * 400)
    assert (seen.without_hottest.sum(dim=(1, 2)) == count).all()
    assert (seen.without_other.sum(dim=(1, 2)) == count).all()
    assert (seen.without_random.sum(dim=(1, 2)) == count).all()
    bright = images[:, 0] == 255
    if weight:
        assert ((seen.without_hottest & bright).sum(dim=(1, 2)) == min(count, 16)).all()
        assert seen.without_random[bright].double().mean() == pytest.approx(removed, abs=0.15)  # heat does not matter


def test_another_images_map_is_the_control():
    """Each image loses the square of another, every square is lost once, and the network does not miss it."""
    images = squares(count=12, size=16, side=2)
    images = images[[i for i in range(12) if not (images[i] & images[:i]).any()]]  # squares that do not overlap
    assert len(images) > 8
    seen = Seen(Bright(4).eval(), images, [1] * len(images), removed=4 / 256, **HALF)
    bright = images[:, 0] == 255
    assert torch.equal(seen.without_hottest, bright)
    matches = (seen.without_other[:, None] == bright[None]).flatten(2).all(dim=2)
    assert matches.sum(dim=0).eq(1).all() and matches.sum(dim=1).eq(1).all()
    assert not matches.diagonal().any()
    assert seen.merit.drop > 0.999 and abs(seen.merit.other_drop) < 0.001


def test_equal_heat_is_removed_at_random():
    images = torch.zeros(200, 1, 6, 6, dtype=torch.uint8)
    seen = Seen(Bright(16, 0.0).eval(), images, [1] * 200, removed=0.25, **HALF)
    for removed in (seen.without_hottest, seen.without_random):
        # Binomial: 50 ± 6.1; six standard deviations.
        assert (removed.sum(dim=0) - 50).abs().max() < 37
        assert len({one.numpy().tobytes() for one in removed}) > 190
    assert not torch.equal(seen.without_hottest, seen.without_random)


def imputed(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Rong et al. (2022): a removed pixel is its neighbours' mean, weights 1/6 direct, 1/12 diagonal."""
    height, width = removed.shape
    unknown = [tuple(place) for place in np.argwhere(removed)]
    matrix, right = np.eye(len(unknown)), np.zeros((len(unknown), len(image)))
    for row, (y, x) in enumerate(unknown):
        near = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
        near = {place: 1 / 6 if y in place[:1] or x in place[1:] else 1 / 12 for place in near}
        near = {(v, u): w for (v, u), w in near.items() if 0 <= v < height and 0 <= u < width}
        for place, weight in near.items():
            if removed[place]:
                matrix[row, unknown.index(place)] -= weight / sum(near.values())
            else:
                right[row] += weight / sum(near.values()) * image[(slice(None), *place)]
    whole = image.copy()
    whole[:, removed] = np.linalg.solve(matrix, right).T
    return whole


def test_the_drop_is_what_a_slow_loop_finds(case):
    network, _ = case
    channels = network.built_from["in_channels"]
    torch.manual_seed(3)
    images = torch.randint(256, (5, channels, 10, 9), dtype=torch.uint8)  # not square
    labels, mean, std = [4, 3, 2, 1, 0], [0.4, 0.5, 0.6][:channels], [0.2, 0.3, 0.4][:channels]
    seen = Seen(network, images, torch.tensor(labels), mean=mean, std=std, removed=0.3, batch_size=2, seed=5)
    noise, drops = [], []
    for i, label in enumerate(labels):
        image = (images[i].double().numpy() / 255 - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
        np.testing.assert_allclose(seen.intact[i], image, atol=1e-5)
        heat, _ = grad_cam(network, seen.intact[i], label)
        removed = seen.without_hottest[i].numpy()
        assert removed.sum() == 27  # of 90
        assert heat[removed].min() >= heat[~removed].max() - 1e-5
        kinds = ((seen.hottest, removed), (seen.other, seen.without_other[i]), (seen.random, seen.without_random[i]))
        for altered, without in ((images[i], np.asarray(mask)) for images, mask in kinds):
            noise.append((altered.numpy() - imputed(image, without))[:, without].flatten())
        with torch.no_grad():
            versions = (seen.intact, seen.hottest, seen.other, seen.random)
            exp = [np.exp(network(x[i][None])[0].double().numpy()) for x in versions]
        intact, *altered = (one[label] / one.sum() for one in exp)
        drops.append((intact, *(intact - one for one in altered)))
    noise = np.concatenate(noise)
    assert abs(noise.mean()) < 0.003 and noise.std() == pytest.approx(0.01, rel=0.25)
    found = tuple(vars(seen.merit).values())
    assert found == pytest.approx(np.mean(drops, axis=0), abs=1e-6)
    assert abs(seen.merit.drop - seen.merit.random_drop) > 0.001


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_alone_decides_the_bits(case, method):
    network, _ = case
    channels = network.built_from["in_channels"]
    images = torch.randint(256, (7, channels, 8, 8), dtype=torch.uint8)
    labels = [0, 1, 2, 3, 4, 0, 1]
    options = {"mean": [0.5] * channels, "std": [0.5] * channels, "method": method}
    state = torch.get_rng_state()
    first = confidence_drop(network, images, labels, **options)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)
    assert confidence_drop(network, images, torch.tensor(labels), **options) == first
    assert confidence_drop(network, images, labels, seed=1, **options) != first
    for batch_size in (1, 3, 100):
        batched = confidence_drop(network, images, labels, batch_size=batch_size, **options)
        assert vars(batched) == pytest.approx(vars(first), abs=1e-5)


def test_large_images_are_explained_too():
    seen = Seen(Bright(1600).eval(), squares(2, size=224, side=40), [1, 1], removed=1600 / 224**2, **HALF)
    assert (seen.without_hottest.sum(dim=(1, 2)) == 1600).all()
    assert seen.merit.drop > 0.999 and seen.merit.random_drop < 0.001


@pytest.mark.parametrize("removed", [-0.2, 0.0, 0.001, 0.999, 1.0, 20])
def test_a_share_that_removes_nothing_or_all_is_told(removed):
    with pytest.raises(UserError, match=rf"^removed: {removed} of 256 pixels is"):
        confidence_drop(Bright(16).eval(), squares(), [1] * 12, removed=removed, **HALF)


def test_no_image_is_told():
    with pytest.raises(UserError, match="no image"):
        confidence_drop(Bright(16).eval(), squares()[:0], [], **HALF)


def test_pictures_that_are_not_square_keep_their_shape() -> None:
    images = torch.randint(256, (1, 1, 8, 16), dtype=torch.uint8)
    (picture,) = pictures(images)
    assert picture.shape == (112, 224, 3)
    assert np.array_equal(picture[::14, ::14, 0], images[0, 0].numpy())
    (overlay,) = overlays(images, torch.rand(1, 112, 224))
    assert overlay.shape == (112, 224, 3)
