"""nas.predict: what a file says is enough to classify images that somebody else feeds, in whatever form they are."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.transforms import v2

import nas
from nas.data.inputs import Inputs
from nas.dnal import slim
from nas.dnal.backbones import build
from nas.dnal.gates import gates
from nas.networks import network as networks
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.space.published import PUBLISHED

CLASSES = ["ant", "bee", "cat"]
COLOUR = Inputs(CLASSES, [3, 12, 12], [0.6, 0.4, 0.2], [0.3, 0.2, 0.1])
GREY = Inputs(CLASSES, [1, 12, 12], [0.6], [0.2])


def images(count: int, channels: int = 3, size: tuple[int, int] = (12, 12)) -> Tensor:
    return torch.randint(256, (count, channels, *size), dtype=torch.uint8)


def evaluated(folder, inputs: Inputs) -> torch.nn.Module:
    torch.manual_seed(0)
    network = Network(PUBLISHED["DARTS_V2"], channels=4, layers=2, num_classes=3, in_channels=inputs.shape[0])
    network(torch.randn(8, *inputs.shape))  # moves the running statistics
    networks.save(network, folder / "network.safetensors", inputs)
    return networks.load(folder / "network.safetensors")


def slimmed(folder, inputs: Inputs) -> torch.nn.Module:
    torch.manual_seed(0)
    how = {"name": "resnet56", "num_classes": 3, "in_channels": inputs.shape[0], "width": 0.5, "image_size": 12}
    gated = build(**how)
    for gate in gates(gated).values():
        gate.state = "closed"
        gate.mask[::3] = False
    network = slim.slim(gated, tuple(inputs.shape))
    slim.save(network, folder / "slim.safetensors", how, inputs)
    return slim.load(folder / "slim.safetensors")


both_kinds = pytest.mark.parametrize("made", [evaluated, slimmed])


@both_kinds
@pytest.mark.parametrize("inputs", [COLOUR, GREY], ids=["colour", "grey"])
def test_probabilities_are_the_softmax_of_normalised_images(made, inputs, tmp_path):
    network, x = made(tmp_path, inputs), images(7, inputs.shape[0])
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (inputs.mean, inputs.std))
    with torch.no_grad():
        expected = torch.softmax(network((x / 255 - mean) / std), dim=1)
    for given in (x, x / 255, (x / 255).double()):
        found = nas.predict(network, given)
        assert found.shape == (7, 3) and found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(nas.predict(network, x, batch_size=3), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0  # images do matter
    assert network.inputs.classes == CLASSES


def test_the_network_is_left_as_it_was(tmp_path):
    network = evaluated(tmp_path, COLOUR).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    nas.predict(network, images(4))
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert nas.predict(network.double(), images(4)).dtype == torch.float32


def test_grey_of_colours_is_pillows():
    x = images(1, 3, (64, 64))
    picture = Image.fromarray(x[0].permute(1, 2, 0).numpy()).convert("L")
    inputs = Inputs(CLASSES, [1, 64, 64], [0.0], [1 / 255])
    assert np.array_equal(inputs.normalised(x)[0, 0].round().numpy(), np.asarray(picture))
    torch.testing.assert_close(
        inputs.normalised(x / 255)[0, 0], torch.tensor(np.array(picture)).float(), rtol=0, atol=0.51
    )


def test_colours_of_grey_are_three_alike():
    x = images(2, 1)
    assert torch.equal(COLOUR.normalised(x), COLOUR.normalised(x.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("resize", [None, 16])
def test_images_of_another_size_are_resized_and_cropped_as_test_images_are(resize):
    x = images(2, 3, (30, 41))
    inputs = Inputs(CLASSES, [3, 12, 12], [0.0] * 3, [1 / 255] * 3, resize)
    as_prepared = v2.Compose([v2.Resize(resize or 12), v2.CenterCrop(12)])
    for image, found in zip(x, inputs.normalised(x), strict=True):
        picture = as_prepared(Image.fromarray(image.permute(1, 2, 0).numpy()))
        expected = torch.tensor(np.array(picture)).permute(2, 0, 1).float()
        torch.testing.assert_close(found, expected, rtol=0, atol=1.01)  # Pillow and torch round differently


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 12, 12), "images: must be N × 1 or 3 × H × W, not 3 × 12 × 12"),
        (torch.zeros(2, 4, 12, 12), "images: must be N × 1 or 3 × H × W, not 2 × 4 × 12 × 12"),
        (torch.zeros(2, 3, 12, 12, dtype=torch.int64), "not torch.int64"),
        (torch.full((2, 3, 12, 12), 255.0), "must be from 0 to 1, not 255 to 255"),
        (torch.randn(2, 3, 12, 12).abs().neg(), "must be from 0 to 1"),
        (torch.full((2, 3, 12, 12), torch.nan), "must be from 0 to 1"),
    ],
    ids=["no batch", "four channels", "integers", "0 to 255", "normalised", "nan"],
)
def test_images_of_another_kind_are_refused_in_one_line(x, message, tmp_path):
    with pytest.raises(UserError) as told:
        nas.predict(evaluated(tmp_path, COLOUR), x)
    assert message in str(told.value) and "\n" not in str(told.value)


def test_a_rectangle_takes_no_other_size():
    with pytest.raises(UserError, match="must be 12×9 pixels"):
        Inputs(CLASSES, [3, 12, 9], [0.5] * 3, [0.5] * 3).normalised(images(1))


def change(path, alter: Callable[[dict], object]) -> None:
    """Alter what the file says of its network."""
    with safe_open(path, "pt") as file:
        ((key, text),) = file.metadata().items()
    how = json.loads(text)
    alter(how)
    save_file(load_file(path), path, {key: json.dumps(how)})


def test_a_network_that_does_not_know_what_it_takes_says_so(tmp_path):
    network = evaluated(tmp_path, COLOUR)
    path = tmp_path / "network.safetensors"
    change(path, lambda how: how.pop("inputs"))
    for unknowing in (networks.load(path), torch.nn.Linear(2, 2)):
        with pytest.raises(UserError, match="does not say what images it takes"):
            nas.predict(unknowing, images(1))
    assert nas.predict(network, images(1)).shape == (1, 3)


@both_kinds
@pytest.mark.parametrize(
    "altered", [{"std": [0.0, 1.0, 1.0]}, {"mean": [0.5]}, {"classes": []}, {"more": 1}, {"shape": 3}]
)
def test_inputs_that_were_altered_are_told(made, altered, tmp_path):
    made(tmp_path, COLOUR)
    path = next(tmp_path.iterdir())
    change(path, lambda how: how["inputs"].update(altered))
    with pytest.raises(UserError, match=r"is no whole .*network"):
        (networks if made is evaluated else slim).load(path)


def test_what_nas_does_not_have_is_told_as_usual():
    with pytest.raises(AttributeError, match="module 'nas' has no attribute 'predicts'"):
        nas.predicts  # noqa: B018
