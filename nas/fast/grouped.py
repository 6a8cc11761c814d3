"""Mixed cells on a GPU: what several edges compute alike is one wider computation, so that fewer kernels are launched.

At the papers' sizes a kernel takes a GPU less time than its launch takes the host. So all edges that leave the cell's
two inputs, and then those that leave each node, go through an operation in lockstep, layer by layer, their maps side by
side as channels: E convolutions are one of E groups, E batch norms are one of E·C channels. `RULES` says for each class
of layers how several are one; what has no rule is computed edge by edge. Weights are put side by side anew in every
pass, so that modules and state dicts stay. All is made of PyTorch's own functions, which can be differentiated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.fast.conditions import every_module_has_hooks, ordinary, settings
from nas.fast.kernels import channels_last, inner, outer
from nas.networks.supernet import MixedCell, MixedOperation
from nas.space.genotypes import edges
from nas.space.operations.basic import ChannelNorm, FactorizedReduce, Identity
from nas.space.operations.efficientnet import FusedMBConv, MBConv, SqueezeExcitation

DEVICES = ("cuda",)


def applies(x: Tensor) -> bool:
    """Whether it pays for the map `x`: on a GPU, whatever its size, since fewer bytes are moved too."""
    return x.device.type in DEVICES and not every_module_has_hooks()


# Maps side by side


@dataclass
class Maps:
    """Maps of C channels side by side, N × maps·C × H × W, each of which is that of `times` edges in a row."""

    x: Tensor
    maps: int
    times: int = 1
    known: dict[str, Maps] = field(default_factory=dict)  # what layers without weights make of them

    @cached_property
    def each(self) -> Tensor:
        """N × maps·times·C × H × W: a map for each edge."""
        if self.times == 1:
            return self.x
        repeated = inner(self.x).unflatten(3, (self.maps, 1, -1)).expand(-1, -1, -1, -1, self.times, -1)
        return outer(repeated.flatten(3))


class Statistics:
    """What the batch norms of a cell see in a pass, side by side; their running statistics are updated all at once."""

    def __init__(self, norms: Sequence[nn.BatchNorm2d]) -> None:
        channels = sum(norm.num_features for norm in norms)
        self.room = cast("Tensor", norms[0].running_mean).new_zeros(2, channels) if norms else torch.empty(2, 0)
        self.widths: list[int] = []  # of the parts of `room` that are in use
        self.used = 0
        self.norms: list[nn.BatchNorm2d] = []
        self.part_of: list[int] = []  # for each of `norms`

    def room_for(self, norms: Sequence[nn.BatchNorm2d], channels: int) -> Tensor:
        """Where to write mean and variance of `channels` channels. Where those are fewer, norms in a row share them."""
        width, first = norms[0].num_features, len(self.widths)
        parts = channels // width
        self.part_of += [first + i * parts // len(norms) for i in range(len(norms))]
        self.norms += norms
        self.widths += [width] * parts
        self.used += channels
        return self.room[:, self.used - channels : self.used]

    @torch.no_grad()
    def keep(self) -> None:
        """What each of the norms would have done."""
        if not self.norms:
            return
        for name, row in zip(("running_mean", "running_var"), self.room[:, : self.used], strict=True):
            parts = row.split(self.widths)
            seen = [parts[part] for part in self.part_of]
            torch._foreach_lerp_([getattr(norm, name) for norm in self.norms], seen, self.norms[0].momentum)
        torch._foreach_add_([norm.num_batches_tracked for norm in self.norms], 1)


# Layers in lockstep


@dataclass
class Step:
    """A layer of each edge, all alike."""

    layers: Sequence[Any]
    rule: Callable[[Step, Maps, Statistics], Maps]
    name: str  # its settings
    inside: list[Step]  # of which it consists, if its rule takes them


def steps_of(layers: Sequence[nn.Module]) -> list[Step]:
    """What `layers`, one of each edge, compute, as steps that are taken one after the other."""
    first: Any = layers[0]
    if len({(type(layer), settings(layer)) for layer in layers}) > 1:
        return [Step(layers, one_by_one, "", [])]
    if type(first).forward is nn.Sequential.forward and len(first):
        return [step for each in zip(*cast("Any", layers), strict=True) for step in steps_of(each)]

    def inside(name: str) -> list[Step]:
        return steps_of([getattr(layer, name) for layer in layers])

    if type(first) is FactorizedReduce:
        halves = Step(layers, halve, "", [*inside("even"), *inside("odd")])
        return [*inside("relu"), halves, *inside("norm")]
    parts = PARTS.get(type(first))
    return [Step(layers, RULES.get(type(first), one_by_one), settings(first), inside(parts) if parts else [])]


def run(steps: Sequence[Step], maps: Maps, statistics: Statistics) -> Maps:
    for step in steps:
        maps = step.rule(step, maps, statistics)
    return maps


def one_by_one(step: Step, maps: Maps, statistics: Statistics) -> Maps:
    parts = maps.x.chunk(maps.maps, dim=1)
    results = [layer(parts[edge // maps.times]) for edge, layer in enumerate(step.layers)]
    return Maps(torch.cat(results, dim=1), len(results))


def once(step: Step, maps: Maps, statistics: Statistics) -> Maps:
    """A layer without weights does the same to the maps of all edges, and for all operations that begin with it."""
    if step.name not in maps.known:
        maps.known[step.name] = Maps(step.layers[0](maps.x), maps.maps, maps.times)
    return maps.known[step.name]


def convolve(step: Step, maps: Maps, statistics: Statistics) -> Maps:
    """One of as many groups as there are maps. Where edges share a map, their output channels are of its group."""
    first, count = step.layers[0], len(step.layers)
    if first.padding_mode != "zeros":
        return one_by_one(step, maps, statistics)
    x, groups = (maps.x, maps.maps) if first.groups == 1 else (maps.each, count * first.groups)
    bias = None if first.bias is None else side_by_side([conv.bias for conv in step.layers])
    weight = side_by_side([conv.weight for conv in step.layers])
    return Maps(functional.conv2d(x, weight, bias, first.stride, first.padding, first.dilation, groups), count)


def side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(tensors) if len(tensors) > 1 else tensors[0]


def batch_norm(step: Step, maps: Maps, statistics: Statistics, scale: Tensor | None = None) -> Maps:
    """`scale`: what to multiply with. Norms that learn none give the same, of a map that edges share."""
    first, shift = step.layers[0], None
    if first.affine:
        maps = Maps(maps.each, len(step.layers))
        scale, shift = (side_by_side([getattr(norm, name) for norm in step.layers]) for name in ("weight", "bias"))
    mean, variance = statistics.room_for(step.layers, maps.x.shape[1])
    # With a momentum of 1 running statistics become those of the batch.
    y = functional.batch_norm(maps.x, mean, variance, scale, shift, training=True, momentum=1.0, eps=first.eps)
    return Maps(y, maps.maps, maps.times)


def channel_norm(step: Step, maps: Maps, statistics: Statistics) -> Maps:
    plain = step.layers[0].norm
    if plain.elementwise_affine:
        return one_by_one(step, maps, statistics)
    apart = inner(maps.x).unflatten(3, (maps.maps, -1))
    y = functional.layer_norm(apart, apart.shape[4:], eps=plain.eps)
    return Maps(outer(y.flatten(3)), maps.maps, maps.times)


def halve(step: Step, maps: Maps, statistics: Statistics) -> Maps:
    """The two convolutions of a FactorizedReduce, and their results one after the other, for each edge."""
    height, width = maps.x.shape[2:]
    pixels = maps.x[:, :, ::2, ::2], functional.pad(maps.x[:, :, 1::2, 1::2], (0, width % 2, 0, height % 2))
    halves = []
    for conv, x in zip(step.inside, pixels, strict=True):
        y = conv.rule(conv, Maps(x, maps.maps, maps.times), statistics)
        halves.append(inner(y.x).unflatten(3, (y.maps, -1)))
    return Maps(outer(torch.cat(halves, dim=4).flatten(3)), len(step.layers))


def squeeze(step: Step, maps: Maps, statistics: Statistics) -> Maps:
    factors = run(step.inside, maps, statistics)
    return Maps(maps.each * factors.each, len(step.layers))


def bottleneck(step: Step, maps: Maps, statistics: Statistics) -> Maps:
    branch = run(step.inside, maps, statistics)
    return Maps(maps.each + branch.each, len(step.layers)) if step.layers[0].residual else branch


WITHOUT_WEIGHTS = (
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Identity,
    Identity,
)
RULES: dict[type[nn.Module], Callable[[Step, Maps, Statistics], Maps]] = {
    **dict.fromkeys(WITHOUT_WEIGHTS, once),
    nn.Conv2d: convolve,
    nn.BatchNorm2d: batch_norm,
    ChannelNorm: channel_norm,
    SqueezeExcitation: squeeze,
    MBConv: bottleneck,
    FusedMBConv: bottleneck,
}
PARTS: dict[type[nn.Module], str] = {SqueezeExcitation: "scale", MBConv: "branch", FusedMBConv: "branch"}


# Cells


@dataclass
class Group:
    """The edges that leave states which are known at the same time, those of a state in a row."""

    rows: list[int]  # of α
    states: int
    operations: list[tuple[int, list[Step]]]  # column of α, layers of all edges


@dataclass
class Plan:
    """Which layers of a cell go in lockstep. It is kept, since to compare their settings takes longer than a pass."""

    made_of: list[object]  # modules and their classes: of others it is another plan
    norms: list[nn.BatchNorm2d]
    groups: list[Group]


_PLANS: WeakKeyDictionary[MixedCell, Plan] = WeakKeyDictionary()


def plan_of(cell: MixedCell) -> Plan | None:
    """None if something looks on inside the edges of `cell`, or was frozen or replaced there."""
    modules = list(cell.edges.modules())
    if not all(map(ordinary, modules)):
        return None
    plan, made_of = _PLANS.get(cell), [*modules, *map(type, modules)]
    if plan is None or plan.made_of != made_of:
        norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
        known = all(type(edge) is MixedOperation for edge in cell.edges) and not any(map(writes, modules))
        plan = _PLANS[cell] = Plan(made_of, norms, groups_of(cell) if known else [])
    same = len({norm.momentum for norm in plan.norms}) <= 1
    return plan if plan.groups and same else None


def writes(module: nn.Module) -> bool:
    """Whether `module` writes its result over its input, which others read."""
    return getattr(module, "inplace", False)


def groups_of(cell: MixedCell) -> list[Group]:
    ends = edges(cell.nodes)
    groups = []
    for sources in [[0, 1], *([source] for source in range(2, cell.nodes + 1))]:
        rows = [row for source in sources for row, (start, _) in enumerate(ends) if start == source]
        leaving = [cast("MixedOperation", cell.edges[row]) for row in rows]
        each = zip(*(edge.operations for edge in leaving), strict=True)
        operations = [(column, steps_of(layers)) for column, layers in zip(leaving[0].columns, each, strict=True)]
        groups.append(Group(rows, len(sources), operations))
    return groups


def mix_all(plan: Plan, inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """All operations of all edges; `inputs`: the cell's two, preprocessed; `weights`: edges × operations."""
    channels = inputs[0].shape[1]
    statistics = Statistics(plan.norms)
    each = weights.unbind()
    ordered = torch.stack([each[row] for group in plan.groups for row in group.rows])
    # Operations × edges·C, which is how the maps lie side by side.
    scales = ordered.t().repeat_interleave(channels, dim=1).split([len(g.rows) * channels for g in plan.groups], dim=1)
    state, later, nodes = torch.cat(list(inputs), dim=1), None, []
    for group, scale in zip(plan.groups, scales, strict=True):
        maps = Maps(channels_last(state), group.states, len(group.rows) // group.states)
        # What the states so far add to the nodes to come: the first of them is known now.
        sums = mix(group, maps, scale.unbind(), statistics, later)
        state, later = sums.split([channels, sums.shape[1] - channels], dim=1)
        nodes.append(state)
    statistics.keep()
    return torch.cat(nodes, dim=1)


def mix(
    group: Group, state: Maps, scales: Sequence[Tensor], statistics: Statistics, total: Tensor | None = None
) -> Tensor:
    """`total` + Σ over the group's states of all that its edges mix: N × times·C × H × W."""
    for column, (*steps, last) in group.operations:
        maps = run(steps, state, statistics)
        if last.rule is batch_norm and maps.times == 1 and not last.layers[0].affine:
            y = batch_norm(last, maps, statistics, scales[column]).x
            total = y if total is None else total + y
        else:
            total = add(total, last.rule(last, maps, statistics), scales[column])
    return reduce(torch.add, cast("Tensor", total).chunk(group.states, dim=1))


def add(total: Tensor | None, maps: Maps, scale: Tensor) -> Tensor:
    """total + scale · maps.each, without repeating maps."""
    x = inner(maps.x).unflatten(3, (maps.maps, 1, -1))
    scale = scale.to(x.dtype).view(maps.maps, maps.times, -1)
    y = x * scale if total is None else torch.addcmul(inner(total).unflatten(3, (*scale.shape[:2], -1)), x, scale)
    return outer(y.flatten(3))
