"""Repeated steps, on the CPU: what a CUDA graph would repeat is recorded operation by operation, and taken again."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from test_algorithms import Doubled, made, small
from test_search import crashing, loaders
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from nas.data.batches import Batches
from nas.fast import accelerate
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.pipeline.params import ADDED, MIXING
from nas.search.algorithm import Algorithm
from nas.search.loop import AlphaRecipe, search
from nas.space.published import PUBLISHED
from nas.training import graph, loop
from nas.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("paths")


class Recording(TorchDispatchMode):
    """A step's operations with the tensors that they had: what the host did between them, and its numbers, are gone."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[Any, tuple, dict, list[Tensor]]] = []
        Recording.made += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the host waits for a number, which a graph cannot hold")
        result, kwargs = func(*args, **kwargs or {}), kwargs or {}
        if not is_view(func):
            self.taken.append((func, args, kwargs, tensors(result)))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, results in self.taken:
            for kept, found in zip(results, tensors(func(*args, **kwargs)), strict=True):
                if kept is not found:  # not so where it changes a tensor in place
                    kept.copy_(found)


def is_view(func: Any) -> bool:
    """Whether the result shares an argument's memory, and is not that argument changed."""
    aliases = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def record(step: Callable[..., None], batch: tuple[Tensor, ...]) -> Callable[[], None]:
    with Recording() as recording:
        step(*batch)
    return recording.replay


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CPU is what steps are repeated on, and Adam may count its steps there."""
    monkeypatch.setattr(graph, "DEVICES", ("cpu",))
    monkeypatch.setattr(graph, "record", record)
    monkeypatch.setattr(graph, "warm_up", lambda step, batch: step(*batch))
    monkeypatch.setattr(import_module("torch.optim.adam"), "_get_capturable_supported_devices", lambda: ["cpu", "cuda"])
    monkeypatch.setattr(Recording, "made", 0)
    yield


def steps(recorded: bool) -> Any:
    """Where steps are repeated, or all computed. Not by another `fast`: Adam would count on the host, and round so."""
    computed = mock.patch.object(graph, "repeated", lambda step, device, asked: step)
    return nullcontext() if recorded else computed


def searched(algorithm: Algorithm, *, recorded: bool, key: str | None = None) -> list[Any]:
    """Everything that a search of four steps an epoch, the last one smaller, leaves."""
    supernet, batches = small(algorithm), loaders(count=38, batch_size=10)
    for each in batches:
        each.__class__ = Doubled
    recipe = Recipe(epochs=2, learning_rate=0.1, weight_decay=3e-4, gradient_clip=5.0, fast="graph")
    with steps(recorded):
        found = search(supernet, *batches, recipe, AlphaRecipe(0.05), algorithm, seed=1, key=key)
    return [*found, {name: value.tolist() for name, value in supernet.state_dict().items()}]


@pytest.mark.parametrize("name", [*MIXING, *ADDED, "pc_darts+smooth_darts+darts_minus"])
def test_a_search_of_repeated_steps_has_the_same_bits(on_cpu: None, name: str) -> None:
    assert searched(made(name), recorded=True) == searched(made(name), recorded=False)
    left_alone = {"gdas", "oles"} & set(name.split("+"))  # they keep numbers on the host
    assert Recording.made == (0 if left_alone else 2)  # once an epoch


def test_a_search_that_was_killed_goes_on_with_the_same_bits(
    on_cpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Adam counts on the device is part of the checkpoint."""
    monkeypatch.setenv("NAS_CHECKPOINTS", str(tmp_path))
    with crashing(monkeypatch, epochs=1):
        searched(made("darts"), recorded=True, key="killed")
    assert searched(made("darts"), recorded=True, key="killed") == searched(made("darts"), recorded=False)


def trained(recipe: Recipe, *, recorded: bool) -> list[Any]:
    torch.manual_seed(0)
    network = accelerate(Network(PUBLISHED["DARTS_V2"], channels=4, layers=2, num_classes=3, auxiliary=True))
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (38, 3, 32, 32), generator=generator, dtype=torch.uint8)
    batches = [
        Batches(images, torch.arange(38) % 3, batch_size=10, mean=[0.5] * 3, std=[0.2] * 3, shuffle=shuffle)
        for shuffle in (True, False)
    ]
    with steps(recorded):
        history = loop.train(network, *batches, recipe, auxiliary_weight=0.4, drop_path=0.5, seed=1)
    return [history, {name: value.tolist() for name, value in network.state_dict().items()}]


@pytest.mark.parametrize(("by_step", "recordings"), [(False, 2), (True, 0)])
def test_a_training_of_repeated_steps_has_the_same_bits(on_cpu: None, by_step: bool, recordings: int) -> None:
    """With auxiliary tower, drop path and clipping. A learning rate of its own for each step is none to repeat."""
    recipe = Recipe(epochs=2, learning_rate=0.1, fast="graph", by_step=by_step)
    assert trained(recipe, recorded=True) == trained(recipe, recorded=False)
    assert Recording.made == recordings


def test_nothing_is_recorded_unless_it_is_asked_for(on_cpu: None) -> None:
    trained(Recipe(epochs=1), recorded=True)
    assert Recording.made == 0


def test_a_recording_ends_with_its_epoch(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory would stay: stages collect no cycles of garbage."""
    alive: list[weakref.ref] = []
    repeated = graph.repeated

    def noted(*given: Any) -> Any:
        assert not [each for each in alive if each() is not None]
        step = repeated(*given)
        alive.append(weakref.ref(step))
        return step

    monkeypatch.setattr(graph, "repeated", noted)
    gc.collect()
    gc.disable()
    try:
        searched(made("darts"), recorded=True)
        trained(Recipe(epochs=2, learning_rate=0.1, fast="graph"), recorded=True)
    finally:
        gc.enable()
    assert len(alive) == 4 and not any(each() for each in alive)


def test_adam_is_the_same_where_it_counts_on_the_device(on_cpu: None) -> None:
    found = []
    for on_device in (False, True):
        alphas = [nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3))]
        optimizer = AlphaRecipe(0.05).optimizer(alphas, on_device)
        for step in range(5):
            alphas[0].grad = (alphas[0].detach() - step).sin()
            optimizer.step()
        found.append(alphas[0].detach())
    assert torch.equal(optimizer.state[alphas[0]]["step"], torch.tensor(5.0))
    # The count is float32, so that 1 − β₂ᵗ has an error of up to 1e-4 of the first steps, which are 0.05 long.
    torch.testing.assert_close(*found, rtol=0, atol=5e-6)


class Steps:
    """What was taken, of batches that are numbers."""

    def __init__(self) -> None:
        self.sums, self.taken = torch.zeros(2), 0

    def __call__(self, x: Tensor) -> None:
        self.taken += 1
        self.sums += torch.stack([x.sum(), x.square().sum()])


def test_batches_of_other_shapes_are_computed_as_ever(on_cpu: None) -> None:
    step, batches = Steps(), [torch.full((count,), float(i)) for i, count in enumerate([3, 3, 2, 3, 3, 1])]
    repeated = graph.repeated(step, torch.device("cpu"), True)
    for batch in batches:
        repeated(batch)
    everything = torch.cat(batches)
    assert torch.equal(step.sums, torch.stack([everything.sum(), everything.square().sum()]))
    assert step.taken == 4  # the fourth and fifth are repetitions of the second
    assert batches[1].tolist() == [1.0] * 3  # what is recorded reads a copy


def test_what_cannot_be_recorded_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object, **__: object) -> Any:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", refusing)
    with pytest.raises(UserError) as caught:
        graph.record(Steps(), (torch.ones(2),))
    assert str(caught.value) == (
        "fast: graph: a step cannot be recorded (CUDA error: operation not permitted when stream is capturing more); "
        "set fast to auto"
    )
