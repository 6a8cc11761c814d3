"""Every training, and the explanations, on a GPU that computes nothing: no mixed devices, and no step that waits."""

from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
import torch
import torch.distributed as dist
from fake import GPU, FakeGPU
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from nas.analysis.gradcam import METHODS, SIZE, heat_maps
from nas.data.batches import Batches
from nas.dnal import backbones, phases
from nas.fast import accelerate
from nas.networks.network import Network
from nas.networks.supernet import Supernet
from nas.search import AlphaRecipe, search
from nas.search.algorithm import make
from nas.space.published import PUBLISHED
from nas.training import checkpoint, graph
from nas.training.loop import train
from nas.training.recipe import Recipe


@pytest.fixture
def gpu() -> Iterator[FakeGPU]:
    with FakeGPU() as gpu:
        yield gpu


@pytest.fixture
def of_two(gpu: FakeGPU, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two processes, of which this is the first."""
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    monkeypatch.setattr("nas.training.distributed.require_same", lambda *_: None)  # sends pickled objects
    yield
    dist.destroy_process_group()


def recipe(epochs: int = 1, fast: str = "auto") -> Recipe:
    return Recipe(epochs=epochs, learning_rate=0.1, fast=fast)


def batches(steps: int = 1, size: int = 16, shuffle: bool = True) -> Batches:
    """`steps` whole batches of 8 images."""
    images = torch.randint(256, (8 * steps, 3, size, size), dtype=torch.uint8).to(GPU)
    augmented = {"crop_padding": 2, "flip": True, "cutout": 4} if shuffle else {}
    options = {"batch_size": 8, "mean": [0.5] * 3, "std": [0.2] * 3, "shuffle": shuffle}
    return Batches(images, torch.randint(10, (8 * steps,)).to(GPU), **options, **augmented)


def network(**options: object) -> Network:
    how = {"channels": 4, "layers": 2, "num_classes": 10}
    return accelerate(Network(PUBLISHED["DARTS_V2"], **how | options).to(GPU))


def a_search(steps: int, space: str = "darts", recompute: bool = False, algorithm: str = "darts", fast: str = "auto"):
    made = make(algorithm)
    how = {"channels": 4, "layers": 3, "nodes": 1, "num_classes": 10, "recompute": recompute}
    supernet = accelerate(Supernet(space, **how, **made.supernet()).to(GPU))
    parts = batches(steps), batches(steps), batches(steps, shuffle=False)
    return lambda: search(supernet, *parts, recipe(fast=fast), AlphaRecipe(), made, seed=1)


def an_evaluation(steps: int, fast: str = "auto", **options: object):
    size = 40 if "stem" in options else 16
    model, parts = network(auxiliary=True, **options), (batches(steps, size), batches(steps, size, shuffle=False))
    return lambda: train(model, *parts, recipe(2, fast), auxiliary_weight=0.4, drop_path=0.3, seed=1)


def a_gate_training(steps: int, model: str = "resnet56"):
    gated = backbones.build(model, num_classes=10, width=0.25, in_channels=3, image_size=16).to(GPU)
    parts = batches(steps)
    return lambda: phases.learn_gates(gated, parts, phases.GateRecipe(1, 1e-3, 0.01, 0.9, 32), seed=1)


def waits_a_step(gpu: FakeGPU, make, **options: object) -> Counter:
    """What one step more of each epoch, and one batch more to validate on, make the host wait for."""
    found = []
    for steps in (1, 2):
        run = make(steps, **options)
        gpu.clear()
        run()
        found.append(gpu.waits.copy())
    assert sum(found[0].values()) > 0  # an epoch's scores are read: so waits are seen
    return found[1] - found[0]


TRAININGS = {
    "search, first order": (a_search, {}),
    "search, second order": (a_search, {"algorithm": "darts_second"}),
    "search of pibconv": (a_search, {"space": "pibconv"}),
    "search of EfficientNetV2's blocks": (a_search, {"space": "efficientnetv2"}),
    "search, recomputed": (a_search, {"recompute": True}),
    **{  # without DrNAS's Dirichlet distribution, whose sampling has no shapes alone
        f"search by {name}": (a_search, {"algorithm": name})
        for name in ("snas", "fair_darts", "pc_darts", "smooth_darts+darts_minus", "oles")
    },
    "evaluation": (an_evaluation, {}),
    "evaluation with ImageNet's stem": (an_evaluation, {"stem": "imagenet"}),
    "gates of ResNet56": (a_gate_training, {}),
    "gates of VGG16": (a_gate_training, {"model": "vgg16_cifar"}),
    "gates of MobileNetV2": (a_gate_training, {"model": "mobilenet_v2_cifar"}),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_no_step_makes_the_host_wait(gpu: FakeGPU, name: str) -> None:
    make, options = TRAININGS[name]
    assert waits_a_step(gpu, make, **options) == Counter()
    assert sum(gpu.launches.values()) > 100


@pytest.fixture
def repeated(gpu: FakeGPU, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Steps are repeated, which costs nothing here; of each step what it launches besides and waits for."""
    found: list[tuple[int, int]] = []
    call = graph.Repeated.__call__

    def counted(self: graph.Repeated, *batch: torch.Tensor) -> None:
        before = gpu.launches.total(), gpu.waits.total()
        call(self, *batch)
        found.append((gpu.launches.total() - before[0], gpu.waits.total() - before[1]))

    def record(step: Callable[..., None], batch: tuple[torch.Tensor, ...]) -> Callable[[], None]:
        step(*batch)
        return lambda: None

    monkeypatch.setattr(graph.Repeated, "__call__", counted)
    monkeypatch.setattr(graph, "DEVICES", (GPU,))
    monkeypatch.setattr(graph, "record", record)
    monkeypatch.setattr(graph, "warm_up", lambda step, batch: step(*batch))
    monkeypatch.setattr(import_module("torch.optim.adam"), "_get_capturable_supported_devices", lambda **_: [GPU])
    return found


@pytest.mark.parametrize(
    ("name", "tensors"), [("search, first order", 4), ("search, second order", 4), ("evaluation", 2)]
)
def test_a_repeated_step_copies_its_batch(repeated: list[tuple[int, int]], name: str, tensors: int) -> None:
    """And waits for nothing: not when it is recorded either."""
    make, options = TRAININGS[name]
    make(4, fast="graph", **options)()
    launches, waits = zip(*repeated[:4], strict=True)
    assert min(launches[:2]) > 200
    assert launches[2:] == (tensors, tensors)
    assert waits == (0, 0, 0, 0)


def test_gdas_waits_once_a_pass_for_what_it_drew(gpu: FakeGPU) -> None:
    """Two passes a step; the strongest, which are validated, are told once an epoch."""
    more = waits_a_step(gpu, a_search, algorithm="gdas")
    assert {key.split(": ")[1] for key in more} <= {"tolist()", "copy from cpu to gpu"}
    assert sum(n for key, n in more.items() if "tolist()" in key) == 2


@pytest.mark.parametrize("make", [a_search, an_evaluation, a_gate_training])
def test_several_gpus(gpu: FakeGPU, of_two: None, make) -> None:
    assert waits_a_step(gpu, make) == Counter()


def test_a_checkpoint_is_of_the_host_and_comes_back_to_the_gpu(gpu: FakeGPU, tmp_path, monkeypatch) -> None:
    kept: dict[str, torch.Tensor] = {}
    monkeypatch.setenv("NAS_CHECKPOINTS", str(tmp_path))
    monkeypatch.setattr(checkpoint, "_digest", lambda tensors: "")  # of bytes, which there are none of
    monkeypatch.setattr(checkpoint, "_text", lambda text: torch.zeros(len(text), dtype=torch.uint8))
    monkeypatch.setattr(
        checkpoint, "save_file", lambda tensors, path, told: (kept.update(tensors), open(path, "w").close())
    )
    model = network()
    train(model, batches(), batches(shuffle=False), recipe(), seed=1, key="k", name="n")
    assert {tensor.device.type for tensor in kept.values()} == {"cpu"}
    other = recipe().optimizer(network().parameters())
    tensors = {name.removeprefix("optimizer/"): t for name, t in kept.items() if name.startswith("optimizer/")}
    numbers = range(len(list(model.parameters())))
    rest = {"state": {str(i): {} for i in numbers}, "param_groups": other.state_dict()["param_groups"]}
    other.load_state_dict(checkpoint._join(other, tensors, rest))
    assert {tensor.device.type for state in other.state.values() for tensor in state.values()} == {GPU}


@pytest.mark.parametrize("method", METHODS)
def test_explanations(gpu: FakeGPU, method: str) -> None:
    images = torch.randn(2, 3, 16, 16).to(GPU)
    maps = heat_maps(network().eval(), images, [1, 2], method)
    assert maps.device.type == "cpu" and maps.shape == (2, SIZE, SIZE)


class Devices(nn.Module):
    """A constant on the host, made in every pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.ones(x.shape[1])[:, None, None]


def test_two_devices_at_once_are_an_error(gpu: FakeGPU) -> None:
    with pytest.raises(RuntimeError, match="gpu"):
        Devices()(torch.randn(2, 3, 4, 4).to(GPU))
