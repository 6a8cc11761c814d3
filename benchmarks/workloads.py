"""What is timed, each in a process of its own: ``python -m benchmarks.workloads REQUEST`` (JSON), as `measure` runs it.

A workload takes the device, the number of steps and its setting, and returns the seconds of each step. The library's
are whole calls of its public training loops, so that they time what a stage runs.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch
import torch._dynamo  # the first optimizer would import it, 150 MB that belong to no workload
import torchvision
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from benchmarks import measure, plain
from nas.data.batches import Batches
from nas.fast import accelerate
from nas.networks.network import Network
from nas.networks.supernet import Supernet
from nas.search import loop as search
from nas.search.algorithm import make
from nas.space.enumerate import Enumeration
from nas.space.genotypes import Genotype
from nas.space.published import PUBLISHED
from nas.space.spaces import SPACES, SearchSpace
from nas.training.device import choose_device, device_name
from nas.training.loop import train
from nas.training.recipe import Recipe
from nas.training.together import train_together

CLASSES = 10
MEAN, STD = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
# A search and an evaluation as DARTS runs them on CIFAR-10 (sections A.1 and A.2)
SEARCH = {"learning_rate": 0.025, "momentum": 0.9, "weight_decay": 3e-4}
ALPHAS = {"learning_rate": 3e-4, "betas": (0.5, 0.999), "weight_decay": 1e-3}


def take_turn() -> None:
    """Wait until whoever started this process lets it go on: two that are compared take their steps in turns."""
    if measure.TURN in os.environ:
        print(measure.TURN, flush=True)
        sys.stdin.readline()


class Repeated:
    """The same batch `steps` times, in the place of ``nas.data.batches.Batches``; notes how long each was used.

    Parameters
    ----------
    batch : (images, labels)
    steps : int
    warm_up : int, default 0
        So many first steps are left out of `seconds`.
    in_turns : bool, default False
        Wait for `take_turn` before each step.
    """

    def __init__(self, batch: tuple[Tensor, Tensor], steps: int, warm_up: int = 0, in_turns: bool = False) -> None:
        self.batch, self.steps, self.warm_up, self.in_turns = batch, warm_up + steps, warm_up, in_turns
        self.times: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def epoch(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first epoch is measured; a search takes batches again to settle its statistics, behind the last step."""
        if self.times:
            yield from [self.batch] * self.steps
            return
        for _ in range(self.steps):
            self._synchronise()
            if self.in_turns:
                take_turn()
            start = time.perf_counter()
            yield self.batch
            self._synchronise()
            self.times.append(time.perf_counter() - start)

    def _synchronise(self) -> None:
        if self.batch[0].is_cuda:
            torch.cuda.synchronize()

    def seconds(self) -> list[float]:
        """What each step took, but for the warm-up."""
        return self.times[self.warm_up :]


def random_batch(device: torch.device, batch: int, size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 3, size, size, device=device), torch.randint(CLASSES, (batch,), device=device)


def _repeated(device: torch.device, steps: int, batch: int, size: int) -> Repeated:
    # On a CPU the memory that a process has settles in the second step.
    return Repeated(random_batch(device, batch, size), steps, warm_up=2 if device.type == "cpu" else 3, in_turns=True)


def _space(operations: str | list[str]) -> SearchSpace:
    """A space by name, or one of the operations listed."""
    return SPACES[operations] if isinstance(operations, str) else SearchSpace("listed", tuple(operations))


def _genotype(name: str, nodes: int) -> Genotype:
    """The first `nodes` nodes of a published genotype's cells."""
    whole, concat = PUBLISHED[name], tuple(range(2, 2 + nodes))
    return Genotype(whole.normal[: 2 * nodes], concat, whole.reduce[: 2 * nodes], concat)


def plain_search(
    device: torch.device,
    steps: int,
    *,
    space: str | list[str],
    order: str,
    channels: int,
    layers: int,
    nodes: int,
    batch: int,
    size: int,
) -> list[float]:
    supernet = plain.PlainSupernet(
        _space(space).operations, channels=channels, layers=layers, nodes=nodes, num_classes=CLASSES
    ).to(device)
    step = plain.first_order_step if order == "first" else plain.second_order_step
    optimizer = torch.optim.SGD(
        supernet.weights(), lr=SEARCH["learning_rate"], momentum=SEARCH["momentum"], weight_decay=SEARCH["weight_decay"]
    )
    alpha_optimizer = torch.optim.Adam(
        supernet.alphas(), lr=ALPHAS["learning_rate"], betas=ALPHAS["betas"], weight_decay=ALPHAS["weight_decay"]
    )
    batches, alpha_batch = _repeated(device, steps, batch, size), random_batch(device, batch, size)
    for weights_batch in batches.epoch(0):
        step(supernet, optimizer, alpha_optimizer, weights_batch, alpha_batch)
    return batches.seconds()


def our_search(
    device: torch.device,
    steps: int,
    *,
    space: str | list[str],
    order: str,
    channels: int,
    layers: int,
    nodes: int,
    batch: int,
    size: int,
    precision: int | str = 32,
    algorithm: str = "darts",
) -> list[float]:
    """`algorithm`: as ``search.algorithms`` names it, with its defaults, but that α does not rest."""
    searched = make("darts_second" if order == "second" else algorithm)
    for warm_up in {"alone", "warm_up"} & {*dir(searched)}:
        setattr(searched, warm_up, 0)
    how = {"channels": channels, "layers": layers, "nodes": nodes, "num_classes": CLASSES}
    supernet = Supernet(_space(space), **how, **searched.supernet()).to(device)
    batches = _repeated(device, steps, batch, size)
    search.search(
        accelerate(supernet),
        batches,
        Repeated(random_batch(device, batch, size), len(batches)),
        Repeated(random_batch(device, 2, size), 1),
        recipe(precision),
        search.AlphaRecipe(**ALPHAS),
        searched,
        seed=0,
    )
    return batches.seconds()


def recipe(precision: int | str = 32) -> Recipe:
    return Recipe(epochs=1, learning_rate_min=0.0, gradient_clip=5.0, precision=precision, **SEARCH)


def plain_evaluation(
    device: torch.device, steps: int, *, genotype: str, nodes: int, channels: int, layers: int, batch: int, size: int
) -> list[float]:
    network = plain.PlainNetwork(
        _genotype(genotype, nodes), channels=channels, layers=layers, num_classes=CLASSES, auxiliary=True
    ).to(device)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=SEARCH["learning_rate"],
        momentum=SEARCH["momentum"],
        weight_decay=SEARCH["weight_decay"],
    )
    batches = _repeated(device, steps, batch, size)
    for each in batches.epoch(0):
        plain.evaluation_step(network, optimizer, each)
    return batches.seconds()


def our_evaluation(
    device: torch.device,
    steps: int,
    *,
    genotype: str,
    nodes: int,
    channels: int,
    layers: int,
    batch: int,
    size: int,
    precision: int | str = 32,
) -> list[float]:
    network = Network(
        _genotype(genotype, nodes), channels=channels, layers=layers, num_classes=CLASSES, auxiliary=True
    ).to(device)
    batches, test_batches = _repeated(device, steps, batch, size), Repeated(random_batch(device, 2, size), 1)
    train(accelerate(network), batches, test_batches, recipe(precision), auxiliary_weight=0.4, seed=0)
    return batches.seconds()


class Cutout:
    """Blank a square of `length` pixels about a random centre, cut off at the border (DeVries & Taylor, 2017)."""

    def __init__(self, length: int) -> None:
        self.half = length // 2

    def __call__(self, image: Tensor) -> Tensor:
        row, column = (int(torch.randint(side, ())) for side in image.shape[1:])
        top, left = max(row - self.half, 0), max(column - self.half, 0)
        image[:, top : row + self.half, left : column + self.half] = 0
        return image


class ImageDataset(torch.utils.data.Dataset):
    """Images as torchvision's CIFAR10 keeps and hands them out: uint8 in an array, each made a PIL image."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(images.shape[-1], padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
                Cutout(16),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def _random_images(images: int) -> tuple[Tensor, Tensor]:
    return torch.randint(256, (images, 3, 32, 32), dtype=torch.uint8), torch.randint(CLASSES, (images,))


def plain_data(device: torch.device, steps: int, *, images: int, batch: int, workers: int) -> list[float]:
    """Seconds a batch, of an epoch each."""
    loader = torch.utils.data.DataLoader(
        ImageDataset(*_random_images(images)),
        batch,
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    return [_seconds_a_batch(device, lambda: loader) for _ in range(steps)]


def our_data(device: torch.device, steps: int, *, images: int, batch: int) -> list[float]:
    """Seconds a batch, of an epoch each."""
    data = (tensor.to(device) for tensor in _random_images(images))
    options = {"shuffle": True, "crop_padding": 4, "flip": True, "cutout": 16}
    batches = Batches(*data, batch_size=batch, mean=MEAN, std=STD, **options)
    return [_seconds_a_batch(device, lambda epoch=epoch: batches.epoch(epoch)) for epoch in range(steps)]


def _seconds_a_batch(device: torch.device, epoch: Callable[[], Iterator]) -> float:
    """From the second batch on: the first waits for the workers to start."""
    take_turn()
    for count, batch in enumerate(epoch()):
        if count == 0:
            start = time.perf_counter()
        for tensor in batch:
            tensor.to(device, non_blocking=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def _truth_networks(operations: list[str], networks: int, channels: int) -> list[Network]:
    """Genotypes of one node in a row, from the middle of their space on."""
    space = Enumeration(_space(operations), 1)
    start = (space.count - networks) // 2
    how = {"channels": channels, "layers": 3, "num_classes": CLASSES}
    return [Network(space[start + i], **how) for i in range(networks)]


def alone_truth(
    device: torch.device,
    steps: int,
    *,
    operations: list[str],
    networks: int,
    channels: int,
    batch: int,
    size: int,
    fast: bool = False,
) -> list[float]:
    """Seconds of a step of all networks, which train one after the other; `fast`: each on the fast path."""
    own = []
    for network in _truth_networks(operations, networks, channels):
        batches = Repeated(random_batch(device, batch, size), steps, warm_up=2)
        made = network.to(device)
        test_batches = Repeated(random_batch(device, 2, size), 1)
        train(accelerate(made) if fast else made, batches, test_batches, recipe(), seed=0)
        own.append(batches.seconds())
    return [sum(each) for each in zip(*own, strict=True)]


def fused_truth(
    device: torch.device,
    steps: int,
    *,
    operations: list[str],
    networks: int,
    channels: int,
    batch: int,
    size: int,
) -> list[float]:
    """Seconds of a step of all networks, which train as one."""
    made = [network.to(device) for network in _truth_networks(operations, networks, channels)]
    batches = Repeated(random_batch(device, batch, size), steps, warm_up=2)
    train_together(made, batches, Repeated(random_batch(device, 2, size), 1), recipe(), seed=0)
    return batches.seconds()


WORKLOADS: dict[str, Callable[..., list[float]]] = {
    function.__name__: function
    for function in (
        plain_search,
        our_search,
        plain_evaluation,
        our_evaluation,
        plain_data,
        our_data,
        alone_truth,
        fused_truth,
    )
}


def _peak_memory() -> int:
    """The most bytes that this process has held. On Linux ru_maxrss starts from what its parent held: not that."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _answer(workload: str, setting: dict, device: str, threads: int, steps: int) -> dict:
    """Seconds of each step, the peak of memory above what the interpreter and its modules hold, GB, and versions."""
    torch.manual_seed(0)
    chosen = choose_device(device, threads)
    if chosen.type == "cuda":
        torch.cuda.init()
    before = psutil.Process().memory_info().rss
    seconds = WORKLOADS[workload](chosen, steps, **setting)
    memory = torch.cuda.max_memory_allocated() if chosen.type == "cuda" else _peak_memory() - before
    return {
        "seconds": seconds,
        "memory_gb": memory / 1e9,
        "device": device_name(chosen),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    }


if __name__ == "__main__":
    print(json.dumps(_answer(**json.loads(sys.argv[1]))))
