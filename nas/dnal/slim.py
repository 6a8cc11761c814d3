"""Cutting closed channels out of a gated network: what remains is a smaller network of ordinary layers."""

import json
import logging
import operator
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from nas.data.inputs import Inputs
from nas.dnal.backbones import PadShortcut, build
from nas.dnal.gates import Gate, gates
from nas.pipeline.errors import UserError, reason
from nas.pipeline.files import whole_file

log = logging.getLogger("nas")

Kind = Literal["input", "mix", "channelwise", "gate", "keep", "flatten", "pad", "add", "output"]
Shape = tuple[int, int, int]
Masks = dict[fx.Node, Tensor]  # channels (dimension 1) of each node's result: bool, on the CPU

ADDITIONS = (operator.add, operator.iadd)
# These give zero for zero, and mix no channels.
KEEP_ZERO = (
    *(nn.Identity, nn.Dropout, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
)


@dataclass(frozen=True)
class Step:
    """A node of the traced network.

    Parameters
    ----------
    kind : str
        mix: each result channel comes of all inputs' (convolution, linear); channelwise: of its own, and zero does not
        stay zero (depthwise convolution, batch norm); keep: of its own, zero stays zero.
    module : Module or None
    inputs : list of Node
        Of an addition all operands, those of the additions that lead to it alone included.
    channels : int
        Size of the result's dimension 1.
    """

    node: fx.Node
    kind: Kind
    module: nn.Module | None
    inputs: list[fx.Node]
    channels: int


class Select(nn.Module):
    """The channels of `index`, N × C × … → N × len(index) × …."""

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.index)


class Subsample(nn.Module):
    """Every `stride`-th pixel of N × C × H × W maps, along both sides: what remains of a `PadShortcut`."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride]


class ScatterAdd(nn.Module):
    """The sum of tensors that hold all or some of `channels` channels.

    Parameters
    ----------
    channels : int
    indices : list of int Tensor
        For each tensor that holds only some: which.

    Notes
    -----
    ``forward(*x)``: first the tensors that hold all, then those of `indices` → N × channels × ….
    """

    def __init__(self, channels: int, indices: list[Tensor]) -> None:
        super().__init__()
        self.channels, self.narrow = channels, len(indices)
        for i, index in enumerate(indices):
            self.register_buffer(f"index_{i}", index)

    def forward(self, *x: Tensor) -> Tensor:
        wide, narrow = x[: len(x) - self.narrow], x[len(x) - self.narrow :]
        total = wide[0] if wide else x[0].new_zeros(x[0].shape[0], self.channels, *x[0].shape[2:])
        for operand in wide[1:]:
            total = total + operand
        for i, operand in enumerate(narrow):
            total = total.index_add(1, getattr(self, f"index_{i}"), operand)
        return total


def slim(network: nn.Module, shape: Shape) -> fx.GraphModule:
    """What remains of a gated network, as a network of ordinary layers.

    It equals the gated one with its settled masks, in eval mode and, dropout's draws excepted, in train mode.

    The filters of closed channels go, and with them the entries of their batch norms, their depthwise convolutions with
    the channels that these take, and the inputs of the layers behind. A summand that holds fewer channels than the sum
    is added to those that it holds. Settles the gates first.

    Parameters
    ----------
    network : Module
        Of convolutions (ordinary and depthwise), linear layers, batch norms, closed gates, poolings, activations,
        additions and `PadShortcut`. Stays as it is but for its masks.
    shape : tuple of int
        Channels, height and width of its images.

    Returns
    -------
    GraphModule
        With copies of the weights and of the batch norms' statistics, all to be trained; the layers that remain keep
        their names. ``meta["shape"]`` and ``meta["masks"]`` hold what `save` needs.

    Raises
    ------
    ValueError
        If a gate is not closed, the network holds something else, or a batch norm with no gate behind it would make a
        constant of a closed channel.
    """
    steps = _steps(network, shape)
    graph, modules = _Rewriting(_settle(steps)).run(steps)
    result = fx.GraphModule(modules, graph, "Slim").to(next(network.parameters()).device).train(network.training)
    masks = {name: gate.mask.clone() for name, gate in gates(network).items()}
    result.meta.update(shape=tuple(shape), masks=masks)
    return result


def settle(network: nn.Module, shape: Shape) -> None:
    """Bring the masks of closed gates to those of a whole network: what `slim` makes is equal to the network then.

    Where no open way leads through the network, channels are opened again: one for each gate on the way that needs the
    fewest, each that of the largest s (the log says which). Then every channel is closed that takes part in nothing:
    those of a branch or candidate one gate of which is wholly closed, and those that only lead to closed ones.

    Raises
    ------
    ValueError
        As `slim`.
    """
    _settle(_steps(network, shape))


def channel_table(network: nn.Module) -> list[dict[str, str | int]]:
    """For each gate its name (`layer`), its original width (`channels`) and how many channels it lets pass (`kept`)."""
    return [
        {"layer": name, "channels": len(gate.mask), "kept": int(gate.mask.sum())}
        for name, gate in gates(network).items()
    ]


def save(network: fx.GraphModule, path: str | Path, built_from: Mapping[str, Any], inputs: Inputs) -> None:
    """Write what `slim` made to a safetensors file that says how to build it, for `load`, and which images it takes.

    `built_from` holds the arguments of `backbones.build` that made the gated network: ``{"name": "resnet56", …}``.
    """
    tensors = network.state_dict() | {f"{name}.mask": mask for name, mask in network.meta["masks"].items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    how = {"build": dict(built_from), "shape": network.meta["shape"], "inputs": inputs.to_dict()}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, {"slim": json.dumps(how)})


def load(path: str | Path) -> fx.GraphModule:
    """Read a network that `save` wrote, on the CPU and in eval mode.

    Raises
    ------
    UserError
        If the file is missing, damaged or not a slim network.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "slim" not in metadata:
                raise ValueError("it does not say which network it holds")
            how = json.loads(metadata["slim"])
            # Cloned to memory that is aligned as usual: the rounding of convolutions depends on it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        with torch.device("meta"):  # draws no random numbers
            network = build(**how["build"])
        for name, gate in gates(network).items():
            gate.mask, gate.state = tensors.pop(f"{name}.mask"), "closed"
        network = slim(network, tuple(how["shape"]))
        network.load_state_dict(tensors, assign=True)
        network.inputs = Inputs.of(how.get("inputs"))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: is no whole slim network ({reason(error)}); run its slim stage again") from None
    return network.eval()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, Gate | PadShortcut) or super().is_leaf_module(module, name)


def _steps(network: nn.Module, shape: Shape) -> list[Step]:
    """The network's nodes in the order of evaluation."""
    if any(gate.state != "closed" for gate in gates(network).values()):
        raise ValueError("close the gates first")
    traced = deepcopy(fx.GraphModule(network, _Tracer().trace(network))).to("meta")
    # Two images, because a batch norm in train mode takes no single value.
    images = torch.zeros(2, *shape, dtype=next(network.parameters()).dtype, device="meta")
    ShapeProp(traced).propagate(images)
    steps = []
    for node in traced.graph.nodes:
        if _is_part_of_a_sum(node):
            continue
        module = network.get_submodule(node.target) if node.op == "call_module" else None
        kind = _kind(node, module)
        if module is not None and kind not in ("keep", "flatten") and any(s.module is module for s in steps):
            raise ValueError(f"slim cannot cut {node.target}: it is used twice")
        inputs = _operands(node) if kind == "add" else node.all_input_nodes
        steps.append(Step(node, kind, module, inputs, node.meta["tensor_meta"].shape[1]))
    return steps


def _kind(node: fx.Node, module: nn.Module | None) -> Kind:
    match module:
        case Gate():
            return "gate"
        case PadShortcut():
            return "pad"
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return "channelwise"
        case nn.Conv2d() if module.groups > 1 and module.groups == module.in_channels == module.out_channels:
            return "channelwise"
        case nn.Conv2d() if module.groups == 1:
            return "mix"
        case nn.Linear():
            return "mix"
    if isinstance(module, nn.Flatten) or node.target is torch.flatten:
        return "flatten"
    if isinstance(module, KEEP_ZERO) or node.target is nn.functional.adaptive_avg_pool2d:
        return "keep"
    if node.target in ADDITIONS:
        return "add"
    if node.op in ("placeholder", "output"):
        return "input" if node.op == "placeholder" else "output"
    raise ValueError(f"slim cannot cut {node.target} ({type(module).__name__ if module else 'no module'})")


def _is_part_of_a_sum(node: fx.Node) -> bool:
    return node.target in ADDITIONS and len(node.users) == 1 and next(iter(node.users)).target in ADDITIONS


def _operands(node: fx.Node) -> list[fx.Node]:
    found = []
    for operand in node.args:
        if not isinstance(operand, fx.Node):
            raise ValueError(f"slim cannot cut {node.name}: it adds a number")
        found += _operands(operand) if _is_part_of_a_sum(operand) else [operand]
    return found


def _settle(steps: list[Step]) -> Masks:
    """Settle the masks; the channels of each result that remain."""
    through = _alive(steps)[steps[-1].node].any()
    for step, channel in [] if through else _to_open(steps):
        step.module.mask[channel] = True
        log.info("%s: channel %d opened again; a layer keeps at least one channel", step.node.target, channel)
    kept = _kept(steps)
    for step in steps:
        if step.kind == "gate":
            step.module.mask.copy_(kept[step.node])
    _check_constants(steps, kept)
    return kept


class _Way(NamedTuple):
    """From the input to a node: the channels that arrive, and what has to be opened, with its sum of s."""

    channels: Tensor
    opened: list[tuple[Step, int]]
    strength: float


def _to_open(steps: list[Step]) -> list[tuple[Step, int]]:
    """Gates and channels to open: of the way through the network that needs the fewest, then of the largest s."""
    ways: dict[fx.Node, _Way] = {}
    for step in steps:
        if step.kind == "input":
            ways[step.node] = _Way(torch.ones(step.channels, dtype=torch.bool), [], 0.0)
            continue
        before = min((ways[i] for i in step.inputs), key=lambda way: (len(way.opened), -way.strength))
        way = before._replace(channels=_alive_after(step, [before.channels]))
        if not way.channels.any():
            s = step.module.s.detach().cpu().masked_fill(~before.channels, -torch.inf)
            channel = int(s.argmax())
            way.channels[channel] = True
            way = _Way(way.channels, [*before.opened, (step, channel)], before.strength + float(s[channel]))
        ways[step.node] = way
    return ways[steps[-1].node].opened


def _alive_after(step: Step, masks: list[Tensor], constants: bool = False) -> Tensor:
    """Which channels of a result are not zero for every image, if those of its inputs are `masks`.

    What batch norms and biases make of a zero counts only with `constants`.
    """
    if step.kind == "input":
        return torch.ones(step.channels, dtype=torch.bool)
    alive = torch.stack(masks).any(0)
    match step.kind:
        case "mix":
            return torch.full((step.channels,), bool(constants or alive.any()))
        case "channelwise" if constants:
            return torch.ones_like(alive)
        case "gate":
            return alive & step.module.mask.cpu()
        case "flatten":
            return alive.repeat_interleave(step.channels // len(alive))
        case "pad":
            padded = torch.zeros(step.channels, dtype=torch.bool)
            padded[_from_input(step.module)] = alive
            return padded
    return alive


def _from_input(shortcut: PadShortcut) -> slice:
    return slice(shortcut.offset, shortcut.offset + shortcut.channels_in)


def _alive(steps: list[Step], constants: bool = False) -> Masks:
    """Forward through the network, `_alive_after` each step."""
    alive: Masks = {}
    for step in steps:
        alive[step.node] = _alive_after(step, [alive[i] for i in step.inputs], constants)
    return alive


def _kept(steps: list[Step]) -> Masks:
    """Of the channels that are alive, those that the output depends on: backward through the network."""
    alive = _alive(steps)
    kept = {node: torch.zeros_like(mask) for node, mask in alive.items()}
    for step in reversed(steps):
        if step.kind in ("input", "output"):
            kept[step.node] = alive[step.node]
        inputs = _wanted(step, kept[step.node], alive)
        if step.kind == "flatten":  # a channel's pixels stay together
            kept[step.node] = _alive_after(step, inputs)
        for node, wanted in zip(step.inputs, inputs, strict=True):
            kept[node] = kept[node] | wanted
    return kept


def _wanted(step: Step, own: Tensor, of: Masks) -> list[Tensor]:
    """The channels of each input, out of those in `of`, that the channels `own` of a step's result depend on."""
    match step.kind:
        case "mix":
            own = own.any()
        case "flatten":
            own = own.view(len(of[step.inputs[0]]), -1).any(1)
        case "pad":
            own = own[_from_input(step.module)]
    return [own & of[node] for node in step.inputs]


def _check_constants(steps: list[Step], kept: Masks) -> None:
    """Raise ValueError if a kept result would depend on what a batch norm or a bias makes of closed channels."""
    alive, with_constants = _alive(steps), _alive(steps, constants=True)
    for step in steps:
        if step.kind not in ("mix", "add", "output"):
            continue
        needed = kept[step.node] if step.kind == "add" else kept[step.node].any()
        if any((needed & with_constants[i] & ~alive[i]).any() for i in step.inputs):
            raise ValueError(f"slim cannot cut {step.node.name}: no gate stands between it and a batch norm before it")
        if step.kind == "output" and not alive[step.inputs[0]].all():
            raise ValueError("slim cannot cut the last gate: its closed channels are part of the output")


class _Rewriting:
    """Step by step the graph of the slim network, and its modules by name."""

    def __init__(self, kept: Masks) -> None:
        self.kept = kept
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.new: dict[fx.Node, fx.Node] = {}

    def run(self, steps: list[Step]) -> tuple[fx.Graph, dict[str, nn.Module]]:
        for step in steps:
            if step.kind == "input":
                self.new[step.node] = self.graph.placeholder(step.node.target)
            elif step.kind == "output":
                self.graph.output(self.new[step.inputs[0]])
            elif self.kept[step.node].any():
                self.new[step.node] = self.addition(step) if step.kind == "add" else self.layer(step)
        return self.graph, self.modules

    def layer(self, step: Step) -> fx.Node:
        target = step.node.target
        (wanted,) = _wanted(step, self.kept[step.node], self.kept)
        x = self.take(step, 0, wanted)
        if step.module is not None:
            self.modules[target] = _cut(step, self.kept[step.node], wanted)
            if isinstance(self.modules[target], nn.Identity):
                return x
        return self.graph.node_copy(step.node, lambda _: x)

    def addition(self, step: Step) -> fx.Node:
        channels = self.kept[step.node]
        wide, narrow, indices = [], [], []
        for i, wanted in enumerate(_wanted(step, channels, self.kept)):
            if torch.equal(wanted, channels):
                wide.append(self.take(step, i, wanted))
            elif wanted.any():
                narrow.append(self.take(step, i, wanted))
                indices.append(_indices(wanted, channels))
        if len(wide) == 1 and not narrow:
            return wide[0]
        return self.call(f"added.{step.node.name}", ScatterAdd(int(channels.sum()), indices), *wide, *narrow)

    def take(self, step: Step, i: int, wanted: Tensor) -> fx.Node:
        """The channels `wanted` of a step's input `i`."""
        node, kept = self.new[step.inputs[i]], self.kept[step.inputs[i]]
        if torch.equal(wanted, kept):
            return node
        return self.call(f"selected.{step.node.name}_{i}", Select(_indices(wanted, kept)), node)

    def call(self, name: str, module: nn.Module, *x: fx.Node) -> fx.Node:
        self.modules[name] = module
        return self.graph.call_module(name, x)


def _indices(mask: Tensor, among: Tensor | None = None) -> Tensor:
    """Where the True of `mask` stand, counted in the True of `among` alone."""
    return (mask if among is None else mask[among]).nonzero().flatten()


def _cut(step: Step, rows: Tensor, columns: Tensor) -> nn.Module:
    """A copy of a step's module with the output channels `rows` and the input channels `columns` alone."""
    if step.kind == "gate":
        return nn.Identity()
    if step.kind == "pad":
        return Subsample(step.module.stride) if step.module.stride > 1 else nn.Identity()
    module, rows, columns = deepcopy(step.module), _indices(rows), _indices(columns)
    if step.kind not in ("mix", "channelwise"):
        if hasattr(module, "inplace"):
            module.inplace = False  # without the gate before it, it may work on what others take too
        return module
    for name, weight in list(module.named_parameters(recurse=False)):
        weight = weight.detach()[rows]
        mixes = step.kind == "mix" and name == "weight"
        setattr(module, name, nn.Parameter(weight[:, columns] if mixes else weight))
    for name, statistic in module.named_buffers(recurse=False):
        if statistic.dim():
            setattr(module, name, statistic[rows])
    match module:
        case nn.Conv2d():
            module.in_channels, module.out_channels = len(columns), len(rows)
            module.groups = len(rows) if step.kind == "channelwise" else 1
        case nn.Linear():
            module.in_features, module.out_features = len(columns), len(rows)
        case _:
            module.num_features = len(rows)
    return module
