"""Mixed cells, as `kernels` computes them: what edges share is computed once, and the norms are left to the sums."""

from collections.abc import Callable, Iterable, Sequence
from math import gcd
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas.data import sharing
from nas.fast import grouped
from nas.fast.conditions import applies, inside, ordinary, settings
from nas.fast.kernels import (
    channel_shuffle,
    channels_last,
    concat,
    fold,
    pool_and_norm,
    unfold,
    weighted_norms,
    weighted_sum,
)
from nas.fast.layers import VECTOR, folds, join, run, split
from nas.networks.supernet import MixedCell, MixedOperation, NormedPooling
from nas.networks.supernets import MixedBench201Cell
from nas.space.genotypes import edges
from nas.space.operations.basic import FactorizedReduce

AnyCell = MixedCell | MixedBench201Cell

LARGE = 2**17  # elements of a map; below, narrow ones gain nothing by lying side by side


def mixed_cell(
    self: MixedCell, s0: Tensor, s1: Tensor, weights: Tensor, chosen: Sequence[int | None] | None = None
) -> Tensor:
    s0, s1 = channels_last(s0), channels_last(s1)
    if of_all(self, chosen) and applies(s1) and comes_apart(self):
        return concat(mix_all(self, edges(self.nodes), [self.preprocess0(s0), self.preprocess1(s1)], weights))
    if of_all(self, chosen) and self.partial == 1 and grouped.applies(s1) and (plan := grouped.plan_of(self)):
        return grouped.mix_all(plan, [self.preprocess0(s0), self.preprocess1(s1)], weights)
    return MixedCell.forward(self, s0, s1, weights, chosen)


def of_all(cell: AnyCell, chosen: Sequence[int | None] | None) -> bool:
    """Whether all operations are computed, of the whole batch: of several processes see `distributed.synchronise`."""
    return chosen is None and cell.training and sharing.world() == 1


def comes_apart(cell: AnyCell) -> bool:
    """Whether nothing looks on or was frozen or replaced inside the edges, whose parts `mix_all` takes apart."""
    return all(type(edge) is MixedOperation and all(map(ordinary, inside(edge))) for edge in cell.edges)


def mix_all(
    cell: AnyCell, places: Sequence[tuple[int, int]], inputs: Sequence[Tensor], weights: Tensor
) -> list[Tensor]:
    """The cell's nodes, of all operations of all edges; `places`: from which state to which each edge leads."""
    mixed = cast("list[MixedOperation]", list(cell.edges))
    partial, own, beside, nodes = mixed[0].partial, mixed[0].own, images_beside(mixed, inputs[0]), []
    leaving: dict[int, list[MixedOperation]] = {}
    for edge, (source, _) in zip(mixed, places, strict=True):
        leaving.setdefault(source, []).append(edge)
    shared = [SharedState(x, leaving[state], beside) for state, x in enumerate(inputs)]
    for target in dict.fromkeys(target for _, target in places):
        first = [end for _, end in places].index(target)
        rows = slice(first, first + len(shared))
        node = channels_last(unfold(mix(mixed[rows], shared, weights[rows]), beside))
        if partial > 1:
            node = with_passing(node, shared, weights[rows, :own], partial)
        nodes.append(node)
        if target in leaving:
            shared.append(SharedState(node, leaving[target], beside))
    return nodes


def images_beside(mixed: Sequence[MixedOperation], x: Tensor) -> int:
    """How many images lie side by side while edges compute, so that a processor's vectors are full."""
    channels, large = x.shape[1] // mixed[0].partial, x.numel() // mixed[0].partial >= LARGE
    operations = (operation for edge in mixed for operation in edge.operations)
    if channels >= VECTOR or not large or not all(folds(module) for each in operations for module in each.modules()):
        return 1
    return gcd(len(x), VECTOR // channels)


def with_passing(node: Tensor, states: Sequence["SharedState"], weights: Tensor, partial: int) -> Tensor:
    """A node's `node` of mixed channels, and the sum of those that passed its edges by, shuffled: linear, so once."""
    passed = weighted_sum([cast("Tensor", state.passing) for state in states], weights.sum(dim=-1))
    return channel_shuffle(concat([node, passed]), partial)


class SharedState:
    """A state of a cell. What several of the edges that leave it would compute alike is computed once.

    Attributes
    ----------
    x : Tensor, N/k × k·C × H × W
        The channels that operations see, k = `beside` images side by side.
    passing : Tensor or None
        The others, as they pass each edge by.
    """

    def __init__(self, x: Tensor, leaving: Sequence[MixedOperation], beside: int = 1) -> None:
        first, self.passing = leaving[0], None
        if first.partial > 1:
            x, others = x.split([first.mixed, x.shape[1] - first.mixed], dim=1)
            self.passing = channels_last(first.passed(others))
        self.x = channels_last(fold(x, beside))
        self.leaving = leaving
        self.known: dict[str, Any] = {}

    def after(self, *layers: nn.Module) -> Tensor:
        """The state after `layers`, the first of which may be known from another edge."""
        if not layers:
            return self.x
        first, *rest = layers
        if type(first) is NormedPooling:
            return run(rest, self._once(settings(first[0]), lambda: self._pooled(first)))
        alike = settings(first)
        if type(first) in (nn.ReLU, nn.GELU, nn.AvgPool2d):
            return run(rest, self._once(alike, lambda: first(self.x)))
        if type(first) is FactorizedReduce:
            return join(first, self._once("halves", lambda: split(self.after(first.relu))))
        return run(layers, self.x)

    def _once(self, name: str, compute: Callable[[], Any]) -> Any:
        if name not in self.known:
            self.known[name] = compute()
        return self.known[name]

    def _pooled(self, pooling: NormedPooling) -> Tensor:
        poolings = [o for edge in self.leaving for o in edge.operations if type(o) is NormedPooling]
        norms = [cast("nn.BatchNorm2d", o[1]) for o in poolings if settings(o[0]) == settings(pooling[0])]
        return pool_and_norm(self.x, pooling[0], norms)


def mix(incoming: Iterable[MixedOperation], states: Iterable[SharedState], weights: Tensor) -> Tensor:
    """Σ over a node's edges of all that they mix. Operations that end in a batch norm leave it to the sum."""
    maps, map_weights, inputs, input_weights = [], [], [], []
    norms: list[nn.BatchNorm2d] = []
    for edge, state, row in zip(incoming, states, weights.unbind(), strict=True):
        each = row.unbind()
        for column, operation in zip(edge.columns, edge.operations, strict=True):
            layers = layers_of(operation)
            if isinstance(layers[-1], nn.BatchNorm2d) and not layers[-1].affine:
                norms.append(cast("nn.BatchNorm2d", layers.pop()))
                inputs.append(state.after(*layers))
                input_weights.append(each[column])
            else:
                maps.append(state.after(*layers))
                map_weights.append(each[column])
    sums = []
    if maps:
        sums.append(weighted_sum(maps, torch.stack(map_weights)))
    if inputs:
        sums.append(weighted_norms(inputs, norms, torch.stack(input_weights)))
    return sum(sums[1:], start=sums[0])


def layers_of(operation: nn.Module) -> list[nn.Module]:
    """What `operation` computes one after the other; pooling and its norm are one, which several edges share."""
    in_turn = type(operation).forward is nn.Sequential.forward and type(operation) is not NormedPooling
    return list(cast("nn.Sequential", operation)) if in_turn else [operation]


FORWARDS = {MixedCell.forward: mixed_cell}
