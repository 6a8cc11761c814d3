"""Mixed cells, as `kernels` computes them: what edges share is computed once, and the norms are left to the sums."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.data import sharing
from nas.fast import grouped
from nas.fast.conditions import applies, ordinary, settings
from nas.fast.kernels import channels_last, concat, pool_and_norm, weighted_norms, weighted_sum
from nas.fast.layers import join, run, split
from nas.networks.supernet import MixedCell, MixedOperation, NormedPooling
from nas.space.genotypes import edges
from nas.space.operations.basic import FactorizedReduce


def mixed_cell(
    self: MixedCell, s0: Tensor, s1: Tensor, weights: Tensor, chosen: Sequence[int | None] | None = None
) -> Tensor:
    s0, s1 = channels_last(s0), channels_last(s1)
    # Of several processes, batch norms see the whole batch: `distributed.synchronise`.
    of_one = chosen is None and self.training and sharing.world() == 1
    if of_one and applies(s1) and comes_apart(self):
        return mix_all(self, [self.preprocess0(s0), self.preprocess1(s1)], weights)
    if of_one and self.partial == 1 and grouped.applies(s1) and (plan := grouped.plan_of(self)):
        return grouped.mix_all(plan, [self.preprocess0(s0), self.preprocess1(s1)], weights)
    return MixedCell.forward(self, s0, s1, weights, chosen)


def comes_apart(cell: MixedCell) -> bool:
    """Whether nothing looks on or was frozen or replaced inside the edges, whose parts `mix_all` takes apart."""
    return all(type(edge) is MixedOperation and all(map(ordinary, edge.modules())) for edge in cell.edges)


def mix_all(cell: MixedCell, states: list[Tensor], weights: Tensor) -> Tensor:
    """All operations of all edges; `states`: the cell's two inputs, preprocessed."""
    mixed = cast("list[MixedOperation]", list(cell.edges))
    starts = [source for source, _ in edges(cell.nodes)]
    leaving = [
        [edge for edge, start in zip(mixed, starts, strict=True) if start == source] for source in range(cell.nodes + 2)
    ]
    states = list(states)

    def part(x: Tensor) -> Tensor:
        """The channels that operations see."""
        return channels_last(x[:, : x.shape[1] // cell.partial]) if cell.partial > 1 else x

    shared = [SharedState(part(x), found) for x, found in zip(states, leaving, strict=False)]
    row = 0
    for found in leaving[2:]:
        incoming = slice(row, row + len(shared))
        row = incoming.stop
        node = mix(mixed[incoming], shared, weights[incoming])
        if cell.partial > 1:
            node = beside(node, mixed[incoming], states, weights[incoming])
        states.append(node)
        shared.append(SharedState(part(node), found))
    return concat(states[2:])


def beside(node: Tensor, incoming: Sequence[MixedOperation], states: Sequence[Tensor], weights: Tensor) -> Tensor:
    """A node's `node` of mixed channels, and the sum of those that passed its edges by, shuffled: linear, so once."""
    passed = [edge.passing(state) for edge, state in zip(incoming, states, strict=True)]
    shares = weights[:, : incoming[0].own].sum(dim=-1)
    both = concat([node, weighted_sum([channels_last(each) for each in passed], shares)])
    return channels_last(functional.channel_shuffle(both, incoming[0].partial))


class SharedState:
    """A state of a cell. What several of the edges that leave it would compute alike is computed once."""

    def __init__(self, x: Tensor, leaving: Sequence[MixedOperation]) -> None:
        self.x = x
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
        if type(first) in (nn.ReLU, nn.GELU):
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
