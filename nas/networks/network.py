"""The discrete network that a genotype stands for (DARTS, section 3.1; NASNet's macro structure)."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nas.data import sharing
from nas.data.inputs import Inputs
from nas.pipeline.errors import UserError, reason, unknown
from nas.pipeline.files import whole_file
from nas.space import operations
from nas.space.genotypes import Genotype, from_dict
from nas.space.operations.basic import FactorizedReduce, Identity, relu_conv_norm

if TYPE_CHECKING:
    from nas.networks.bench201 import Bench201Network


@dataclass(frozen=True)
class CellSpec:
    """A cell's specification: channels of the two cells before it, its own C, whether it and the last halve the map."""

    channels_prev_prev: int
    channels_prev: int
    channels: int
    reduction: bool
    reduction_prev: bool

    def preprocess(self, affine: bool = True) -> tuple[nn.Module, nn.Module]:
        """Modules that bring the cell's two inputs to C channels, and the first to the size of the second."""
        first = FactorizedReduce if self.reduction_prev else relu_conv_norm
        preprocess0 = first(self.channels_prev_prev, self.channels, affine)
        return preprocess0, relu_conv_norm(self.channels_prev, self.channels, affine)

    def stride(self, state: int) -> int:
        """Of an operation on `state`: a reduction cell halves its two inputs."""
        return 2 if self.reduction and state < 2 else 1


def cell_specs(layers: int, channels: int, stem: str, outputs: Callable[[bool], int]) -> list[CellSpec]:
    """The cells of a network, from the first C on; ``outputs(reduction)`` tells how many maps of C a cell gives."""
    reductions = reduction_layers(layers)
    prev_prev = prev = STEMS[stem].channels(channels)
    reduction_prev = STEMS[stem].halves
    specs = []
    for layer in range(layers):
        reduction = layer in reductions
        channels = 2 * channels if reduction else channels
        specs.append(CellSpec(prev_prev, prev, channels, reduction, reduction_prev))
        prev_prev, prev = prev, outputs(reduction) * channels
        reduction_prev = reduction
    return specs


class Cell(nn.Module):
    """A directed graph of operations: each node sums two of them, the output concatenates nodes.

    ``forward(s0, s1, drop)``: N × C × H × W maps of the last cell but one and of the last
    → N × len(concat)·channels × H' × W'.
    """

    def __init__(self, edges: tuple[tuple[str, int], ...], concat: tuple[int, ...], spec: CellSpec) -> None:
        super().__init__()
        self.preprocess0, self.preprocess1 = spec.preprocess()
        self.sources = [state for _, state in edges]
        self.concat = concat
        self.operations = nn.ModuleList(
            operations.build(name, spec.channels, spec.stride(state), True) for name, state in edges
        )

    def forward(self, s0: Tensor, s1: Tensor, drop: float = 0.0) -> Tensor:
        return torch.cat(self.outputs(s0, s1, drop), dim=1)

    def outputs(self, s0: Tensor, s1: Tensor, drop: float) -> list[Tensor]:
        """The states that `forward` concatenates."""
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        results = []
        for operation, source in zip(self.operations, self.sources, strict=True):
            result = operation(states[source])
            if drop and self.training and not isinstance(operation, Identity):
                result = drop_path(result, drop)
            results.append(result)
            if len(results) % 2 == 0:
                states.append(results[-2] + results[-1])
        return [states[i] for i in self.concat]


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Set whole images of a batch to zero with `probability`, scale the others by 1/(1 − probability) (FractalNet)."""
    keep = sharing.draw(
        len(x), lambda n: torch.empty(n, 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(1 - probability)
    )
    return x * keep / (1 - probability)


class AuxiliaryTower(nn.Module):
    """A classifier on the map after cell 2L//3, whose loss helps to train the cells before it (DARTS; GoogLeNet).

    Takes maps of any size from 2×2. DARTS pools 8×8 (CIFAR) and 7×7 (ImageNet) maps by 5×5 windows; the others are
    pooled to the same 2×2.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(pool_to_2x2(x.relu())))


def pool_to_2x2(x: Tensor) -> Tensor:
    """Average-pool N × C × H × W maps, H and W at least 2, to N × C × 2 × 2."""
    height, width = x.shape[-2:]
    if min(height, width) < 2:
        raise UserError(
            f"auxiliary: its tower needs a map of at least 2×2, not {height}×{width}: the images are too small for the "
            "stem and the depth"
        )
    if height == width and height in (7, 8):
        return nn.functional.avg_pool2d(x, 5, stride=height - 5)
    # The windows of adaptive pooling; unlike it, this has a deterministic gradient on a GPU.
    return nn.functional.avg_pool2d(x, ((height + 1) // 2, (width + 1) // 2), (height // 2, width // 2))


def reduction_layers(layers: int) -> tuple[int, int]:
    """Indices of the cells that halve the map and double the channels: one and two thirds of the depth."""
    return layers // 3, 2 * layers // 3


class Network(nn.Module):
    """The network of `layers` cells that `genotype` stands for.

    Parameters
    ----------
    genotype : Genotype
    channels : int
        C of the first cells.
    layers : int
        Number of cells; those at layers//3 and 2·layers//3 are reduction cells.
    num_classes : int
    in_channels : int, default 3
    auxiliary : bool, default False
        Add an auxiliary tower after cell 2·layers//3.
    stem : str, default "cifar"
        A key of ``STEMS``: "cifar" keeps the image's size, "imagenet" brings it to an eighth.

    Attributes
    ----------
    drop_path : float, default 0.0
        Probability with which an edge's result is dropped while training.
    inputs : Inputs or None
        What it was trained on, if `load` read it from its file.

    Raises
    ------
    UserError
        If the genotype names an operation that there is not, the stem is unknown, or there are no
        layers.

    Notes
    -----
    ``forward(x)``: N × in_channels × H × W → N × num_classes logits; while training with an auxiliary tower,
    a pair (logits, auxiliary logits).
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        channels: int,
        layers: int,
        num_classes: int,
        in_channels: int = 3,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> None:
        super().__init__()
        if layers < 1:
            raise UserError(f"layers: {layers} is not allowed: must be at least 1")
        for name in sorted(genotype.operations()):
            operations.family_of(name)  # there is such an operation, even if no cell of these layers has it
        self.drop_path = 0.0
        self.inputs: Inputs | None = None
        self.built_from = {
            "genotype": genotype.to_dict(),
            "channels": channels,
            "layers": layers,
            "num_classes": num_classes,
            "in_channels": in_channels,
            "stem": stem,
        }
        self.stem = make_stem(stem, in_channels, channels)
        normal = (genotype.normal, genotype.normal_concat)
        reduce = (genotype.reduce, genotype.reduce_concat)
        specs = cell_specs(layers, channels, stem, lambda reduction: len((reduce if reduction else normal)[1]))
        self.cells = nn.ModuleList()
        self.auxiliary = None
        for layer, spec in enumerate(specs):
            edges, concat = reduce if spec.reduction else normal
            self.cells.append(Cell(edges, concat, spec))
            width = len(concat) * spec.channels
            if auxiliary and layer == reduction_layers(layers)[1]:
                self.auxiliary = AuxiliaryTower(width, num_classes)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        s0, s1 = stem_maps(self.stem, x)
        auxiliary_logits = None
        for layer, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, self.drop_path)
            if self.training and self.auxiliary is not None and layer == 2 * len(self.cells) // 3:
                auxiliary_logits = self.auxiliary(s1)
        logits = self.classifier(self.pool(s1).flatten(1))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)


class CIFARStem(nn.Sequential):
    """For images of 32×32 and smaller: a 3×3 convolution to 3·C channels at full size, BN."""

    halves = False
    smallest = 5  # pixels that leave 2×2 after both reduction cells

    def __init__(self, in_channels: int, channels: int) -> None:
        width = self.channels(channels)
        super().__init__(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    @staticmethod
    def channels(channels: int) -> int:
        return 3 * channels


class ImageNetStem(nn.Module):
    """For images of about 224×224 (DARTS, section 3.3): three 3×3 convolutions of stride 2.

    Gives a map of a quarter and one of an eighth of the image's size, both of C channels: the first cell's inputs.
    """

    halves = True
    smallest = 33

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.quarter = nn.Sequential(
            nn.Conv2d(in_channels, channels // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.eighth = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    @staticmethod
    def channels(channels: int) -> int:
        return channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(x)
        return quarter, self.eighth(quarter)


STEMS: dict[str, type[CIFARStem] | type[ImageNetStem]] = {"cifar": CIFARStem, "imagenet": ImageNetStem}


def make_stem(name: str, in_channels: int, channels: int) -> nn.Module:
    """The stem `name` of ``STEMS``; raises UserError if there is none, or C is too small for it."""
    if name not in STEMS:
        raise UserError(f"stem: {unknown('stem', name, STEMS)}")
    if name == "imagenet" and channels < 2:
        raise UserError(f"channels: {channels} is not allowed: the imagenet stem needs at least 2")
    return STEMS[name](in_channels, channels)


def check_image(stem: str, shape: tuple[int, int, int]) -> None:
    """Raise UserError if images of `shape` (channels, height, width) are too small for the stem and the reductions."""
    smallest, (_, height, width) = STEMS[stem].smallest, shape
    if min(height, width) < smallest:
        raise UserError(
            f"stem: {stem} is not allowed for images of {height}×{width} pixels (height×width): it needs at least "
            f"{smallest}×{smallest}"
        )


def stem_maps(stem: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The two maps that the first cell takes; a stem that gives one gives it twice."""
    maps = stem(x)
    return maps if isinstance(maps, tuple) else (maps, maps)


def save(network: "Network | Bench201Network", path: str | Path, inputs: Inputs) -> None:
    """Write `network` without its auxiliary tower to a safetensors file that says how to build it, for `load`.

    The file also says which images it takes: ``prepared.inputs`` of `nas.data.dataset`.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    how = network.built_from | {"inputs": inputs.to_dict()}  # in one entry, for the order of several varies
    with whole_file(path) as temporary:
        save_file(tensors, temporary, {"network": json.dumps(how)})


def load(path: str | Path) -> "Network | Bench201Network":
    """Read a network that `save` wrote, on the CPU and in eval mode.

    Raises
    ------
    UserError
        If the file is missing, damaged or not a network.
    """
    from nas.networks.build import build_network  # which knows this module's network, and others

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "network" not in metadata:
                raise ValueError("it does not say which network it holds")
            built_from = json.loads(metadata["network"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        inputs = Inputs.of(built_from.pop("inputs", None))
        network = build_network(from_dict(built_from.pop("genotype")), **built_from)
        network.load_state_dict(tensors)
        network.inputs = inputs
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: is no whole network ({reason(error)}); run its evaluation again") from None
    return network.eval()
